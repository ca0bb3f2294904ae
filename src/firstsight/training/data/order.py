"""Which samples a step sees: a function of the seed, whatever the number of processes and wherever a run was resumed.

Position k of all samples ever shown belongs to epoch k // count, whose order is a permutation drawn from (seed, epoch).
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from firstsight.training.draws import mixed


@lru_cache(maxsize=2)
def permutation(count: int, seed: int, epoch: int) -> Int64[np.ndarray, " count"]:
    return np.random.default_rng(mixed(seed, epoch)).permutation(count)


def batch_indices(count: int, seed: int, step: int, batch: int) -> Int64[np.ndarray, " batch"]:
    """The samples of a step, of `count` there are."""
    positions = np.arange(step * batch, (step + 1) * batch)
    return np.array([permutation(count, seed, int(k) // count)[k % count] for k in positions], np.int64)
