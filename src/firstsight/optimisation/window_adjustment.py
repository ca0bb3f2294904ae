"""Bundle adjustment over a window: camera poses and points that agree best with what the cameras measured.

Paper:  Triggs, McLauchlan, Hartley, Fitzgibbon. Bundle Adjustment - A Modern Synthesis. 1999, sections 4 and 6.1.
Idea:   every measurement joins one camera and one point, so the points can be solved for within the cameras' equations.
        with r, J_c, J_p weighted by the robust kernel                                    -> geometry.pnp.linearise()
        B = sum J_c' J_c   E = sum J_c' J_p   C = sum J_p' J_p   g_c = sum J_c' r   g_p = sum J_p' r
        S = B - E C^-1 E',   s = g_c - E C^-1 g_p,   S xi = -s        optimisation/schur.py    -> reduce_to_cameras()
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

from firstsight.geometry.se3 import se3_exp, se3_log
from firstsight.optimisation.pnp import Kernel, Linearised, Measurements, linearise
from firstsight.optimisation.schur import HELD, Entries, eliminate_points, entries_of, full_layout, substitute_back

FIXED = HELD  # the column of a camera that is not solved for


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
    """The cameras' equations with the points eliminated, and what is needed to get the points back, as in `schur`."""

    information: Float64[np.ndarray, "parameters parameters"]
    gradient: Float64[np.ndarray, " parameters"]
    entries: Entries
    by_both: Float64[np.ndarray, "entries 3 6"]
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
        shifted = points + back_substitute(reduced, step)
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
    cameras = int(column.max(initial=FIXED)) + 1
    columns = column[measurements.camera]
    layout = full_layout(np.full(cameras, 6))
    entries, entry = entries_of(measurements.point, columns, cameras, points)
    information, gradient = np.zeros((6 * cameras, 6 * cameras)), np.zeros(6 * cameras)
    of_points = np.zeros((len(entries.block), 3, 6)), np.zeros((points, 3, 3)), np.zeros((points, 3))
    _accumulate(residual, by_camera, by_point, columns, measurements.point, entry, information, gradient, *of_points)
    information[np.diag_indices_from(information)] *= 1 + damping
    information[np.diag_indices_from(information)] += 1e-12
    inverse, reduced = eliminate_points(information.reshape(-1), gradient, layout, entries, *of_points, damping)
    upper = np.triu(information, 1)
    information = upper + upper.T + np.diag(information.diagonal())
    return Reduced(information, reduced, entries, of_points[0], inverse, of_points[2])


def back_substitute(reduced: Reduced, step: Float64[np.ndarray, " parameters"]) -> Float64[np.ndarray, "points 3"]:
    """The step of each point that goes with the cameras' step."""
    return substitute_back(step, full_layout(np.full(len(step) // 6, 6)), *reduced[2:])


@njit(cache=True)
@no_type_check
def _accumulate(
    residual,
    by_camera,
    by_point,
    column,
    point,
    entry,
    information,
    gradient,
    by_both,
    point_information,
    point_gradient,
):
    """Adds B, g_c, E, C and g_p of measurements (m, 3), (m, 3, 6), (m, 3, 3), (m,), (m,), (m,)."""
    for i in range(len(point)):
        p, e, at = point[i], entry[i], 6 * column[i]
        for k in range(3):
            r = residual[i, k]
            for a in range(3):
                u = by_point[i, k, a]
                point_gradient[p, a] += u * r
                for b in range(3):
                    point_information[p, a, b] += u * by_point[i, k, b]
            if at < 0:
                continue
            for b in range(6):
                v = by_camera[i, k, b]
                gradient[at + b] += v * r
                for a in range(3):
                    by_both[e, a, b] += by_point[i, k, a] * v
                for c in range(6):
                    information[at + b, at + c] += v * by_camera[i, k, c]
