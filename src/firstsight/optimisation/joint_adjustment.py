"""Joint adjustment: keyframes and landmarks that agree best with where landmarks were seen and how far away they were.

Paper:  Triggs, McLauchlan, Hartley, Fitzgibbon. Bundle Adjustment - A Modern Synthesis. 1999;
        Mur-Artal, Tardos. ORB-SLAM2. T-RO 33(5), 2017, section III-D (full bundle adjustment after a loop).
Idea:   residuals (x, y, inverse depth) of geometry.pnp, in sigmas, under a robust kernel        -> geometry.pnp.linearise()
        normal equations with the landmarks eliminated                                           -> normal_equations()
        which cameras share landmarks decides whether their equations are solved full or sparse  -> bundle_adjustment.structured()
        Levenberg-Marquardt, lambda / 10 after a gain and times 100 else                         -> adjust()
Differs: one camera for all views, with a measured depth where there is one; bundle_adjustment.py has lenses and no depth.
        The kernel bounds what moving things can do, whose features agree with no still landmark.
Role:   what follows a closed loop: a pose graph keeps only what pairs of keyframes say, this keeps every sighting.
Units:  metres, or the unit of the given poses; residuals in sigmas.
"""

from dataclasses import dataclass
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from firstsight.optimisation.bundle_adjustment import HELD, structured
from firstsight.optimisation.pnp import Kernel, Linearised, Measurements, linearise
from firstsight.optimisation.schur import LARGEST_BLOCK, LEAST_SCALE, Entries, Layout, eliminate_points, substitute_back
from firstsight.optimisation.sparse_cholesky.matrix import Matrix
from firstsight.optimisation.sparse_cholesky.solve import Factor, NotPositiveError
from firstsight.optimisation.sparse_cholesky.symbolic import Structure
from firstsight.optimisation.tangents import spatial_move

FIRST_DAMPING, LARGEST_DAMPING = 1e-5, 1e12


@dataclass(frozen=True, kw_only=True)
class Config:
    kernel: Kernel = Kernel.CAUCHY
    threshold: float = 2.0  # of the kernel, in sigmas
    max_iterations: int = 30
    relative_tolerance: float = 1e-5  # stops when a step gains less than this share of the cost


class Adjusted(NamedTuple):
    world_from_camera: Float64[np.ndarray, "cameras 4 4"]
    points_world: Float64[np.ndarray, "points 3"]
    cost: float
    iterations: int


class System(NamedTuple):
    """What does not change while iterating; `block` is each camera's, or HELD. Measurements are sorted by point."""

    measurements: Measurements
    intrinsics: Float64[np.ndarray, "3 3"]
    block: Int64[np.ndarray, " cameras"]
    entry: Int64[np.ndarray, " m"]
    entries: Entries
    layout: Layout
    structure: Structure | None


class Equations(NamedTuple):
    """B's diagonal blocks, E by entry, C, and the gradients."""

    by_block: Float64[np.ndarray, "blocks 6 6"]
    by_both: Float64[np.ndarray, "entries 3 6"]
    by_point: Float64[np.ndarray, "points 3 3"]
    gradient: Float64[np.ndarray, " unknowns"]
    point_gradient: Float64[np.ndarray, "points 3"]


def adjust(
    world_from_camera: Float64[np.ndarray, "cameras 4 4"],
    points_world: Float64[np.ndarray, "points 3"],
    measurements: Measurements,
    intrinsics: Float64[np.ndarray, "3 3"],
    fixed: Bool[np.ndarray, " cameras"],
    config: Config | None = None,
) -> Adjusted:
    """Least robust cost near the given poses and points; a camera measures a point at most once.

    Points must be seen by two cameras, or by one that measured their depth; every camera that is not fixed sees some.
    """
    config = config or Config()
    system = system_of(measurements, intrinsics, fixed, len(points_world))
    poses, points = np.array(world_from_camera, order="C"), points_world

    def linearised(poses: np.ndarray, points: np.ndarray) -> Linearised:
        return linearise(poses, points, system.measurements, intrinsics, config.kernel, config.threshold)

    current, damping, iteration = linearised(poses, points), FIRST_DAMPING, 0
    equations = normal_equations(system, current)
    while iteration < config.max_iterations and damping < LARGEST_DAMPING:
        iteration += 1
        step = damped_step(system, equations, damping)
        if step is None:
            damping *= 100
            continue
        trial_poses, trial_points = moved(poses, system, step[0]), points + step[1]
        trial = linearised(trial_poses, trial_points)
        if not trial.cost < current.cost:
            damping *= 100
            continue
        gain, before = current.cost - trial.cost, current.cost
        poses, points, current, damping = trial_poses, trial_points, trial, damping / 10
        if gain <= config.relative_tolerance * before:
            break
        equations = normal_equations(system, current)
    return Adjusted(poses, points, float(current.cost), iteration)


def system_of(
    measurements: Measurements,
    intrinsics: Float64[np.ndarray, "3 3"],
    fixed: Bool[np.ndarray, " cameras"],
    points: int,
) -> System:
    """Sorts the measurements by point and camera, and settles how the cameras' equations are solved."""
    order = np.lexsort((measurements.camera, measurements.point))
    ordered = Measurements(*(part[order] for part in measurements))
    block = np.where(fixed, HELD, np.cumsum(~fixed) - 1)
    free = block[ordered.camera] != HELD
    entry = np.where(free, np.cumsum(free) - 1, HELD)
    counts = np.bincount(ordered.point[free], minlength=points)
    entries = Entries(np.concatenate([[0], np.cumsum(counts)]), block[ordered.camera][free])
    size = np.full(int((~fixed).sum()), LARGEST_BLOCK)
    layout, _, structure = structured(entries, size, block, np.full(len(block), HELD))
    return System(ordered, intrinsics, block, entry, entries, layout, structure)


def normal_equations(system: System, linearised: Linearised) -> Equations:
    blocks, points = len(system.layout.size), len(system.entries.start) - 1
    equations = Equations(
        np.zeros((blocks, LARGEST_BLOCK, LARGEST_BLOCK)),
        np.empty((len(system.entries.block), 3, LARGEST_BLOCK)),
        np.zeros((points, 3, 3)),
        np.zeros(LARGEST_BLOCK * blocks),
        np.zeros((points, 3)),
    )
    block = system.block[system.measurements.camera]
    _accumulate(*linearised[:3], block, system.measurements.point, system.entry, system.layout.offset, equations)
    return equations


@njit(cache=True)
@no_type_check
def _accumulate(residual, by_camera, by_point, block, point, entry, offset, out):
    """(m, 3), (m, 3, 6), (m, 3, 3), (m,), (m,), (m,), (blocks,), Equations."""
    by_block, by_both, of_points, gradient, point_gradient = out
    for i in range(len(point)):
        p = point[i]
        for a in range(3):
            total = 0.0
            for r in range(3):
                total += by_point[i, r, a] * residual[i, r]
            point_gradient[p, a] += total
            for b in range(3):
                total = 0.0
                for r in range(3):
                    total += by_point[i, r, a] * by_point[i, r, b]
                of_points[p, a, b] += total
        if block[i] < 0:
            continue
        for a in range(6):
            total = 0.0
            for r in range(3):
                total += by_camera[i, r, a] * residual[i, r]
            gradient[offset[block[i]] + a] += total
            for b in range(6):
                total = 0.0
                for r in range(3):
                    total += by_camera[i, r, a] * by_camera[i, r, b]
                by_block[block[i], a, b] += total
            for b in range(3):
                total = 0.0
                for r in range(3):
                    total += by_camera[i, r, a] * by_point[i, r, b]
                by_both[entry[i], b, a] = total


def damped_step(
    system: System, equations: Equations, damping: float
) -> tuple[Float64[np.ndarray, " unknowns"], Float64[np.ndarray, "points 3"]] | None:
    """The cameras' and the points' step; None where the damped equations are not positive definite."""
    layout, entries, structure = system.layout, system.entries, system.structure
    values = np.zeros(structure.stored if structure else layout.width**2)
    _damped_blocks(values, equations.by_block, layout.start, layout.stride, damping)
    of_points = (equations.by_both, equations.by_point, equations.point_gradient)
    inverse, reduced = eliminate_points(values, equations.gradient, layout, entries, *of_points, damping)
    try:
        if structure:
            step = Factor(Matrix(structure, values)).solve(-reduced)
        else:
            lower = values.reshape(layout.width, layout.width).T  # the upper triangle, as LAPACK stores a lower one
            step = cho_solve(cho_factor(lower, lower=True, overwrite_a=True, check_finite=False), -reduced)
    except (LinAlgError, NotPositiveError):
        return None
    return step, substitute_back(step, layout, entries, equations.by_both, inverse, equations.point_gradient)


@njit(cache=True)
@no_type_check
def _damped_blocks(values, by_block, start, stride, damping):
    """Puts the upper triangles of the blocks, with their diagonals times 1 + damping, where they belong."""
    for block in range(len(by_block)):
        for r in range(6):
            at = start[block] + r * stride[block]
            for c in range(r, 6):
                values[at + c] = by_block[block, r, c]
            values[at + r] += damping * by_block[block, r, r] + LEAST_SCALE


def moved(
    poses: Float64[np.ndarray, "cameras 4 4"], system: System, step: Float64[np.ndarray, " unknowns"]
) -> Float64[np.ndarray, "cameras 4 4"]:
    """poses exp(xi) of the cameras that are not held."""
    out = poses.copy()
    _move(out, system.block, system.layout.offset, step)
    return out


@njit(cache=True)
@no_type_check
def _move(poses, block, offset, step):
    for camera in range(len(poses)):
        if block[camera] >= 0:
            at = offset[block[camera]]
            spatial_move(poses[camera], step[at : at + 6])
