"""Bundle adjustment over a window: camera poses and points that agree best with what the cameras measured.

Paper:  Triggs, McLauchlan, Hartley, Fitzgibbon. Bundle Adjustment - A Modern Synthesis. 1999, sections 4 and 6.1.
Idea:   every measurement joins one camera and one point, so the points can be solved for within the cameras' equations.
        with r, J_c, J_p weighted by the robust kernel                                    -> geometry.pnp.linearise()
        B = sum J_c' J_c   E = sum J_c' J_p   C = sum J_p' J_p   g_c = sum J_c' r   g_p = sum J_p' r
        S = B - E C^-1 E',   s = g_c - E C^-1 g_p,   S xi = -s                            -> reduce_to_cameras()
        dX = -C^-1 (g_p + E' xi)                                                          -> back_substitute()
        damping lambda: B and C with their diagonals times 1 + lambda (Levenberg-Marquardt) -> adjust()
Differs: the window slides without a marginal prior. Instead its oldest cameras are held fixed where they were last
        estimated, which also fixes the gauge; for one camera without depth two fixed cameras fix the scale as well.
        A prior would carry more, but is inconsistent after relinearisation and couples every point it touched.
Units:  points and translations in the recording's unit (metres, or the unit of the monocular start), residuals in sigmas.
"""

from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numba import njit

from firstsight.geometry.pnp import Kernel, Linearised, Measurements, linearise
from firstsight.geometry.se3 import se3_exp, se3_log

FIXED = -1  # the column of a camera that is not solved for


class Ties(NamedTuple):
    """Measured motions between pairs of cameras of the window, with the information of their right tangents."""

    a: Int64[np.ndarray, " ties"]
    b: Int64[np.ndarray, " ties"]
    a_from_b: Float64[np.ndarray, "ties 4 4"]
    information: Float64[np.ndarray, "ties 6 6"]


NO_TIES = Ties(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 6, 6)))


class Window(NamedTuple):
    """Cameras, points, the measurements that join them, which are sorted by point, and ties between cameras."""

    world_from_camera: Float64[np.ndarray, "cameras 4 4"]
    points_world: Float64[np.ndarray, "points 3"]
    measurements: Measurements
    intrinsics: Float64[np.ndarray, "3 3"]
    fixed: Bool[np.ndarray, " cameras"]
    ties: Ties = NO_TIES


class Adjusted(NamedTuple):
    world_from_camera: Float64[np.ndarray, "cameras 4 4"]
    points_world: Float64[np.ndarray, "points 3"]
    cost: float


class Reduced(NamedTuple):
    """The cameras' equations with the points eliminated, and what is needed to get the points back.

    `by_both[i]` is measurement i's block of E; `point_inverse` and `point_gradient` are C^-1 and g_p.
    """

    information: Float64[np.ndarray, "parameters parameters"]
    gradient: Float64[np.ndarray, " parameters"]
    by_both: Float64[np.ndarray, "m 6 3"]
    point_inverse: Float64[np.ndarray, "points 3 3"]
    point_gradient: Float64[np.ndarray, "points 3"]


def adjust(
    window: Window,
    kernel: Kernel = Kernel.HUBER,
    threshold: float = 2.0,
    max_iterations: int = 10,
    tolerance: float = 1e-4,
) -> Adjusted:
    """Least robust cost near the given window; stops when an iteration gains less than `tolerance` of the cost.

    Points must be seen often enough to be determined: by two cameras, or by one that measured depth.
    """
    cameras, points, ties = window.world_from_camera, window.points_world, window.ties
    column = np.where(window.fixed, FIXED, np.cumsum(~window.fixed) - 1)

    def linearised(cameras: np.ndarray, points: np.ndarray) -> tuple[Linearised, float]:
        current = linearise(cameras, points, window.measurements, window.intrinsics, kernel, threshold)
        return current, current.cost + tie_cost(cameras, ties)

    (current, cost), damping = linearised(cameras, points), 1e-5
    for _ in range(max_iterations):
        reduced = reduce_to_cameras(current, window.measurements, column, len(points), damping)
        add_ties(reduced, cameras, ties, column)
        step = np.linalg.solve(reduced.information, -reduced.gradient)
        moved = move_cameras(cameras, step, column)
        shifted = points + back_substitute(reduced, window.measurements, column, step)
        trial, trial_cost = linearised(moved, shifted)
        if trial_cost > cost:
            damping *= 100
            continue
        gain = cost - trial_cost
        cameras, points, current, cost, damping = moved, shifted, trial, trial_cost, damping / 10
        if gain <= tolerance * cost:
            break
    return Adjusted(cameras, points, cost)


def tie_error(world_from_camera: Float64[np.ndarray, "cameras 4 4"], ties: Ties) -> Float64[np.ndarray, "ties 6"]:
    """e = log(measured a_from_b^-1 a_from_b)."""
    a_from_b = np.linalg.inv(world_from_camera[ties.a]) @ world_from_camera[ties.b]
    return se3_log(torch.from_numpy(np.linalg.inv(ties.a_from_b) @ a_from_b)).numpy()


def tie_cost(world_from_camera: Float64[np.ndarray, "cameras 4 4"], ties: Ties) -> float:
    """sum e' information e."""
    if not len(ties.a):
        return 0.0
    error = tie_error(world_from_camera, ties)
    return float(np.einsum("ti,tij,tj", error, ties.information, error))


def adjoint(a_from_b: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "6 6"]:
    """exp(Ad xi) a_from_b = a_from_b exp(xi)."""
    rotation, (x, y, z) = a_from_b[:3, :3], a_from_b[:3, 3]
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    return np.block([[rotation, across], [np.zeros((3, 3)), rotation]])


def add_ties(
    reduced: Reduced,
    world_from_camera: Float64[np.ndarray, "cameras 4 4"],
    ties: Ties,
    column: Int64[np.ndarray, " cameras"],
) -> None:
    """Adds the ties' normal equations, in place: de / dxi_b = I, de / dxi_a = -Ad(b_from_a), to first order in e."""
    if not len(ties.a):
        return
    for a, b, information, error in zip(
        ties.a, ties.b, ties.information, tie_error(world_from_camera, ties), strict=True
    ):
        b_from_a = np.linalg.inv(world_from_camera[b]) @ world_from_camera[a]
        blocks = [(int(column[a]), -adjoint(b_from_a)), (int(column[b]), np.eye(6))]
        free = [(slice(6 * place, 6 * place + 6), jacobian) for place, jacobian in blocks if place != FIXED]
        for rows, by_rows in free:
            reduced.gradient[rows] += by_rows.T @ information @ error
            for columns, by_columns in free:
                reduced.information[rows, columns] += by_rows.T @ information @ by_columns


def move_cameras(
    world_from_camera: Float64[np.ndarray, "cameras 4 4"],
    step: Float64[np.ndarray, " parameters"],
    column: Int64[np.ndarray, " cameras"],
) -> Float64[np.ndarray, "cameras 4 4"]:
    """world_from_camera exp(xi) of the cameras that are solved for."""
    free = column != FIXED
    moved = world_from_camera.copy()
    moved[free] = world_from_camera[free] @ se3_exp(torch.from_numpy(step.reshape(-1, 6))).numpy()
    return moved


def reduce_to_cameras(
    linearised: Linearised,
    measurements: Measurements,
    column: Int64[np.ndarray, " cameras"],
    points: int,
    damping: float,
) -> Reduced:
    """The Schur complement of the damped normal equations on the points; `column` is each camera's place in it."""
    residual, by_camera, by_point, _ = linearised
    size = 6 * (int(column.max()) + 1)
    return Reduced(
        *_reduce(residual, by_camera, by_point, column[measurements.camera], measurements.point, points, size, damping)
    )


def back_substitute(
    reduced: Reduced,
    measurements: Measurements,
    column: Int64[np.ndarray, " cameras"],
    step: Float64[np.ndarray, " parameters"],
) -> Float64[np.ndarray, "points 3"]:
    """The step of each point that goes with the cameras' step."""
    columns = column[measurements.camera]
    seen = columns != FIXED
    through_cameras = np.einsum("mij,mi->mj", reduced.by_both[seen], step.reshape(-1, 6)[columns[seen]])
    gradient = reduced.point_gradient.copy()
    np.add.at(gradient, measurements.point[seen], through_cameras)
    return -np.einsum("nij,nj->ni", reduced.point_inverse, gradient)


@njit(cache=True)
@no_type_check
def _add_transposed_product(out, a, b):
    """out += a' b. Written out: for blocks this small a call to BLAS costs more than the product."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(a.shape[0]):
                out[i, j] += a[k, i] * b[k, j]


@njit(cache=True)
@no_type_check
def _inverse(a):
    """The inverse of a symmetric positive 3x3 matrix, by cofactors."""
    c00, c01, c02 = (
        a[1, 1] * a[2, 2] - a[1, 2] ** 2,
        a[0, 2] * a[1, 2] - a[0, 1] * a[2, 2],
        a[0, 1] * a[1, 2] - a[0, 2] * a[1, 1],
    )
    c11, c12, c22 = (
        a[0, 0] * a[2, 2] - a[0, 2] ** 2,
        a[0, 1] * a[0, 2] - a[0, 0] * a[1, 2],
        a[0, 0] * a[1, 1] - a[0, 1] ** 2,
    )
    determinant = a[0, 0] * c00 + a[0, 1] * c01 + a[0, 2] * c02
    return np.array([[c00, c01, c02], [c01, c11, c12], [c02, c12, c22]]) / determinant


@njit(cache=True)
@no_type_check
def _reduce(residual, by_camera, by_point, column, point, points, size, damping):
    """(m, 3), (m, 3, 6), (m, 3, 3), (m,), (m,) sorted by point -> the fields of Reduced."""
    information, gradient = np.zeros((size, size)), np.zeros((size, 1))
    by_both = np.zeros((len(point), 6, 3))
    point_inverse, point_gradient = np.zeros((points, 3, 3)), np.zeros((points, 3, 1))
    for i in range(len(point)):
        r = residual[i].reshape(3, 1)
        _add_transposed_product(point_inverse[point[i]], by_point[i], by_point[i])
        _add_transposed_product(point_gradient[point[i]], by_point[i], r)
        if column[i] >= 0:
            c = slice(6 * column[i], 6 * column[i] + 6)
            _add_transposed_product(by_both[i], by_camera[i], by_point[i])
            _add_transposed_product(information[c, c], by_camera[i], by_camera[i])
            _add_transposed_product(gradient[c], by_camera[i], r)
    for k in range(size):
        information[k, k] += damping * information[k, k] + 1e-12
    for p in range(points):
        for k in range(3):
            point_inverse[p, k, k] += damping * point_inverse[p, k, k] + 1e-12
        point_inverse[p] = _inverse(point_inverse[p])
    _eliminate_points(information, gradient, by_both, point_inverse, point_gradient, column, point)
    return information, gradient[:, 0], by_both, point_inverse, point_gradient[:, :, 0]


@njit(cache=True)
@no_type_check
def _eliminate_points(information, gradient, by_both, point_inverse, point_gradient, column, point):
    """information -= E C^-1 E' and gradient -= E C^-1 g_p, point by point over the cameras that saw it."""
    eliminated = np.zeros((3, 6))  # (E_i C^-1)'
    start = 0
    while start < len(point):
        end = start
        while end < len(point) and point[end] == point[start]:
            end += 1
        for i in range(start, end):
            if column[i] < 0:
                continue
            a = slice(6 * column[i], 6 * column[i] + 6)
            eliminated[:] = 0
            for row in range(3):
                for k in range(3):
                    for col in range(6):
                        eliminated[row, col] -= point_inverse[point[i], row, k] * by_both[i, col, k]
            _add_transposed_product(gradient[a], eliminated, point_gradient[point[i]])
            for j in range(start, end):
                if column[j] >= column[i]:  # the upper triangle: information is symmetric
                    b = slice(6 * column[j], 6 * column[j] + 6)
                    _add_transposed_product(information[a, b], eliminated, by_both[j].T)
        start = end
    for i in range(len(gradient)):
        for j in range(i):
            information[i, j] = information[j, i]
