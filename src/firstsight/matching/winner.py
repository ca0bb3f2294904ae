"""From an aggregated cost volume to one answer per pixel, and how far to trust it.

Source: Hirschmueller, TPAMI 2008, section II-D (disparity of both images from one volume, left-right check, sub-pixel);
        Shimizu, Okutomi, Precise Sub-pixel Estimation on Area-based Matching, ICCV 2001 (equiangular fit for costs of the
        kind of absolute differences and Hamming distances).
"""

from typing import NamedTuple, no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt16
from numba import njit

Total = UInt16[np.ndarray, "height width candidates"]
Candidate = UInt16[np.ndarray, "height width"]
Position = Float32[np.ndarray, "height width"]
Valid = Bool[np.ndarray, "height width"]

SUBPIXELS = 16  # resolution at which OpenCV compares neighbouring positions


class Winners(NamedTuple):
    """`position`: the cheapest candidate of each pixel, refined between candidates. `of_right`: of each right pixel."""

    position: Position
    of_right: Candidate


def take_winners(total: Total) -> Winners:
    """argmin over the candidates, for the left pixels and, along the diagonals S(x + d, d), for the right ones.

    Of equal costs the smallest candidate wins. The right pixels see only candidates whose left pixel is in the image.
    """
    height, width, _ = total.shape
    position, of_right = np.empty((height, width), np.float32), np.empty((height, width), np.uint16)
    _take_winners(total, position, of_right)
    return Winners(position, of_right)


@njit(cache=True)
@no_type_check
def _take_winners(total, position, of_right):
    """total (height, width, candidates) uint16; position float32 and of_right uint16 (height, width), written."""
    height, width, candidates = total.shape
    right = np.empty(width + candidates, np.uint32)  # cheapest (cost, candidate) of each right pixel, backwards
    for y in range(height):
        right[:] = np.uint32(0xFFFFFFFF)
        for x in range(width):
            mirrored = width - 1 - x
            best = _cheapest(total[y, x], right[mirrored : mirrored + candidates])
            position[y, x] = between_candidates(total[y, x], np.int64(best & np.uint32(0xFFFF)))
        for x in range(width):
            of_right[y, x] = np.uint16(right[width - 1 - x] & np.uint32(0xFFFF))


@njit(cache=True)
@no_type_check
def _cheapest(costs, right):
    """The smallest (cost << 16 | candidate), which a vectorised minimum finds in one go; the same for each right pixel."""
    best = np.uint32(0xFFFFFFFF)
    for d in range(costs.shape[0]):
        key = np.uint32(np.uint32(np.uint32(costs[d]) << np.uint32(16)) | np.uint32(d))
        best = key if key < best else best
        other = right[d]
        right[d] = key if key < other else other
    return best


@njit(cache=True)
@no_type_check
def between_candidates(costs, d):
    """d + (C- - C+) / (2 (max(C-, C+) - C)): where two lines of equal and opposite slope through d and its neighbours meet.

    At the first and last candidate d itself. A parabola errs more (benchmarks/stereo.md): such costs grow linearly.
    """
    if d == 0 or d == costs.shape[0] - 1:
        return np.float32(d)
    before, here, after = np.int64(costs[d - 1]), np.int64(costs[d]), np.int64(costs[d + 1])
    steepest = max(before, after) - here
    return np.float32(d + (before - after) / (2 * steepest)) if steepest > 0 else np.float32(d)


class Peaks(NamedTuple):
    """`position` as in Winners, `lowest` its cost, and `ratio` that over the lowest cost elsewhere: 0 is certain, 1 a tie."""

    position: Position
    lowest: Candidate
    ratio: Position


def find_peaks(total: Total, beside: int) -> Peaks:
    """The cheapest candidate of each pixel and how far it stands out from those more than `beside` away."""
    position, ratio = (np.empty(total.shape[:2], np.float32) for _ in range(2))
    lowest = np.empty(total.shape[:2], np.uint16)
    _find_peaks(total, beside, position, lowest, ratio)
    return Peaks(position, lowest, ratio)


@njit(cache=True)
@no_type_check
def _find_peaks(total, beside, position, lowest, ratio):
    """total (height, width, candidates) uint16; position, ratio float32 and lowest uint16 (height, width), written."""
    height, width, candidates = total.shape
    for y in range(height):
        for x in range(width):
            costs = total[y, x]
            lowest[y, x] = _lowest(costs)
            d = 0
            while costs[d] != lowest[y, x]:
                d += 1
            below, above = costs[: max(d - beside, 0)], costs[min(d + beside + 1, candidates) :]
            elsewhere = min(_lowest(below), _lowest(above))
            position[y, x] = between_candidates(costs, d)
            ratio[y, x] = np.float32(lowest[y, x]) / np.float32(max(elsewhere, 1))


@njit(cache=True)
@no_type_check
def _lowest(costs):
    """min() of uint16 in the form that LLVM vectorises."""
    lowest = np.uint16(0xFFFF)
    for d in range(costs.shape[0]):
        lowest = costs[d] if costs[d] < lowest else lowest
    return lowest


def left_right_consistent(position: Position, of_right: Candidate, tolerance: float) -> Valid:
    """Where the right pixel that a left pixel points at points back, |D(p) - D_R(p - D(p))| <= tolerance, inside the image."""
    width = position.shape[1]
    matched = np.arange(width) - np.rint(position).astype(np.int64)
    back = np.take_along_axis(of_right, np.maximum(matched, 0), 1)
    return (matched >= 0) & (np.abs(position - back) <= tolerance)


def drop_speckles(position: Position, valid: Valid, area_px: int) -> Valid:
    """`valid` without connected patches, of steps of at most one candidate, that are no larger than area_px."""
    none = -SUBPIXELS
    fixed = np.where(valid, np.rint(position * SUBPIXELS), none).astype(np.int16)
    cv2.filterSpeckles(fixed, none, area_px, SUBPIXELS)
    return fixed != none


def fill_from_background(position: Position, valid: Valid) -> Position:
    """`position` with the lower of the nearest valid values left and right in the row where not valid; 0 in rows without any.

    What one camera cannot see lies behind what it sees beside it, and most failed matches lie at such places too.
    """
    filled = position.copy()
    _fill_from_background(filled, valid)
    return filled


@njit(cache=True)
@no_type_check
def _fill_from_background(position, valid):
    """position (height, width) float32, changed in place; valid (height, width) bool."""
    height, width = valid.shape
    for y in range(height):
        nearest = np.float32(np.inf)
        for x in range(width):
            nearest = position[y, x] if valid[y, x] else nearest
            position[y, x] = nearest
        nearest = np.float32(np.inf)
        for x in range(width - 1, -1, -1):
            nearest = position[y, x] if valid[y, x] else nearest
            lower = min(position[y, x], nearest)
            position[y, x] = lower if lower < np.inf else np.float32(0)
