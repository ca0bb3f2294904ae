"""A camera with a lens that bends rays radially: where it sees a point, and the derivatives of that.

    p = camera_from_world X,  (x, y) = (p_x, p_y) / p_z,  d = 1 + k1 r^2 + k2 r^4,  r^2 = x^2 + y^2
    pixel = (f_x d x + c_x, f_y d y + c_y)                                                     -> project()
    by the camera's right tangent dp = -v + hat(p) omega; by the point dp = R' dX;
    by the lens: s, both focal lengths times e^s; k1; k2                                       -> derivatives()

A lens is a row (f_x, f_y, c_x, c_y, k1, k2). Points less than NEAREST_Z before the camera are not seen.
Source: Snavely, Seitz, Szeliski, Photo Tourism (2006), section 4.2 (the lens); Agarwal et al., Bundle Adjustment in the
Large (2010).
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit

from firstsight.optimisation.pnp import NEAREST_Z
from firstsight.roles.reconstruction import Lenses


def as_rows(lenses: Lenses) -> Float64[np.ndarray, "lenses 6"]:
    k = lenses.intrinsics
    return np.column_stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2], lenses.radial])


def as_lenses(rows: Float64[np.ndarray, "lenses 6"], like: Lenses) -> Lenses:
    """The rows as lenses of the same sizes as `like`."""
    intrinsics = np.zeros((len(rows), 3, 3))
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 2, 2] = rows[:, 0], rows[:, 1], 1.0
    intrinsics[:, :2, 2] = rows[:, 2:4]
    return Lenses(like.size, intrinsics, rows[:, 4:].copy())


@njit(cache=True)
@no_type_check
def project(poses, c, lenses, n, points, i, p, pixel):
    """Fills in p (3,), point i in camera c, and its pixel (2,) through lens n; False if it is not seen."""
    for k in range(3):
        p[k] = 0.0
        for row in range(3):
            p[k] += poses[c, row, k] * (points[i, row] - poses[c, row, 3])
    if not p[2] >= NEAREST_Z:
        return False
    x, y = p[0] / p[2], p[1] / p[2]
    squared = x * x + y * y
    bend = 1 + squared * (lenses[n, 4] + squared * lenses[n, 5])
    pixel[0] = lenses[n, 0] * bend * x + lenses[n, 2]
    pixel[1] = lenses[n, 1] * bend * y + lenses[n, 3]
    return True


@njit(cache=True)
@no_type_check
def derivatives(poses, c, lenses, n, p, by_pose, by_lens, by_point):
    """Of the pixel of p (3,), seen by camera c through lens n: (2, 6), (2, 3), (2, 3)."""
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
