"""Random numbers as a function of (seed, step): nothing to save, and the same for one process as for many."""

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor


class StepRandom:
    """Random numbers of one step, one row for each sample that this process works on.

    Every process draws for the whole batch on the CPU and keeps the rows of its own samples, so that a GPU changes nothing.
    For large tensors `on_device` draws only what is needed, where it is needed.
    """

    def __init__(self, seed: int, step: int, batch: int, rows: slice | None = None, device: torch.device | str = "cpu"):
        self.seed = combine_seeds(seed, step)
        self.rows, self.device = rows or slice(0, batch), torch.device(device)
        self._generator = torch.Generator().manual_seed(self.seed)
        self._batch = batch

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float32[Tensor, "rows ..."]:
        """Numbers from [low, high)."""
        return self._own(torch.rand((self._batch, *shape), generator=self._generator)) * (high - low) + low

    def normal(self, *shape: int) -> Float32[Tensor, "rows ..."]:
        """Numbers of mean 0 and variance 1."""
        return self._own(torch.randn((self._batch, *shape), generator=self._generator))

    def below(self, limit: int, *shape: int) -> Int64[Tensor, "rows ..."]:
        """Whole numbers from 0 to limit - 1."""
        return self._own(torch.randint(limit, (self._batch, *shape), generator=self._generator))

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn[self.rows].to(self.device)


def combine_seeds(*numbers: int) -> int:
    """One seed of several whole numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
