"""Kernels of photometric(): the map and its derivative by one of the images, in one walk down the rows each.

Everything is computed for sixteen neighbours at once and nothing is kept but three rows of the backward's window terms.
Sums over windows are centred at their means: in float32 E[a^2] - E[a]^2 would lose the small variances that C2 is for.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from firstsight.kernels.float_lanes import copy_sign, distance, least, minus, most, over, plus, times
from firstsight.kernels.lanes import FLOAT_LANES, broadcast, load, store

C1, C2 = 0.01**2, 0.03**2  # for images in [0, 1]
MIN_WIDTH = FLOAT_LANES + 2
TERMS = 6  # that the backward keeps of each window


@njit(cache=True)
@no_type_check
def _mean(image, at, width, ninth):
    """Returns the mean of the window whose first pixel is `at`."""
    total = plus(plus(load(image, at), load(image, at + 1)), load(image, at + 2))
    for row in (at + width, at + 2 * width):
        total = plus(total, plus(plus(load(image, row), load(image, row + 1)), load(image, row + 2)))
    return times(total, ninth)


@njit(cache=True)
@no_type_check
def _spread(a, b, at, width, mean_a, mean_b, ninth):
    """(var_a + var_b, cov) of the window."""
    nothing = minus(ninth, ninth)
    spread, together = nothing, nothing
    for i in range(3):
        for j in range(3):
            from_a = minus(load(a, at + i * width + j), mean_a)
            from_b = minus(load(b, at + i * width + j), mean_b)
            spread = plus(spread, plus(times(from_a, from_a), times(from_b, from_b)))
            together = plus(together, times(from_a, from_b))
    return times(spread, ninth), times(together, ninth)


@njit(cache=True, nogil=True)
@no_type_check
def compare(a, b, alpha, width, out):
    """a, b: flat planes (colours, height * width). Writes photometric() to `out`, flat (height - 2) * (width - 2)."""
    colours, height = a.shape[0], a.shape[1] // width
    one = np.float32(1)
    ninth, c1, c2 = broadcast(one / np.float32(9)), broadcast(np.float32(C1)), broadcast(np.float32(C2))
    zero, unit, two = broadcast(np.float32(0)), broadcast(one), broadcast(np.float32(2))
    of_structure = broadcast(alpha / np.float32(2 * colours))
    of_difference = broadcast((one - alpha) / np.float32(colours))
    for y in range(height - 2):
        for x in range(0, width - 2, FLOAT_LANES):
            x = min(x, width - 2 - FLOAT_LANES)
            at = y * width + x
            total = zero
            for c in range(colours):
                here, there = a[c], b[c]
                mean_a, mean_b = _mean(here, at, width, ninth), _mean(there, at, width, ninth)
                spread, together = _spread(here, there, at, width, mean_a, mean_b, ninth)
                below = times(plus(plus(times(mean_a, mean_a), times(mean_b, mean_b)), c1), plus(spread, c2))
                above = times(plus(times(two, times(mean_a, mean_b)), c1), plus(times(two, together), c2))
                unlike = least(most(minus(unit, over(above, below)), zero), two)
                gap = distance(load(here, at + width + 1), load(there, at + width + 1))
                total = plus(total, plus(times(of_structure, unlike), times(of_difference, gap)))
            store(out, y * (width - 2) + x, total)


@njit(cache=True, nogil=True)
@no_type_check
def differentiate(a, b, alpha, gradient, width, out):
    """Writes the derivative by b, flat as b is, where `gradient`, flat as `out` of compare(), arrives.

    `kept` are the terms of three rows of windows, with two windows of no weight on both sides of each row.
    """
    colours, height = a.shape[0], a.shape[1] // width
    stride = width + 2
    kept = np.empty(3 * TERMS * stride, np.float32)
    for c in range(colours):
        for k in range(len(kept)):
            kept[k] = 0
        for y in range(height):
            base = y % 3 * TERMS * stride
            if y < height - 2:
                _keep_terms(a[c], b[c], alpha, gradient, y, width, colours, kept, base)
            else:
                for k in range(base, base + TERMS * stride):
                    kept[k] = 0
            _gather(a[c], b[c], y, width, kept, out[c])


@njit(cache=True, nogil=True)
@no_type_check
def _keep_terms(a, b, alpha, gradient, y, width, colours, kept, base):
    """Keeps a row of windows' g P, g R, g T (see photometric.py), mu_a, mu_b, and g of the difference."""
    stride = width + 2
    one = np.float32(1)
    ninth, c1, c2 = broadcast(one / np.float32(9)), broadcast(np.float32(C1)), broadcast(np.float32(C2))
    two = broadcast(np.float32(2))
    of_structure = broadcast(-alpha / np.float32(9 * colours))
    of_difference = broadcast((one - alpha) / np.float32(colours))
    for x in range(0, width - 2, FLOAT_LANES):
        x = min(x, width - 2 - FLOAT_LANES)
        at = y * width + x
        mean_a, mean_b = _mean(a, at, width, ninth), _mean(b, at, width, ninth)
        spread, together = _spread(a, b, at, width, mean_a, mean_b, ninth)
        arriving = load(gradient, y * (width - 2) + x)
        below_light = plus(plus(times(mean_a, mean_a), times(mean_b, mean_b)), c1)
        below_contrast = plus(spread, c2)
        light = over(plus(times(two, times(mean_a, mean_b)), c1), below_light)
        contrast = over(plus(times(two, together), c2), below_contrast)
        weight = times(arriving, of_structure)
        r = over(times(weight, light), below_contrast)
        place = base + x + 2
        store(kept, place, over(times(times(weight, contrast), minus(mean_a, times(mean_b, light))), below_light))
        store(kept, place + stride, r)
        store(kept, place + 2 * stride, times(r, contrast))
        store(kept, place + 3 * stride, mean_a)
        store(kept, place + 4 * stride, mean_b)
        store(kept, place + 5 * stride, times(arriving, of_difference))


@njit(cache=True, nogil=True)
@no_type_check
def _gather(a, b, y, width, kept, out):
    """The derivative of a row of pixels: the sum over the nine windows that hold each."""
    stride = width + 2
    middle = (y + 2) % 3 * TERMS * stride + 5 * stride + 1
    for x in range(0, width, FLOAT_LANES):
        x = min(x, width - FLOAT_LANES)
        value_a, value_b = load(a, y * width + x), load(b, y * width + x)
        total = copy_sign(load(kept, middle + x), minus(value_b, value_a))
        for row in range(3):
            for column in range(3):
                at = row * TERMS * stride + x + column
                from_a = minus(value_a, load(kept, at + 3 * stride))
                from_b = minus(value_b, load(kept, at + 4 * stride))
                total = plus(total, load(kept, at))
                total = plus(total, times(load(kept, at + stride), from_a))
                total = minus(total, times(load(kept, at + 2 * stride), from_b))
        store(out, y * width + x, total)
