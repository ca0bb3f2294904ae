"""Kernels of lookup(): scores around a position that lies between pixels.

Maps are (height, width, channels). A position's square of (2 radius + 1)^2 values lies within one of (2 radius + 2)^2 whole
pixels, the patch; each value is the mean of four scores of it, weighted by the fractions of the position.
"""

from typing import no_type_check

import numpy as np
from numba import njit

FAST = {"reassoc", "contract"}  # a sum over the channels may be taken in any order


@njit(cache=True, nogil=True, fastmath=FAST)
@no_type_check
def look_up(a, b, positions, radius, scale, out, rows):
    """Writes the values of these rows (from, to) of pixels to `out` (values, height, width); positions (2, height, width)."""
    size = 2 * radius + 2
    patch = np.empty((size, size), np.float32)
    for y in range(rows[0], rows[1]):
        for x in range(a.shape[1]):
            left, top, right_share, lower_share = _corner(positions[0, y, x], positions[1, y, x], radius, b.shape)
            _fill_patch(a[y, x], b, left, top, patch)
            number = 0
            for j in range(size - 1):
                for i in range(size - 1):
                    upper = patch[j, i] + right_share * (patch[j, i + 1] - patch[j, i])
                    lower = patch[j + 1, i] + right_share * (patch[j + 1, i + 1] - patch[j + 1, i])
                    out[number, y, x] = scale * (upper + lower_share * (lower - upper))
                    number += 1


@njit(cache=True, nogil=True)
@no_type_check
def _corner(x, y, radius, shape):
    """The patch's first column and row and the fractions; far outside, or NaN, is just outside."""
    x = np.float32(min(max(x, -2 * radius - 4), shape[1] + 2 * radius + 4)) if x == x else np.float32(-2 * radius - 4)
    y = np.float32(min(max(y, -2 * radius - 4), shape[0] + 2 * radius + 4)) if y == y else np.float32(-2 * radius - 4)
    left, top = int(np.floor(x)), int(np.floor(y))
    return left - radius, top - radius, np.float32(x - left), np.float32(y - top)


@njit(cache=True, nogil=True, fastmath=FAST)
@no_type_check
def _fill_patch(features, b, left, top, patch):
    """The products of a pixel's features with those of the patch, 0 outside; three neighbours at once."""
    height, width, channels = b.shape
    size = patch.shape[0]
    for j in range(size):
        y = top + j
        patch[j] = 0
        if y < 0 or y >= height:
            continue
        i, end = max(0, -left), min(size, width - left)
        while i + 3 <= end:
            first, second, third = b[y, left + i], b[y, left + i + 1], b[y, left + i + 2]
            sums = np.float32(0), np.float32(0), np.float32(0)
            for c in range(channels):
                value = features[c]
                sums = sums[0] + value * first[c], sums[1] + value * second[c], sums[2] + value * third[c]
            patch[j, i], patch[j, i + 1], patch[j, i + 2] = sums
            i += 3
        while i < end:
            there, total = b[y, left + i], np.float32(0)
            for c in range(channels):
                total += features[c] * there[c]
            patch[j, i] = total
            i += 1


@njit(cache=True, nogil=True, fastmath=FAST)
@no_type_check
def scatter(a, b, positions, radius, scale, arriving, by_a, by_b):
    """Adds the derivatives by both maps, where `arriving` (values, height, width) is that by the values."""
    height, width, channels = a.shape
    size = 2 * radius + 2
    patch = np.empty((size, size), np.float32)
    for y in range(height):
        for x in range(width):
            left, top, right_share, lower_share = _corner(positions[0, y, x], positions[1, y, x], radius, b.shape)
            _fill_weights(arriving[:, y, x], right_share, lower_share, scale, patch)
            features, into = a[y, x], by_a[y, x]
            for j in range(max(0, -top), min(size, b.shape[0] - top)):
                for i in range(max(0, -left), min(size, b.shape[1] - left)):
                    weight = patch[j, i]
                    there, into_other = b[top + j, left + i], by_b[top + j, left + i]
                    for c in range(channels):
                        into[c] += weight * there[c]
                        into_other[c] += weight * features[c]


@njit(cache=True, nogil=True)
@no_type_check
def _fill_weights(arriving, right_share, lower_share, scale, patch):
    """What arrives at each score of the patch."""
    size = patch.shape[0]
    patch[:] = 0
    number = 0
    for j in range(size - 1):
        for i in range(size - 1):
            lower = scale * arriving[number] * lower_share
            upper = scale * arriving[number] - lower
            patch[j, i + 1] += upper * right_share
            patch[j, i] += upper - upper * right_share
            patch[j + 1, i + 1] += lower * right_share
            patch[j + 1, i] += lower - lower * right_share
            number += 1
