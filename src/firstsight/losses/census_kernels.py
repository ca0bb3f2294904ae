"""Kernels of census(): the map of one pair and its derivatives, one row and one offset at a time."""

from typing import no_type_check

import numpy as np
from numba import njit

RADIUS = 3
SOFT_SIGN, SOFT_HAMMING = 0.81, 0.1
# (down, right) of the offsets below the centre or right of it in its row; the others are these with the sign changed
OFFSETS = tuple((y, x) for y in range(RADIUS + 1) for x in range(-RADIUS, RADIUS + 1) if (y, x) > (0, 0))
CONTRACT = {"contract"}  # a product and a sum may become one instruction


@njit(cache=True, fastmath=CONTRACT, error_model="numpy")
@no_type_check
def _distances(a, a_there, b, b_there, out):
    """d^2 / (0.1 + d^2) of a row of pixels and their neighbours, all (pixels,)."""
    sign, hamming = np.float32(SOFT_SIGN), np.float32(SOFT_HAMMING)
    for x in range(len(out)):
        of_a, of_b = a_there[x] - a[x], b_there[x] - b[x]
        norm_a, norm_b = np.sqrt(sign + of_a * of_a), np.sqrt(sign + of_b * of_b)
        both, difference = norm_a * norm_b, of_a * norm_b - of_b * norm_a
        squared = difference * difference
        out[x] = squared / (hamming * (both * both) + squared)


@njit(cache=True)
@no_type_check
def _add(row, out):
    for x in range(len(out)):
        out[x] += row[x]


@njit(cache=True)
@no_type_check
def _subtract(row, out):
    for x in range(len(out)):
        out[x] -= row[x]


@njit(cache=True, nogil=True)
@no_type_check
def compare(a, b, out):
    """a, b: grey levels (height, width). Adds the distances of each pixel to `out` of the same shape, which holds 0."""
    height, width = a.shape
    row = np.empty(width, np.float32)
    for y in range(height):
        for down, right in OFFSETS:
            if y + down < height:
                below, left, count = y + down, max(0, -right), width - abs(right)
                here, there = slice(left, left + count), slice(left + right, left + right + count)
                _distances(a[y][here], a[below][there], b[y][here], b[below][there], row[:count])
                _add(row[:count], out[y][here])
                _add(row[:count], out[below][there])


@njit(cache=True, fastmath=CONTRACT, error_model="numpy")
@no_type_check
def _slopes(a, a_there, b, b_there, arriving, arriving_there, by_a, by_b):
    """The derivatives of a row's distances by t_a and t_b, times what arrives at both ends of the offset."""
    sign, hamming, one = np.float32(SOFT_SIGN), np.float32(SOFT_HAMMING), np.float32(1)
    factor = np.float32(2 * SOFT_HAMMING * SOFT_SIGN)
    for x in range(len(by_a)):
        of_a, of_b = a_there[x] - a[x], b_there[x] - b[x]
        norm_a, norm_b = np.sqrt(sign + of_a * of_a), np.sqrt(sign + of_b * of_b)
        inverse = one / (norm_a * norm_b)
        inverse_a, inverse_b = inverse * norm_b, inverse * norm_a
        difference = of_a * inverse_a - of_b * inverse_b
        share = one / (hamming + difference * difference)
        slope = factor * difference * (share * share) * (arriving[x] + arriving_there[x])
        by_a[x] = slope * (inverse_a * inverse_a * inverse_a)
        by_b[x] = -slope * (inverse_b * inverse_b * inverse_b)


@njit(cache=True, nogil=True)
@no_type_check
def differentiate(a, b, arriving, by_a, by_b):
    """Adds the derivatives by both images (height, width) to by_a and by_b, which hold 0.

    `arriving` is the gradient by the map, (height, width), 0 in the outermost rows and columns that the map leaves out.
    """
    height, width = a.shape
    row_a, row_b = np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        for down, right in OFFSETS:
            if y + down < height:
                below, left, count = y + down, max(0, -right), width - abs(right)
                here, there = slice(left, left + count), slice(left + right, left + right + count)
                _slopes(
                    a[y][here], a[below][there], b[y][here], b[below][there],
                    arriving[y][here], arriving[below][there], row_a[:count], row_b[:count],
                )  # fmt: skip
                _add(row_a[:count], by_a[below][there])
                _subtract(row_a[:count], by_a[y][here])
                _add(row_b[:count], by_b[below][there])
                _subtract(row_b[:count], by_b[y][here])
