"""What a camera measures of a point through a lens that bends rays radially, and the derivatives of that.

    p = camera_from_world X,  (x, y) = (p_x, p_y) / p_z,  d = 1 + k1 r^2 + k2 r^4,  r^2 = x^2 + y^2
    measured: the pixel (f_x d x + c_x, f_y d y + c_y), and the inverse depth q = 1 / p_z                  -> project()
    by the camera's right tangent dp = -v + hat(p) omega; by the point dp = R' dX;
    by the lens: s, both focal lengths times e^s; k1; k2                                               -> derivatives()

A lens is a row (f_x, f_y, c_x, c_y, k1, k2). Points less than MIN_Z before the camera are not seen. Inverse depth, because
its error is close to Gaussian and of one size for stereo and structured light: so a far point hardly constrains the
translation, yet the rotation as well as a near one.
Source: Snavely, Seitz, Szeliski, Photo Tourism (2006), section 4.2 (the lens); Agarwal et al., Bundle Adjustment in the
Large (2010).
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from firstsight.roles.reconstruction import Lenses

# a point closer to the camera plane, or behind it, cannot have been measured; in the unit of the points
MIN_Z = 1e-3


class Measurements(NamedTuple):
    """What cameras measured of points: row i is (x, y, inverse depth) of point `point[i]` seen by camera `camera[i]`.

    Each with its precision 1 / sigma, which is 0 where nothing was measured.
    """

    camera: Int64[np.ndarray, " m"]
    point: Int64[np.ndarray, " m"]
    measured: Float64[np.ndarray, "m 3"]
    precision: Float64[np.ndarray, "m 3"]


def as_rows(lenses: Lenses) -> Float64[np.ndarray, "lenses 6"]:
    """The lenses as rows."""
    k = lenses.intrinsics
    return np.column_stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2], lenses.radial])


def as_lenses(rows: Float64[np.ndarray, "lenses 6"], like: Lenses) -> Lenses:
    """The rows as lenses of the same sizes as `like`."""
    intrinsics = np.zeros((len(rows), 3, 3))
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 2, 2] = rows[:, 0], rows[:, 1], 1.0
    intrinsics[:, :2, 2] = rows[:, 2:4]
    return Lenses(like.size, intrinsics, rows[:, 4:].copy())


def straight_lens(intrinsics: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "1 6"]:
    """The row of a lens that does not bend rays."""
    k = intrinsics
    return np.array([[k[0, 0], k[1, 1], k[0, 2], k[1, 2], 0.0, 0.0]])


def residuals(
    world_from_camera: Float64[np.ndarray, "cameras 4 4"],
    points_world: Float64[np.ndarray, "points 3"],
    measurements: Measurements,
    lens: Int64[np.ndarray, " cameras"],
    lenses: Float64[np.ndarray, "lenses 6"],
) -> Float64[np.ndarray, "m 3"]:
    """What should be measured less what was, in sigmas; infinite where the point lies behind the camera."""
    out = np.empty(measurements.measured.shape)
    _residuals(world_from_camera, lenses, lens, points_world, measurements, out)
    return out


@njit(cache=True, forceinline=True)
@no_type_check
def project(poses, c, lenses, n, points, i, p, seen):
    """Fills in p (3,), point i in camera c, and what is measured of it through lens n, (3,); False if it is not seen."""
    for k in range(3):
        p[k] = 0.0
        for row in range(3):
            p[k] += poses[c, row, k] * (points[i, row] - poses[c, row, 3])
    if not p[2] >= MIN_Z:
        return False
    q = 1 / p[2]
    x, y = p[0] * q, p[1] * q
    squared = x * x + y * y
    bend = 1 + squared * (lenses[n, 4] + squared * lenses[n, 5])
    seen[0] = lenses[n, 0] * bend * x + lenses[n, 2]
    seen[1] = lenses[n, 1] * bend * y + lenses[n, 3]
    seen[2] = q
    return True


@njit(cache=True, forceinline=True)
@no_type_check
def derivatives(poses, c, lenses, n, p, by_pose, by_lens, by_point):
    """Of what is measured of p (3,), seen by camera c through lens n: (3, 6), (2, 3), (3, 3)."""
    q = 1 / p[2]
    x, y = p[0] * q, p[1] * q
    squared = x * x + y * y
    bend = 1 + squared * (lenses[n, 4] + squared * lenses[n, 5])
    slope = 2 * (lenses[n, 4] + 2 * squared * lenses[n, 5])  # d bend = slope (x dx + y dy)
    for k in range(2):
        f, along = lenses[n, k], x if k == 0 else y
        by_x, by_y = f * along * slope * x * q, f * along * slope * y * q
        if k == 0:
            by_x += f * bend * q
        else:
            by_y += f * bend * q
        by_z = -(by_x * x + by_y * y)
        by_pose[k, 0], by_pose[k, 1], by_pose[k, 2] = -by_x, -by_y, -by_z
        by_pose[k, 3] = by_y * p[2] - by_z * p[1]
        by_pose[k, 4] = by_z * p[0] - by_x * p[2]
        by_pose[k, 5] = by_x * p[1] - by_y * p[0]
        by_lens[k, 0] = f * bend * along
        by_lens[k, 1] = f * squared * along
        by_lens[k, 2] = f * squared * squared * along
        for axis in range(3):
            by_point[k, axis] = poses[c, axis, 0] * by_x + poses[c, axis, 1] * by_y + poses[c, axis, 2] * by_z
    by_pose[2, 0], by_pose[2, 1], by_pose[2, 2] = 0.0, 0.0, q * q
    by_pose[2, 3], by_pose[2, 4], by_pose[2, 5] = y * q, -x * q, 0.0
    for axis in range(3):
        by_point[2, axis] = -poses[c, axis, 2] * q * q


@njit(cache=True)
@no_type_check
def _residuals(poses, lenses, lens, points, measurements, out):
    camera, point, measured, precision = measurements
    p, seen = np.empty(3), np.empty(3)
    for i in range(len(camera)):
        before = project(poses, camera[i], lenses, lens[camera[i]], points, point[i], p, seen)
        for k in range(3):
            out[i, k] = precision[i, k] * (seen[k] - measured[i, k]) if before else np.inf
