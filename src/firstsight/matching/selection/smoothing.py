"""The last step of stereo: averages noise away within surfaces and not across their edges.

Paper:  Zbontar, LeCun. Stereo Matching by Training a Convolutional Neural Network to Compare Image Patches.
        JMLR 17(65), 2016.
Idea:   a pixel's neighbours that look like it lie on the same surface, so their mean is a better answer than its own.
        D'(p) = sum_q D(q) w(p, q) / sum_q w(p, q), over a square window          JMLR section 4.3  -> bilateral()
        w(p, q) = exp(-|p - q|^2 / (2 sigma^2)) [|G(p) - G(q)| < threshold]
Differs: the paper's guide G is the left image, that of the released code the disparity D itself; pass either. The
         window ends, as in the code, at ceil(3 sigma) and at the image's border. The code's settings, in px:
                        accurate network       fast network
             KITTI 2012  sigma 5.99, 6 px       7.74, 5 px
             KITTI 2015  sigma 5.99, 5 px       4.64, 5 px
             Middlebury  sigma 1.67, 2 px       6, 2 px
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

Position = Float32[np.ndarray, "height width"]
Guide = Float32[np.ndarray, "height width"] | UInt8[np.ndarray, "height width"]

TAPS = 4  # neighbours in a row that the kernel takes at once: sums are then loaded and stored a quarter as often
FAR = 1e30  # guide outside the image, like nothing inside; not infinite, which fastmath excludes


def bilateral(position: Position, guide: Guide, sigma_px: float = 5.99, threshold: float = 5.0) -> Position:
    """Gaussian mean over the window's pixels whose guide differs by less than `threshold`, in the guide's unit."""
    assert threshold > 0, "no pixel differs from itself by less than zero"
    weights = gaussian(sigma_px)
    radius, added = len(weights) // 2, -len(weights) % TAPS
    margins = ((radius, radius), (radius, radius + added))
    smooth = np.empty_like(position)
    _bilateral(
        np.pad(position, margins),
        np.pad(guide.astype(np.float32), margins, constant_values=FAR),
        np.pad(weights, ((0, 0), (0, added))),
        np.float32(threshold),
        smooth,
    )
    return smooth


def gaussian(sigma_px: float) -> Float32[np.ndarray, "window window"]:
    """exp(-|p - q|^2 / (2 sigma^2)) for all q at most ceil(3 sigma) beside and above p."""
    radius = math.ceil(3 * sigma_px)
    row = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma_px**2))
    return np.outer(row, row).astype(np.float32)


@njit(cache=True, fastmath=True)
@no_type_check
def _bilateral(position, guide, weights, threshold, smooth):
    """All float32: padded position and guide; weights (window, multiple of TAPS); smooth (height, width), written."""
    height, width = smooth.shape
    radius = weights.shape[0] // 2
    total, weight = np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        total[:], weight[:] = 0, 0
        centre = guide[y + radius, radius : radius + width]
        for i in range(weights.shape[0]):
            for j in range(0, weights.shape[1], TAPS):
                _add_taps(
                    position[y + i, j:], guide[y + i, j:], centre, weights[i, j : j + TAPS], threshold, total, weight
                )
        for x in range(width):
            smooth[y, x] = total[x] / weight[x]


@njit(cache=True, fastmath=True)
@no_type_check
def _add_taps(position, guide, centre, weights, threshold, total, weight):
    """Adds TAPS neighbours of each pixel of a row to its sums total and weight (width,); LLVM vectorises this loop."""
    first, second = weights[0], weights[1]
    third, fourth = weights[2], weights[3]
    none = np.float32(0)
    for x in range(total.shape[0]):
        a = first if abs(guide[x] - centre[x]) < threshold else none
        b = second if abs(guide[x + 1] - centre[x]) < threshold else none
        c = third if abs(guide[x + 2] - centre[x]) < threshold else none
        d = fourth if abs(guide[x + 3] - centre[x]) < threshold else none
        total[x] += a * position[x] + b * position[x + 1] + c * position[x + 2] + d * position[x + 3]
        weight[x] += a + b + c + d
