"""Which pixels of a depth image can be trusted to lie on a surface: a pixel at a depth edge lies on neither.

Idea:   on a plane inverse depth rho is linear in the image, so a pixel's kink is
            max(|rho(-1) - 2 rho(0) + rho(+1)|) / rho(0)    of the row and of the column                -> kinks()
        noise of depth kinks every pixel, an edge those along a line: the median of the neighbourhood is noise, of which
        the kinks of a surface are so many times as large at most                                  -> limits()
        an edge is a kink above `edge` and above that, or above NOISIEST times `edge`, whatever lies around it
"""

from typing import no_type_check

import numpy as np
from numba import njit

# pixels; a neighbourhood is a cell and the eight around it, every STRIDE-th pixel of them
CELL, STRIDE = 16, 4
# kinks of Gaussian noise are larger than so many of their medians once in a thousand pixels
MEDIANS = 3.3
# of `edge`: no neighbourhood excuses a larger kink
NOISIEST = 4.0


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
    kink = kinks(known)
    limit = limits(kink, edge)
    usable = np.zeros((height, width), np.float32)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if 0 <= kink[y, x] <= limit[y // CELL, x // CELL] and known[y, x] * max_range > 1:
                usable[y, x] = known[y, x]
    return usable


@njit(cache=True)
@no_type_check
def kinks(known):
    """The kink of each pixel of inverse depths (height, width) float32, 0 where unknown; -1 where a neighbour is unknown."""
    height, width = known.shape
    kink = np.full((height, width), np.float32(-1))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            here, left, right = known[y, x], known[y, x - 1], known[y, x + 1]
            above, below = known[y - 1, x], known[y + 1, x]
            if here > 0 and left > 0 and right > 0 and above > 0 and below > 0:
                kink[y, x] = max(abs(left + right - 2 * here), abs(above + below - 2 * here)) / here
    return kink


@njit(cache=True)
@no_type_check
def limits(kink, edge):
    """The largest kink of a surface, for each cell of CELL x CELL pixels."""
    height, width = kink.shape
    rows, columns = (height + CELL - 1) // CELL, (width + CELL - 1) // CELL
    limit = np.full((rows, columns), np.float32(edge))
    around = np.empty((3 * CELL // STRIDE + 1) ** 2, np.float32)
    for row in range(rows):
        for column in range(columns):
            count = 0
            for y in range(max(row - 1, 0) * CELL, min((row + 2) * CELL, height), STRIDE):
                for x in range(max(column - 1, 0) * CELL, min((column + 2) * CELL, width), STRIDE):
                    if kink[y, x] >= 0:
                        around[count] = kink[y, x]
                        count += 1
            if count > 0:
                noise = MEDIANS * np.median(around[:count])
                limit[row, column] = min(max(edge, noise), NOISIEST * edge)
    return limit
