"""The census transform: each pixel as the pattern of which neighbours are darker.

Paper:  Zabih, Woodfill. Non-parametric Local Transforms for Computing Visual Correspondence. ECCV 1994, eq. 2.
Idea:   a pattern of comparisons survives any monotone change of brightness, so two cameras need not be exposed alike.
        C(p) = bit string of [I(q) < I(p)] over the window's q != p, row by row        -> census_transform()
"""

from typing import no_type_check

import numpy as np
from jaxtyping import UInt8, UInt64
from numba import njit


def census_transform(
    grey: UInt8[np.ndarray, "height width"], radius: tuple[int, int]
) -> UInt64[np.ndarray, "height width"]:
    """The code of every pixel; `radius` (rows, columns) is at most 64 bits' worth, the image's border is repeated."""
    rows, columns = radius
    assert 0 < bit_count(radius) <= 64, "a census window holds at most 64 neighbours"
    return _census(np.pad(grey, ((rows, rows), (columns, columns)), mode="edge"), rows, columns)


def bit_count(radius: tuple[int, int]) -> int:
    """How many neighbours a window compares."""
    rows, columns = radius
    return (2 * rows + 1) * (2 * columns + 1) - 1


@njit(cache=True)
@no_type_check
def _census(padded, rows, columns):
    """Codes (height, width) uint64 of a padded image (height + 2 rows, width + 2 columns) uint8."""
    height, width = padded.shape[0] - 2 * rows, padded.shape[1] - 2 * columns
    codes = np.zeros((height, width), np.uint64)
    for y in range(height):
        centre = padded[y + rows, columns : columns + width]
        for i in range(2 * rows + 1):
            for j in range(2 * columns + 1):
                if i != rows or j != columns:
                    _append_bits(codes[y], padded[y + i, j : j + width], centre)
    return codes


@njit(cache=True)
@no_type_check
def _append_bits(codes, neighbour, centre):
    """One more bit for each code of a row; arrays of equal length."""
    for x in range(codes.shape[0]):
        codes[x] = (codes[x] << np.uint64(1)) | np.uint64(neighbour[x] < centre[x])
