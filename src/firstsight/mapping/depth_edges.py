"""Which pixels of a depth image can be trusted to lie on a surface: a pixel at a depth edge lies on neither.

On a plane inverse depth rho is linear in the image, so it is an edge where |rho(-1) - 2 rho(0) + rho(+1)| > edge rho(0),
along the row or the column.
"""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True)
@no_type_check
def usable_inverse_depth(depth, valid, max_range, edge):
    """1 / depth of pixels that are known as their four neighbours are, near and no depth edge; 0 of all others."""
    height, width = depth.shape
    known = np.zeros((height, width), np.float32)  # inverse depth, as far as there is one
    for y in range(height):
        for x in range(width):
            if valid[y, x] and 0 < depth[y, x] < np.inf:
                known[y, x] = 1 / depth[y, x]
    usable = np.zeros((height, width), np.float32)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            here, left, right = known[y, x], known[y, x - 1], known[y, x + 1]
            above, below = known[y - 1, x], known[y + 1, x]
            if here * max_range <= 1 or left == 0 or right == 0 or above == 0 or below == 0:
                continue
            if abs(left + right - 2 * here) <= edge * here and abs(above + below - 2 * here) <= edge * here:
                usable[y, x] = here
    return usable
