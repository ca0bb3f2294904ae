"""Points followed from one image into the next: Lucas-Kanade on the windows around them alone.

Paper:  Lucas, Kanade. An Iterative Image Registration Technique with an Application to Stereo Vision. IJCAI 1981;
        Bouguet. Pyramidal Implementation of the Lucas Kanade Feature Tracker. Intel 2000 (one template per level);
        Shi, Tomasi. Good Features to Track. CVPR 1994 (which points can be followed).
Idea:   per level of a pyramid, coarse to fine, and per point p with the guess q of the level above:
        T, grad T = the window of a at p and its gradients, interpolated once                       -> _open_window()
        G = sum w grad T grad T^T;  lost where its smallest eigenvalue is small               -> smallest_eigenvalue()
        q <- q - G^-1 sum w grad T (b(q) - T), until the step is short or turns back                     -> _search()
        valid = inside both, the eigenvalue large, and (if asked) found again on the way back        -> track_points()
Differs: nothing in the method: the gradients are those of the first image alone, which keeps G and T constant. Beyond
        the border the image is mirrored and its gradients weigh nothing. Unlike OpenCV, a point must end inside.
Role:   none; `track_points` takes grey images and points. The dense method is in lucas_kanade.py.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numba import njit

from firstsight.errors import InputError

Grey = UInt8[np.ndarray, "height width"]
Points = Float32[np.ndarray, "points 2"]

LANES = 8  # rows of a window start at multiples of so many floats
SCHARR = (3 / 32, 10 / 32)
TURN_BACK_PX = 0.01  # two steps that cancel to this: the minimum lies half-way


@dataclass(frozen=True, kw_only=True)
class Config:
    """The defaults are OpenCV's."""

    window_px: int = 21  # odd
    window: Literal["box", "gaussian"] = "box"
    levels: int = 4  # images of the pyramid, the full one included; fewer where one would be smaller than a window
    max_iterations: int = 30  # per level
    min_step_px: float = 0.01  # a shorter step is the last one of its level
    min_eigenvalue: float = 1.6e-6  # of the mean of grad T grad T^T, images in [0, 1]: 0.3 grey levels per px
    max_return_px: float | None = None  # how far from its start the way back may end; None: it is not tried


class Tracks(NamedTuple):
    """Points of a in b (x, y) in px, finite everywhere, true where `valid`.

    `smallest_eigenvalue` of the window's mean grad grad^T and `mismatch`, the mean absolute difference of the two
    windows, are of images in [0, 1]; both are 0 where a window could not be taken.
    """

    points_b: Points
    valid: Bool[np.ndarray, " points"]
    smallest_eigenvalue: Float32[np.ndarray, " points"]
    mismatch: Float32[np.ndarray, " points"]


def window_profile(kind: Literal["box", "gaussian"], size_px: int) -> Float32[np.ndarray, " size"]:
    """One axis of the window's weights, sum 1; a Gaussian ends at three standard deviations."""
    if kind == "box":
        return np.full(size_px, 1 / size_px, np.float32)
    return cv2.getGaussianKernel(size_px, size_px / 6, cv2.CV_32F)[:, 0]


def level_count(height: int, width: int, window_px: int, most: int) -> int:
    """How many images, each half the size of the one before, hold a window."""
    smallest, count = min(height, width), 1
    while count < most and (smallest + 1) // 2 >= window_px:
        smallest, count = (smallest + 1) // 2, count + 1
    return count


@njit(cache=True, fastmath=True)
@no_type_check
def smallest_eigenvalue(xx, xy, yy):
    """Returns the smallest eigenvalue of the symmetric matrix (xx, xy; xy, yy)."""
    half_gap = np.sqrt((xx - yy) * (xx - yy) / 4 + xy * xy)
    return (xx + yy) / 2 - half_gap


@njit(cache=True, fastmath=True)
@no_type_check
def _copy_window(image, top, left, rows, stride, out):
    """`rows` rows of `stride` pixels of image (h, w) uint8 into out (rows * stride + more,) float32."""
    for row in range(rows):
        source, target = image[top + row, left : left + stride], out[row * stride : (row + 1) * stride]
        for k in range(stride):
            target[k] = source[k]


@njit(cache=True, fastmath=True)
@no_type_check
def _bilinear_weights(fx, fy):
    """Returns the weights of the pixels at (0, 0), (1, 0), (0, 1), (1, 1)."""
    return (
        np.float32((1 - fx) * (1 - fy)),
        np.float32(fx * (1 - fy)),
        np.float32((1 - fx) * fy),
        np.float32(fx * fy),
    )


@njit(cache=True, fastmath=True)
@no_type_check
def _interpolate(raw, at, stride, out):
    """out (n,) float32 = raw a fraction of a pixel further, before Scharr: the two commute, so it is done once."""
    w00, w10, w01, w11 = _bilinear_weights(at[0], at[1])
    right, below, across = raw[1:], raw[stride:], raw[stride + 1 :]
    for k in range(len(out)):
        out[k] = w00 * raw[k] + w10 * right[k] + w01 * below[k] + w11 * across[k]


@njit(cache=True, fastmath=True)
@no_type_check
def _take_template(patch, weights, stride, template):
    """template (3, n) float32 = T, w dT/dx, w dT/dy; returns (xx, xy, yy) of G.

    patch float32 has one pixel more on every side. n, c, s are its rows above, at and below a pixel, 0 to 2 the
    columns from left to right.
    """
    side, middle = np.float32(SCHARR[0]), np.float32(SCHARR[1])
    values, by_x, by_y = template[0], template[1], template[2]
    n0, n1, n2 = patch, patch[1:], patch[2:]
    c0, c1, c2 = patch[stride:], patch[stride + 1 :], patch[stride + 2 :]
    s0, s1, s2 = patch[2 * stride :], patch[2 * stride + 1 :], patch[2 * stride + 2 :]
    xx, xy, yy = np.float32(0), np.float32(0), np.float32(0)
    for k in range(len(weights)):
        dx = side * (n2[k] - n0[k] + s2[k] - s0[k]) + middle * (c2[k] - c0[k])
        dy = side * (s0[k] - n0[k] + s2[k] - n2[k]) + middle * (s1[k] - n1[k])
        values[k], by_x[k], by_y[k] = c1[k], weights[k] * dx, weights[k] * dy
        xx += by_x[k] * dx
        xy += by_x[k] * dy
        yy += by_y[k] * dy
    return xx, xy, yy


@njit(cache=True, fastmath=True)
@no_type_check
def _compare(raw, at, stride, template):
    """sum w grad T (b - T) for the window of b that begins a fraction of a pixel into raw."""
    w00, w10, w01, w11 = _bilinear_weights(at[0], at[1])
    values, by_x, by_y = template[0], template[1], template[2]
    right, below, across = raw[1:], raw[stride:], raw[stride + 1 :]
    x, y = np.float32(0), np.float32(0)
    for k in range(len(values)):
        gap = w00 * raw[k] + w10 * right[k] + w01 * below[k] + w11 * across[k] - values[k]
        x += gap * by_x[k]
        y += gap * by_y[k]
    return x, y


@njit(cache=True, fastmath=True)
@no_type_check
def _mismatch(raw, at, stride, values, weights):
    """sum w |b - T|."""
    w00, w10, w01, w11 = _bilinear_weights(at[0], at[1])
    right, below, across = raw[1:], raw[stride:], raw[stride + 1 :]
    total = np.float32(0)
    for k in range(len(values)):
        gap = w00 * raw[k] + w10 * right[k] + w01 * below[k] + w11 * across[k] - values[k]
        total += weights[k] * abs(gap)
    return total


@njit(cache=True, fastmath=True)
@no_type_check
def _inside_weights(weights, corner, shape, window, out):
    """out (n,) = weights of the window that begins at corner (x, y), 0 beyond the border of an image of that shape."""
    out[:] = weights
    (x, y), stride = corner, len(weights) // window
    if min(x, y) >= 0 and x + window <= shape[1] and y + window <= shape[0]:
        return
    for row in range(window):
        for column in range(window):
            if not (0 <= x + column <= shape[1] - 1 and 0 <= y + row <= shape[0] - 1):
                out[row * stride + column] = 0


@njit(cache=True, fastmath=True)
@no_type_check
def _open_window(a, pad, corner, profile, window, buffers):
    """Fills the template of the window that begins at corner (x, y) of a; returns (xx, xy, yy) of G."""
    raw, patch, weights, template = buffers
    stride = len(profile) // window
    left, top = int(np.floor(corner[0])), int(np.floor(corner[1]))
    _copy_window(a, top - 1 + pad, left - 1 + pad, window + 3, stride, raw)
    _interpolate(raw, (corner[0] - left, corner[1] - top), stride, patch[: (window + 2) * stride])
    _inside_weights(profile, corner, (a.shape[0] - 2 * pad, a.shape[1] - 2 * pad), window, weights)
    return _take_template(patch, weights, stride, template)


@njit(cache=True, fastmath=True)
@no_type_check
def _search(b, pad, corner, inverse, limits, buffers):
    """(x, y, mismatch) of the window that began at corner (x, y), the mismatch -1 where it left b.

    b (h + 2 pad, w + 2 pad) uint8; inverse = (xx, xy, yy) of G^-1.
    """
    raw, _, weights, template = buffers
    max_iterations, min_step, _, window = limits
    stride = len(weights) // window
    x, y = corner
    before_x, before_y, settled = 0.0, 0.0, False
    held_left, held_top = -(10**9), 0
    for iteration in range(max_iterations + 1):
        left, top = int(np.floor(x)), int(np.floor(y))
        if not (-window <= left < b.shape[1] - 2 * pad and -window <= top < b.shape[0] - 2 * pad):
            return x, y, np.float32(-1)
        if left != held_left or top != held_top:  # most steps stay within a pixel
            _copy_window(b, top + pad, left + pad, window + 1, stride, raw)
            held_left, held_top = left, top
        if settled or iteration == max_iterations:
            break
        right_x, right_y = _compare(raw, (x - left, y - top), stride, template)
        step_x = -(inverse[0] * right_x + inverse[1] * right_y)
        step_y = -(inverse[1] * right_x + inverse[2] * right_y)
        short = step_x * step_x + step_y * step_y <= min_step * min_step
        turned_back = iteration > 0 and max(abs(step_x + before_x), abs(step_y + before_y)) < TURN_BACK_PX
        settled = short or turned_back
        share = 0.5 if turned_back and not short else 1.0
        x, y = x + share * step_x, y + share * step_y
        before_x, before_y = step_x, step_y
    return x, y, _mismatch(raw, (x - left, y - top), stride, template[0], weights)


@njit(cache=True, fastmath=True)
@no_type_check
def _track_level(images, pad, points, profile, limits, results):
    """One level: moves results = (points_b (n, 2), found (n,) bool, eigenvalue (n,), mismatch (n,)), all of this level.

    images = (a, b), each (h + 2 pad, w + 2 pad) uint8; points (n, 2) float32, inside a; profile (window * stride,)
    float32; limits = (steps, shortest step, smallest eigenvalue, window).
    """
    points_b, found, eigenvalues, mismatches = results
    window, cells = limits[3], len(profile)
    half, stride = (window - 1) / 2, cells // window
    raw, patch = np.zeros(cells + 4 * stride, np.float32), np.zeros(cells + 3 * stride, np.float32)
    buffers = (raw, patch, np.zeros(cells, np.float32), np.zeros((3, cells), np.float32))
    for i in range(len(points)):
        corner = (points[i, 0] - half, points[i, 1] - half)
        xx, xy, yy = _open_window(images[0], pad, corner, profile, window, buffers)
        eigenvalues[i] = max(smallest_eigenvalue(xx, xy, yy), np.float32(0))
        determinant = xx * yy - xy * xy
        found[i] = eigenvalues[i] > limits[2] and determinant > 0
        if found[i]:
            inverse = (yy / determinant, -xy / determinant, xx / determinant)
            guess = (points_b[i, 0] - half, points_b[i, 1] - half)
            x, y, mismatch = _search(images[1], pad, guess, inverse, limits, buffers)
            points_b[i, 0], points_b[i, 1] = x + half, y + half
            found[i], mismatches[i] = mismatch >= 0, max(mismatch, np.float32(0))


Pyramid = list[UInt8[np.ndarray, "_ _"]]


def _pyramid(grey: Grey, levels: int, pad: int) -> Pyramid:
    """The image and its halves, each continued by its mirror image on every side."""
    images = [grey]
    while len(images) < levels:
        images.append(cv2.pyrDown(images[-1]))
    return [cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101) for image in images]


def _profile(config: Config) -> tuple[Float32[np.ndarray, " cells"], int]:
    """The window's weights row by row, rows filled up with zeros to the returned length."""
    stride = -(-(config.window_px + 3) // LANES) * LANES
    axis = window_profile(config.window, config.window_px)
    weights = np.zeros((config.window_px, stride), np.float32)
    weights[:, : config.window_px] = np.outer(axis, axis)
    return weights.ravel(), stride


def _inside(points: Points, grey: Grey) -> Bool[np.ndarray, " points"]:
    """Which points lie on the image, between the centres of its outermost pixels."""
    (height, width) = grey.shape
    (x, y) = points.T
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _follow(pyramids: tuple[Pyramid, Pyramid], points: Points, config: Config) -> Tracks:
    """Points that lie in the first image, one way, coarse to fine."""
    profile, pad = _profile(config)
    limits = (config.max_iterations, config.min_step_px, np.float32(config.min_eigenvalue * 255**2), config.window_px)
    levels = len(pyramids[0])
    found = np.zeros(len(points), np.bool_)
    points_b, (eigenvalues, mismatches) = points / 2**levels, np.zeros((2, len(points)), np.float32)
    results = (points_b, found, eigenvalues, mismatches)
    for level in reversed(range(levels)):
        points_b *= 2
        _track_level((pyramids[0][level], pyramids[1][level]), pad, points / 2**level, profile, limits, results)
    return Tracks(points_b, found, eigenvalues / 255**2, mismatches / 255)


def _check(grey: Grey, points: Points, config: Config) -> None:
    height, width = grey.shape
    if min(height, width) < config.window_px:
        raise InputError(
            f"images of {width}x{height} px: a window of {config.window_px} px does not fit; use a smaller window"
        )
    if not np.isfinite(points).all():
        raise InputError("points with NaN or infinite coordinates: leave them out of what is tracked")


def track_points(grey_a: Grey, grey_b: Grey, points: Points, config: Config | None = None) -> Tracks:
    """Finds where points (x, y) of a are in b. One that is not `valid` is where its search ended; outside a, where it began.

    Raises InputError for images that hold no window and for points that are not finite.
    """
    config = config or Config()
    _check(grey_a, points, config)
    levels, pad = level_count(*grey_a.shape, config.window_px, config.levels), _profile(config)[1]
    a, b = _pyramid(grey_a, levels, pad), _pyramid(grey_b, levels, pad)
    seen = np.flatnonzero(_inside(points, grey_a))
    tracks = Tracks(points.copy(), np.zeros(len(points), np.bool_), *np.zeros((2, len(points)), np.float32))
    for all_points, of_seen in zip(tracks, _follow((a, b), points[seen], config), strict=True):
        all_points[seen] = of_seen
    tracks.valid[:] &= _inside(tracks.points_b, grey_b)
    if config.max_return_px is not None:
        valid = np.flatnonzero(tracks.valid)
        back = _follow((b, a), tracks.points_b[valid], config)
        gap_px = np.linalg.norm(back.points_b - points[valid], axis=1)
        tracks.valid[valid] = back.valid & (gap_px <= config.max_return_px)
    return tracks
