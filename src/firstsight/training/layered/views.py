"""What cameras see of moving layers: images, and the true flow, occlusion and disparity of their pixels.

Idea:   each layer is brought into a view by its homography and laid over those behind it                          -> seen()
        the layer of a pixel is the nearest that covers half of it; its motion is that layer's                      -> moved()
        a pixel is occluded where its point leaves the other image, or a nearer layer lies there                -> occluded()
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64

from firstsight.training.layered.scene import Homography, Layer

HALF = 0.5  # of a pixel, covered: the layer is what is seen there

Field = Float32[np.ndarray, "2 height width"]


class View(NamedTuple):
    """Colours in [0, 1], and the number of the layer that is seen at each pixel."""

    colours: Float32[np.ndarray, "height width 3"]
    layer: Int64[np.ndarray, "height width"]


def seen(layers: Sequence[Layer], size: tuple[int, int], view_from_a: Callable[[Layer], Homography]) -> View:
    """The view of a size (height, width) that shows a layer's points of the first image where `view_from_a` says."""
    colours, number = np.zeros((*size, 3), np.float32), np.zeros(size, np.int64)
    for k, layer in enumerate(layers):
        view_from_canvas = view_from_a(layer) @ shift(layer.corner)
        rows, columns = (
            where(view_from_canvas, layer.alpha.shape, size) if k else (slice(0, size[0]), slice(0, size[1]))
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        there = (rows, columns)
        below = (rows.stop - rows.start, columns.stop - columns.start)
        canvas_from_part = np.linalg.inv(view_from_canvas) @ shift((columns.start, rows.start))
        of_layer = warped(layer.colours, canvas_from_part, below, cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
        border = cv2.BORDER_CONSTANT if k else cv2.BORDER_REPLICATE
        alpha = warped(layer.alpha, canvas_from_part, below, cv2.INTER_LINEAR, border)
        colours[there] += alpha[:, :, None] * (of_layer - colours[there])
        number[there][alpha >= HALF] = k
    return View(np.clip(colours, 0, 1), number)


def shift(by: tuple[int, int]) -> Homography:
    """(x, y) -> (x, y) + by."""
    return np.array([[1.0, 0, by[0]], [0, 1.0, by[1]], [0, 0, 1]])


def where(view_from_canvas: Homography, canvas: tuple[int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a view that a canvas may cover; all of them where a part of it lies behind the camera."""
    rows, columns = canvas
    corners = np.array([[-1, -1, 1], [columns, -1, 1], [columns, rows, 1], [-1, rows, 1.0]])
    u, v, ahead = view_from_canvas @ corners.T
    if (ahead <= 0).any():
        return slice(0, size[0]), slice(0, size[1])
    ends = [(np.floor((at / ahead).min()), np.ceil((at / ahead).max()) + 1) for at in (v, u)]
    top, left = (slice(*np.clip(end, 0, side).astype(int).tolist()) for end, side in zip(ends, size, strict=True))
    return top, left


def warped(
    canvas: np.ndarray, canvas_from_view: Homography, size: tuple[int, int], between: int, border: int
) -> np.ndarray:
    """The canvas as seen in a view."""
    flags = cv2.WARP_INVERSE_MAP | between
    return cv2.warpPerspective(canvas, canvas_from_view, size[::-1], flags=flags, borderMode=border)


def moved(layer: Int64[np.ndarray, "height width"], motions: Sequence[Homography]) -> Field:
    """Where the points of a view's pixels go, less where they are; `motions` are those of the layers. NaN behind the camera."""
    flow = np.empty((2, *layer.shape), np.float32)
    for k, motion in enumerate(motions):
        y, x = np.nonzero(layer == k)
        u, v, ahead = motion @ np.stack([x, y, np.ones_like(x)]).astype(np.float64)
        ahead[ahead <= 0] = np.nan
        flow[:, y, x] = u / ahead - x, v / ahead - y
    return flow


def occluded(
    flow: Field, layer: Int64[np.ndarray, "height width"], other: Int64[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """Pixels whose point is not seen in the other view, whose layers are `other`."""
    height, width = layer.shape
    y, x = np.mgrid[:height, :width]
    finite = np.nan_to_num(flow, nan=1e6)
    u, v = (np.rint(at + step).astype(np.int64) for at, step in zip((x, y), finite, strict=True))
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    there = other[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)]
    return ~inside | (there > layer)
