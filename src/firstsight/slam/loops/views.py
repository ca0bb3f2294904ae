"""Views: frames that loop closing keeps, as features with depth, and which features of two views are the same.

Idea:   RootSIFT features of the picture                                               -> photo_matching.photo_features()
        their depth from the depth image, where no edge is near                                  -> inverse_depth_at()
        or, of one camera alone, where the rays of neighbouring views pass each other nearest,
        from the neighbour that saw the feature from farthest aside                               -> triangulated()
Units:  depth in the unit of the poses, kept as inverse depth, whose error is close to Gaussian.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from firstsight.formats.atomic import write_bytes
from firstsight.optimisation.pnp import reprojection_error_px
from firstsight.roles import Observation
from firstsight.slam.photos.photo_matching import Features, MatchingConfig, photo_features

Transform = Float64[np.ndarray, "4 4"]
Intrinsics = Float64[np.ndarray, "3 3"]
Points = Float64[np.ndarray, "_ 3"]
Pixels = Float64[np.ndarray, "_ 2"]
Rows = Int64[np.ndarray, "_ 2"]
Matches = Mapping[tuple[int, int], Rows]  # of views a < b: rows of their features


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    features: MatchingConfig = field(default_factory=lambda: MatchingConfig(max_features=800, contrast=0.01))
    sigma_px: float = 0.5
    depth_noise: tuple[float, float] = (0.001, 0.005)  # (a, b): sigma(1 / z) = a / z^2 + b, as of stereo (1/m)
    depth_spread: float = 0.1  # the largest relative difference of depth beside a feature
    least_parallax_rad: float = 0.02  # of a triangulated feature
    reprojection_px: float = 2.0  # of a triangulated feature


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


def view_of(observation: Observation, world_from_camera: Transform, config: ViewConfig) -> View:
    assert observation.image is not None
    photo = (observation.image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    features = photo_features(photo, config.features)
    if observation.depth is None:
        nothing = np.zeros(len(features.pixels))
        return View(world_from_camera, features, nothing, nothing)
    depth, valid = (part[0, 0].numpy() for part in observation.depth)
    inverse_depth, known = inverse_depth_at(depth, valid, features.pixels, config.depth_spread)
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


def points_of(view: View, rows: Int64[np.ndarray, " n"], intrinsics: Intrinsics) -> Points:
    """In the view's camera, of features whose depth is known."""
    z = 1 / view.inverse_depth[rows][:, None]
    return np.hstack([(view.features.pixels[rows] - intrinsics[:2, 2]) / intrinsics.diagonal()[:2] * z, z])


def seen_from(points: Points, a_from_b: Transform) -> Points:
    """Points of b in a."""
    return points @ a_from_b[:3, :3].T + a_from_b[:3, 3]


def triangulated(views: Sequence[View], matches: Matches, intrinsics: Intrinsics, config: ViewConfig) -> list[View]:
    """The views of one camera alone with the depths that their poses and these matches give."""
    parallax = [np.zeros(len(view.features.pixels)) for view in views]
    depth = [np.ones(len(view.features.pixels)) for view in views]
    for (a, b), rows in matches.items():
        b_from_a = np.linalg.inv(views[b].world_from_camera) @ views[a].world_from_camera
        of_a, of_b = views[a].features.pixels[rows[:, 0]], views[b].features.pixels[rows[:, 1]]
        points, angle = midpoints(of_a, of_b, b_from_a, intrinsics)
        good = angle > config.least_parallax_rad
        for camera_from_a, pixels in ((np.eye(4), of_a), (b_from_a, of_b)):
            good &= reprojection_error_px(camera_from_a, points, pixels, intrinsics) < config.reprojection_px
        for view, column, z in ((a, 0, points[:, 2]), (b, 1, seen_from(points, b_from_a)[:, 2])):
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
    """Directions of length 1."""
    ahead = np.column_stack([(pixels - intrinsics[:2, 2]) / intrinsics.diagonal()[:2], np.ones(len(pixels))])
    return ahead / np.linalg.norm(ahead, axis=1, keepdims=True)


def write_view(path: Path, view: View) -> None:
    """As NumPy's .npz."""
    content = BytesIO()
    np.savez(
        content, pose=view.world_from_camera, inverse_depth=view.inverse_depth, precision=view.precision,
        **view.features._asdict(),
    )  # fmt: skip
    write_bytes(path, content.getvalue())


def read_view(path: Path) -> View:
    with np.load(path) as content:
        features = Features(*(content[name] for name in Features._fields))
        return View(content["pose"], features, content["inverse_depth"], content["precision"])
