"""Which samples a step sees: a function of the seed, whatever the number of processes and wherever a run was resumed.

"shuffled": position k of all samples ever shown belongs to epoch k // count, whose order is a permutation drawn from
(seed, epoch). "stream": row r of a batch of B walks through samples r L, r L + 1, ... with L = count // B, again and again.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from firstsight.training.random_numbers import combine_seeds


class Chosen(NamedTuple):
    """The samples of a step; `starts` says which rows of a stream begin anew (in a shuffled order all do)."""

    indices: Int64[np.ndarray, " batch"]
    starts: Bool[np.ndarray, " batch"]


@lru_cache(maxsize=2)
def permutation(count: int, seed: int, epoch: int) -> Int64[np.ndarray, " count"]:
    """The order of an epoch."""
    return np.random.default_rng(combine_seeds(seed, epoch)).permutation(count)


def shuffled(count: int, seed: int, step: int, batch: int) -> Chosen:
    """The samples of a step, of `count` there are."""
    positions = np.arange(step * batch, (step + 1) * batch)
    indices = [permutation(count, seed, int(k) // count)[k % count] for k in positions]
    return Chosen(np.array(indices, np.int64), np.ones(batch, bool))


def streamed(count: int, step: int, batch: int) -> Chosen:
    """The samples of a step where each row walks through its own share of them, which are at least `batch`."""
    length = count // batch
    first = np.arange(batch, dtype=np.int64) * length
    return Chosen(first + step % length, np.full(batch, step % length == 0))
