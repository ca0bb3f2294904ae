"""Kernels of correlation(): sixteen neighbours in a row at once, four displacements or channels in registers.

Maps are (height, channels, width), so that a row of all channels lies together; `b` has margins of zeros at both sides for
columns that lie outside. A window is (first row, rows, first column, columns, step, left margin).
"""

from typing import no_type_check

import numpy as np
from numba import njit

from firstsight.kernels.float_lanes import plus, times
from firstsight.kernels.lanes import FLOAT_LANES, broadcast, load, store

AT_ONCE = 4  # that the registers hold


@njit(cache=True, nogil=True)
@no_type_check
def correlate(a, b, window, scale, out, rows):
    """Writes the scores of these rows (from, to) to `out`, flat (displacements, height, width)."""
    height, channels, width = a.shape
    first_row, row_count, first_column, columns, step, left = window
    flat_a, flat_b, wide = a.reshape(-1), b.reshape(-1), b.shape[2]
    weight, pixels = broadcast(scale), height * width
    for y in range(rows[0], rows[1]):
        for row in range(row_count):
            other = y + step * (first_row + row)
            at_row = row * columns * pixels + y * width
            if other < 0 or other >= height:
                for k in range(columns):
                    out[at_row + k * pixels : at_row + k * pixels + width] = 0
                continue
            for tile in range(0, width, FLOAT_LANES):
                x = min(tile, width - FLOAT_LANES)
                here, there = y * channels * width + x, other * channels * wide + left + x
                for k in range(0, columns - AT_ONCE + 1, AT_ONCE):
                    at, offset = at_row + k * pixels + x, there + step * (first_column + k)
                    _four_scores(flat_a, flat_b, (here, offset), (channels, width, wide, step, pixels), weight, out, at)
                for k in range(columns // AT_ONCE * AT_ONCE, columns):
                    at, offset = at_row + k * pixels + x, there + step * (first_column + k)
                    store(out, at, times(_score(flat_a, flat_b, here, offset, channels, width, wide), weight))


@njit(cache=True, nogil=True)
@no_type_check
def _score(a, b, here, there, channels, width, wide):
    """The sum over the channels for one displacement."""
    total = times(load(a, here), load(b, there))
    for c in range(1, channels):
        total = plus(total, times(load(a, here + c * width), load(b, there + c * wide)))
    return total


@njit(cache=True, nogil=True)
@no_type_check
def _four_scores(a, b, starts, sizes, weight, out, at):
    """The sums of four neighbouring displacements, stored."""
    here, there = starts
    channels, width, wide, step, pixels = sizes
    zero = broadcast(np.float32(0))
    first, second = zero, zero
    third, fourth = zero, zero
    for c in range(channels):
        values, k = load(a, here + c * width), there + c * wide
        first = plus(first, times(values, load(b, k)))
        second = plus(second, times(values, load(b, k + step)))
        third = plus(third, times(values, load(b, k + 2 * step)))
        fourth = plus(fourth, times(values, load(b, k + 3 * step)))
    store(out, at, times(first, weight))
    store(out, at + pixels, times(second, weight))
    store(out, at + 2 * pixels, times(third, weight))
    store(out, at + 3 * pixels, times(fourth, weight))


@njit(cache=True, nogil=True)
@no_type_check
def gather(scores, other, window, side, scale, out, rows):
    """Writes these rows of the derivative by one of the maps to `out` (height, channels, width).

    `scores` (height, displacements, width, with margins) is what arrives; side is (sign, left margin of scores, of the other).
    """
    _, channels, width = out.shape
    weight, flat_out = broadcast(scale), out.reshape(-1)
    for y in range(rows[0], rows[1]):
        for tile in range(0, width, FLOAT_LANES):
            x = min(tile, width - FLOAT_LANES)
            for c in range(0, channels - AT_ONCE + 1, AT_ONCE):
                _four_channels(scores, other, window, side, (y, x, c), weight, flat_out)
            for c in range(channels // AT_ONCE * AT_ONCE, channels):
                _one_channel(scores, other, window, side, (y, x, c), weight, flat_out)


@njit(cache=True, nogil=True)
@no_type_check
def _places(scores, other, window, side, place, row):
    """Where the scores and the other map's values of a row of the window begin, for its first column; -1 outside."""
    first_row, _, first_column, columns, step, _ = window
    sign, left_of_scores, left = side
    y, x, c = place
    there = y + sign * step * (first_row + row)
    if there < 0 or there >= other.shape[0]:
        return -1, -1
    shift = sign * step * first_column
    from_other = (there * other.shape[1] + c) * other.shape[2] + left + x + shift
    at_row, at = (y, x) if sign == 1 else (there, x + shift)
    return (at_row * scores.shape[1] + row * columns) * scores.shape[2] + left_of_scores + at, from_other


@njit(cache=True, nogil=True)
@no_type_check
def _four_channels(scores, other, window, side, place, weight, out):
    _, row_count, _, columns, step, _ = window
    y, x, c = place
    flat_scores, flat_other, wide = scores.reshape(-1), other.reshape(-1), other.shape[2]
    move = side[0] * step
    next_score = scores.shape[2] + (move if side[0] == -1 else 0)
    zero = broadcast(np.float32(0))
    first, second = zero, zero
    third, fourth = zero, zero
    for row in range(row_count):
        at, k = _places(scores, other, window, side, place, row)
        if at < 0:
            continue
        for _ in range(columns):
            score = load(flat_scores, at)
            first = plus(first, times(score, load(flat_other, k)))
            second = plus(second, times(score, load(flat_other, k + wide)))
            third = plus(third, times(score, load(flat_other, k + 2 * wide)))
            fourth = plus(fourth, times(score, load(flat_other, k + 3 * wide)))
            at, k = at + next_score, k + move
    width = len(out) // (other.shape[0] * other.shape[1])
    to = (y * other.shape[1] + c) * width + x
    store(out, to, times(first, weight))
    store(out, to + width, times(second, weight))
    store(out, to + 2 * width, times(third, weight))
    store(out, to + 3 * width, times(fourth, weight))


@njit(cache=True, nogil=True)
@no_type_check
def _one_channel(scores, other, window, side, place, weight, out):
    _, row_count, _, columns, step, _ = window
    y, x, c = place
    flat_scores, flat_other = scores.reshape(-1), other.reshape(-1)
    move = side[0] * step
    next_score = scores.shape[2] + (move if side[0] == -1 else 0)
    total = broadcast(np.float32(0))
    for row in range(row_count):
        at, k = _places(scores, other, window, side, place, row)
        if at < 0:
            continue
        for _ in range(columns):
            total = plus(total, times(load(flat_scores, at), load(flat_other, k)))
            at, k = at + next_score, k + move
    width = len(out) // (other.shape[0] * other.shape[1])
    store(out, (y * other.shape[1] + c) * width + x, times(total, weight))
