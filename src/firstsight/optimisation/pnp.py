"""The pose of a camera from points known in 3-D and what it measured of them (perspective-n-point).

A measurement is (x, y, q): a pixel and the inverse depth q = 1 / z there, each with its precision 1 / sigma, which is 0
where nothing was measured. Inverse depth, because its error is close to Gaussian and of one size for stereo and
structured light: so a far point hardly constrains the translation, yet the rotation as well as a near one.

    p = camera_from_world X,   pi(p) = (fx p_x / p_z + cx, fy p_y / p_z + cy, 1 / p_z)
    r = precision * (pi(p) - measured)                                              -> linearise()
    cost = sum of rho(|r_xy|) + rho(|r_q|), rho = Huber or Cauchy                    -> robust()
    world_from_camera <- world_from_camera exp(xi):  dp / dxi = [-I, hat(p)]         -> refine_pose()

The minimal solver inside RANSAC is OpenCV's; the refinement is Levenberg-Marquardt on the cost above.
Source: Hartley and Zisserman, Multiple View Geometry (2004), section 7.3 and appendix 6.8.
"""

from enum import IntEnum
from typing import NamedTuple, no_type_check

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numba import njit

from firstsight.geometry.points import project_points
from firstsight.geometry.se3 import se3_exp, se3_log

NEAREST_Z = 1e-3  # a point closer to the camera plane, or behind it, cannot have been measured
REFINEMENT_STEPS = 10
UNSEEN = 1e3  # the residual (in sigmas) such a point is charged with, so that no step gains by pushing points behind


class Kernel(IntEnum):
    """rho(s) of a residual of s sigmas; beyond `threshold` t it grows slower than a square."""

    SQUARED = 0  # s^2
    HUBER = 1  # s^2 up to t, then 2 t s - t^2
    CAUCHY = 2  # t^2 log(1 + (s / t)^2)


class Measurements(NamedTuple):
    """What cameras measured of points: row i is (x, y, inverse depth) of point `point[i]` seen by camera `camera[i]`."""

    camera: Int64[np.ndarray, " m"]
    point: Int64[np.ndarray, " m"]
    measured: Float64[np.ndarray, "m 3"]
    precision: Float64[np.ndarray, "m 3"]


class Linearised(NamedTuple):
    """Whitened residuals and their derivatives, all times the root of the robust weight; `cost` is the robust cost."""

    residual: Float64[np.ndarray, "m 3"]
    by_camera: Float64[np.ndarray, "m 3 6"]
    by_point: Float64[np.ndarray, "m 3 3"]
    cost: float


class PoseEstimate(NamedTuple):
    camera_from_world: Float64[np.ndarray, "4 4"]
    inliers: Bool[np.ndarray, " points"]


def linearise(
    world_from_camera: Float64[np.ndarray, "cameras 4 4"],
    points_world: Float64[np.ndarray, "points 3"],
    measurements: Measurements,
    intrinsics: Float64[np.ndarray, "3 3"],
    kernel: Kernel = Kernel.HUBER,
    threshold: float = 2.0,
) -> Linearised:
    """Residuals of all measurements and their derivatives by the right tangent of the camera and by the point."""
    return Linearised(*_linearise(world_from_camera, points_world, *measurements, intrinsics, int(kernel), threshold))


@njit(cache=True)
@no_type_check
def robust(squared, kernel, threshold):
    """(rho, weight) of a squared residual."""
    if kernel == 1 and squared > threshold * threshold:
        size = np.sqrt(squared)
        return 2 * threshold * size - threshold * threshold, threshold / size
    if kernel == 2:
        ratio = squared / (threshold * threshold)
        return threshold * threshold * np.log1p(ratio), 1 / (1 + ratio)
    return squared, 1.0


@njit(cache=True)
@no_type_check
def _linearise(world_from_camera, points, camera, point, measured, precision, intrinsics, kernel, threshold):
    """(k, 4, 4), (n, 3), (m,), (m,), (m, 3), (m, 3), (3, 3) -> residual (m, 3), by_camera (m, 3, 6), by_point (m, 3, 3), cost."""
    count = len(camera)
    residual = np.zeros((count, 3))
    by_camera = np.zeros((count, 3, 6))
    by_point = np.zeros((count, 3, 3))
    cost = 0.0
    p = np.zeros(3)
    by_p = np.zeros((3, 3))
    for i in range(count):
        pose = world_from_camera[camera[i]]
        for row in range(3):
            p[row] = 0.0
            for k in range(3):
                p[row] += pose[k, row] * (points[point[i], k] - pose[k, 3])
        if p[2] < NEAREST_Z:
            cost += robust(UNSEEN * UNSEEN, kernel, threshold)[0]
            continue
        q = 1 / p[2]
        for row in range(2):
            scale = intrinsics[row, row] * q
            by_p[row, row] = precision[i, row] * scale
            by_p[row, 2] = -precision[i, row] * scale * p[row] * q
            residual[i, row] = precision[i, row] * (scale * p[row] + intrinsics[row, 2] - measured[i, row])
        by_p[2, 2] = -precision[i, 2] * q * q
        residual[i, 2] = precision[i, 2] * (q - measured[i, 2])
        rho_xy, weight_xy = robust(residual[i, 0] ** 2 + residual[i, 1] ** 2, kernel, threshold)
        rho_q, weight_q = robust(residual[i, 2] ** 2, kernel, threshold)
        cost += rho_xy + rho_q
        for row in range(3):
            root = np.sqrt(weight_xy if row < 2 else weight_q)
            a, b, c = root * by_p[row, 0], root * by_p[row, 1], root * by_p[row, 2]
            residual[i, row] *= root
            by_camera[i, row, 0], by_camera[i, row, 1], by_camera[i, row, 2] = -a, -b, -c
            by_camera[i, row, 3] = b * p[2] - c * p[1]
            by_camera[i, row, 4] = c * p[0] - a * p[2]
            by_camera[i, row, 5] = a * p[1] - b * p[0]
            for k in range(3):
                by_point[i, row, k] = a * pose[k, 0] + b * pose[k, 1] + c * pose[k, 2]
    return residual, by_camera, by_point, cost


class PosePrior(NamedTuple):
    """What is known of a pose beforehand: the information (inverse covariance) of its right tangent."""

    world_from_camera: Float64[np.ndarray, "4 4"]
    information: Float64[np.ndarray, "6 6"]


def refine_pose(
    camera_from_world: Float64[np.ndarray, "4 4"],
    points_world: Float64[np.ndarray, "points 3"],
    measured: Float64[np.ndarray, "points 3"],
    precision: Float64[np.ndarray, "points 3"],
    intrinsics: Float64[np.ndarray, "3 3"],
    threshold: float = 2.0,
    prior: PosePrior | None = None,
) -> Float64[np.ndarray, "4 4"]:
    """The camera pose of least Huber cost near the given one, the points held fixed (Levenberg-Marquardt)."""
    index = np.arange(len(points_world))
    measurements = Measurements(np.zeros_like(index), index, measured, precision)

    def equations(pose: Float64[np.ndarray, "4 4"]) -> tuple[np.ndarray, np.ndarray, float]:
        residual, by_camera, _, cost = linearise(
            pose[None], points_world, measurements, intrinsics, threshold=threshold
        )
        jacobian = by_camera.reshape(-1, 6)
        information, gradient = jacobian.T @ jacobian, jacobian.T @ residual.reshape(-1)
        if prior is None:
            return information, gradient, cost
        off = se3_log(torch.from_numpy(np.linalg.inv(prior.world_from_camera) @ pose)).numpy()
        pull = prior.information @ off
        return information + prior.information, gradient + pull, cost + float(off @ pull)

    pose = np.linalg.inv(camera_from_world)
    current, damping = equations(pose), 1e-6
    for _ in range(REFINEMENT_STEPS):
        information, gradient, cost = current
        step = np.linalg.solve(information + damping * np.diag(information.diagonal() + 1e-9), -gradient)
        moved = pose @ se3_exp(torch.from_numpy(step)).numpy()
        trial = equations(moved)
        if trial[2] >= cost:
            damping *= 100
            continue
        pose, current, damping = moved, trial, damping / 10
        if cost - trial[2] < 1e-6 * cost:
            break
    return np.linalg.inv(pose)


def robust_pnp(
    points_world: Float64[np.ndarray, "points 3"],
    pixels: Float64[np.ndarray, "points 2"],
    intrinsics: Float64[np.ndarray, "3 3"],
    inlier_px: float = 2.0,
    min_inliers: int = 10,
    confidence: float = 0.9999,
) -> PoseEstimate | None:
    """The pose that most of the measurements agree on within `inlier_px`, refined on them; None if fewer than `min_inliers`.

    RANSAC over P3P (OpenCV) finds the inliers; its random numbers start from a fixed seed, so results repeat.
    """
    if len(points_world) < min_inliers:
        return None
    found, rotation, translation, rows = cv2.solvePnPRansac(
        points_world, pixels, intrinsics, None,
        iterationsCount=300, reprojectionError=inlier_px, confidence=confidence, flags=cv2.SOLVEPNP_AP3P,
    )  # fmt: skip
    if not found or rows is None or len(rows) < min_inliers:
        return None
    rows = rows[:, 0].astype(np.int64)
    guess = np.eye(4)
    guess[:3, :3], guess[:3, 3:] = cv2.Rodrigues(rotation)[0], translation
    measured = np.column_stack([pixels, np.zeros(len(pixels))])
    precision = np.tile([1 / inlier_px, 1 / inlier_px, 0.0], (len(pixels), 1))
    camera_from_world = refine_pose(
        guess, points_world[rows], measured[rows], precision[rows], intrinsics, threshold=1.0
    )
    inliers = reprojection_error_px(camera_from_world, points_world, pixels, intrinsics) < inlier_px
    return PoseEstimate(camera_from_world, inliers) if inliers.sum() >= min_inliers else None


def reprojection_error_px(
    camera_from_world: Float64[np.ndarray, "... 4 4"],
    points_world: Float64[np.ndarray, "points 3"],
    pixels: Float64[np.ndarray, "points 2"],
    intrinsics: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, " points"]:
    """Distance between where each point is seen and where it should be, by one camera or one each; infinite behind it."""
    points = np.einsum("...ij,...j->...i", camera_from_world[..., :3, :3], points_world) + camera_from_world[..., :3, 3]
    off = project_points(points, intrinsics) - pixels
    return np.where(points[:, 2] > NEAREST_Z, np.linalg.norm(off, axis=1), np.inf)
