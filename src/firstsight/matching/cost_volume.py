"""Matching cost volumes (height, width, candidates) of small integers: what each candidate of each pixel would cost.

Source: Zabih and Woodfill 1994 (Hamming distance of census codes); Hirschmueller and Scharstein, Evaluation of Stereo Matching
        Costs on Images with Radiometric Differences, TPAMI 2009 (census is the most robust of the costs).
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import UInt8, UInt64
from numba import njit
from numba.extending import intrinsic

from firstsight.matching.census import bit_count, census_transform
from firstsight.matching.lanes import LANES, add, broadcast, load, narrow, shift_right, store, widen

Volume = UInt8[np.ndarray, "height width candidates"]

LARGEST_COST = 80  # leaves room for the penalties in 8 bits


def census_cost(
    left: UInt8[np.ndarray, "height width"],
    right: UInt8[np.ndarray, "height width"],
    radius: tuple[int, int],
    volume: Volume,
) -> Volume:
    """Fills `volume` with the Hamming distances of census codes summed over 3x3 pixels, scaled to at most LARGEST_COST."""
    hamming_volume(census_transform(left, radius), census_transform(right, radius), volume)
    return block_cost(volume, halvings(radius))


def halvings(radius: tuple[int, int]) -> int:
    """How often a sum of nine distances must be halved."""
    return max(0, math.ceil(math.log2(9 * bit_count(radius) / LARGEST_COST)))


def largest_census_cost(radius: tuple[int, int]) -> int:
    """The cost of pixels all of whose neighbours differ in every bit, rounded as block_cost rounds."""
    return (9 * bit_count(radius) + (1 << halvings(radius)) // 2) >> halvings(radius)


def hamming_volume(
    left: UInt64[np.ndarray, "height width"], right: UInt64[np.ndarray, "height width"], volume: Volume
) -> Volume:
    """Fills `volume` with C(y, x, d) = number of bits in which left (x, y) and right (x - d, y) differ.

    Where x - d lies outside the right image its first column stands in.
    """
    _hamming(left, right, volume)
    return volume


def block_cost(volume: Volume, halvings: int) -> Volume:
    """In place: each cost becomes the sum over its 3x3 pixels, halved `halvings` times and rounded; borders are repeated.

    A block ties neighbours together where a single census code is noisy. The result must fit 8 bits, and the number of
    candidates must be a multiple of LANES.
    """
    assert volume.shape[2] % LANES == 0, "pad the candidates to a multiple of LANES"
    assert volume.flags.c_contiguous
    _block_sum(volume.reshape(-1), volume.shape, halvings)
    return volume


@intrinsic
@no_type_check
def popcount(typing, bits):
    """Number of ones of an integer."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return bits(bits), generate


@njit(cache=True)
@no_type_check
def _hamming(left, right, volume):
    """left, right (height, width) uint64; volume (height, width, candidates) uint8, written."""
    height, width, candidates = volume.shape
    # the right row backwards, so that growing disparity walks forwards through memory
    backwards = np.empty(width + candidates, np.uint64)
    for y in range(height):
        for x in range(width):
            backwards[width - 1 - x] = right[y, x]
        backwards[width:] = right[y, 0]
        for x in range(width):
            _distances(left[y, x], backwards[width - 1 - x : width - 1 - x + candidates], volume[y, x])


@njit(cache=True)
@no_type_check
def _distances(code, others, distances):
    """distances (n,) uint8, written; others (n,) uint64."""
    for i in range(distances.shape[0]):
        distances[i] = np.uint8(popcount(code ^ others[i]))


@njit(cache=True)
@no_type_check
def _block_sum(flat, shape, halvings):
    """flat: the volume of `shape` as uint8 (height * width * candidates,), changed in place."""
    height, width, candidates = shape
    row = width * candidates
    above = flat[:row].copy()  # unchanged rows: the volume's own are overwritten
    here = above.copy()
    columns = np.empty(row + 2 * candidates, np.uint16)  # sums of three rows, with a pixel more on either side
    for y in range(height):
        _column_sums(above, here, flat[min(y + 1, height - 1) * row :], columns[candidates:])
        columns[:candidates] = columns[candidates : 2 * candidates]
        columns[row + candidates :] = columns[row : row + candidates]
        _row_sums(columns, candidates, halvings, flat[y * row : y * row + row])


@njit(cache=True)
@no_type_check
def _column_sums(above, here, below, sums):
    """sums (row + margin,) uint16 = above + here + below; then above becomes here and here becomes below, (row,) uint8."""
    for i in range(0, here.shape[0], LANES):
        middle, last = load(here, i), load(below, i)
        store(sums, i, add(add(widen(load(above, i)), widen(middle)), widen(last)))
        store(above, i, middle)
        store(here, i, last)


@njit(cache=True)
@no_type_check
def _row_sums(columns, candidates, halvings, sums):
    """sums (row,) uint8 of each pixel of columns (row + 2 candidates,) uint16 and its neighbours, halved and rounded."""
    shift, half = broadcast(np.uint16(halvings)), broadcast(np.uint16((1 << halvings) >> 1))
    for i in range(0, sums.shape[0], LANES):
        pair = add(load(columns, i), load(columns, i + candidates))
        total = add(add(pair, half), load(columns, i + 2 * candidates))
        store(sums, i, narrow(shift_right(total, shift)))
