"""The normal equations of what cameras measured of points, put together in one pass over the measurements.

    F = sum of rho((r_x / sigma_x)^2 + (r_y / sigma_y)^2) + rho((r_q / sigma_q)^2) + sum of e' Omega e of ties
    weights w = drho/ds (iteratively reweighted), J = [J_c J_p]:
    B = sum w J_c' J_c,  E = sum w J_c' J_p,  C = sum w J_p' J_p,  g = sum w J' r                          -> linearise()

A tie is a measured motion between two cameras, or of one in the world (a prior). What lies behind a camera that measured it is
charged BEHIND and pulls at nothing, so no step gains by pushing points behind.
Source: Triggs, McLauchlan, Hartley, Fitzgibbon, Bundle Adjustment - A Modern Synthesis (1999).
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from firstsight.optimisation.bundle.camera_model import derivatives, project
from firstsight.optimisation.relative_motion import (
    blocks_of,
    linearise_motion,
    quadratic,
    relative_error,
    workspace,
)
from firstsight.optimisation.robust_kernels import loss

# sigmas
BEHIND = 1e3


class State(NamedTuple):
    """What is solved for; lenses as rows of `camera_model`, points only those that take part."""

    world_from_camera: Float64[np.ndarray, "cameras 4 4"]
    lenses: Float64[np.ndarray, "lenses 6"]
    points: Float64[np.ndarray, "points 3"]


class Sightings(NamedTuple):
    """The measurements that take part, ordered by point; `pose_entry` and `lens_entry` are HELD or their entries."""

    camera: Int64[np.ndarray, " seen"]
    lens: Int64[np.ndarray, " seen"]
    point: Int64[np.ndarray, " seen"]
    measured: Float64[np.ndarray, "seen 3"]
    precision: Float64[np.ndarray, "seen 3"]
    pose_entry: Int64[np.ndarray, " seen"]
    lens_entry: Int64[np.ndarray, " seen"]


class Ties(NamedTuple):
    """Measured motions between cameras, of which a may be the WORLD, with the information of their right tangents."""

    a: Int64[np.ndarray, " ties"]
    b: Int64[np.ndarray, " ties"]
    a_from_b: Float64[np.ndarray, "ties 4 4"]
    information: Float64[np.ndarray, "ties 6 6"]


NO_TIES = Ties(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 6, 6)))


class Blocks(NamedTuple):
    """The block of each camera and of each lens, HELD if not solved for; where blocks lie in a vector.

    `across_of_camera` and `across_of_tie` number what a camera shares with its lens and what two tied cameras share, or HELD.
    """

    camera: Int64[np.ndarray, " cameras"]
    lens: Int64[np.ndarray, " lenses"]
    size: Int64[np.ndarray, " blocks"]
    offset: Int64[np.ndarray, " blocks"]
    across_of_camera: Int64[np.ndarray, " cameras"]
    across_of_tie: Int64[np.ndarray, " ties"]


class Equations(NamedTuple):
    """B as the blocks on its diagonal and those across; E by entries, C and g."""

    by_block: Float64[np.ndarray, "blocks 6 6"]
    by_across: Float64[np.ndarray, "across 6 6"]
    by_both: Float64[np.ndarray, "entries 3 6"]
    by_point: Float64[np.ndarray, "points 3 3"]
    gradient: Float64[np.ndarray, " unknowns"]
    point_gradient: Float64[np.ndarray, "points 3"]


Robust = tuple[int, float]  # the number of the kernel, and its threshold in sigmas


def linearise(
    state: State, sightings: Sightings, ties: Ties, blocks: Blocks, robust: Robust, equations: Equations
) -> float:
    """Fills in the equations; returns F."""
    for array in equations:
        array[...] = 0
    total = _add_sightings(state, sightings, blocks, robust, equations)
    if len(ties.a):
        total += _add_ties(state[0], ties, np.linalg.inv(ties.a_from_b), blocks, equations)
    return float(total)


def cost(state: State, sightings: Sightings, ties: Ties, robust: Robust) -> float:
    """F."""
    total = _cost_of_sightings(state, sightings, robust)
    if len(ties.a):
        total += _cost_of_ties(state[0], ties, np.linalg.inv(ties.a_from_b))
    return float(total)


# Loops take arrays out of tuples before they begin: taking one out counts a reference, which costs more than a projection.


@njit(cache=True, forceinline=True)
@no_type_check
def _weigh(r, i, precision, robust, w):
    """Fills in w (3,), the weights of the residuals r (3,) in the squares of their units; returns rho."""
    x, y, q = precision[i, 0], precision[i, 1], precision[i, 2]
    total, weight = loss((x * r[0]) ** 2 + (y * r[1]) ** 2, robust[0], robust[1])
    w[0], w[1], w[2] = weight * x * x, weight * y * y, 0.0
    if q > 0:
        rho, weight = loss((q * r[2]) ** 2, robust[0], robust[1])
        total, w[2] = total + rho, weight * q * q
    return total


@njit(cache=True)
@no_type_check
def _cost_of_sightings(state, sightings, robust):
    poses, lenses, points = state
    camera, lens, point, measured, precision, _, _ = sightings
    p, r = np.empty(3), np.empty(3)
    w, total = np.empty(3), 0.0
    behind = loss(BEHIND * BEHIND, robust[0], robust[1])[0]
    for i in range(len(camera)):
        if not project(poses, camera[i], lenses, lens[i], points, point[i], p, r):
            total += behind
            continue
        for k in range(3):
            r[k] -= measured[i, k]
        total += _weigh(r, i, precision, robust, w)
    return total


@njit(cache=True, forceinline=True)
@no_type_check
def _add_product(out, i, left, rows, right, columns, w):
    """out[i] += left' diag(w) right of (3, rows) and (3, columns); the third row counts where depth was measured."""
    if w[2] > 0:
        for r in range(rows):
            a, b, d = w[0] * left[0, r], w[1] * left[1, r], w[2] * left[2, r]
            for c in range(columns):
                out[i, r, c] += a * right[0, c] + b * right[1, c] + d * right[2, c]
        return
    for r in range(rows):
        a, b = w[0] * left[0, r], w[1] * left[1, r]
        for c in range(columns):
            out[i, r, c] += a * right[0, c] + b * right[1, c]


@njit(cache=True, forceinline=True)
@no_type_check
def _add_pull(out, at, left, rows, r, w):
    """out[at:] += left' diag(w) r of (3, rows) and (3,)."""
    x, y, q = w[0] * r[0], w[1] * r[1], w[2] * r[2]
    for k in range(rows):
        out[at + k] += left[0, k] * x + left[1, k] * y + left[2, k] * q


@njit(cache=True)
@no_type_check
def _add_sightings(state, sightings, blocks, robust, equations):
    poses, lenses, points = state
    camera, lens, point, measured, precision, pose_entry, lens_entry = sightings
    camera_block, lens_block, size, offset, across_of_camera, _ = blocks
    by_block, by_across, by_both, by_point, gradient, point_gradient = equations
    p, r = np.empty(3), np.empty(3)
    w, total = np.empty(3), 0.0
    j_pose, j_lens, j_point = np.zeros((3, 6)), np.zeros((3, 3)), np.zeros((3, 3))
    behind, points_free = loss(BEHIND * BEHIND, robust[0], robust[1])[0], len(by_point) > 0
    for i in range(len(camera)):
        if not project(poses, camera[i], lenses, lens[i], points, point[i], p, r):
            total += behind
            continue
        for k in range(3):
            r[k] -= measured[i, k]
        total += _weigh(r, i, precision, robust, w)
        derivatives(poses, camera[i], lenses, lens[i], p, j_pose, j_lens, j_point)
        if points_free:
            _add_product(by_point, point[i], j_point, 3, j_point, 3, w)
            _add_pull(point_gradient[point[i]], 0, j_point, 3, r, w)
        a, b = camera_block[camera[i]], lens_block[lens[i]]
        if a >= 0:
            _add_product(by_block, a, j_pose, 6, j_pose, 6, w)
            _add_pull(gradient, offset[a], j_pose, 6, r, w)
            if points_free:
                _add_product(by_both, pose_entry[i], j_point, 3, j_pose, 6, w)
        if b >= 0:
            _add_product(by_block, b, j_lens, size[b], j_lens, size[b], w)
            _add_pull(gradient, offset[b], j_lens, size[b], r, w)
            if points_free:
                _add_product(by_both, lens_entry[i], j_point, 3, j_lens, size[b], w)
        if a >= 0 and b >= 0:
            _add_product(by_across, across_of_camera[camera[i]], j_pose, 6, j_lens, size[b], w)
    return total


@njit(cache=True)
@no_type_check
def _cost_of_ties(poses, ties, b_from_a):
    a_of, b_of, _, information = ties
    total, matrices, e = 0.0, workspace(4), np.empty(6)
    for t in range(len(a_of)):
        here = matrices[2] if a_of[t] < 0 else poses[a_of[t]]
        relative_error(here, poses[b_of[t]], b_from_a[t], matrices, e)
        total += quadratic(information[t], e)
    return total


@njit(cache=True)
@no_type_check
def _add_ties(poses, ties, b_from_a, blocks, equations):
    """Adds the ties' equations, whose terms are those of `relative_motion`; returns their cost."""
    by_block, by_across, gradient = equations[0], equations[1], equations[4]
    camera_block, offset, across_of_tie = blocks[0], blocks[3], blocks[5]
    total, matrices = 0.0, workspace(4)
    e, j, scratch, of_b, of_ba, of_a = blocks_of(6)
    for t in range(len(ties[0])):
        a, b = ties[0][t], ties[1][t]
        here = matrices[2] if a < 0 else poses[a]
        relative_error(here, poses[b], b_from_a[t], matrices, e)
        total += linearise_motion(e, matrices, ties[3][t], j, scratch, of_b, of_ba, of_a)
        block_a, block_b = camera_block[a] if a >= 0 else -1, camera_block[b]
        for r in range(6):
            if block_a >= 0:
                gradient[offset[block_a] + r] += of_ba[6, r]
            if block_b >= 0:
                gradient[offset[block_b] + r] += of_b[6, r]
            for c in range(6):
                if block_a >= 0:
                    by_block[block_a, r, c] += of_a[r, c]
                if block_b >= 0:
                    by_block[block_b, r, c] += of_b[r, c]
                if block_a >= 0 and block_b >= 0:
                    by_across[across_of_tie[t], r, c] += of_ba[c, r]
    return total
