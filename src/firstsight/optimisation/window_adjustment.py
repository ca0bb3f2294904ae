"""Bundle adjustment over keyframes of one camera: poses and points that agree best with pixels and measured depths.

Paper:  Triggs, McLauchlan, Hartley, Fitzgibbon. Bundle Adjustment - A Modern Synthesis. 1999, sections 4 and 6.1.
Idea:   residuals (x, y, inverse depth) in sigmas under a robust kernel, motions that tie cameras      bundle/equations.py
        Levenberg-Marquardt with the points eliminated                          least_squares.py, bundle/problem.py
Differs: the window slides without a marginal prior. Instead its oldest cameras are held fixed where they were last
        estimated, which also fixes the gauge; for one camera without depth two fixed cameras fix the scale as well.
        A prior would carry more, but is inconsistent after relinearisation and couples every point it touched.
Units:  points and translations in the recording's unit (metres, or the unit of the monocular start), residuals in sigmas.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from firstsight.optimisation.bundle import camera_model
from firstsight.optimisation.bundle.camera_model import Measurements, straight_lens
from firstsight.optimisation.bundle.equations import NO_TIES, State, Ties
from firstsight.optimisation.bundle.problem import BundleProblem, Free, bundle_problem
from firstsight.optimisation.least_squares import Damped, Stopping, minimise
from firstsight.optimisation.robust_kernels import Kernel

FIRST_DAMPING = 1e-5


@dataclass(frozen=True, kw_only=True)
class Config:
    kernel: Kernel = Kernel.HUBER
    # of the kernel, in sigmas
    threshold: float = 2.0
    max_iterations: int = 10
    # stops when a step gains less than this share of the cost
    relative_tolerance: float = 1e-4


class Window(NamedTuple):
    """Cameras, points, the measurements that join them, and ties between cameras."""

    world_from_camera: Float64[np.ndarray, "cameras 4 4"]
    points_world: Float64[np.ndarray, "points 3"]
    measurements: Measurements
    intrinsics: Float64[np.ndarray, "3 3"]
    fixed: Bool[np.ndarray, " cameras"]
    ties: Ties = NO_TIES


class Adjusted(NamedTuple):
    """`iterations` counts steps tried."""

    world_from_camera: Float64[np.ndarray, "cameras 4 4"]
    points_world: Float64[np.ndarray, "points 3"]
    cost: float
    iterations: int


def adjust(window: Window, config: Config | None = None) -> Adjusted:
    """Least robust cost near the given window.

    Points must be seen often enough to be determined: by two cameras, or by one that measured depth. Cameras that are not
    fixed must see some.
    """
    config = config or Config()
    problem, start = problem_of(window, config)
    stopping = Stopping(max_iterations=config.max_iterations, relative=config.relative_tolerance)
    found = minimise(problem, start, Damped(FIRST_DAMPING), stopping)
    return Adjusted(found.state.world_from_camera, found.state.points, found.cost, found.iterations)


def problem_of(window: Window, config: Config) -> tuple[BundleProblem, State]:
    """Cameras that are not fixed and all points are free."""
    cameras = len(window.fixed)
    free = Free(~window.fixed, np.zeros(1, bool), 0, len(window.points_world))
    robust = int(config.kernel), float(config.threshold)
    problem = bundle_problem(window.measurements, np.zeros(cameras, np.int64), free, robust, window.ties)
    poses = np.array(window.world_from_camera, order="C")
    return problem, State(poses, straight_lens(window.intrinsics), window.points_world)


def residuals(window: Window) -> Float64[np.ndarray, "m 3"]:
    """What should be measured less what was, in sigmas; infinite where a point lies behind the camera that measured it."""
    lens, row = np.zeros(len(window.fixed), np.int64), straight_lens(window.intrinsics)
    return camera_model.residuals(window.world_from_camera, window.points_world, window.measurements, lens, row)
