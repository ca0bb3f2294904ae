"""Arrays of measurements as colours: depth, flow, errors and object ids become uint8 RGB images.

Source: Mikhailov, Turbo, An Improved Rainbow Colormap (2019), as OpenCV holds it, for depth; Baker et al., A Database and
Evaluation Methodology for Optical Flow (2011), section 4.2 and figure 7, for flow: hue is direction, saturation is length.
"""

import colorsys
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, UInt8

from firstsight.recordings.recording import DepthImage, FlowImage, Image

NO_VALUE = np.array([48, 50, 54], np.uint8)  # dark grey, in no table below
NEAREST_TINT, FARTHEST_TINT = 235, 20  # the ends of turbo are almost black: left out

# Lengths of the six arcs of the flow wheel, chosen by Baker et al. so that hues look evenly spaced, and the corner colours.
WHEEL_ARCS = (15, 6, 4, 11, 13, 6)
WHEEL_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))

ERROR_COLOURS = ((49, 54, 149), (116, 173, 209), (224, 243, 248), (254, 224, 144), (244, 109, 67), (165, 0, 38))
GOLDEN_RATIO = 0.6180339887498949


class DepthScale(NamedTuple):
    """The depths in metres (or in units, where the scale is unknown) that get the first and the last colour."""

    near: float
    far: float


@cache
def depth_table() -> UInt8[np.ndarray, "256 3"]:
    """Colours from near (red) over yellow, green, cyan to far (blue)."""
    tints = np.linspace(NEAREST_TINT, FARTHEST_TINT, 256).round().astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(tints[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1])


def depth_scale(depths: Iterable[DepthImage], percentiles: tuple[float, float] = (2, 98)) -> DepthScale:
    """One scale for several images, from percentiles of their valid depths; 1 to 10 where there is none."""
    values = [depth.depth[depth.valid][::7] for depth in depths]  # every seventh pixel decides as well as all
    pooled = np.concatenate(values) if values else np.zeros(0, np.float32)
    if not len(pooled):
        return DepthScale(1.0, 10.0)
    near, far = (float(value) for value in np.percentile(pooled, percentiles))
    return DepthScale(near, max(far, 1.1 * near))


def depth_fraction(depth: Float32[np.ndarray, "*shape"], scale: DepthScale) -> Float[np.ndarray, "*shape"]:
    """Returns where a depth lies between near (0) and far (1), evenly in its logarithm: a metre nearby counts more."""
    ratio = np.maximum(depth, 1e-6) / scale.near
    return np.clip(np.log(ratio) / np.log(scale.far / scale.near), 0, 1)


def colour_depth(depth: DepthImage, scale: DepthScale) -> Image:
    """Returns depth in colours: near is red, far is blue, no value is dark grey."""
    entries = np.rint(255 * depth_fraction(np.nan_to_num(depth.depth), scale)).astype(np.uint8)
    return np.where(depth.valid[:, :, None], depth_table()[entries], NO_VALUE)


@cache
def wheel_table() -> UInt8[np.ndarray, "55 3"]:
    """The 55 hues of the flow wheel, from rightward motion (red) clockwise: down (yellow), left (cyan), up (violet)."""
    corners = np.array([*WHEEL_CORNERS, WHEEL_CORNERS[0]], np.float64)
    arcs = [
        start + (end - start) * np.arange(length)[:, None] / length
        for start, end, length in zip(corners[:-1], corners[1:], WHEEL_ARCS, strict=True)
    ]
    return np.concatenate(arcs).astype(np.uint8)


def flow_scale_px(flows: Iterable[FlowImage]) -> float:
    """Length that gets full saturation in several images: their 95th percentile, 1 px at least."""
    lengths = [np.linalg.norm(flow.flow[flow.valid][::7], axis=-1) for flow in flows]
    pooled = np.concatenate(lengths) if lengths else np.zeros(0, np.float32)
    return max(float(np.percentile(pooled, 95)), 1.0) if len(pooled) else 1.0


def colour_flow(flow: FlowImage, full_px: float) -> Image:
    """Hue is direction; no motion is white, `full_px` saturated, longer motion darker; no value is dark grey."""
    colours = wheel_colours(np.nan_to_num(flow.flow), full_px)
    return np.where(flow.valid[:, :, None], colours, NO_VALUE)


def wheel_colours(flow: Float[np.ndarray, "height width 2"], full_px: float) -> Image:
    """Colours of motion vectors (x right, y down)."""
    table = wheel_table().astype(np.float64) / 255
    turn = np.arctan2(flow[:, :, 1], flow[:, :, 0]) / (2 * np.pi) % 1 * len(table)
    lower = np.floor(turn).astype(int) % len(table)
    share = (turn - np.floor(turn))[:, :, None]
    hue = (1 - share) * table[lower] + share * table[(lower + 1) % len(table)]
    length = (np.linalg.norm(flow, axis=-1) / full_px)[:, :, None]
    colour = np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return np.rint(255 * colour).astype(np.uint8)


def flow_wheel(size_px: int) -> UInt8[np.ndarray, "{size_px} {size_px} 4"]:
    """The legend: each point shows the colour of the motion from the centre to it. RGBA, transparent outside."""
    steps = (np.arange(size_px) + 0.5) * 2 / size_px - 1
    x, y = np.meshgrid(steps, steps)
    inside = np.clip((1 - np.hypot(x, y)) * size_px / 2 + 0.5, 0, 1)  # one pixel of smooth edge
    motion = np.stack([x, y], -1) / np.maximum(np.hypot(x, y), 1)[:, :, None]
    return np.dstack([wheel_colours(motion, 1.0), np.rint(255 * inside).astype(np.uint8)])


def colour_error(
    error: Float[np.ndarray, "height width"], valid: Bool[np.ndarray, "height width"], limit: float
) -> Image:
    """Blue is none, pale is half of `limit`, dark red is `limit` or more; no value is dark grey."""
    position = np.clip(np.nan_to_num(error) / limit, 0, 1) * (len(ERROR_COLOURS) - 1)
    table = np.array(ERROR_COLOURS, np.float64)
    channels = [np.interp(position, np.arange(len(table)), table[:, channel]) for channel in range(3)]
    return np.where(valid[:, :, None], np.rint(np.stack(channels, -1)).astype(np.uint8), NO_VALUE)


def id_colour(object_id: int) -> tuple[int, int, int]:
    """A bright colour that depends on the id alone; neighbouring ids lie far apart on the hue circle."""
    saturation = (0.92, 0.66)[object_id // 3 % 2]
    red, green, blue = colorsys.hsv_to_rgb(object_id * GOLDEN_RATIO % 1, saturation, 0.98)
    return round(255 * red), round(255 * green), round(255 * blue)


def colour_ids(ids: Integer[np.ndarray, "height width"]) -> Image:
    """Every id in its colour, 0 in dark grey."""
    present, entries = np.unique(ids, return_inverse=True)
    table = np.array([id_colour(int(i)) if i else NO_VALUE for i in present], np.uint8)
    return table[entries.reshape(ids.shape)]


def overlay_ids(image: Image, ids: Integer[np.ndarray, "height width"]) -> Image:
    """The image, a little darker, with each object tinted and outlined in its colour and its id written in the middle."""
    moving = (ids > 0)[:, :, None]
    mixed = np.where(moving, 0.5 * image + 0.5 * colour_ids(ids), 0.75 * image).astype(np.uint8)
    line_px = max(1, round(image.shape[1] / 400))
    for object_id in np.unique(ids[ids > 0]):
        mask = (ids == object_id).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(mixed, contours, -1, id_colour(int(object_id)), line_px, cv2.LINE_AA)
        _write_id(mixed, mask, int(object_id))
    return mixed


def _write_id(image: Image, mask: UInt8[np.ndarray, "height width"], object_id: int) -> None:
    """The id, white on its own dark edge, at the point of the mask that is farthest from its border."""
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1])
    size = max(0.35, image.shape[0] / 700)
    (width, height), _ = cv2.getTextSize(str(object_id), cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    left = int(np.clip(x - width / 2, 1, max(image.shape[1] - width - 1, 1)))
    base = int(np.clip(y + height / 2, height + 1, max(image.shape[0] - 2, height + 1)))
    thickness = max(1, round(2 * size))
    for colour, extra in ((20, 20, 20), 2), ((255, 255, 255), 0):
        cv2.putText(
            image,
            str(object_id),
            (left, base),
            cv2.FONT_HERSHEY_SIMPLEX,
            size,
            colour,
            thickness + extra,
            cv2.LINE_AA,
        )
