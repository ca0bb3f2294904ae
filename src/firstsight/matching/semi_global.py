"""Semi-global aggregation of any cost volume: stereo disparities, planes of a sweep, whatever the candidates are.

Paper:  Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008, section II-C.
Idea:   minimise matching cost plus a penalty for every jump between neighbours, exactly, along straight paths from all sides.
        L_r(p, d) = C(p, d) + min(L_r(p-r, d), L_r(p-r, d +- 1) + P1, min_k L_r(p-r, k) + P2)
                    - min_k L_r(p-r, k)                                                   eq. 13 -> _extend_path()
        P2 = P2' / (1 + |I(p) - I(p-r)| / contrast), never below P1                       eq. 14 -> jump_penalties()
        S(p, d) = sum over r of L_r(p, d)                                                 eq. 15 -> aggregate()
Differs: L_r <= C_max + P2 (section II-C), so with C_max + P1 + P2 <= 255 paths are held in 8 bits, exactly. P2 falls off smoothly
         with contrast; the paper's P2' / |dI| has no upper bound at |dI| = 0 and is cut there.
"""

from dataclasses import dataclass
from typing import Literal, no_type_check

import numpy as np
from jaxtyping import UInt8, UInt16
from numba import njit

from firstsight.errors import InputError
from firstsight.matching.lanes import LANES, add, broadcast, load, lowest, minimum, store, subtract, widen

# Steps (dx, dy) to a pixel from the one before it, for the sweep from the top left; the sweep back mirrors them.
STEPS_4 = ((1, 0), (0, 1))
STEPS_8 = ((1, 0), (0, 1), (1, 1), (-1, 1))


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """What jumps cost, in the unit of the cost volume."""

    p1: int = 16  # a jump by one candidate: slanted surfaces
    p2: int = 160  # a jump by more, between pixels of equal brightness
    contrast: float = 12.0  # grey levels between neighbours that halve p2, since objects end where brightness changes


def jump_penalties(penalties: Penalties) -> UInt8[np.ndarray, "256"]:
    """P2 for each brightness difference of 0..255."""
    difference = np.arange(256)
    return np.maximum(penalties.p2 / (1 + difference / penalties.contrast), penalties.p1).round().astype(np.uint8)


def check_penalties(penalties: Penalties, largest_cost: int) -> None:
    """Raises InputError where a path would not fit 8 bits."""
    p1, p2 = penalties.p1, penalties.p2
    if not (0 <= p1 <= p2 and penalties.contrast > 0 and largest_cost + p1 + p2 <= 255):
        raise InputError(
            f"semi-global penalties p1={p1}, p2={p2}, contrast={penalties.contrast}: choose 0 <= p1 <= p2 with "
            f"p1 + p2 <= {255 - largest_cost} for costs up to {largest_cost}, and contrast > 0"
        )


def aggregate(
    cost: UInt8[np.ndarray, "height width candidates"],
    guide: UInt8[np.ndarray, "height width"],
    penalties: Penalties,
    paths: Literal[4, 8] = 8,
    total: UInt16[np.ndarray, "height width candidates"] | None = None,
) -> UInt16[np.ndarray, "height width candidates"]:
    """S, the sum of the path costs; in `total` where given. `guide` is the grey image whose contrast lowers P2.

    The number of candidates must be a multiple of LANES, and costs must satisfy `check_penalties`.
    """
    _, width, candidates = cost.shape
    assert candidates % LANES == 0, "pad the candidates to a multiple of LANES"
    assert cost.flags.c_contiguous
    total = np.empty(cost.shape, np.uint16) if total is None else total
    steps = np.array(STEPS_8 if paths == 8 else STEPS_4)
    state = path_state(len(steps), width, candidates, penalties.p1)
    for sign in (1, -1):
        state[0][..., LANES:-LANES] = 0
        state[1][:] = 0
        _sweep(cost, guide, jump_penalties(penalties), np.uint8(penalties.p1), sign * steps, state, total)
    return total


def path_state(directions: int, width: int, candidates: int, p1: int) -> tuple[np.ndarray, np.ndarray]:
    """Path costs L_r of the row in work and the one before it, and their minima over the candidates.

    Both have a pixel of zeros on either side, where paths begin; L_r has a margin at either end of the candidates, so large
    that a step from outside never wins.
    """
    costs = np.full((2, directions, width + 2, candidates + 2 * LANES), 255 - p1, np.uint8)
    return costs, np.zeros((2, directions, width + 2), np.uint8)


@njit(cache=True)
@no_type_check
def _sweep(cost, guide, p2_of_difference, p1, steps, state, total):
    """Adds to `total` the paths of `steps` (directions, 2), all of which must come from rows and pixels already swept.

    cost, total (height, width, candidates) uint8, uint16; guide (height, width) uint8; state as path_state gives it.
    The sweep with the first step (1, 0) starts at the top left and sets total; the one with (-1, 0) is its mirror.
    """
    height, width, candidates = cost.shape
    costs, minima = state
    flat_cost, flat_total, flat_paths = cost.reshape(-1), total.reshape(-1), costs.reshape(-1)
    forward = steps[0, 0] == 1
    for row in range(height):
        y = row if forward else height - 1 - row
        if forward:
            total[y] = 0
        for column in range(width):
            x = column if forward else width - 1 - column
            pixel = (flat_cost, flat_total, (y * width + x) * candidates, candidates)
            for r in range(steps.shape[0]):
                xb, yb = x - steps[r, 0], y - steps[r, 1]
                neighbour = guide[min(max(yb, 0), height - 1), min(max(xb, 0), width - 1)]
                p2 = p2_of_difference[abs(np.int64(guide[y, x]) - np.int64(neighbour))]
                before, now = _first_cost(costs.shape, yb, r, xb), _first_cost(costs.shape, y, r, x)
                minima[y & 1, r, x + 1] = _extend_path(
                    pixel, flat_paths, before, now, minima[yb & 1, r, xb + 1], p1, p2
                )


@njit(cache=True)
@no_type_check
def _first_cost(shape, y, r, x):
    """Where L_r of a pixel begins in the flattened path costs of path_state."""
    _, directions, columns, stride = shape
    return (((y & 1) * directions + r) * columns + x + 1) * stride + LANES


@njit(cache=True)
@no_type_check
def _extend_path(pixel, paths, before, now, floor, p1, p2):
    """L_r of one pixel (eq. 13), added to its total; returns the minimum over its candidates.

    pixel = (flat costs, flat totals, its first element there, candidates); paths holds L_r(p - r) from element `before`, whose
    minimum is `floor`, and gets L_r(p) from element `now`.
    """
    cost, total, at, candidates = pixel
    p1s, floors, jump = broadcast(p1), broadcast(floor), broadcast(np.uint8(floor + p2))
    minimum_here = broadcast(np.uint8(255))
    for d in range(0, candidates, LANES):
        neighbour = minimum(load(paths, before + d - 1), load(paths, before + d + 1))
        best = minimum(minimum(load(paths, before + d), add(neighbour, p1s)), jump)
        path = add(load(cost, at + d), subtract(best, floors))
        store(paths, now + d, path)
        store(total, at + d, add(load(total, at + d), widen(path)))
        minimum_here = minimum(minimum_here, path)
    return lowest(minimum_here)
