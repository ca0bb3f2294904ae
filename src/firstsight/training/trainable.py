"""What a method that learns is: its loss on a batch, and what it wants to be shown. `fit` needs nothing else.

class Method(Trainable, <a role of roles.py>):
    config                      a frozen dataclass, kept with the weights
    wanted                      which samples to read
    loss(samples, moment)       the paper's total loss; views and augmentations are drawn in it, on the device
    averaged()                  (teacher, student) pairs, where the teacher is the student's moving average
    before_update(moment)       what the paper does to the gradients
    forward(...)                the role
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from firstsight.training.draws import Draws


class Wanted(NamedTuple):
    """What one sample is: pictures of `size` (height, width); of each frame in `offsets`, the left and, if `stereo`, the right."""

    size: tuple[int, int]
    offsets: tuple[int, ...] = (0,)
    stereo: bool = False

    @property
    def views(self) -> int:
        return len(self.offsets) * (1 + self.stereo)


class Samples(NamedTuple):
    """A batch as it was read. Views in the order of the offsets, left before right; `baseline_m` is 0 where there is none."""

    images: UInt8[Tensor, "batch views 3 height width"]
    intrinsics: Float32[Tensor, "batch 3 3"]
    baseline_m: Float32[Tensor, " batch"]

    def to(self, device: torch.device | str) -> "Samples":
        return Samples(*(part.to(device, non_blocking=True) for part in self))

    def view(self, number: int) -> Float32[Tensor, "batch 3 height width"]:
        """RGB in [0, 1]."""
        return self.images[:, number].float() / 255


class Moment(NamedTuple):
    """Where the training is, and its random numbers."""

    step: int
    steps: int
    draws: Draws

    @property
    def progress(self) -> float:
        """From 0 at the first step towards 1."""
        return self.step / self.steps


class Loss(NamedTuple):
    """`parts` are shown; `features`, where the method learns some, are watched for collapse."""

    total: Float32[Tensor, ""]
    parts: dict[str, Tensor]
    features: Float32[Tensor, "rows features"] | None = None


class Trainable(nn.Module, ABC):
    """A method that learns. Its state is its parameters and buffers."""

    config: Any  # a frozen dataclass

    @property
    @abstractmethod
    def wanted(self) -> Wanted: ...

    @abstractmethod
    def loss(self, samples: Samples, moment: Moment) -> Loss:
        """Of one batch: a mean over its samples, so that the means of several processes average to that of all samples."""

    def averaged(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        """Pairs (teacher, student): after each step the teacher moves towards the student."""
        return ()

    def before_update(self, moment: Moment) -> None:
        """Between backward and the optimiser's step."""

    def sheet(self, samples: Samples, moment: Moment) -> dict[str, Tensor]:
        """What to look at, by title: pictures (n, 3, h, w) in [0, 1], maps (n, 1, h, w), or labels (n, h, w)."""
        return {"input": samples.view(0)}
