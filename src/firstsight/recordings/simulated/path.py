"""Closed smooth paths by arc length: streets, walks, toy tracks."""

from collections.abc import Callable
from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit
from scipy.interpolate import CubicSpline

from firstsight.recordings.simulated.surface import Transform, moved

KNOTS = 1000


class ClosedPath:
    """A periodic cubic spline through control points, scaled to a given length (None: as it is).

    It is placed so that the pose at arc length `anchor_m`, `anchor_left_m` to the left, is the identity.
    """

    def __init__(
        self,
        controls: Float64[np.ndarray, "n 2"],
        length_m: float | None = None,
        anchor_left_m: float = 0.0,
        anchor_m: float = 0.0,
    ):
        closed = np.concatenate([controls, controls[:1]])
        fine = CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")(np.linspace(0, len(controls), 4001))
        travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
        self.length_m = float(travelled[-1]) if length_m is None else length_m
        by_length = CubicSpline(travelled, self.length_m / travelled[-1] * fine, bc_type="periodic")
        even = np.linspace(0, travelled[-1], KNOTS + 1)
        self._spline = CubicSpline(even * self.length_m / travelled[-1], by_length(even), bc_type="periodic").c
        self._world_from_map = np.eye(4)
        self._world_from_map = np.linalg.inv(self.poses(np.array([anchor_m]), anchor_left_m)[0])

    def poses(
        self, along_m: Float64[np.ndarray, " n"], left_m: float | Float64[np.ndarray, " n"] = 0.0
    ) -> Float64[np.ndarray, "n 4 4"]:
        """World poses at arc lengths (of any lap), x along the path, moved to its left."""
        positions_and_slopes = on_spline(self._spline, self.length_m, np.asarray(along_m, dtype=np.float64))
        x, y = positions_and_slopes[:2]
        dx, dy = positions_and_slopes[2:]
        speed = np.hypot(dx, dy)
        c, s = dx / speed, dy / speed
        map_from_pose = np.zeros((len(along_m), 4, 4))
        map_from_pose[:, 2, 2] = map_from_pose[:, 3, 3] = 1
        map_from_pose[:, 0, 0], map_from_pose[:, 0, 1], map_from_pose[:, 0, 3] = c, -s, x - s * left_m
        map_from_pose[:, 1, 0], map_from_pose[:, 1, 1], map_from_pose[:, 1, 3] = s, c, y + c * left_m
        return self._world_from_map @ map_from_pose

    def pose(self, along_m: float, left_m: float = 0.0, z_m: float = 0.0, yaw_rad: float = 0.0) -> Transform:
        """One pose, lifted by z_m and turned by yaw_rad where it stands."""
        return self.poses(np.array([along_m]), left_m)[0] @ moved(z=z_m, yaw_rad=yaw_rad)


def elliptic_track(world_from_centre: Transform, half_x_m: float, half_y_m: float) -> Callable[[float], Transform]:
    """World poses along an ellipse by arc length, left about; it starts where the ellipse reaches farthest along x."""
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ellipse = np.stack([half_x_m * np.cos(angle), half_y_m * np.sin(angle)], 1)
    path = ClosedPath(ellipse)
    world_from_path = world_from_centre @ moved(half_x_m, yaw_rad=np.pi / 2)
    return lambda along_m: world_from_path @ path.pose(along_m)


@njit(cache=True)
@no_type_check
def on_spline(coefficients, length_m, along_m):
    """Rows x, y, dx, dy at arc lengths (n,) on a periodic spline (4, knots, 2) with even knots, highest power first."""
    knots = coefficients.shape[1]
    step = length_m / knots
    values = np.empty((4, len(along_m)))
    for i in range(len(along_m)):
        within = along_m[i] % length_m
        k = min(int(within / step), knots - 1)
        u = within - k * step
        for axis in range(2):
            a, b = coefficients[0, k, axis], coefficients[1, k, axis]
            c, d = coefficients[2, k, axis], coefficients[3, k, axis]
            values[axis, i] = ((a * u + b) * u + c) * u + d
            values[2 + axis, i] = (3 * a * u + 2 * b) * u + c
    return values
