"""The start of monocular odometry: motion between two views and the points they see, up to scale.

Paper:  Nister. An efficient solution to the five-point relative pose problem. PAMI 2004 (OpenCV's, in RANSAC).
        Malis, Vargas. Deeper understanding of the homography decomposition for vision-based control. INRIA RR-6303, 2007
        (OpenCV's).  Mur-Artal, Montiel, Tardos. ORB-SLAM. T-RO 2015, section IV (both models, no start when in doubt).
Idea:   the essential matrix that most tracks satisfy gives the rotation and the direction of motion; of its four
        readings the one counts that puts the points before both cameras. The views of a plane have two readings, both
        of them exact: a homography gives both.
        |x_b' E x_a| small, inliers by Sampson distance     -> cv2.findEssentialMat, cv2.recoverPose
        H = R + t n' / d of the plane that most tracks fit  -> cv2.findHomography, cv2.decomposeHomographyMat
        each reading made one of least robust Sampson distance, then the costs compared: no start while another reading
        fits nearly as well                                 -> refined(), start_from_two_views()
        points by triangulation, kept with parallax         -> geometry.epipolar.triangulate()
Differs: ORB-SLAM chooses between the models by their scores; here all readings are measured by one cost, so that a scene
        that is nearly a plane is judged by how much its points off the plane say. Without enough points of enough
        parallax there is no start. This is the test for degenerate motion as well: a still or merely turning camera
        fits many essential matrices, but none of them gives parallax.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64
from scipy.optimize import least_squares

from firstsight.geometry.epipolar import (
    essential_matrix,
    midpoint_depths,
    parallax_angle,
    sampson_residual,
    triangulate,
)
from firstsight.geometry.points import normalise_pixels
from firstsight.motion.odometry.tracking import Pixels
from firstsight.optimisation.pnp import reprojection_error_px

CONFIDENCE = 0.9999
# inliers of the refined motion, by Sampson distance over `inlier_px`
INLIER_LIMITS = 2.0
Rays = Float64[np.ndarray, "points 3"]


@dataclass(frozen=True, kw_only=True)
class TwoViewConfig:
    inlier_px: float = 1.0
    reprojection_px: float = 2.0
    min_parallax_rad: float = 0.01
    min_shift: float = 0.01  # of the image's longer side: below it the camera may be still
    min_points: int = 50
    min_share: float = 0.5  # of the tracks that must satisfy one essential matrix
    # two readings differ by at least this angle, of the rotation or the direction,
    distinct_rad: float = 0.05
    # and fit alike if their costs do within this share, or within so many variances of a track
    alike_share: float = 0.5
    alike_variances: float = 25.0
    # of the points with parallax that must lie before both cameras: half of them, since cars ahead that drive away seem to
    # lie behind, and nearly as many as by the reading for which they are most
    before_share: float = 0.5
    before_share_of_best: float = 0.9
    # standard deviation of the direction or the rotation that a start may have
    max_sigma_rad: float = 0.05


class Reading(NamedTuple):
    """One motion of length 1 that two views may mean, and how well it fits.

    Cost and variance of a track are in squares of `inlier_px`; `sigma_rad` is the motion's deviation where it is largest.
    """

    b_from_a: Float64[np.ndarray, "4 4"]
    cost: float
    variance: float
    sigma_rad: float


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
    rays = np.stack([normalise_pixels(at, intrinsics) for at in pixels], 1)
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


def sampson_distance(
    b_from_a: Float64[np.ndarray, "4 4"], rays_a: Rays, rays_b: Rays
) -> Float64[np.ndarray, " points"]:
    """Signed distance of each pair from the epipolar constraint, to first order (Hartley, Zisserman, equation 11.9)."""
    essential = essential_matrix(torch.from_numpy(b_from_a))
    return sampson_residual(essential, *(torch.from_numpy(rays[:, :2]) for rays in (rays_a, rays_b))).numpy()


def moved_motion(b_from_a: Float64[np.ndarray, "4 4"], step: Float64[np.ndarray, " 5"]) -> Float64[np.ndarray, "4 4"]:
    """The motion with its rotation turned by step[:3] and its direction by step[3:], across it; the length stays 1."""
    direction = b_from_a[:3, 3]
    across = np.linalg.svd(direction[None])[2][1:]
    turned = direction + step[3:] @ across
    motion = np.eye(4)
    motion[:3, :3] = cv2.Rodrigues(np.asarray(step[:3], float))[0] @ b_from_a[:3, :3]
    motion[:3, 3] = turned / np.linalg.norm(turned)
    return motion


def refined(start: Float64[np.ndarray, "4 4"], rays_a: Rays, rays_b: Rays, limit: float) -> Reading:
    """The motion of least Cauchy cost of the Sampson distances over `limit`, near the given one."""

    def distances(step: Float64[np.ndarray, " 5"]) -> Float64[np.ndarray, " points"]:
        return sampson_distance(moved_motion(start, step), rays_a, rays_b) / limit

    found = least_squares(distances, np.zeros(5), loss="cauchy", max_nfev=20)
    weight = 1 / (1 + found.fun**2)
    # the jacobian is that of the robust cost already
    information = found.jac.T @ found.jac
    variance = float((weight * found.fun**2).sum() / max(weight.sum() - 5, 1.0))
    eigenvalue = float(np.linalg.eigvalsh(information)[0])
    sigma = float(np.sqrt(variance / eigenvalue)) if eigenvalue > 0 else np.inf
    return Reading(moved_motion(start, found.x), float(2 * found.cost), variance, sigma)


def plane_readings(
    pixels_a: Pixels, pixels_b: Pixels, intrinsics: Float64[np.ndarray, "3 3"], config: TwoViewConfig
) -> Iterator[Float64[np.ndarray, "4 4"]]:
    """The motions that the homography of most tracks may mean, if these are many, with the plane before both cameras."""
    homography, mask = cv2.findHomography(
        pixels_a, pixels_b, method=cv2.USAC_MAGSAC, ransacReprojThreshold=2 * config.inlier_px, confidence=CONFIDENCE
    )
    if homography is None or mask.sum() < config.min_share * len(pixels_a):
        return
    _, rotations, translations, normals = cv2.decomposeHomographyMat(homography, intrinsics)
    plane = mask[:, 0] > 0
    rays = _rays(pixels_a[plane], intrinsics)
    for rotation, translation, normal in zip(rotations, translations, normals, strict=True):
        length = np.linalg.norm(translation)
        inverse_depth = rays @ normal[:, 0]
        if length < 1e-6 or np.median(inverse_depth) <= 0 or (inverse_depth > 0).mean() < 0.9:
            continue
        motion = np.eye(4)
        motion[:3, :3], motion[:3, 3] = rotation, translation[:, 0] / length
        yield motion


def _rays(pixels: Pixels, intrinsics: Float64[np.ndarray, "3 3"]) -> Rays:
    return np.column_stack([normalise_pixels(pixels, intrinsics), np.ones(len(pixels))])


def differ_rad(a: Float64[np.ndarray, "4 4"], b: Float64[np.ndarray, "4 4"]) -> float:
    """The larger of the angles between two motions' rotations and between their directions."""
    turn = np.linalg.norm(cv2.Rodrigues(np.ascontiguousarray(a[:3, :3] @ b[:3, :3].T))[0])
    return float(max(turn, np.arccos(np.clip(a[:3, 3] @ b[:3, 3], -1, 1))))


def share_before(
    b_from_a: Float64[np.ndarray, "4 4"], rays_a: Rays, rays_b: Rays, limit: float, config: TwoViewConfig
) -> float:
    """The share of the points that fit the motion and have parallax that lie before both cameras; 0 if there are none."""
    fits = np.abs(sampson_distance(b_from_a, rays_a, rays_b)) < INLIER_LIMITS * limit
    pairs = (torch.from_numpy(rays[fits, :2]) for rays in (rays_a, rays_b))
    depth_a, depth_b, angle = midpoint_depths(*pairs, torch.from_numpy(b_from_a))
    before = ((depth_a > 0) & (depth_b > 0))[angle > config.min_parallax_rad]
    return float(before.double().mean()) if len(before) else 0.0


def clear_reading(readings: list[Reading], config: TwoViewConfig) -> Reading | None:
    """The reading of least cost; None where it is unsure, or another one that differs fits alike, or there is none."""
    if not readings:
        return None
    best = min(readings, key=lambda reading: reading.cost)
    alike = max(config.alike_share * best.cost, config.alike_variances * best.variance)
    doubtful = any(
        other.cost < best.cost + alike and differ_rad(other.b_from_a, best.b_from_a) > config.distinct_rad
        for other in readings
    )
    return None if doubtful or best.sigma_rad > config.max_sigma_rad else best


def start_from_two_views(
    pixels_a: Pixels, pixels_b: Pixels, intrinsics: Float64[np.ndarray, "3 3"], config: TwoViewConfig
) -> TwoViews | None:
    """The motion and the points; None where the views hold too little to say, or may mean another motion as well."""
    if len(pixels_a) < config.min_points:
        return None
    essential, mask = cv2.findEssentialMat(
        pixels_a, pixels_b, intrinsics, method=cv2.USAC_MAGSAC, prob=CONFIDENCE, threshold=config.inlier_px
    )
    if essential is None or essential.shape != (3, 3) or mask.sum() < config.min_share * len(pixels_a):
        return None
    _, rotation, direction, _ = cv2.recoverPose(essential, pixels_a, pixels_b, intrinsics, mask=mask.copy())
    by_essential = np.eye(4)
    by_essential[:3, :3], by_essential[:3, 3:] = rotation, direction
    rays_a, rays_b = _rays(pixels_a, intrinsics), _rays(pixels_b, intrinsics)
    limit = config.inlier_px / float(intrinsics[0, 0])
    starts = [by_essential, *plane_readings(pixels_a, pixels_b, intrinsics, config)]
    readings = [refined(start, rays_a, rays_b, limit) for start in starts]
    before = np.array([share_before(reading.b_from_a, rays_a, rays_b, limit, config) for reading in readings])
    possible = before >= max(config.before_share, config.before_share_of_best * before.max())
    reading = clear_reading([readings[i] for i in np.flatnonzero(possible)], config)
    if reading is None:
        return None
    inliers = np.abs(sampson_distance(reading.b_from_a, rays_a, rays_b)) < INLIER_LIMITS * limit
    return _points_of(reading.b_from_a, (pixels_a, pixels_b), inliers, intrinsics, config)


def _points_of(
    b_from_a: Float64[np.ndarray, "4 4"],
    pixels: tuple[Pixels, Pixels],
    inliers: Bool[np.ndarray, " points"],
    intrinsics: Float64[np.ndarray, "3 3"],
    config: TwoViewConfig,
) -> TwoViews | None:
    """The views with their points; None where too few have parallax."""
    every = len(inliers)
    cameras = np.broadcast_to(np.eye(4), (every, 4, 4)), np.broadcast_to(np.linalg.inv(b_from_a), (every, 4, 4))
    points_a, good = triangulate_pairs(pixels, cameras, intrinsics, config.min_parallax_rad, config.reprojection_px)
    good &= inliers
    return TwoViews(b_from_a, points_a, good, inliers) if good.sum() >= config.min_points else None
