"""Smoothing of a map within surfaces, and its cutting into regions.

Paper:  Gastal, Oliveira. Domain Transform for Edge-Aware Image and Video Processing. SIGGRAPH 2011 (section 5, the recursive
        filter).
Idea:   two neighbours are as far apart as the way between them is rough; a value fades with that distance d along rows and
        columns, so it spreads over a surface and stops at its edge:
        J[n] = I[n] + a^d (J[n-1] - I[n]),  a = exp(-sqrt(2) / reach)             -> fade(), smooth()
        Here roughness is a jump of log depth, relative to what a surface can show, or the border of a given mask.
Differs: values carry weights, which are smoothed alike: the result is a weighted mean. Two passes with the same reach instead of
        three with shrinking ones.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int32
from numba import njit

PASSES = 2
EDGE_LENGTH = 30.0  # px that a full edge adds to the way


@njit(cache=True)
def fade(log_depth, mask, reach_px, edge):
    """a^d between horizontal neighbours, (h, w - 1) float32; log_depth (h, w) float32, mask (h, w) bool."""
    height, width = log_depth.shape
    faded = np.empty((height, width - 1), np.float32)
    for y in range(height):
        for x in range(width - 1):
            jump = min(abs(log_depth[y, x] - log_depth[y, x + 1]) / edge, 1) + (mask[y, x] != mask[y, x + 1])
            faded[y, x] = np.exp(-np.sqrt(2) / reach_px * (1 + EDGE_LENGTH * jump))
    return faded


@njit(cache=True, fastmath=True)
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
def sweep_columns(values, weights, faded):
    """Down and up along every column, in place; faded (h - 1, w). Row by row, as memory lies."""
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
    log_depth: Float32[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    reach_px: float,
    edge: float,
) -> Float32[np.ndarray, "height width"]:
    """Weighted mean over about `reach_px` that does not cross the mask's border or jumps of log depth of `edge`."""
    along_rows = fade(log_depth, mask, reach_px, edge)
    along_columns = np.ascontiguousarray(fade(log_depth.T, mask.T, reach_px, edge).T)
    summed, weights = values * weights, weights.copy()
    for _ in range(PASSES):
        sweep_rows(summed, weights, along_rows)
        sweep_columns(summed, weights, along_columns)
    return summed / weights


@njit(cache=True)
def _label(mask, log_depth, residual, edge, residual_edge_px):
    """Flood fill over 4-neighbours; see label()."""
    height, width = mask.shape
    labels = np.zeros((height, width), np.int32)
    waiting = np.empty((height * width, 2), np.int32)
    count = 0
    for start_y in range(height):
        for start_x in range(width):
            if not mask[start_y, start_x] or labels[start_y, start_x]:
                continue
            count += 1
            labels[start_y, start_x] = count
            waiting[0] = start_y, start_x
            top = 1
            while top:
                top -= 1
                y, x = waiting[top]
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                    v, u = y + dy, x + dx
                    if not (0 <= v < height and 0 <= u < width) or not mask[v, u] or labels[v, u]:
                        continue
                    change = max(abs(residual[v, u, 0] - residual[y, x, 0]), abs(residual[v, u, 1] - residual[y, x, 1]))
                    if abs(log_depth[v, u] - log_depth[y, x]) < edge and change < residual_edge_px:
                        labels[v, u] = count
                        waiting[top] = v, u
                        top += 1
    return labels


def label(
    mask: Bool[np.ndarray, "height width"],
    log_depth: Float32[np.ndarray, "height width"],
    residual: Float32[np.ndarray, "height width 2"],
    edge: float,
    residual_edge_px: float,
) -> Int32[np.ndarray, "height width"]:
    """Regions 1, 2, ... of the mask, 0 outside: neighbours in one region differ little in depth and residual flow."""
    return _label(mask, log_depth, residual, edge, residual_edge_px)
