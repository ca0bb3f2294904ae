"""What cameras see of moving layers: images, and the true flow, occlusion and disparity of their pixels.

Idea:   each layer is brought into a view by its homography and laid over those behind it                          -> seen()
        the layer of a pixel is the nearest that covers half of it; its motion is that layer's                      -> moved()
        a pixel is occluded where its point leaves the other image, or a nearer layer lies there                -> occluded()
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64

from firstsight.training.layered.scene import Homography, Layer
from firstsight.training.layered.view_kernels import lay

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
        endless = k == 0
        part = ((0, size[0]), (0, size[1])) if endless else where(view_from_canvas, layer.alpha.shape, size)
        canvas_from_view = np.linalg.inv(view_from_canvas)
        lay(layer.colours, layer.alpha, endless, canvas_from_view, *part[0], *part[1], colours, number, k)
    return View(np.clip(colours, 0, 1), number)


def shift(by: tuple[int, int]) -> Homography:
    """(x, y) -> (x, y) + by."""
    return np.array([[1.0, 0, by[0]], [0, 1.0, by[1]], [0, 0, 1]])


def where(
    view_from_canvas: Homography, canvas: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and past-the-last row and column of a view that a canvas may cover; all where part of it lies behind the camera."""
    rows, columns = canvas
    corners = np.array([[-1, -1, 1], [columns, -1, 1], [columns, rows, 1], [-1, rows, 1.0]])
    u, v, ahead = view_from_canvas @ corners.T
    if (ahead <= 0).any():
        return (0, size[0]), (0, size[1])
    (top, bottom), (left, right) = (
        np.clip([np.floor((at / ahead).min()), np.ceil((at / ahead).max()) + 1], 0, side).astype(int).tolist()
        for at, side in zip((v, u), size, strict=True)
    )
    return (top, bottom), (left, right)


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
