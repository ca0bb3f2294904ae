"""Loops of lucas_kanade.py on the CPU: its `linearise` and `step`, row by row so that LLVM vectorises them."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True)
@no_type_check
def sample_row(b, flow_x, flow_y, y, seen):
    """seen (w, 4) float32 = value, gradient, inside (0 or 1) of b (h, w, 4) at the pixels of row y, moved.

    flow_x, flow_y (w,) float32.
    """
    height, width, _ = b.shape
    for x in range(width):
        u, v = np.float32(x) + flow_x[x], np.float32(y) + flow_y[x]
        inside = 0 <= u <= width - 1 and 0 <= v <= height - 1
        u, v = min(max(u, np.float32(0)), np.float32(width - 1)), min(max(v, np.float32(0)), np.float32(height - 1))
        left, top = min(int(u), width - 2), min(int(v), height - 2)
        across, down = u - np.float32(left), v - np.float32(top)
        for c in range(3):
            above = b[top, left, c] + across * (b[top, left + 1, c] - b[top, left, c])
            below = b[top + 1, left, c] + across * (b[top + 1, left + 1, c] - b[top + 1, left, c])
            seen[x, c] = above + down * (below - above)
        seen[x, 3] = np.float32(inside)


@njit(cache=True, fastmath=True)
@no_type_check
def linearise(a, b, flow, products):
    """products (5, h, w) float32 = xx, xy, yy of g g^T and x, y of g (g u0 - d), before they are summed over windows.

    a (3, h, w) and b (h, w, 4) float32 hold value and gradient; flow (2, h, w) float32.
    """
    _, height, width = a.shape
    seen = np.empty((width, 4), np.float32)
    for y in range(height):
        # rows by name: LLVM vectorises loops over them, not over the planes
        value, along_x, along_y = a[0, y], a[1, y], a[2, y]
        flow_x, flow_y = flow[0, y], flow[1, y]
        xx, xy, yy = products[0, y], products[1, y], products[2, y]
        right_x, right_y = products[3, y], products[4, y]
        sample_row(b, flow_x, flow_y, y, seen)
        for x in range(width):
            inside = seen[x, 3]
            gx = np.float32(0.5) * (along_x[x] + seen[x, 1]) * inside
            gy = np.float32(0.5) * (along_y[x] + seen[x, 2]) * inside
            target = gx * flow_x[x] + gy * flow_y[x] - (seen[x, 0] - value[x]) * inside
            xx[x], xy[x], yy[x] = gx * gx, gx * gy, gy * gy
            right_x[x], right_y[x] = gx * target, gy * target


@njit(cache=True, fastmath=True)
@no_type_check
def pseudo_inverse(xx, xy, yy, min_eigenvalue):
    """(xx, xy, yy) of the inverse on what is known, without branches, so that the loop around it is vectorised."""
    half_gap = np.sqrt(np.float32(0.25) * (xx - yy) * (xx - yy) + xy * xy)
    mean = np.float32(0.5) * (xx + yy)
    smallest, largest = mean - half_gap, mean + half_gap
    full, normal = smallest > min_eigenvalue, largest > 2 * min_eigenvalue
    denominator = xx * yy - xy * xy if full else ((largest - smallest) * largest if normal else np.float32(1))
    scale = np.float32(1) / denominator if full or normal else np.float32(0)
    return (
        scale * (yy if full else xx - smallest),
        scale * (-xy if full else xy),
        scale * (xx if full else yy - smallest),
    )


@njit(cache=True, fastmath=True)
@no_type_check
def step(equations, flow, min_eigenvalue, max_step):
    """Moves flow (2, h, w) float32 to the solution of equations (5, h, w) float32."""
    _, height, width = equations.shape
    for y in range(height):
        flow_x, flow_y = flow[0, y], flow[1, y]
        xx, xy, yy = equations[0, y], equations[1, y], equations[2, y]
        right_x, right_y = equations[3, y], equations[4, y]
        for x in range(width):
            u, v = flow_x[x], flow_y[x]
            inverse_xx, inverse_xy, inverse_yy = pseudo_inverse(xx[x], xy[x], yy[x], min_eigenvalue)
            rest_x = right_x[x] - xx[x] * u - xy[x] * v
            rest_y = right_y[x] - xy[x] * u - yy[x] * v
            step_x = inverse_xx * rest_x + inverse_xy * rest_y
            step_y = inverse_xy * rest_x + inverse_yy * rest_y
            flow_x[x] = u + min(max(step_x, -max_step), max_step)
            flow_y[x] = v + min(max(step_y, -max_step), max_step)
