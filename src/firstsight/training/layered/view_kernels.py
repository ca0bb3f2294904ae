"""The loop of views.py: one layer laid over what is behind it, read between pixels by Catmull and Rom's cubic.

OpenCV's cubic (a = -0.75) does not keep a ramp: what moves by 0.25 px appears to move by 0.30. This one (a = -0.5) keeps ramps and
parabolas, so that images move as their flow says. No fast arithmetic: the same bytes on every processor.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, inline="always")
@no_type_check
def cubic_weights(t, weights):
    """weights (4,) float32 of the points at -1, 0, 1, 2 for a place t in [0, 1) (Catmull and Rom 1974; Keys 1981, a = -1/2)."""
    weights[0] = 0.5 * t * ((2 - t) * t - 1)
    weights[1] = 0.5 * (t * t * (3 * t - 5) + 2)
    weights[2] = 0.5 * t * ((4 - 3 * t) * t + 1)
    weights[3] = 0.5 * t * t * (t - 1)


@njit(cache=True, inline="always")
@no_type_check
def mirrored(i, count):
    """The pixel that lies at i where a row of `count` pixels is mirrored at its ends, again and again."""
    i = i % (2 * count)
    return i if i < count else 2 * count - 1 - i


@njit(cache=True, inline="always")
@no_type_check
def coverage(alpha, s, t):
    """alpha (rows, columns) at (s, t), bilinear, 0 outside."""
    rows, columns = alpha.shape
    left, top = math.floor(s), math.floor(t)
    across, down = s - left, t - top
    total = 0.0
    for i in range(2):
        for j in range(2):
            if 0 <= top + i < rows and 0 <= left + j < columns:
                total += (down if i else 1 - down) * (across if j else 1 - across) * alpha[top + i, left + j]
    return total


@njit(cache=True)
@no_type_check
def lay(colours, alpha, endless, canvas_from_view, top, bottom, left, right, seen, number, k):
    """Lays a layer over seen (height, width, 3) float32 within rows and columns, and writes k to number (height, width) int64
    where it covers half of a pixel or more.

    colours (rows, columns, 3) and alpha (rows, columns) float32; an `endless` layer covers all, its colours are mirrored.
    canvas_from_view (3, 3) float64 gives a third coordinate above 0 for what lies ahead of the camera.
    """
    rows, columns = alpha.shape
    h = canvas_from_view
    of_s, of_t = np.empty(4, np.float32), np.empty(4, np.float32)
    from_s, pixel = np.empty(4, np.int64), np.empty(3, np.float32)
    for y in range(top, bottom):
        for x in range(left, right):
            ahead = h[2, 0] * x + h[2, 1] * y + h[2, 2]
            if ahead <= 0:
                continue
            s = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / ahead
            t = (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / ahead
            covered = 1.0 if endless else coverage(alpha, s, t)
            if covered == 0:
                continue
            column, row = math.floor(s), math.floor(t)
            cubic_weights(s - column, of_s)
            cubic_weights(t - row, of_t)
            for j in range(4):
                from_s[j] = mirrored(column - 1 + j, columns)
            pixel[:] = 0
            for i in range(4):
                from_t = mirrored(row - 1 + i, rows)
                for c in range(3):
                    along = np.float32(0)
                    for j in range(4):
                        along += of_s[j] * colours[from_t, from_s[j], c]
                    pixel[c] += of_t[i] * along
            share = np.float32(covered)
            for c in range(3):
                seen[y, x, c] += share * (pixel[c] - seen[y, x, c])
            if covered >= 0.5:
                number[y, x] = k
