"""The start of monocular odometry: motion between two views and the points they see, up to scale.

Paper:  Nister. An efficient solution to the five-point relative pose problem. PAMI 2004 (OpenCV's, in RANSAC).
Idea:   the essential matrix that most tracks satisfy gives the rotation and the direction of motion; of its four
        readings the one counts that puts the points before both cameras.
        |x_b' E x_a| small, inliers by Sampson distance     -> cv2.findEssentialMat, cv2.recoverPose
        points by triangulation, kept with parallax         -> geometry.epipolar.triangulate()
Differs: without enough points of enough parallax there is no start. This is the test for degenerate motion as well: a
        still or merely turning camera fits many essential matrices, but none of them gives parallax.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64

from firstsight.geometry.epipolar import parallax_angle, triangulate
from firstsight.motion.odometry.tracking import Pixels
from firstsight.optimisation.pnp import reprojection_error_px

CONFIDENCE = 0.9999


@dataclass(frozen=True, kw_only=True)
class TwoViewConfig:
    inlier_px: float = 1.0
    reprojection_px: float = 2.0
    min_parallax_rad: float = 0.01
    min_shift: float = 0.01  # of the image's longer side: below it the camera may be still
    min_points: int = 50
    min_share: float = 0.5  # of the tracks that must satisfy one essential matrix


class TwoViews(NamedTuple):
    """The motion has length 1; `inliers` fit it; points are in a's frame, meaningless where not `good`."""

    b_from_a: Float64[np.ndarray, "4 4"]
    points_a: Float64[np.ndarray, "points 3"]
    good: Bool[np.ndarray, " points"]
    inliers: Bool[np.ndarray, " points"]


class Triangulated(NamedTuple):
    """Points in the world, meaningless where not `good`."""

    points_world: Float64[np.ndarray, "points 3"]
    good: Bool[np.ndarray, " points"]


def triangulate_pairs(
    pixels: tuple[Pixels, Pixels],
    world_from_cameras: tuple[Float64[np.ndarray, "points 4 4"], Float64[np.ndarray, "points 4 4"]],
    intrinsics: Float64[np.ndarray, "3 3"],
    min_parallax_rad: float,
    reprojection_px: float,
) -> Triangulated:
    """Points seen by two cameras each; good with parallax, before both cameras, and where both saw them."""
    rays = np.stack([(at - intrinsics[:2, 2]) / intrinsics.diagonal()[:2] for at in pixels], 1)
    world_from_camera = np.stack(world_from_cameras, 1)
    camera_from_world = np.linalg.inv(world_from_camera)
    points = triangulate(torch.from_numpy(rays), torch.from_numpy(camera_from_world))
    centres = torch.from_numpy(world_from_camera[:, :, :3, 3])
    good = (parallax_angle(points, centres[:, 0], centres[:, 1]) > min_parallax_rad).numpy()
    points_world = points.numpy()
    for view in range(2):
        errors = reprojection_error_px(camera_from_world[:, view], points_world, pixels[view], intrinsics)
        good &= errors < reprojection_px
    return Triangulated(points_world, good)


def start_from_two_views(
    pixels_a: Pixels, pixels_b: Pixels, intrinsics: Float64[np.ndarray, "3 3"], config: TwoViewConfig
) -> TwoViews | None:
    """The motion and the points; None where the views hold too little to say."""
    if len(pixels_a) < config.min_points:
        return None
    essential, mask = cv2.findEssentialMat(
        pixels_a, pixels_b, intrinsics, method=cv2.USAC_MAGSAC, prob=CONFIDENCE, threshold=config.inlier_px
    )
    if essential is None or essential.shape != (3, 3) or mask.sum() < config.min_share * len(pixels_a):
        return None
    _, rotation, direction, _ = cv2.recoverPose(essential, pixels_a, pixels_b, intrinsics, mask=mask.copy())
    b_from_a = np.eye(4)
    b_from_a[:3, :3], b_from_a[:3, 3:] = rotation, direction
    every = len(pixels_a)
    cameras = np.broadcast_to(np.eye(4), (every, 4, 4)), np.broadcast_to(np.linalg.inv(b_from_a), (every, 4, 4))
    points_a, good = triangulate_pairs(
        (pixels_a, pixels_b), cameras, intrinsics, config.min_parallax_rad, config.reprojection_px
    )
    inliers = mask[:, 0] > 0
    good &= inliers
    return TwoViews(b_from_a, points_a, good, inliers) if good.sum() >= config.min_points else None
