"""Bundle adjustment: the cameras, lenses and points that agree best with where the points were seen.

Paper:  Triggs, McLauchlan, Hartley, Fitzgibbon. Bundle Adjustment - A Modern Synthesis. 1999;
        Agarwal, Snavely, Seitz, Szeliski. Bundle Adjustment in the Large. ECCV 2010.
Idea:   minimise F = sum over sightings of rho(|pi(K_l, T_i, X_j) - x_ij|^2)          bundle/camera_model.py, problem.py
        by Levenberg-Marquardt with Nielsen's rule for lambda                        least_squares.py -> adjust()
Differs: the unknowns of a lens form a block of their own, for any number of cameras may share it. The focal lengths move
        by a common factor e^s; the principal point stays. Where a point lies behind a camera that saw it, it is charged
        BEHIND and pulls at nothing, so no step gains by pushing points behind.
Units:  pixels; translations and points in the reconstruction's own unit.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from firstsight.errors import InputError
from firstsight.optimisation.bundle import camera_model
from firstsight.optimisation.bundle.camera_model import Measurements, as_lenses, as_rows
from firstsight.optimisation.bundle.equations import State
from firstsight.optimisation.bundle.problem import BundleProblem, Free, bundle_problem
from firstsight.optimisation.least_squares import Damped, Stopping, minimise
from firstsight.optimisation.robust_kernels import Kernel
from firstsight.roles.reconstruction import Observations, Reconstruction

# root mean square error that counts as none
NEGLIGIBLE_PX = 1e-10
LENS_UNKNOWNS = {"fixed": 0, "focal": 1, "radial": 3}


@dataclass(frozen=True, kw_only=True)
class Config:
    kernel: Kernel = Kernel.HUBER
    # of the kernel
    threshold_px: float = 2.0
    # what is refined: nothing; focal length; that, k1 and k2
    lens: Literal["fixed", "focal", "radial"] = "fixed"
    max_iterations: int = 100
    # stops when a step gains less than this share of the cost
    relative_tolerance: float = 1e-6
    # lambda
    first_damping: float = 1e-4


class Adjusted(NamedTuple):
    """`cost` is F over the sightings that took part, in square pixels; `iterations` counts steps tried."""

    reconstruction: Reconstruction
    cost: float
    iterations: int
    converged: bool


class Chosen(NamedTuple):
    """The problem, where it starts, and the points that take part, as numbered in the reconstruction."""

    problem: BundleProblem
    start: State
    points: Int64[np.ndarray, " chosen"]


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
    chosen = problem_of(reconstruction, config, fixed)
    stopping = Stopping(
        max_iterations=config.max_iterations,
        relative=config.relative_tolerance,
        negligible=NEGLIGIBLE_PX**2 * max(len(chosen.problem.sightings.point), 1),
    )
    found = minimise(chosen.problem, chosen.start, Damped(config.first_damping), stopping)
    points = reconstruction.points_world.copy()
    points[chosen.points] = found.state.points
    adjusted = reconstruction._replace(
        world_from_camera=found.state.world_from_camera,
        lenses=as_lenses(found.state.lenses, reconstruction.lenses),
        points_world=points,
    )
    return Adjusted(adjusted, found.cost, found.iterations, found.converged)


def residuals(reconstruction: Reconstruction) -> Float64[np.ndarray, "seen 2"]:
    """Where each point should be seen less where it was, px; infinite where it lies behind the camera."""
    seen = measurements_of(reconstruction.observations)
    lenses = as_rows(reconstruction.lenses)
    off = camera_model.residuals(
        reconstruction.world_from_camera, reconstruction.points_world, seen, reconstruction.lens, lenses
    )
    return np.ascontiguousarray(off[:, :2])


def measurements_of(observations: Observations) -> Measurements:
    """Pixels with a precision of 1, without depth."""
    depth = np.zeros(len(observations.point))
    measured = np.column_stack([observations.pixels, depth])
    return Measurements(observations.camera, observations.point, measured, np.tile([1.0, 1.0, 0.0], (len(depth), 1)))


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
            raise InputError(f"bundle adjustment: {what} {first} names number {index[first]} of {count} {of}; fix it")
    for what, values in (
        ("camera", reconstruction.world_from_camera),
        ("lens", lenses.intrinsics),
        ("lens", lenses.radial),
        ("point", reconstruction.points_world),
        ("observation", seen.pixels),
    ):
        wrong = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if wrong.any():
            raise InputError(f"bundle adjustment: {what} {int(wrong.argmax())} is not finite; fix or remove it")
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


def problem_of(reconstruction: Reconstruction, config: Config, fixed: Bool[np.ndarray, " cameras"]) -> Chosen:
    """Chooses what takes part: what free cameras see, and what was seen through lenses that are refined."""
    seen, lens = reconstruction.observations, reconstruction.lens
    refined = np.zeros(len(reconstruction.lenses.size), bool)
    refined[lens[~fixed]] = LENS_UNKNOWNS[config.lens] > 0
    plays = np.zeros(len(reconstruction.points_world), bool)
    plays[seen.point[(~fixed | refined[lens])[seen.camera]]] = True
    chosen, place = np.flatnonzero(plays), np.cumsum(plays) - 1
    rows = np.flatnonzero(plays[seen.point])
    rows = rows[np.argsort(seen.point[rows], kind="stable")]
    measurements = measurements_of(Observations(seen.camera[rows], place[seen.point[rows]], seen.pixels[rows]))
    free = Free(~fixed, refined, LENS_UNKNOWNS[config.lens], len(chosen))
    problem = bundle_problem(measurements, lens, free, (int(config.kernel), float(config.threshold_px)))
    poses = np.array(reconstruction.world_from_camera, order="C")
    return Chosen(problem, State(poses, as_rows(reconstruction.lenses), reconstruction.points_world[chosen]), chosen)
