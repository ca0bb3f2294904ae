"""What a method that learns is: its loss on a batch, and what it wants to be shown. `fit` needs nothing else.

class Batch(NamedTuple):                 the fields that it learns from, from the vocabulary of training.data.fields
    images: UInt8[Tensor, "batch time 3 height width"]

class Method(Trainable[Batch], <a role>):
    PRESETS                              settings and recipe by name: "paper", "tiny", ...
    config                               a frozen dataclass, kept with the weights
    wanted                               which samples to read
    loss(batch, context)                 the paper's total loss; views and augmentations are drawn in it, on the device
    forward(...)                         the role
and, where the method has it,
    groups()                             parameters with a rate, decay or start of their own
    ema_pairs()                          (teacher, student), where the teacher is the student's moving average
    after_update(carry, context)         what else changes with a step: centres, memory banks, chains, replay
    rounds(data, recipe)                 trainings one after the other
State: parameters and persistent buffers are published; non-persistent buffers belong to the training alone: they are kept in
checkpoints, each process has its own, and `model.safetensors` never holds them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from firstsight.training.data.dataset import Dataset
from firstsight.training.data.wanted import Wanted
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe

B = TypeVar("B")
M = TypeVar("M", bound="Trainable")
OpenData = Callable[[Wanted], Dataset]
"""Reads what is wanted from the sources of a training."""


class StepContext(NamedTuple):
    """The progress of the training, its random numbers, and how many samples there are.

    `rows` says which of this process's rows of the batch these are: all, unless the recipe has micro-batches.
    """

    step: int
    steps: int
    random: StepRandom
    sample_count: int = 0
    rows: slice = slice(None)

    @property
    def progress(self) -> float:
        """The share of the steps that is done, from 0 at the first towards 1."""
        return self.step / self.steps


@dataclass(frozen=True)
class Loss:
    """The loss of a batch. `parts` are shown; `features`, where the method learns some, are watched for collapse.

    `carry` is what `after_update` is given, by name: tensors whose first axis are samples (or chains), without gradient.
    """

    total: Float32[Tensor, ""]
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    features: Float32[Tensor, "rows features"] | None = None
    carry: Mapping[str, Tensor] = field(default_factory=dict)


class Preset(NamedTuple):
    """Settings and recipe that belong together."""

    config: Any
    recipe: Recipe


@dataclass(frozen=True)
class Group:
    """Parameters with a learning rate of their own.

    `rate` multiplies the recipe's; `scheduled` False keeps it at that from the first step to the last; biases and norms never
    decay. The parameters are frozen for the share `frozen_until` of the training.
    """

    parameters: Sequence[nn.Parameter]
    rate: float = 1.0
    decays: bool = True
    scheduled: bool = True
    frozen_until: float = 0.0


class EmaPair(NamedTuple):
    """A teacher that moves towards its student after each step; `momentum` None is the recipe's."""

    teacher: nn.Module
    student: nn.Module
    momentum: float | None = None


class DataFacts(NamedTuple):
    """What a method may have to know of the data before it is built."""

    sample_count: int
    classes: tuple[str, ...]


class Round(NamedTuple):
    """One of several trainings: which method learns what, from which data. `name` is its folder."""

    name: str
    method: "Trainable"
    data: Dataset
    recipe: Recipe


class Trainable(nn.Module, ABC, Generic[B]):
    """A method that learns."""

    PRESETS: ClassVar[Mapping[str, Preset]]
    config: Any  # a frozen dataclass

    @property
    @abstractmethod
    def wanted(self) -> Wanted: ...

    @abstractmethod
    def loss(self, batch: B, context: StepContext) -> Loss:
        """The loss of a batch: a mean over its samples, so that the means of several processes average to that of all.

        A method that overrides `couples_samples` gathers the samples of all processes itself (`processes.gather_rows`).
        """

    @classmethod
    def completed(cls, config: Any, facts: DataFacts) -> Any:
        """The settings with what the data decides, such as the number of classes. By default they stay as they are."""
        return config

    @property
    def couples_samples(self) -> bool:
        """Whether the loss of a sample depends on the others of its batch. Batch normalisation does that.

        Such a method cannot be trained in micro-batches.
        """
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.modules())

    def groups(self) -> Sequence[Group]:
        """All parameters that learn, each in one group."""
        return (Group([parameter for parameter in self.parameters() if parameter.requires_grad]),)

    def ema_pairs(self) -> Sequence[EmaPair]:
        """The teachers and their students."""
        return ()

    def after_update(self, carry: Mapping[str, Tensor], context: StepContext) -> None:
        """Changes what the optimiser does not, once for each step, without gradient.

        `carry` is that of the loss, of all rows of this process (`processes.gather_rows` for those of all processes);
        `context.random` gives numbers that the loss has not seen.
        """

    def rounds(self, data: OpenData, recipe: Recipe) -> Iterator[Round]:
        """The trainings that this one consists of, each begun when the one before has ended. By default one.

        Written as a generator: what stands after a `yield` finds the method of that round trained.
        """
        yield Round("", self, data(self.wanted), recipe)

    def preview(self, batch: B, context: StepContext) -> dict[str, Tensor]:
        """What to look at, by title: images (n, 3, h, w) in [0, 1], maps (n, 1, h, w), or labels (n, h, w)."""
        return {}

    def example_inputs(self, rows: int = 2, scale: float = 1.0) -> dict[str, Tensor]:
        """Inputs of `forward` by name, as evaluate and export need them. By default one image of the wanted size, scaled."""
        assert self.wanted.size is not None, "a method without images says what its inputs are"
        height, width = (round(side * scale) for side in self.wanted.size)
        return {"image": torch.rand((rows, 3, height, width), generator=torch.Generator().manual_seed(0))}

    @classmethod
    def of_preset(cls: type[M], name: str) -> M:
        """An untrained instance with the settings of a preset."""
        return cls(cls.PRESETS[name].config)


def parameters_of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters that learn of several modules."""
    return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
