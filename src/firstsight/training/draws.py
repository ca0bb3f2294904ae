"""Random numbers as a function of (seed, step): nothing to save, and the same for one process as for many.

Every process draws for the whole batch and keeps the rows of its own samples. Drawn on the CPU, so that a GPU changes nothing.
"""

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor


class Draws:
    """Random numbers of one step, one row for each sample that this process works on."""

    def __init__(self, seed: int, step: int, batch: int, rows: slice | None = None, device: torch.device | str = "cpu"):
        self.seed = mixed(seed, step)
        self._generator = torch.Generator().manual_seed(self.seed)
        self._batch, self._rows, self._device = batch, rows or slice(0, batch), device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float32[Tensor, "rows ..."]:
        drawn = torch.rand((self._batch, *shape), generator=self._generator)
        return self._own(drawn) * (high - low) + low

    def normal(self, *shape: int) -> Float32[Tensor, "rows ..."]:
        return self._own(torch.randn((self._batch, *shape), generator=self._generator))

    def below(self, limit: int, *shape: int) -> Int64[Tensor, "rows ..."]:
        """Whole numbers from 0 to limit - 1."""
        return self._own(torch.randint(limit, (self._batch, *shape), generator=self._generator))

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn[self._rows].to(self._device)


def mixed(*numbers: int) -> int:
    """One seed of several whole numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
