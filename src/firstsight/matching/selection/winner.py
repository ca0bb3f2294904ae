"""From an aggregated cost volume to one answer per pixel, and how far to trust it.

Source: Hirschmueller, TPAMI 2008, section II-D (disparity of both images from one volume, sub-pixel by a parabola);
        Shimizu, Okutomi, Precise Sub-pixel Estimation on Area-based Matching, ICCV 2001 (equiangular fit for costs of the
        kind of absolute differences and Hamming distances).
"""

from typing import Literal, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, UInt16
from numba import njit, types
from numba.extending import overload

from firstsight.matching.costs.volumes import Total, no_cost

Candidate = UInt16[np.ndarray, "height width"]
Position = Float32[np.ndarray, "height width"]
Found = Bool[np.ndarray, "height width"]
SubPixel = Literal["lines", "parabola", "none"]


class Winners(NamedTuple):
    """`position`: the cheapest candidate of each pixel, refined between candidates; 0 where none has a cost (not `found`).

    `of_right`: the cheapest candidate of each right pixel.
    """

    position: Position
    of_right: Candidate
    found: Found


def take_winners(total: Total, sub_pixel: SubPixel = "lines") -> Winners:
    """argmin over the candidates, for the left pixels and, along the diagonals S(x + d, d), for the right ones.

    Of equal costs the smallest candidate wins. The right pixels see only candidates whose left pixel is in the image.
    """
    height, width, _ = total.shape
    position, of_right = np.empty((height, width), np.float32), np.empty((height, width), np.uint16)
    found = np.empty((height, width), np.bool_)
    _take_winners(total, _fit(sub_pixel), total.dtype.type(no_cost(total.dtype)), position, of_right, found)
    return Winners(position, of_right, found)


def _fit(sub_pixel: SubPixel) -> int:
    """The name as the kernels know it."""
    return ("none", "lines", "parabola").index(sub_pixel)


def ranked(cost, candidate):
    """An integer that orders by cost, then by candidate; its lower half is the candidate."""
    raise TypeError("for compiled code only")


@overload(ranked)
@no_type_check
def _ranked(cost, candidate):
    if cost == types.uint16:
        return lambda cost, candidate: np.uint32((np.uint32(cost) << np.uint32(16)) | np.uint32(candidate))
    if cost == types.uint32:
        return lambda cost, candidate: (np.uint64(cost) << np.uint64(32)) | np.uint64(candidate)

    def of_float(cost, candidate):
        bits = np.float32(cost).view(np.uint32)
        negative = np.uint32(np.int32(bits) >> np.int32(31))
        ordered = np.uint32(bits ^ (negative | np.uint32(0x80000000)))
        return (np.uint64(ordered) << np.uint64(32)) | np.uint64(candidate)

    return of_float


@njit(cache=True)
@no_type_check
def _take_winners(total, fit, nothing, position, of_right, found):
    """total (height, width, candidates); position float32, of_right uint16 and found bool (height, width), written."""
    height, width, candidates = total.shape
    worst = ranked(nothing, 0xFFFF)
    right = np.full(width + candidates, worst)  # the cheapest of each right pixel, backwards
    for y in range(height):
        right[:] = worst
        for x in range(width):
            mirrored = width - 1 - x
            best = np.int64(_cheapest(total[y, x], right[mirrored : mirrored + candidates], worst) & 0xFFFF)
            found[y, x] = best < candidates and total[y, x, best] != nothing
            position[y, x] = between_candidates(total[y, x], best, fit, nothing) if found[y, x] else np.float32(0)
        for x in range(width):
            of_right[y, x] = np.uint16(right[width - 1 - x] & 0xFFFF)


@njit(cache=True)
@no_type_check
def _cheapest(costs, right, worst):
    """The smallest ranked(cost, candidate), which a vectorised minimum finds in one go; the same for each right pixel."""
    best = worst
    for d in range(costs.shape[0]):
        key = ranked(costs[d], d)
        best = key if key < best else best
        other = right[d]
        right[d] = key if key < other else other
    return best


@njit(cache=True)
@no_type_check
def between_candidates(costs, d, fit, nothing):
    """d and an offset within half a candidate, from the costs C- and C+ beside C(d).

    1, lines:    (C- - C+) / (2 (max(C-, C+) - C)): where two lines of equal and opposite slope through them meet. Costs of the
                 kind of absolute differences grow linearly, and a parabola errs more (benchmarks/stereo.md).
    2, parabola: (C- - C+) / (2 (C- - 2 C + C+)).
    0, none, and at the first and last candidate and beside one without a cost: d itself.
    """
    if fit == 0 or d == 0 or d == costs.shape[0] - 1 or costs[d - 1] == nothing or costs[d + 1] == nothing:
        return np.float32(d)
    before, here, after = np.float64(costs[d - 1]), np.float64(costs[d]), np.float64(costs[d + 1])
    bend = 2 * (max(before, after) - here) if fit == 1 else 2 * (before - 2 * here + after)
    return np.float32(d + (before - after) / bend) if bend > 0 else np.float32(d)


class Peaks(NamedTuple):
    """`position` as in Winners, `lowest` its cost, and `ratio` that over the lowest cost elsewhere: 0 is certain, 1 a tie."""

    position: Position
    lowest: Position
    ratio: Position


def find_peaks(total: Total, beside: int) -> Peaks:
    """The cheapest candidate of each pixel and how far it stands out from those more than `beside` away."""
    peaks = Peaks(*(np.empty(total.shape[:2], np.float32) for _ in range(3)))
    _find_peaks(total, beside, total.dtype.type(no_cost(total.dtype)), peaks)
    return peaks


@njit(cache=True)
@no_type_check
def _find_peaks(total, beside, nothing, peaks):
    """total (height, width, candidates); peaks: three maps (height, width) float32, written."""
    position, lowest, ratio = peaks
    height, width, candidates = total.shape
    for y in range(height):
        for x in range(width):
            costs = total[y, x]
            least = _lowest(costs, nothing)
            d = 0
            while costs[d] != least:
                d += 1
            below, above = costs[: max(d - beside, 0)], costs[min(d + beside + 1, candidates) :]
            elsewhere = min(_lowest(below, nothing), _lowest(above, nothing))
            position[y, x] = between_candidates(costs, d, 1, nothing)
            lowest[y, x] = np.float32(least)
            ratio[y, x] = np.float32(least) / max(np.float32(elsewhere), np.float32(1e-6))


@njit(cache=True)
@no_type_check
def _lowest(costs, nothing):
    """min() in the form that LLVM vectorises; `nothing` of none."""
    lowest = nothing
    for d in range(costs.shape[0]):
        lowest = costs[d] if costs[d] < lowest else lowest
    return lowest
