"""Smoothing of a map within surfaces.

Paper:  Gastal, Oliveira. Domain Transform for Edge-Aware Image and Video Processing. SIGGRAPH 2011 (section 5, the recursive
        filter).
Idea:   two neighbours are as far apart as the way between them is rough; a value fades with that distance d along rows and
        columns, so it spreads over a surface and stops at its edge:
        J[n] = I[n] + a^d (J[n-1] - I[n]),  a = exp(-sqrt(2) / reach)       -> fade(), sweep_rows(), sweep_columns()
        Here roughness is a jump of a guide (log depth, grey level), relative to what a surface can show, or the border of a
        given mask.
Differs: values carry weights, which are smoothed alike, so that the result is a weighted mean     -> smooth()
        Two passes with one reach instead of three with shrinking ones.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32
from numba import njit

PASSES = 2
EDGE_REACHES = 6.0  # how far a full edge is, in units of the reach


@njit(cache=True)
@no_type_check
def fade(guide, mask, reach_px, edge):
    """a^d between horizontal neighbours, (h, w - 1) float32; guide (h, w) float32, mask (h, w) bool."""
    height, width = guide.shape
    faded = np.empty((height, width - 1), np.float32)
    for y in range(height):
        for x in range(width - 1):
            jump = min(abs(guide[y, x] - guide[y, x + 1]) / edge, 1) + (mask[y, x] != mask[y, x + 1])
            faded[y, x] = np.exp(-np.sqrt(2) * (1 / reach_px + EDGE_REACHES * jump))
    return faded


@njit(cache=True, fastmath=True)
@no_type_check
def sweep_rows(values, weights, faded):
    """There and back along every row, in place; values and weights (h, w), faded (h, w - 1) float32."""
    height, width = values.shape
    for y in range(height):
        for x in range(1, width):
            values[y, x] += faded[y, x - 1] * (values[y, x - 1] - values[y, x])
            weights[y, x] += faded[y, x - 1] * (weights[y, x - 1] - weights[y, x])
        for x in range(width - 2, -1, -1):
            values[y, x] += faded[y, x] * (values[y, x + 1] - values[y, x])
            weights[y, x] += faded[y, x] * (weights[y, x + 1] - weights[y, x])


@njit(cache=True, fastmath=True)
@no_type_check
def sweep_columns(values, weights, faded):
    """Sweeps down and up along every column, in place; faded (h - 1, w). Row by row, as the memory lies."""
    height, width = values.shape
    for y in range(1, height):
        for x in range(width):
            values[y, x] += faded[y - 1, x] * (values[y - 1, x] - values[y, x])
            weights[y, x] += faded[y - 1, x] * (weights[y - 1, x] - weights[y, x])
    for y in range(height - 2, -1, -1):
        for x in range(width):
            values[y, x] += faded[y, x] * (values[y + 1, x] - values[y, x])
            weights[y, x] += faded[y, x] * (weights[y + 1, x] - weights[y, x])


def smooth(
    values: Float32[np.ndarray, "height width"],
    weights: Float32[np.ndarray, "height width"],
    guide: Float32[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    reach_px: float,
    edge: float,
) -> Float32[np.ndarray, "height width"]:
    """Weighted mean over about `reach_px` that does not cross the mask's border or jumps of the guide of `edge`."""
    along_rows = fade(guide, mask, reach_px, edge)
    along_columns = np.ascontiguousarray(fade(guide.T, mask.T, reach_px, edge).T)
    summed, weights = values * weights, weights.copy()
    for _ in range(PASSES):
        sweep_rows(summed, weights, along_rows)
        sweep_columns(summed, weights, along_columns)
    return summed / weights
