"""Is it the same place? What features of two views must agree on before a loop is believed.

Paper:  Mur-Artal, Tardos. ORB-SLAM2. T-RO 33(5), 2017, section III-D; Mur-Artal, Montiel, Tardos. ORB-SLAM. 2015, VII-B
        (the scale of a loop of one camera).
Idea:   points of a and pixels of b give b_from_a, points of b and pixels of a give a_from_b: each by RANSAC, with inliers
        many, a good share of the matches and spread over both images                          -> located(), spread()
        lengths of b over those of a: median ratio of the depths of the same points, 1 if both are metres
                                                                                                  -> relative_scale()
        both motions are each other's inverse, and the depths agree                                 -> verified()
        what the inliers say of the motion, with the depth they start from unsure too
            sum J' (sigma^2 I + j j' sigma_q^2)^-1 J / CORRELATED                           -> motion_information()
Differs: places that look alike down to the geometry (the same poster on two walls) pass; only odometry and other loops can
        tell these (loop_graph.py).
Units:  lengths in the unit of view a; tangents (translation, rotation) on the right of a_from_b.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.geometry.points import Intrinsics, Pixels, move_points
from firstsight.optimisation.pnp import PoseEstimate, robust_pnp
from firstsight.slam.loops.loop_graph import CORRELATED, Loop, is_near
from firstsight.slam.loops.travelled import Transform
from firstsight.slam.loops.views import Rows, View, points_of

# rows and columns of the grid that inliers must be spread over
GRID = 4


@dataclass(frozen=True, kw_only=True)
class VerificationConfig:
    inlier_px: float = 2.0
    min_inliers: int = 25
    # of the matches whose depth is known
    inlier_share: float = 0.3
    # of GRID x GRID, that the inliers must lie in
    cells: int = 5
    # of both poses and both depths: radians, shares of the distance
    agreement: float = 0.1


def verified(
    views: tuple[View, View],
    numbers: tuple[int, int],
    rows: Rows,
    intrinsics: Intrinsics,
    sigma_px: float,
    config: VerificationConfig,
) -> Loop | None:
    """The loop that matched features of views (a, b) agree on; None where they do not."""
    forth = located(*views, rows, intrinsics, config)
    back = located(*views[::-1], rows[:, ::-1], intrinsics, config)
    if forth is None or back is None:
        return None
    agree = rows[forth.inliers & back.inliers]
    cells = min(spread(view.features.pixels[agree[:, k]], intrinsics) for k, view in enumerate(views))
    if len(agree) < config.min_inliers or cells < config.cells:
        return None
    b_from_a, a_from_b = forth.camera_from_world, back.camera_from_world.copy()
    scale, deviation = relative_scale(*views, agree, b_from_a, intrinsics)
    a_from_b[:3, 3] /= scale
    if deviation > config.agreement or not is_near(b_from_a @ a_from_b, views[0].distance, config.agreement):
        return None
    information = motion_information(views[0], agree[:, 0], b_from_a, intrinsics, sigma_px)
    return Loop(*numbers, np.linalg.inv(b_from_a), information, scale)


def located(a: View, b: View, rows: Rows, intrinsics: Intrinsics, config: VerificationConfig) -> PoseEstimate | None:
    """b_from_a by points of a, with the inliers among all rows; None where too few or too small a share agree."""
    known = np.flatnonzero(a.precision[rows[:, 0]] > 0)
    points, pixels = points_of(a, rows[known, 0], intrinsics), b.features.pixels[rows[known, 1]]
    pose = robust_pnp(points, pixels, intrinsics, config.inlier_px, config.min_inliers)
    if pose is None or pose.inliers.mean() < config.inlier_share:
        return None
    inliers = np.zeros(len(rows), bool)
    inliers[known[pose.inliers]] = True
    return PoseEstimate(pose.camera_from_world, inliers)


def spread(pixels: Pixels, intrinsics: Intrinsics) -> int:
    """How many of GRID x GRID cells about the principal point the pixels lie in."""
    column, row = np.clip(pixels * (GRID / 2) // (intrinsics[:2, 2] + 0.5), 0, GRID - 1).astype(int).T
    return len(np.unique(GRID * row + column))


def relative_scale(a: View, b: View, rows: Rows, b_from_a: Transform, intrinsics: Intrinsics) -> tuple[float, float]:
    """Lengths of b over those of a, and the median relative deviation of single points from that."""
    depth_by_a = move_points(points_of(a, rows[:, 0], intrinsics), b_from_a)[:, 2]
    ratios = -np.log(np.maximum(depth_by_a * b.inverse_depth[rows[:, 1]], 1e-9))
    middle = float(np.median(ratios))
    return float(np.exp(middle)), float(np.median(np.abs(ratios - middle)))


def motion_information(
    a: View, rows: Int64[np.ndarray, " n"], b_from_a: Transform, intrinsics: Intrinsics, sigma_px: float
) -> Float64[np.ndarray, "6 6"]:
    """The inverse covariance of a_from_b's right tangent, from where b saw points of a."""
    points = move_points(points_of(a, rows, intrinsics), b_from_a)
    (x, y, z) = points.T
    focal = intrinsics.diagonal()[:2]
    by_point = np.zeros((len(points), 2, 3))
    by_point[:, 0, 0], by_point[:, 1, 1] = focal[0] / z, focal[1] / z
    by_point[:, :, 2] = -focal * points[:, :2] / z[:, None] ** 2
    by_tangent = np.zeros((len(points), 3, 6))  # a point moves by -xi_t + point x xi_r
    by_tangent[:, :, :3] = -np.eye(3)
    by_tangent[:, 0, 4], by_tangent[:, 0, 5] = -z, y
    by_tangent[:, 1, 3], by_tangent[:, 1, 5] = z, -x
    by_tangent[:, 2, 3], by_tangent[:, 2, 4] = -y, x
    along_ray = (points - b_from_a[:3, 3]) / a.inverse_depth[rows, None]  # times -1: derivative by the inverse depth
    by_depth = by_point @ (along_ray / a.precision[rows, None])[..., None]
    noise = sigma_px**2 * np.eye(2) + by_depth @ by_depth.transpose(0, 2, 1)
    jacobian = by_point @ by_tangent
    return np.einsum("nki,nkl,nlj->ij", jacobian, np.linalg.inv(noise), jacobian) / CORRELATED
