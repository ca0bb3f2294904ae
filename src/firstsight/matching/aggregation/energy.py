"""What a map of candidates costs: the energy that semi-global matching lowers.

Paper:  Hirschmueller, TPAMI 2008, eq. 11; the course's slide "The Energy-Based Approach".
Idea:   E(D) = sum_p ( C(p, D(p)) + sum_{q in N_p} P1 [|D(p) - D(q)| = 1] + sum_{q in N_p} P2 [|D(p) - D(q)| > 1] )  -> energy()
Differs: each pair of neighbours is counted once; the sum over p counts it twice. The penalties are constant.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Integer

from firstsight.matching.costs.volumes import Volume


class Energy(NamedTuple):
    """The three sums of E(D), in the unit of the cost volume."""

    data: float
    small_jumps: float
    large_jumps: float

    @property
    def total(self) -> float:
        return self.data + self.small_jumps + self.large_jumps


def energy(
    candidates: Integer[np.ndarray, "height width"],
    cost: Volume,
    p1: int | float,
    p2: int | float,
    neighbours: Literal[4, 8] = 4,
) -> Energy:
    """E(D) of a map of candidates; infinite where one without a cost is chosen from a float32 volume."""
    chosen = np.take_along_axis(cost, candidates[..., None].astype(np.int64), 2)
    d = candidates.astype(np.int64)
    pairs = [(d[:, 1:], d[:, :-1]), (d[1:], d[:-1])]
    if neighbours == 8:
        pairs += [(d[1:, 1:], d[:-1, :-1]), (d[1:, :-1], d[:-1, 1:])]
    jumps = np.concatenate([np.abs(a - b).ravel() for a, b in pairs])
    return Energy(float(chosen.sum(dtype=np.float64)), p1 * float((jumps == 1).sum()), p2 * float((jumps > 1).sum()))
