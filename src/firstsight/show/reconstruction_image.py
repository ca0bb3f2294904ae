"""A reconstruction seen from above and from the right: points, and cameras as frustums."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, Int64, UInt8

from firstsight.geometry.points import move_points
from firstsight.roles.reconstruction import Reconstruction

PANEL_PX, MARGIN_PX, DOT_PX = 720, 24, 2
BACKGROUND, CAMERA, WORDS = (18, 21, 26), (255, 84, 64), (200, 205, 212)
# a drawn camera's length, in the reconstruction's unit
FRUSTUM = 0.16
# right and down in the panel, as world axes
ABOVE = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
ASIDE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
# outermost shares of the points, in percent, that the panels need not show
LEFT_OUT_PERCENT = 2
# parts of a pixel, as a power of two, that lines are drawn to
SHIFT_BITS = 4

Image = UInt8[np.ndarray, "height width 3"]


def draw_reconstruction(found: Reconstruction) -> Image:
    """Points and cameras from above and from the right, both at one scale."""
    centres = found.world_from_camera[:, :3, 3]
    lower, upper = np.percentile(found.points_world, [LEFT_OUT_PERCENT, 100 - LEFT_OUT_PERCENT], axis=0)
    lower = np.minimum(lower, centres.min(0)) - FRUSTUM
    upper = np.maximum(upper, centres.max(0)) + FRUSTUM
    scale, middle = (PANEL_PX - 2 * MARGIN_PX) / float((upper - lower).max()), (lower + upper) / 2
    above = Projection(ABOVE, middle, scale)
    aside = Projection(ASIDE, middle, scale)
    return np.concatenate([panel(found, above, "from above"), panel(found, aside, "from the right")], 1)


class Projection(NamedTuple):
    """A parallel projection: `axes` of the world are right and down in the panel, `middle` is its middle."""

    axes: Float64[np.ndarray, "2 3"]
    middle: Float64[np.ndarray, "3"]
    scale: float

    def pixels(self, points: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, "points 2"]:
        """Returns where points are in the panel."""
        return self.scale * (points - self.middle) @ self.axes.T + PANEL_PX / 2

    @property
    def ahead(self) -> Float64[np.ndarray, "3"]:
        """The world's direction into the panel."""
        return np.cross(*self.axes)


def panel(found: Reconstruction, projection: Projection, words: str) -> Image:
    """One view; near points over far ones, cameras over points."""
    canvas = np.full((PANEL_PX, PANEL_PX, 3), BACKGROUND, np.uint8)
    far_first = np.argsort(found.points_world @ -projection.ahead, kind="stable")
    draw_points(canvas, projection.pixels(found.points_world[far_first]), found.colours[far_first])
    for pose, lens in zip(found.world_from_camera, found.lens, strict=True):
        corners = frustum(pose, found.lenses.intrinsics[lens], found.lenses.size[lens])
        draw_camera(canvas, projection.pixels(corners))
    cv2.putText(canvas, words, (MARGIN_PX, MARGIN_PX), cv2.FONT_HERSHEY_SIMPLEX, 0.5, WORDS, 1, cv2.LINE_AA)
    return canvas


def draw_points(canvas: Image, pixels: Float64[np.ndarray, "points 2"], colours: UInt8[np.ndarray, "points 3"]) -> None:
    """Draws squares, the last on top."""
    columns, rows = np.rint(pixels).astype(int).T
    for dy, dx in np.ndindex(DOT_PX, DOT_PX):
        inside = (rows >= 0) & (rows < PANEL_PX - dy) & (columns >= 0) & (columns < PANEL_PX - dx)
        canvas[rows[inside] + dy, columns[inside] + dx] = colours[inside]


def draw_camera(canvas: Image, corners: Float64[np.ndarray, "5 2"]) -> None:
    """Draws the lines of a frustum: its rim, and from the centre to each corner of that."""
    apex, *rim = (np.rint(corners * 2**SHIFT_BITS).astype(np.int32)).tolist()
    lines = [np.array(rim), *(np.array([apex, corner]) for corner in rim)]
    cv2.polylines(canvas, lines, True, CAMERA, 1, cv2.LINE_AA, SHIFT_BITS)


def frustum(
    world_from_camera: Float64[np.ndarray, "4 4"],
    intrinsics: Float64[np.ndarray, "3 3"],
    size: Int64[np.ndarray, "2"],
) -> Float64[np.ndarray, "5 3"]:
    """A camera's centre and the corners of its image, in the world."""
    height, width = size
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1.0]])
    corners = FRUSTUM * pixels @ np.linalg.inv(intrinsics).T
    return move_points(np.concatenate([np.zeros((1, 3)), corners]), world_from_camera)
