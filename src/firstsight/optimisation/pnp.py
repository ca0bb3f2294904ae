"""The pose of a camera from points known in 3-D and what it measured of them (perspective-n-point).

A measurement is (x, y, q): a pixel and the inverse depth q = 1 / z there, each with its precision 1 / sigma, which is 0
where nothing was measured.

    r = precision * (pi(p) - measured)                                              bundle/camera_model.py
    cost = sum of rho(|r_xy|) + rho(|r_q|), rho Huber's                             bundle/equations.py
    a bundle adjustment with one free camera and points that are held               -> refine_pose()

The minimal solver inside RANSAC is OpenCV's; the refinement is Levenberg-Marquardt on the cost above.
Source: Hartley and Zisserman, Multiple View Geometry (2004), section 7.3 and appendix 6.8.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float64

from firstsight.geometry.points import project_points
from firstsight.optimisation.bundle.camera_model import MIN_Z, Measurements, straight_lens
from firstsight.optimisation.bundle.equations import NO_TIES, State, Ties
from firstsight.optimisation.bundle.problem import Free, bundle_problem
from firstsight.optimisation.least_squares import Damped, Stopping, minimise
from firstsight.optimisation.relative_motion import WORLD
from firstsight.optimisation.robust_kernels import Kernel

FIRST_DAMPING = 1e-6
REFINEMENT = Stopping(max_iterations=10, relative=1e-6)
# refinements of one pose, each on the inliers of the one before
MAX_REFINEMENTS = 5
# limits of the inliers of its first refinements, as multiples of the last one
WIDER = (3.0, 1.5)


class PoseEstimate(NamedTuple):
    camera_from_world: Float64[np.ndarray, "4 4"]
    inliers: Bool[np.ndarray, " points"]


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
    free = Free(np.ones(1, bool), np.zeros(1, bool), 0, points=0)
    ties = NO_TIES
    if prior is not None:
        ties = Ties(np.full(1, WORLD), np.zeros(1, np.int64), prior.world_from_camera[None], prior.information[None])
    problem = bundle_problem(measurements, np.zeros(1, np.int64), free, (int(Kernel.HUBER), float(threshold)), ties)
    pose = np.linalg.inv(camera_from_world)[None]
    start = State(pose, straight_lens(intrinsics), np.ascontiguousarray(points_world))
    found = minimise(problem, start, Damped(FIRST_DAMPING), REFINEMENT)
    return np.linalg.inv(found.state.world_from_camera[0])


def robust_pnp(
    points_world: Float64[np.ndarray, "points 3"],
    pixels: Float64[np.ndarray, "points 2"],
    intrinsics: Float64[np.ndarray, "3 3"],
    inlier_px: float = 2.0,
    min_inliers: int = 10,
    confidence: float = 0.9999,
) -> PoseEstimate | None:
    """The pose that most of the measurements agree on within `inlier_px`, refined on them; None if fewer than `min_inliers`.

    RANSAC over P3P (OpenCV) finds the first inliers; its random numbers start from a fixed seed, so results repeat. The
    pose is refined on its inliers and these are told anew, until they stay the same: RANSAC's own are those of a pose
    from four points, and leave out many that agree with the pose of all.
    """
    if len(points_world) < min_inliers:
        return None
    ended, rotation, translation, rows = cv2.solvePnPRansac(
        points_world, pixels, intrinsics, None,
        iterationsCount=300, reprojectionError=inlier_px, confidence=confidence, flags=cv2.SOLVEPNP_AP3P,
    )  # fmt: skip
    if not ended or rows is None or len(rows) < min_inliers:
        return None
    guess = np.eye(4)
    guess[:3, :3], guess[:3, 3:] = cv2.Rodrigues(rotation)[0], translation
    inliers = np.isin(np.arange(len(pixels)), rows)
    return _refined_until_settled(
        PoseEstimate(guess, inliers), points_world, pixels, intrinsics, inlier_px, min_inliers
    )


def _refined_until_settled(
    pose: PoseEstimate,
    points_world: Float64[np.ndarray, "points 3"],
    pixels: Float64[np.ndarray, "points 2"],
    intrinsics: Float64[np.ndarray, "3 3"],
    inlier_px: float,
    min_inliers: int,
) -> PoseEstimate | None:
    """The pose refined on its inliers and the inliers of the pose, in turn, until they stay the same; None once they are too few.

    A pose from four points may be off by more than `inlier_px`: the first inliers are told by wider limits, since a set
    that a wrong pose has chosen can confirm it.
    """
    measured = np.column_stack([pixels, np.zeros(len(pixels))])
    precision = np.tile([1 / inlier_px, 1 / inlier_px, 0.0], (len(pixels), 1))
    camera_from_world, inliers = pose
    for limit in (*WIDER, *(MAX_REFINEMENTS * [1.0])):
        camera_from_world = refine_pose(
            camera_from_world, points_world[inliers], measured[inliers], precision[inliers], intrinsics, threshold=1.0
        )
        before = inliers
        inliers = reprojection_error_px(camera_from_world, points_world, pixels, intrinsics) < limit * inlier_px
        if inliers.sum() < min_inliers:
            return None
        if limit == 1.0 and (inliers == before).all():
            break
    return PoseEstimate(camera_from_world, inliers)


def reprojection_error_px(
    camera_from_world: Float64[np.ndarray, "... 4 4"],
    points_world: Float64[np.ndarray, "points 3"],
    pixels: Float64[np.ndarray, "points 2"],
    intrinsics: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, " points"]:
    """Distance between where each point is seen and where it should be, by one camera or one each; infinite behind it."""
    points = np.einsum("...ij,...j->...i", camera_from_world[..., :3, :3], points_world) + camera_from_world[..., :3, 3]
    off = project_points(points, intrinsics) - pixels
    return np.where(points[:, 2] > MIN_Z, np.linalg.norm(off, axis=1), np.inf)
