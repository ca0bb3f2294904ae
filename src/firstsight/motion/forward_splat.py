"""What lies at the pixels of one frame, moved to those of the next."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True)
@no_type_check
def forward_splat(values, depth, flow, there):
    """(values, depth) of the next frame, (h, w, k) and (h, w), of the pixels that are `there` (h, w) moved by flow (2, h, w).

    To the nearest pixel, 0 where nothing comes; of two that come to one pixel the nearer stays on top.
    """
    height, width, count = values.shape
    moved, moved_depth = np.zeros_like(values), np.zeros_like(depth)
    taken = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            u, v = int(np.round(x + flow[0, y, x])), int(np.round(y + flow[1, y, x]))
            if not there[y, x] or not (0 <= v < height and 0 <= u < width):
                continue
            if not taken[v, u] or depth[y, x] < moved_depth[v, u]:
                taken[v, u], moved_depth[v, u] = True, depth[y, x]
                for k in range(count):
                    moved[v, u, k] = values[y, x, k]
    return moved, moved_depth
