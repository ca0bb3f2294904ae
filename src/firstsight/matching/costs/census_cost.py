"""The census cost: in how many comparisons with their neighbours two pixels differ.

Source: Zabih and Woodfill 1994 (Hamming distance of census codes); Hirschmueller and Scharstein, Evaluation of Stereo Matching
        Costs on Images with Radiometric Differences, TPAMI 2009 (census is the most robust of the costs).
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, no_type_check

import cv2
import numpy as np
from jaxtyping import UInt8, UInt64
from numba import njit
from numba.extending import intrinsic

from firstsight.kernels.lanes import LANES, add, broadcast, like, load, shift_right, store
from firstsight.matching.costs.census import bit_count, census_transform
from firstsight.matching.costs.volumes import MAX_COST, Grey, MatchingCost

Volume = UInt8[np.ndarray, "height width candidates"]
Codes = UInt64[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class Census(MatchingCost):
    """Hamming distance of census codes, summed over 3x3 pixels unless `block` is off, scaled to at most MAX_COST."""

    radius: tuple[int, int] = (2, 3)  # rows, columns of the window on either side of its centre
    block: bool = True  # ties neighbours together where a single code is noisy

    dtype: ClassVar[np.dtype] = np.dtype(np.uint8)

    @property
    def reach(self) -> int:
        return int(self.block)

    @property
    def largest(self) -> int:
        """The cost of pixels all of whose neighbours differ in every bit, rounded as block_cost rounds."""
        if not self.block:
            return bit_count(self.radius)
        return (9 * bit_count(self.radius) + (1 << self.halvings) // 2) >> self.halvings

    @property
    def halvings(self) -> int:
        """How often a sum of nine distances must be halved."""
        return max(0, math.ceil(math.log2(9 * bit_count(self.radius) / MAX_COST)))

    def describe(self, image: Grey) -> Codes:
        return census_transform(image, self.radius)

    def fill(self, left: Codes, right: Codes, volume: Volume) -> Volume:
        """The number of candidates must be a multiple of LANES for sums over blocks."""
        return self.smoothed(hamming_volume(left, right, volume))

    @property
    def single(self) -> "Census":
        return replace(self, block=False)

    def smoothed(self, volume: Volume) -> Volume:
        return block_cost(volume, self.halvings) if self.block else volume

    def between(self, a: Codes, b: Codes) -> UInt8[np.ndarray, "height width"]:
        distances = np.empty(a.shape, np.uint8)
        _hamming_map(a, b, distances)
        if not self.block:
            return distances
        sums = cv2.boxFilter(distances, cv2.CV_16U, (3, 3), normalize=False, borderType=cv2.BORDER_REPLICATE)
        return ((sums + ((1 << self.halvings) >> 1)) >> self.halvings).astype(np.uint8)


def hamming_volume(left: Codes, right: Codes, volume: Volume) -> Volume:
    """Fills `volume` with C(y, x, d) = number of bits in which left (x, y) and right (x - d, y) differ.

    Where x - d lies outside the right image its first column stands in.
    """
    _hamming(left, right, volume)
    return volume


def block_cost(volume: Volume, halvings: int) -> Volume:
    """Makes each cost, in place, the sum over its 3x3 pixels, halved `halvings` times and rounded; borders are repeated.

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
def _hamming_map(a, b, distances):
    """a, b (height, width) uint64; distances (height, width) uint8, written."""
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            distances[y, x] = np.uint8(popcount(a[y, x] ^ b[y, x]))


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
        for d in range(candidates):  # as slices they take seconds to compile
            columns[d] = columns[candidates + d]
            columns[row + candidates + d] = columns[row + d]
        _row_sums(columns, candidates, halvings, flat[y * row : y * row + row])


@njit(cache=True)
@no_type_check
def _column_sums(above, here, below, sums):
    """sums (row + margin,) uint16 = above + here + below; then above becomes here and here becomes below, (row,) uint8."""
    for i in range(0, here.shape[0], LANES):
        middle, last = load(here, i), load(below, i)
        store(sums, i, add(add(like(load(above, i), sums), like(middle, sums)), like(last, sums)))
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
        store(sums, i, like(shift_right(total, shift), sums))
