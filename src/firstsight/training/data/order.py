"""Which samples a step sees: a function of the seed, whatever the number of processes and wherever a run was resumed.

`Shuffled`: position k of all samples ever shown belongs to epoch k // count, whose order is drawn from (seed, epoch).
`Streamed`: row r of a batch of B walks through samples r L, r L + 1, ... with L = count // B, again and again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from firstsight.errors import InputError
from firstsight.training.random_numbers import combine_seeds

# Samples that are shuffled among each other where they are read in blocks: several shards' worth, that the system's cache holds.
WINDOW = 8192


class Chosen(NamedTuple):
    """The samples of a step; `starts` says which rows of a stream begin anew (in a shuffled order all do)."""

    indices: Int64[np.ndarray, " batch"]
    starts: Bool[np.ndarray, " batch"]


class Shuffled:
    """Every sample once in an epoch. Where the data says that it is best read in `blocks`, these are shuffled, put one
    after the other, and within each window of samples shuffled again, so that reading stays within a few blocks.
    """

    def __init__(self, count: int, seed: int, batch: int, blocks: Int64[np.ndarray, " blocks"] | None = None):
        self.count, self.seed = count, seed
        self.batch, self.blocks = batch, blocks
        self._orders: dict[int, np.ndarray] = {}

    def at(self, step: int) -> Chosen:
        """The samples of a step."""
        positions = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs = positions // self.count
        self._orders = {epoch: self._order(epoch) for epoch in np.unique(epochs).tolist()}
        indices = [self._orders[e][k % self.count] for e, k in zip(epochs.tolist(), positions.tolist(), strict=True)]
        return Chosen(np.array(indices, np.int64), np.ones(self.batch, bool))

    def _order(self, epoch: int) -> Int64[np.ndarray, " count"]:
        if epoch in self._orders:
            return self._orders[epoch]
        rng = np.random.default_rng(combine_seeds(self.seed, epoch))
        return rng.permutation(self.count) if self.blocks is None else block_order(self.blocks, WINDOW, rng)


def block_order(
    blocks: Int64[np.ndarray, " blocks"], window: int, rng: np.random.Generator
) -> Int64[np.ndarray, " count"]:
    """All samples, block after block in a drawn order, and shuffled within windows."""
    drawn = rng.permutation(len(blocks))
    lengths, firsts = blocks[drawn], (np.cumsum(blocks) - blocks)[drawn]
    indices = np.repeat(firsts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    for begin in range(0, len(indices), window):
        rng.shuffle(indices[begin : begin + window])
    return indices


class Streamed:
    """Each row walks through its own share of the samples in their order. `lengths` are those of the sequences: a row that
    passes from one to the next begins anew. Raises InputError where there are fewer samples than rows.
    """

    def __init__(self, lengths: Sequence[int], batch: int):
        self.batch, self.share = batch, sum(lengths) // batch
        if self.share == 0:
            raise InputError(f"{sum(lengths)} samples cannot be {batch} streams; lower the batch")
        self._is_start = np.zeros(sum(lengths), bool)
        self._is_start[np.cumsum([0, *lengths])[:-1]] = True

    def at(self, step: int) -> Chosen:
        """The samples of a step."""
        indices = np.arange(self.batch, dtype=np.int64) * self.share + step % self.share
        return Chosen(indices, self._is_start[indices] | (step % self.share == 0))
