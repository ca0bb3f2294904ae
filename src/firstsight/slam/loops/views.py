"""Views: frames that loop closing keeps, as features with depth, and which features of two views are the same.

Idea:   RootSIFT features of the image                                                 -> photos/features.photo_features()
        their depth from the depth image, where no edge is near                                  -> inverse_depth_at()
        or, of one camera alone, where the rays of neighbouring views pass each other nearest,
        from the neighbour that saw the feature from farthest aside                               -> triangulated()
Units:  depth in the unit of the poses, kept as inverse depth, whose error is close to Gaussian.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from firstsight.geometry.images import to_array
from firstsight.geometry.points import (
    Intrinsics,
    Pixels,
    Points,
    move_points,
    normalise_pixels,
    project_points,
    unproject_pixels,
)
from firstsight.optimisation.pnp import reprojection_error_px
from firstsight.roles import Observation
from firstsight.roles.state import State
from firstsight.slam.loops.travelled import Distances, Transform
from firstsight.slam.photos.features import Features, MatchingConfig, match, photo_features

Rows = Int64[np.ndarray, "_ 2"]
Matches = Mapping[tuple[int, int], Rows]
"""Of views a < b: rows of their features that are the same."""

# the largest relative difference of depth beside a feature
MAX_DEPTH_SPREAD = 0.1
# of a triangulated feature
MIN_PARALLAX_RAD = 0.02
MAX_REPROJECTION_PX = 2.0
# matches of two views; fewer tell nothing
MIN_MATCHES = 15


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    features: MatchingConfig = field(default_factory=lambda: MatchingConfig(max_features=800, contrast=0.01))
    sigma_px: float = 0.5
    # (a, b): sigma(1 / z) = a / z^2 + b, as of stereo (1/m)
    depth_noise: tuple[float, float] = (0.001, 0.005)
    # a view is kept when what the last one saw went this share of the image's width
    max_shift: float = 0.08
    # or when less than this share of it is still seen
    min_overlap: float = 0.6


class View(NamedTuple):
    """A frame's features, their inverse depth, and 1 / sigma of that, 0 where it is not known."""

    world_from_camera: Transform
    features: Features
    inverse_depth: Float64[np.ndarray, " n"]
    precision: Float64[np.ndarray, " n"]

    @property
    def distance(self) -> float:
        """Median depth of the features that have one; NaN where none has."""
        known = self.inverse_depth[self.precision > 0]
        return float(1 / np.median(known)) if len(known) else float("nan")


class CameraViews(NamedTuple):
    """The views of one camera; `metric` where their depths were measured and not triangulated."""

    views: Sequence[View]
    intrinsics: Intrinsics
    metric: bool
    config: ViewConfig

    @property
    def world_from_camera(self) -> Float64[np.ndarray, "views 4 4"]:
        """Poses as odometry has them."""
        return np.array([view.world_from_camera for view in self.views])

    @property
    def distance(self) -> Distances:
        """How far away things are in each view; where it does not know, as in the one before."""
        each = np.array([view.distance for view in self.views])
        known = np.flatnonzero(np.isfinite(each))
        if not len(known):
            return np.ones(len(each))
        return each[known[np.maximum(np.searchsorted(known, np.arange(len(each)), side="right") - 1, 0)]]

    def matched(self, a: int, b: int) -> Rows:
        """Features of views a and b that look the same."""
        return match(self.views[a].features, self.views[b].features, self.config.features.ratio)


def view_of(observation: Observation, world_from_camera: Transform, config: ViewConfig) -> View:
    """What is kept of a frame."""
    assert observation.image is not None
    features = photo_features(to_array(observation.image), config.features)
    if observation.depth is None:
        nothing = np.zeros(len(features.pixels))
        return View(world_from_camera, features, nothing, nothing)
    depth, valid = (part[0, 0].numpy() for part in observation.depth[:2])
    inverse_depth, known = inverse_depth_at(depth, valid, features.pixels, MAX_DEPTH_SPREAD)
    a, b = config.depth_noise
    return View(world_from_camera, features, inverse_depth, np.where(known, 1 / (a * inverse_depth**2 + b), 0.0))


def inverse_depth_at(
    depth: Float32[np.ndarray, "height width"], valid: Bool[np.ndarray, "height width"], pixels: Pixels, spread: float
) -> tuple[Float64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Inverse of the mean depth of the 3 x 3 pixels there, and where it is known: all valid, and alike within `spread`."""
    window, filled = np.ones((3, 3), np.uint8), np.where(valid, depth, np.float32(0))
    column, row = np.clip(np.rint(pixels).astype(int), 0, np.array(depth.shape[::-1]) - 1).T
    nearest, farthest, mean = (
        part[row, column].astype(np.float64)
        for part in (cv2.erode(filled, window), cv2.dilate(filled, window), cv2.blur(filled, (3, 3)))
    )
    known = (nearest > 0) & (farthest - nearest < spread * mean)
    return np.where(known, 1 / np.where(known, mean, 1.0), 0.0), known


def seen_in_image(points: Points, intrinsics: Intrinsics) -> tuple[Pixels, Bool[np.ndarray, " points"]]:
    """Pixels, and which lie before the camera and in the image, whose centre is the principal point."""
    pixels = project_points(points, intrinsics)
    inside = (points[:, 2] > 0) & (np.abs(pixels - intrinsics[:2, 2]) < intrinsics[:2, 2] + 0.5).all(1)
    return pixels, inside


def shows_enough_new(last: View, world_from_camera: Transform, intrinsics: Intrinsics, config: ViewConfig) -> bool:
    """Whether a camera here sees enough that the last view does not, by the depth of its features."""
    known = np.flatnonzero(last.precision > 0)
    if len(known) < MIN_MATCHES:
        return True
    now_from_then = np.linalg.inv(world_from_camera) @ last.world_from_camera
    now, inside = seen_in_image(move_points(points_of(last, known, intrinsics), now_from_then), intrinsics)
    return went_far(last.features.pixels[known], now, inside, intrinsics, config)


def differs_enough(last: View, view: View, intrinsics: Intrinsics, config: ViewConfig) -> bool:
    """The same for one camera alone, by where the features went."""
    rows = match(last.features, view.features, config.features.ratio)
    if len(rows) < MIN_MATCHES:
        return True
    before, now = last.features.pixels[rows[:, 0]], view.features.pixels[rows[:, 1]]
    return went_far(before, now, np.ones(len(rows), bool), intrinsics, config)


def went_far(
    before: Pixels, now: Pixels, inside: Bool[np.ndarray, " n"], intrinsics: Intrinsics, config: ViewConfig
) -> bool:
    """Whether features left the image, or went far in it."""
    if inside.mean() < config.min_overlap:
        return True
    shift = np.median(np.linalg.norm((now - before)[inside], axis=1))
    return bool(shift > config.max_shift * 2 * intrinsics[0, 2])


def packed(view: View) -> State:
    """A view as arrays."""
    return view._asdict() | {"features": view.features._asdict()}


def unpacked(state: State) -> View:
    """The view that `packed` made this of."""
    features = Features(**state["features"])
    return View(state["world_from_camera"], features, state["inverse_depth"], state["precision"])


def points_of(view: View, rows: Int64[np.ndarray, " n"], intrinsics: Intrinsics) -> Points:
    """Points in the view's camera, of features whose depth is known."""
    return unproject_pixels(view.features.pixels[rows], 1 / view.inverse_depth[rows], intrinsics)


def triangulated(views: Sequence[View], matches: Matches, intrinsics: Intrinsics, config: ViewConfig) -> list[View]:
    """The views of one camera alone with the depths that their poses and these matches give."""
    parallax = [np.zeros(len(view.features.pixels)) for view in views]
    depth = [np.ones(len(view.features.pixels)) for view in views]
    for (a, b), rows in matches.items():
        b_from_a = np.linalg.inv(views[b].world_from_camera) @ views[a].world_from_camera
        of_a, of_b = views[a].features.pixels[rows[:, 0]], views[b].features.pixels[rows[:, 1]]
        points, angle = midpoints(of_a, of_b, b_from_a, intrinsics)
        good = angle > MIN_PARALLAX_RAD
        for camera_from_a, pixels in ((np.eye(4), of_a), (b_from_a, of_b)):
            good &= reprojection_error_px(camera_from_a, points, pixels, intrinsics) < MAX_REPROJECTION_PX
        for view, column, z in ((a, 0, points[:, 2]), (b, 1, move_points(points, b_from_a)[:, 2])):
            row = rows[:, column]
            better = good & (angle > parallax[view][row])
            parallax[view][row[better]], depth[view][row[better]] = angle[better], z[better]
    return [
        _with_depth(view, z, angle, config.sigma_px / intrinsics[0, 0])
        for view, z, angle in zip(views, depth, parallax, strict=True)
    ]


def _with_depth(
    view: View, depth: Float64[np.ndarray, " n"], parallax: Float64[np.ndarray, " n"], sigma_rad: float
) -> View:
    """Depth is known where there is parallax; its relative error is that of the rays over the parallax."""
    known = parallax > 0
    precision = np.where(known, depth * parallax / sigma_rad, 0.0)
    return view._replace(inverse_depth=np.where(known, 1 / depth, 0.0), precision=precision)


def midpoints(
    of_a: Pixels, of_b: Pixels, b_from_a: Transform, intrinsics: Intrinsics
) -> tuple[Points, Float64[np.ndarray, " n"]]:
    """Points of a in the middle of where both rays are nearest, and the angles between the rays (rad)."""
    a_from_b = np.linalg.inv(b_from_a)
    u, v = rays(of_a, intrinsics), rays(of_b, intrinsics) @ a_from_b[:3, :3].T
    cosine, origin = (u * v).sum(1), a_from_b[:3, 3]
    bend = np.maximum(1 - cosine**2, 1e-12)
    along_u = (u @ origin - cosine * (v @ origin)) / bend
    along_v = (cosine * (u @ origin) - v @ origin) / bend
    return (u * along_u[:, None] + origin + v * along_v[:, None]) / 2, np.sqrt(bend)


def rays(pixels: Pixels, intrinsics: Intrinsics) -> Points:
    """Directions of length 1 in the camera."""
    ahead = np.column_stack([normalise_pixels(pixels, intrinsics), np.ones(len(pixels))])
    return ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
