"""Bundle adjustment: the cameras, lenses and points that agree best with where the points were seen.

Paper:  Triggs, McLauchlan, Hartley, Fitzgibbon. Bundle Adjustment - A Modern Synthesis. 1999;
        Agarwal, Snavely, Seitz, Szeliski. Bundle Adjustment in the Large. ECCV 2010;
        Nielsen. Damping Parameter in Marquardt's Method. 1999 (the rule for lambda).
Idea:   minimise F = sum over sightings of rho(|pi(K_l, T_i, X_j) - x_ij|^2)                        camera_model.py
        weights w = drho/ds (iteratively reweighted), J = [J_c J_p]:
        B = sum w J_c' J_c,  E = sum w J_c' J_p,  C = sum w J_p' J_p,  g = sum w J' r            -> linearise()
        (J'WJ + lambda D) delta = -g, D its diagonal; the points are eliminated                  -> optimisation/schur.py
        gain ratio rho = (F - F(delta)) / (lambda delta' D delta - g' delta);
        after a gain lambda *= max(1/3, 1 - (2 rho - 1)^3), else lambda *= 2, 4, 8, ...          -> adjust()
        the cameras' equations are solved full, or sparse where few cameras share points         -> structured()
Differs: the unknowns of a lens form a block of their own, for any number of cameras may share it. The focal lengths move
        by a common factor e^s; the principal point stays. Where a point lies behind a camera that saw it, it is charged
        BEHIND_PX and pulls at nothing, so no step gains by pushing points behind.
Units:  pixels; translations and points in the reconstruction's own unit.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from firstsight.errors import InputError
from firstsight.optimisation.camera_model import as_lenses, as_rows, derivatives, project
from firstsight.optimisation.pnp import Kernel, robust
from firstsight.optimisation.schur import (
    HELD,
    LARGEST_BLOCK,
    LEAST_SCALE,
    Entries,
    Layout,
    eliminate_points,
    entries_of,
    full_layout,
    substitute_back,
)
from firstsight.optimisation.sparse_cholesky.matrix import Matrix
from firstsight.optimisation.sparse_cholesky.solve import Factor, NotPositiveError
from firstsight.optimisation.sparse_cholesky.symbolic import Structure, analyse, fill
from firstsight.optimisation.tangents import spatial_move
from firstsight.roles.reconstruction import Reconstruction

BEHIND_PX = 1e3
SMALL_SYSTEM = 400  # unknowns, up to which the cameras' equations are always solved full
SPARSE_SHARE = 0.5  # of the full triangle, up to which the sparse factor pays
LEAST_PX = 1e-10  # root mean square error that counts as none
LEAST_DAMPING, LARGEST_DAMPING = 1e-12, 1e16  # with less, a free gauge or a point seen once is lost to rounding
LENS_UNKNOWNS = {"fixed": 0, "focal": 1, "radial": 3}


@dataclass(frozen=True, kw_only=True)
class Config:
    kernel: Kernel = Kernel.HUBER
    threshold_px: float = 2.0  # of the kernel
    lens: Literal["fixed", "focal", "radial"] = "fixed"  # what is refined: nothing; focal length; that, k1 and k2
    max_iterations: int = 100
    relative_tolerance: float = 1e-6  # stops when a step gains less than this share of the cost
    first_damping: float = 1e-4  # lambda


class Adjusted(NamedTuple):
    """`cost` is F over the sightings that took part, in square pixels; `iterations` counts steps tried."""

    reconstruction: Reconstruction
    cost: float
    iterations: int
    converged: bool


class State(NamedTuple):
    """What is solved for; lenses as rows of `camera_model`, points only those that take part."""

    world_from_camera: Float64[np.ndarray, "cameras 4 4"]
    lenses: Float64[np.ndarray, "lenses 6"]
    points: Float64[np.ndarray, "points 3"]


class Sightings(NamedTuple):
    """The observations that take part, ordered by point; `pose_entry` and `lens_entry` are HELD or their entries."""

    camera: Int64[np.ndarray, " seen"]
    lens: Int64[np.ndarray, " seen"]
    point: Int64[np.ndarray, " seen"]
    pixels: Float64[np.ndarray, "seen 2"]
    pose_entry: Int64[np.ndarray, " seen"]
    lens_entry: Int64[np.ndarray, " seen"]


class Joint(NamedTuple):
    """Where the blocks of free cameras with their refined lenses lie in S; `of_camera` is each camera's, or HELD."""

    of_camera: Int64[np.ndarray, " cameras"]
    start: Int64[np.ndarray, " joint"]
    stride: Int64[np.ndarray, " joint"]
    swapped: Bool[np.ndarray, " joint"]


class Problem(NamedTuple):
    """What does not change while iterating. `chosen` are the points that take part, as numbered in the reconstruction.

    Blocks are free cameras, then refined lenses; `camera_block` and `lens_block` are theirs, or HELD.
    `structure` is None where the cameras' equations are solved full.
    """

    sightings: Sightings
    chosen: Int64[np.ndarray, " points"]
    camera_block: Int64[np.ndarray, " cameras"]
    lens_block: Int64[np.ndarray, " lenses"]
    entries: Entries
    layout: Layout
    joint: Joint
    structure: Structure | None
    kernel: Kernel
    threshold_px: float

    @property
    def unknowns(self) -> int:
        return int(self.layout.size.sum())


class Equations(NamedTuple):
    """B as the blocks on its diagonal and those of cameras with their lenses; E, C and g."""

    by_block: Float64[np.ndarray, "blocks 6 6"]
    by_joint: Float64[np.ndarray, "joint 6 6"]
    by_both: Float64[np.ndarray, "entries 3 6"]
    by_point: Float64[np.ndarray, "points 3 3"]
    gradient: Float64[np.ndarray, " unknowns"]
    point_gradient: Float64[np.ndarray, "points 3"]


class Step(NamedTuple):
    """`predicted` is the gain in cost that the linearised equations promise."""

    blocks: Float64[np.ndarray, " unknowns"]
    points: Float64[np.ndarray, "points 3"]
    predicted: float


def adjust(
    reconstruction: Reconstruction, config: Config | None = None, fixed: Bool[np.ndarray, " cameras"] | None = None
) -> Adjusted:
    """The nearest optimum over cameras that are not `fixed`, the points they see, and lenses they share if so configured.

    Points seen by fixed cameras alone stay, unless they were seen through a lens that is refined: for a local adjustment
    fix the cameras around and leave the lenses fixed. With less than two fixed cameras nothing measures the scale, with
    none nor place and orientation: what is returned is then one of the equally good answers near the given one, and is
    to be compared after a similarity. Raises InputError for input that cannot be adjusted.
    """
    config = config or Config()
    fixed = np.zeros(len(reconstruction.names), bool) if fixed is None else fixed
    check(reconstruction, fixed)
    problem, state = problem_of(reconstruction, config, fixed)
    equations, cost = empty_equations(problem), cost_of(problem, state)
    none_left = LEAST_PX**2 * max(len(problem.sightings.point), 1)
    damping, growth, linear, converged, iteration = config.first_damping, 2.0, False, cost <= none_left, 0
    while iteration < config.max_iterations and not converged and damping < LARGEST_DAMPING:
        iteration += 1
        if not linear:
            linearise(problem, state, equations)
            linear = True
        step = damped_step(problem, equations, damping)
        trial = moved(problem, state, step) if step else state
        now = cost_of(problem, trial) if step else np.inf
        if not step or not now < cost:
            converged = step is not None and max(step.predicted, now - cost) <= config.relative_tolerance * cost
            damping, growth = damping * growth, growth * 2
            continue
        gain = cost - now
        converged = gain <= config.relative_tolerance * cost or now <= none_left
        state, cost, linear = trial, now, False
        damping *= max(1 / 3, 1 - (2 * gain / step.predicted - 1) ** 3)
        damping, growth = max(damping, LEAST_DAMPING), 2.0
    return Adjusted(_with_state(reconstruction, problem, state), cost, iteration, converged)


def residuals(reconstruction: Reconstruction) -> Float64[np.ndarray, "seen 2"]:
    """Where each point should be seen less where it was, px; infinite where it lies behind the camera."""
    seen, out = reconstruction.observations, np.empty(reconstruction.observations.pixels.shape)
    lens, rows = reconstruction.lens[seen.camera], as_rows(reconstruction.lenses)
    _residuals(reconstruction.world_from_camera, rows, reconstruction.points_world, *seen[:2], lens, seen.pixels, out)
    return out


def check(reconstruction: Reconstruction, fixed: Bool[np.ndarray, " cameras"]) -> None:
    """Raises InputError for numbers that are not finite, indices of what is not there, and cameras without sightings."""
    seen, lenses = reconstruction.observations, reconstruction.lenses
    for what, index, count, of in (
        ("observation", seen.camera, len(reconstruction.names), "cameras"),
        ("observation", seen.point, len(reconstruction.points_world), "points"),
        ("camera", reconstruction.lens, len(lenses.size), "lenses"),
    ):
        wrong = (index < 0) | (index >= count)
        if wrong.any():
            first = int(wrong.argmax())
            raise InputError(f"bundle adjustment: {what} {first} names number {index[first]} of {count} {of}; mend it")
    for what, values in (
        ("camera", reconstruction.world_from_camera),
        ("lens", lenses.intrinsics),
        ("lens", lenses.radial),
        ("point", reconstruction.points_world),
        ("observation", seen.pixels),
    ):
        wrong = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if wrong.any():
            raise InputError(f"bundle adjustment: {what} {int(wrong.argmax())} is not finite; mend or remove it")
    focal = lenses.intrinsics[:, [0, 1], [0, 1]]
    if (focal <= 0).any():
        lens = int((focal <= 0).any(1).argmax())
        raise InputError(
            f"bundle adjustment: lens {lens} has a focal length of {focal[lens].min():g}; it must exceed 0"
        )
    unseen = (np.bincount(seen.camera, minlength=len(fixed)) == 0) & ~fixed
    if unseen.any():
        name = reconstruction.names[int(unseen.argmax())]
        raise InputError(f"bundle adjustment: camera {name} sees no point; fix or remove it")


def problem_of(
    reconstruction: Reconstruction, config: Config, fixed: Bool[np.ndarray, " cameras"]
) -> tuple[Problem, State]:
    """Chooses what takes part, numbers blocks and entries, and settles how the cameras' equations are solved."""
    seen, lens_size = reconstruction.observations, LENS_UNKNOWNS[config.lens]
    cameras, lenses = int((~fixed).sum()), len(reconstruction.lenses.size)
    refined = np.zeros(lenses, bool)
    refined[reconstruction.lens[~fixed]] = lens_size > 0
    camera_block = np.where(fixed, HELD, np.cumsum(~fixed) - 1)
    lens_block = np.where(refined, cameras + np.cumsum(refined) - 1, HELD)

    plays = np.zeros(len(reconstruction.points_world), bool)
    plays[seen.point[(~fixed | refined[reconstruction.lens])[seen.camera]]] = True
    chosen, place = np.flatnonzero(plays), np.cumsum(plays) - 1
    rows = np.flatnonzero(plays[seen.point])
    rows = rows[np.argsort(seen.point[rows], kind="stable")]
    camera, point = seen.camera[rows], place[seen.point[rows]]
    lens = reconstruction.lens[camera]

    size = np.concatenate([np.full(cameras, 6), np.full(int(refined.sum()), lens_size)]).astype(np.int64)
    blocks = np.concatenate([camera_block[camera], lens_block[lens]])
    entries, entry = entries_of(np.concatenate([point, point]), blocks, len(size), len(chosen))
    sightings = Sightings(camera, lens, point, seen.pixels[rows], entry[: len(point)], entry[len(point) :])
    layout, joint, structure = structured(entries, size, camera_block, lens_block[reconstruction.lens])
    problem = Problem(
        sightings, chosen, camera_block, lens_block, entries, layout, joint, structure, config.kernel,
        float(config.threshold_px),
    )  # fmt: skip
    poses = np.array(reconstruction.world_from_camera, order="C")
    return problem, State(poses, as_rows(reconstruction.lenses), reconstruction.points_world[chosen])


def structured(
    entries: Entries,
    size: Int64[np.ndarray, " blocks"],
    camera_block: Int64[np.ndarray, " cameras"],
    lens_block_of_camera: Int64[np.ndarray, " cameras"],
    small_system: int = SMALL_SYSTEM,
) -> tuple[Layout, Joint, Structure | None]:
    """The layout of the cameras' equations: full where they are few or most share points, else sparse."""
    both = (camera_block != HELD) & (lens_block_of_camera != HELD)
    of_camera = np.where(both, np.cumsum(both) - 1, HELD)
    first, second = camera_block[both], lens_block_of_camera[both]
    structure = None
    if size.sum() > small_system:
        slots = np.diff(entries.start)
        pair = np.empty(int((slots * (slots - 1) // 2).sum()), np.int64)
        pairs = _pairs(*entries, len(size), np.argsort(entries.block, kind="stable"), pair)
        structure = analyse(np.concatenate([pairs, np.stack([first, second], 1)]), size)
        if small_system > 0 and fill(structure) > SPARSE_SHARE * size.sum() ** 2 / 2:
            structure = None
    if structure is None:
        layout = full_layout(size)
        start, stride = layout.offset[first] * layout.width + layout.offset[second], np.full(len(first), layout.width)
        return layout, Joint(of_camera, start, stride, np.zeros(len(first), bool)), None
    places, count = structure.places, len(pairs)
    of_pairs = (places.pair, places.pair_stride, places.swapped.astype(bool))
    layout = Layout(size, structure.offset, *places[:2], 0, pair, *(values[:count] for values in of_pairs))
    return layout, Joint(of_camera, *(values[count:] for values in of_pairs)), structure


def empty_equations(problem: Problem) -> Equations:
    blocks, points = len(problem.layout.size), len(problem.chosen)
    square = (LARGEST_BLOCK, LARGEST_BLOCK)
    return Equations(
        np.empty((blocks, *square)),
        np.empty((len(problem.joint.start), *square)),
        np.empty((len(problem.entries.block), 3, LARGEST_BLOCK)),
        np.empty((points, 3, 3)),
        np.empty(problem.unknowns),
        np.empty((points, 3)),
    )


def linearise(problem: Problem, state: State, equations: Equations) -> float:
    """Fills in the equations; returns F."""
    for array in equations:
        array[...] = 0
    layout = problem.layout
    cost = _linearise(
        state, problem.sightings, problem.camera_block, problem.lens_block, problem.joint.of_camera, layout.size, layout.offset,
        equations, int(problem.kernel), problem.threshold_px,
    )  # fmt: skip
    return float(cost)


def damped_step(problem: Problem, equations: Equations, damping: float) -> Step | None:
    """The step for this lambda; None where the damped equations are not positive definite."""
    layout, entries, structure = problem.layout, problem.entries, problem.structure
    values, scale = np.zeros(structure.stored if structure else layout.width**2), np.empty(problem.unknowns)
    _assemble(values, scale, layout, problem.joint, equations.by_block, equations.by_joint, damping)
    of_points = (equations.by_both, equations.by_point, equations.point_gradient)
    inverse, reduced = eliminate_points(values, equations.gradient, layout, entries, *of_points, damping)
    try:
        if structure:
            blocks = Factor(Matrix(structure, values)).solve(-reduced)
        else:
            lower = values.reshape(layout.width, layout.width).T  # the upper triangle, as LAPACK stores a lower one
            blocks = cho_solve(cho_factor(lower, lower=True, overwrite_a=True, check_finite=False), -reduced)
    except (LinAlgError, NotPositiveError):
        return None
    points = substitute_back(blocks, layout, entries, equations.by_both, inverse, equations.point_gradient)
    diagonal = np.einsum("pkk->pk", equations.by_point) + LEAST_SCALE / max(damping, LEAST_SCALE)
    predicted = damping * (blocks @ (scale * blocks) + (diagonal * points * points).sum())
    predicted -= equations.gradient @ blocks + (equations.point_gradient * points).sum()
    return Step(blocks, points, float(predicted))


def moved(problem: Problem, state: State, step: Step) -> State:
    """A new state."""
    poses, lenses = state.world_from_camera.copy(), state.lenses.copy()
    layout = problem.layout
    _move(poses, lenses, problem.camera_block, problem.lens_block, layout.size, layout.offset, step.blocks)
    return State(poses, lenses, state.points + step.points)


def cost_of(problem: Problem, state: State) -> float:
    return float(_cost(state, problem.sightings, int(problem.kernel), problem.threshold_px))


def _with_state(reconstruction: Reconstruction, problem: Problem, state: State) -> Reconstruction:
    points = reconstruction.points_world.copy()
    points[problem.chosen] = state.points
    lenses = as_lenses(state.lenses, reconstruction.lenses)
    return reconstruction._replace(world_from_camera=state.world_from_camera, lenses=lenses, points_world=points)


@njit(cache=True)
@no_type_check
def _pairs(start, block, blocks, by_block, pair):
    """(pairs, 2) of blocks a < b that share a point; fills in `pair` (slots), as of schur.Layout.

    `by_block` are the entries in the order of their blocks.
    """
    point, slot = np.empty(len(block), np.int64), np.empty(len(block), np.int64)  # slot: of entry i with i + 1
    count = 0
    for p in range(len(start) - 1):
        for i in range(start[p], start[p + 1]):
            point[i], slot[i] = p, count
            count += start[p + 1] - i - 1
    first, second = np.empty(1024, np.int64), np.empty(1024, np.int64)
    mark, known, count = np.full(blocks, -1), np.empty(blocks, np.int64), 0
    for i in by_block:
        a = block[i]
        for j in range(i + 1, start[point[i] + 1]):
            b = block[j]
            if mark[b] != a:
                if count == len(first):
                    first, second = _doubled(first), _doubled(second)
                mark[b], known[b], first[count], second[count] = a, count, a, b
                count += 1
            pair[slot[i] + j - i - 1] = known[b]
    pairs = np.empty((count, 2), np.int64)
    for k in range(count):
        pairs[k, 0], pairs[k, 1] = first[k], second[k]
    return pairs


@njit(cache=True)
@no_type_check
def _doubled(values):
    out = np.empty(2 * len(values), np.int64)
    for k in range(len(values)):
        out[k] = values[k]
    return out


@njit(cache=True)
@no_type_check
def _residual(state, sightings, i, p, pixel):
    """Fills in p (3,), in the camera's frame, and pixel (2,), the residual of sighting i; False behind the camera."""
    poses, lenses, points = state
    seen = project(poses, sightings[0][i], lenses, sightings[1][i], points, sightings[2][i], p, pixel)
    pixel[0] -= sightings[3][i, 0]
    pixel[1] -= sightings[3][i, 1]
    return seen


@njit(cache=True)
@no_type_check
def _residuals(poses, lenses, points, camera, point, lens, pixels, out):
    p, pixel = np.empty(3), np.empty(2)
    for i in range(len(camera)):
        seen = project(poses, camera[i], lenses, lens[i], points, point[i], p, pixel)
        for k in range(2):
            out[i, k] = pixel[k] - pixels[i, k] if seen else np.inf


@njit(cache=True)
@no_type_check
def _cost(state, sightings, kernel, threshold):
    p, pixel, total = np.empty(3), np.empty(2), 0.0
    for i in range(len(sightings[0])):
        squared = BEHIND_PX * BEHIND_PX
        if _residual(state, sightings, i, p, pixel):
            squared = pixel[0] * pixel[0] + pixel[1] * pixel[1]
        total += robust(squared, kernel, threshold)[0]
    return total


@njit(cache=True)
@no_type_check
def _add_product(out, i, left, rows, right, columns, w):
    """out[i] += w left' right of (2, rows) and (2, columns)."""
    for r in range(rows):
        a, b = w * left[0, r], w * left[1, r]
        for c in range(columns):
            out[i, r, c] += a * right[0, c] + b * right[1, c]


@njit(cache=True)
@no_type_check
def _linearise(state, sightings, camera_block, lens_block, joint_of_camera, size, offset, equations, kernel, threshold):
    camera, lens, point, _, pose_entry, lens_entry = sightings
    by_block, by_joint, by_both, by_point, gradient, point_gradient = equations
    p, r, total = np.empty(3), np.empty(2), 0.0
    j_pose, j_lens, j_point = np.empty((2, 6)), np.empty((2, 3)), np.empty((2, 3))
    for i in range(len(camera)):
        if not _residual(state, sightings, i, p, r):
            total += robust(BEHIND_PX * BEHIND_PX, kernel, threshold)[0]
            continue
        rho, w = robust(r[0] * r[0] + r[1] * r[1], kernel, threshold)
        total += rho
        derivatives(state[0], camera[i], state[1], lens[i], p, j_pose, j_lens, j_point)
        _add_product(by_point, point[i], j_point, 3, j_point, 3, w)
        for k in range(3):
            point_gradient[point[i], k] += w * (j_point[0, k] * r[0] + j_point[1, k] * r[1])
        a, b = camera_block[camera[i]], lens_block[lens[i]]
        if a >= 0:
            _add_product(by_block, a, j_pose, 6, j_pose, 6, w)
            _add_product(by_both, pose_entry[i], j_point, 3, j_pose, 6, w)
            for k in range(6):
                gradient[offset[a] + k] += w * (j_pose[0, k] * r[0] + j_pose[1, k] * r[1])
        if b >= 0:
            _add_product(by_block, b, j_lens, size[b], j_lens, size[b], w)
            _add_product(by_both, lens_entry[i], j_point, 3, j_lens, size[b], w)
            for k in range(size[b]):
                gradient[offset[b] + k] += w * (j_lens[0, k] * r[0] + j_lens[1, k] * r[1])
        if a >= 0 and b >= 0:
            _add_product(by_joint, joint_of_camera[camera[i]], j_pose, 6, j_lens, size[b], w)
    return total


@njit(cache=True)
@no_type_check
def _assemble(values, scale, layout, joint, by_block, by_joint, damping):
    """values = B + damping D, scale (unknowns,) = D."""
    size, offset, start, stride = layout[0], layout[1], layout[2], layout[3]
    for b in range(len(size)):
        for r in range(size[b]):
            for c in range(size[b]):
                values[start[b] + r * stride[b] + c] += by_block[b, r, c]
            scale[offset[b] + r] = by_block[b, r, r] + LEAST_SCALE
            values[start[b] + r * (stride[b] + 1)] += damping * scale[offset[b] + r]
    _, joint_start, joint_stride, swapped = joint
    for k in range(len(joint_start)):
        for r in range(6):
            for c in range(size[-1]):  # all lenses have as many unknowns, and come last
                across, down = (r, c) if swapped[k] else (c, r)
                values[joint_start[k] + down * joint_stride[k] + across] += by_joint[k, r, c]


@njit(cache=True)
@no_type_check
def _move(poses, lenses, camera_block, lens_block, size, offset, step):
    """In place."""
    for c in range(len(poses)):
        if camera_block[c] >= 0:
            at = offset[camera_block[c]]
            spatial_move(poses[c], step[at : at + 6])
    for n in range(len(lenses)):
        if lens_block[n] >= 0:
            at = offset[lens_block[n]]
            lenses[n, 0] *= np.exp(step[at])
            lenses[n, 1] *= np.exp(step[at])
            for k in range(1, size[lens_block[n]]):
                lenses[n, 3 + k] += step[at + k]
