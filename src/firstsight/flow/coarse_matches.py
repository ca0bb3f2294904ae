"""Where blocks of an image went, found by trying every displacement at a coarse scale: for small things that move far.

Paper:  Brox, Malik. Large Displacement Optical Flow: Descriptor Matching in Variational Motion Estimation. TPAMI 2011 (why a
        coarse-to-fine search loses things that move farther than they are large).
Idea:   cost(p, d) = sum over a block of min(|a(p) - b(p + d)|, truncation), both images without their local mean
        forward d(p) = argmin_d cost(p, d), backward the same sums read at p + d             -> best_displacements()
        A match counts where both agree.                                                     -> coarse_matches()
"""

from typing import NamedTuple, no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numba import njit

COARSE_SIZE = 128  # px of the longer side of the images that are searched
SEARCH = 16  # largest displacement there, in every direction: an eighth of the longer side
RADIUS = 3  # of the blocks
TRUNCATION = 60.0
MEAN_WINDOW_PX = 15


class Matches(NamedTuple):
    """Matches on the grid of the whole image: displacement in px, a multiple of `step_px`, and whether both directions agree."""

    flow: Float32[np.ndarray, "height width 2"]
    consistent: Bool[np.ndarray, "height width"]
    step_px: float


@njit(cache=True, fastmath=True)
@no_type_check
def best_displacements(a, b, search_x, search_y, radius):
    """(forward, backward) displacements (h, w, 2) int32 of least cost for images (h, w) float32; blocks slide as running sums."""
    height, width = a.shape
    least = np.full((2, height, width), np.float32(1e9))
    best = np.zeros((2, height, width, 2), np.int32)
    gap, row = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    for dy in range(-search_y, search_y + 1):
        for dx in range(-search_x, search_x + 1):
            top, bottom = max(0, -dy), min(height, height - dy)
            left, right = max(0, -dx), min(width, width - dx)
            if min(bottom - top, right - left) <= 2 * radius:
                continue
            for y in range(top, bottom):
                for x in range(left, right):
                    gap[y, x] = min(abs(a[y, x] - b[y + dy, x + dx]), np.float32(TRUNCATION))
                total = gap[y, left : left + 2 * radius].sum()
                for x in range(left + radius, right - radius):
                    total += gap[y, x + radius]
                    row[y, x] = total
                    total -= gap[y, x - radius]
            for x in range(left + radius, right - radius):
                gap[top, x] = row[
                    top : top + 2 * radius, x
                ].sum()  # the running sum of each column, kept in a spent row
            for y in range(top + radius, bottom - radius):
                for x in range(left + radius, right - radius):
                    total = gap[top, x] + row[y + radius, x]
                    gap[top, x] = total - row[y - radius, x]
                    if total < least[0, y, x]:
                        least[0, y, x], best[0, y, x, 0], best[0, y, x, 1] = total, dx, dy
                    if total < least[1, y + dy, x + dx]:
                        least[1, y + dy, x + dx] = total
                        best[1, y + dy, x + dx, 0], best[1, y + dy, x + dx, 1] = -dx, -dy
    return best[0], best[1]


@njit(cache=True)
@no_type_check
def agree(there, back):
    """Returns where going there and back misses by at most one pixel; displacements (h, w, 2) int32."""
    height, width, _ = there.shape
    agreed = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            v, u = y + there[y, x, 1], x + there[y, x, 0]
            agreed[y, x] = abs(there[y, x, 0] + back[v, u, 0]) + abs(there[y, x, 1] + back[v, u, 1]) <= 1
    return agreed


def shrunk(grey: UInt8[np.ndarray, "height width"], factor: int) -> Float32[np.ndarray, "rows columns"]:
    """The image at the coarse scale less its local mean, so that changes of exposure do not matter."""
    height, width = grey.shape
    coarse = cv2.resize(grey, (width // factor, height // factor), interpolation=cv2.INTER_AREA).astype(np.float32)
    return coarse - cv2.blur(coarse, (MEAN_WINDOW_PX, MEAN_WINDOW_PX))


def coarse_matches(
    grey_a: UInt8[np.ndarray, "height width"], grey_b: UInt8[np.ndarray, "height width"]
) -> tuple[Matches, Matches]:
    """Matches of a in b and of b in a."""
    height, width = grey_a.shape
    factor = max(1, round(max(height, width) / COARSE_SIZE))
    forward, backward = best_displacements(shrunk(grey_a, factor), shrunk(grey_b, factor), SEARCH, SEARCH, RADIUS)

    def enlarged(coarse: np.ndarray) -> np.ndarray:
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)

    def matches(there: np.ndarray, back: np.ndarray) -> Matches:
        flow = enlarged(there.astype(np.float32) * factor)
        return Matches(flow, enlarged(agree(there, back).astype(np.uint8)) > 0, factor)

    return matches(forward, backward), matches(backward, forward)
