"""Random numbers as a function of (seed, step): nothing to save, and the same for one process as for many."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]
"""Draws a tensor of a shape with a generator, on the generator's device."""


class RowNumbers(ABC):
    """Random numbers with one row for each sample that this process works on."""

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float32[Tensor, "rows ..."]:
        """Numbers from [low, high)."""
        drawn = self._rows(lambda size, source: torch.rand(size, generator=source, device=source.device), shape)
        return drawn * (high - low) + low

    def normal(self, *shape: int) -> Float32[Tensor, "rows ..."]:
        """Numbers of mean 0 and variance 1."""
        return self._rows(lambda size, source: torch.randn(size, generator=source, device=source.device), shape)

    def below(self, limit: int, *shape: int) -> Int64[Tensor, "rows ..."]:
        """Whole numbers from 0 to limit - 1."""
        return self._rows(
            lambda size, source: torch.randint(limit, size, generator=source, device=source.device), shape
        )

    @abstractmethod
    def _rows(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """The rows of this process, each of this shape."""


class StepRandom(RowNumbers):
    """Random numbers of one step.

    Every process draws for the whole batch on the CPU and keeps the rows of its own samples, so that a GPU changes nothing.
    For large tensors `on_device` draws only what is needed, where it is needed.
    """

    def __init__(self, seed: int, step: int, batch: int, rows: slice | None = None, device: torch.device | str = "cpu"):
        self.seed = combine_seeds(seed, step)
        self.rows, self.device = rows or slice(0, batch), torch.device(device)
        self._batch = batch
        self._begin()

    def _begin(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._on_device: DeviceRandom | None = None

    def of_rows(self, rows: slice) -> "StepRandom":
        """The numbers of some of these rows, from the step's beginning."""
        part, own = copy.copy(self), range(self._batch)[self.rows][rows]
        part.rows = slice(own.start, own.stop)
        part._begin()
        return part

    def after_loss(self) -> "StepRandom":
        """Other numbers for the same rows, which do not depend on how many the loss has drawn."""
        other = copy.copy(self)
        other.seed = combine_seeds(self.seed, 1)
        other._begin()
        return other

    @property
    def dropout_seed(self) -> int:
        """A seed for random numbers that torch draws itself: each part of a batch has another."""
        return self.seed if not self.rows.start else combine_seeds(self.seed, self.rows.start)

    def on_device(self) -> "DeviceRandom":
        """Numbers drawn on the device of this process, for its own rows only; a GPU's are not those of a CPU."""
        if self._on_device is None:
            self._on_device = DeviceRandom(self.seed, range(self._batch)[self.rows], self.device)
        return self._on_device

    def _rows(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        return draw((self._batch, *shape), self._generator)[self.rows].to(self.device)


class DeviceRandom(RowNumbers):
    """Each row comes from a generator of its own, so that it is the same whichever process draws it."""

    def __init__(self, seed: int, rows: range, device: torch.device):
        self._generators = [torch.Generator(device).manual_seed(combine_seeds(seed, row)) for row in rows]

    def _rows(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([draw(shape, generator) for generator in self._generators])


def combine_seeds(*numbers: int) -> int:
    """One seed of several whole numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
