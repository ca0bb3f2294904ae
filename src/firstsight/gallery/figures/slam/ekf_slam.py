"""What closing a loop does to a map, whether the filter knows how wrong it is, and what it costs.

Shows:  EKF-SLAM around a block: landmarks before and after the loop closes, its consistency and its cost
Slide:  Classical Mapping, Extended Kalman Filter
Reads:  odometry drifts, and so does the map on the way: ellipses (3 sigma) grow with the distance from the start. All
        landmarks share the robot's error, so one look at the first of them again corrects all at once. NEES, the
        squared error in sigmas, says whether the sigmas are true: its mean lies in the band while headings are known
        well, and leaves it where the linearisation breaks. Every scan changes the whole covariance: n^2.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from firstsight.gallery.drawing import Drawing, canvas
from firstsight.gallery.worlds.landmark_walk import Walk, closing_step, followed, travelled, walk
from firstsight.run_folder import Metric
from firstsight.slam.landmarks.consistency import nees, nees_band
from firstsight.slam.landmarks.ekf import (
    Config,
    EkfSlam,
    State,
    augment,
    expected,
    initial_state,
    predict,
    robot_error,
    update,
)

CONFIG = Config()
UNSURE_FACTOR = 10  # on the heading's noise: enough to break the linearisation
UNSURE = replace(
    CONFIG,
    turn_sigma_rad_per_sqrt_m=UNSURE_FACTOR * CONFIG.turn_sigma_rad_per_sqrt_m,
    turn_sigma_rad_per_sqrt_rad=UNSURE_FACTOR * CONFIG.turn_sigma_rad_per_sqrt_rad,
)
SEED, RUNS = 0, 50
MAP_SIZES, SCAN_SIZE, REPEATS = (10, 20, 50, 100, 200, 500, 1000), 4, 9
ONE_STEP = np.array([1.0, 0.0, 0.0])
SIGMAS, NEES_TICKS = 3, (1, 2, 3, 5, 10, 20)
TRUE, ODOMETRY = "#555555", "#e07b00"
ESTIMATE, BROKEN = "#1f4e9e", "#c0392b"


class Costs(NamedTuple):
    """The least time of several, for maps of these numbers of landmarks."""

    landmarks: Float64[np.ndarray, " sizes"]
    predict_ms: Float64[np.ndarray, " sizes"]
    update_ms: Float64[np.ndarray, " sizes"]


class Repeated(NamedTuple):
    """Many walks that differ by their noise: mean NEES after each step, and RMSE over all steps of all walks."""

    runs: int
    nees: Float64[np.ndarray, " steps"]
    slam_m: float
    odometry_m: float


class Experiment(NamedTuple):
    """One walk and the state after each of its steps, many walks with both noises, and times."""

    seen: Walk
    states: list[State]
    ids: Int64[np.ndarray, " landmarks"]
    closing: int
    sure: Repeated
    unsure: Repeated
    costs: Costs


def experiment(scale: float = 1.0) -> Experiment:
    runs, sizes = max(round(scale**2 * RUNS), 2), [size for size in MAP_SIZES if size <= scale * MAP_SIZES[-1]]
    seen, slam = walk(CONFIG, SEED), EkfSlam(CONFIG)
    states, closing = followed(seen, slam), closing_step(seen)
    sure, unsure = repeated(CONFIG, runs), repeated(UNSURE, runs)
    return Experiment(seen, states, slam.ids, closing, sure, unsure, measured_costs(sizes))


def repeated(config: Config, runs: int) -> Repeated:
    squared, slam, odometry = [], [], []
    for seed in range(runs):
        seen = walk(config, seed)
        states = followed(seen, EkfSlam(config))
        pairs = list(zip(states, seen.robots[1:], strict=True))
        squared.append([nees(robot_error(state, robot), state.robot_covariance) for state, robot in pairs])
        slam.append([state.robot[:2] - robot[:2] for state, robot in pairs])
        odometry.append((travelled(seen.motions) - seen.robots)[1:, :2])
    return Repeated(runs, np.mean(squared, axis=0), root_mean_square(slam), root_mean_square(odometry))


def root_mean_square(errors: list | np.ndarray) -> float:
    """Returns the root mean square of the lengths of vectors (..., 2)."""
    return float(np.sqrt((np.asarray(errors) ** 2).sum(-1).mean()))


def measured_costs(sizes: list[int]) -> Costs:
    """Measures a step of odometry, and a scan that sees few of many landmarks."""
    rows = []
    for size in sizes:
        state = surrounded(size)
        chosen = np.random.default_rng(size).choice(size, SCAN_SIZE, replace=False)
        scan = expected(state.robot, state.landmarks[chosen])
        predicting = fastest_ms(partial(predict, state, ONE_STEP, CONFIG))
        rows.append((size, predicting, fastest_ms(partial(update, state, scan, chosen, CONFIG))))
    return Costs(*np.array(rows, np.float64).T)


def surrounded(size: int) -> State:
    """A robot with that many landmarks around it."""
    state = predict(initial_state(), ONE_STEP, CONFIG)
    landmarks = np.random.default_rng(size).uniform(-50, 50, (size, 2))
    return augment(state, expected(state.robot, landmarks), CONFIG)


def fastest_ms(work: Callable[[], object]) -> float:
    """Others on the machine only add to a time, so the least of several is the nearest to the work's own."""
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return 1e3 * min(times)


def landmark_sigma_m(state: State) -> float:
    """The largest sigma in any direction, the mean over landmarks."""
    return float(np.sqrt(np.linalg.eigvalsh(state.landmark_covariances())[:, -1]).mean())


def numbers(found: Experiment) -> tuple[Metric, ...]:
    before, after, last = (found.states[step] for step in (found.closing - 1, found.closing, -1))
    sure, (low, high) = found.sure, nees_band(3, found.sure.runs)
    inside = 100 * float(((sure.nees > low) & (sure.nees < high)).mean())
    off_m = root_mean_square(last.landmarks - found.seen.landmarks[found.ids])
    position, each = f"position RMSE, {sure.runs} walks", f"mean over steps of {sure.runs} walks"
    band, size = f"95 % band {low:.2f} to {high:.2f}", f"{found.costs.landmarks[-1]:.0f} landmarks"
    scan, noise = f"{SCAN_SIZE} observations, {size}, least of {REPEATS}", f"heading noise x{UNSURE_FACTOR}"
    return (
        Metric(name="odometry alone", value=sure.odometry_m, unit="m", protocol=position),
        Metric(name="EKF-SLAM", value=sure.slam_m, unit="m", protocol=position),
        Metric(name="map", value=off_m, unit="m", protocol="landmark RMSE after the walk that is drawn"),
        Metric(name="before the loop closes", value=landmark_sigma_m(before), unit="m", protocol="mean landmark sigma"),
        Metric(
            name="after it", value=landmark_sigma_m(after), unit="m", protocol="mean landmark sigma, one step later"
        ),
        Metric(name="NEES", value=float(sure.nees.mean()), unit="", protocol=f"{each}; {band}"),
        Metric(name="NEES inside the band", value=inside, unit="%", protocol="share of steps; 95 expected"),
        Metric(name=f"NEES, {noise}", value=float(found.unsure.nees.mean()), unit="", protocol=f"{each}; {band}"),
        Metric(name="scan", value=float(found.costs.update_ms[-1]), unit="ms", protocol=scan),
    )


def ekf_slam(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(1300, "EKF-SLAM: a robot walks around a block and maps the landmarks that it passes")
    panels = figure.subplot_mosaic(
        [["before"] * 3 + ["after"] * 3, ["variance"] * 2 + ["nees"] * 2 + ["cost"] * 2], height_ratios=[1.35, 1]
    )
    draw_map(panels["before"], found, found.closing - 1)
    draw_map(panels["after"], found, found.closing)
    panels["before"].set_title(f"step {found.closing}: the last before the loop closes")
    panels["after"].set_title(f"step {found.closing + 1}: the first landmarks are seen again")
    panels["after"].sharex(panels["before"])
    panels["after"].sharey(panels["before"])
    handles, labels = panels["before"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    draw_variance(panels["variance"], found)
    draw_nees(panels["nees"], found)
    draw_cost(panels["cost"], found.costs)
    return Drawing(figure, numbers(found))


def draw_map(axes: Axes, found: Experiment, step: int) -> None:
    """All that is believed after a step, and the truth."""
    seen, state = found.seen, found.states[step]
    true, odometry = seen.robots[: step + 2], travelled(seen.motions[: step + 1])
    estimates = np.array([initial_state().robot] + [state.robot for state in found.states[: step + 1]])
    axes.plot(*true[:, :2].T, color=TRUE, lw=4, alpha=0.4, label="true path")
    axes.plot(*odometry[:, :2].T, color=ODOMETRY, ls="--", label="odometry alone")
    axes.plot(*estimates[:, :2].T, color=ESTIMATE, label="estimate when it was made")
    axes.plot(*seen.landmarks.T, "+", color="black", ms=9, mew=1.8, label="true landmark")
    axes.plot(*state.landmarks.T, ".", color=ESTIMATE, ms=4, label=f"estimated landmark, {SIGMAS} sigma")
    for mean, covariance in zip(state.landmarks, state.landmark_covariances(), strict=True):
        axes.add_patch(ellipse(mean, covariance, ec=ESTIMATE, fc=(*rgb(ESTIMATE), 0.12)))
    robot = ellipse(state.robot[:2], state.robot_covariance[:2, :2], ec=BROKEN, fc=(*rgb(BROKEN), 0.25), lw=1.5)
    axes.add_patch(robot)
    axes.plot(*state.robot[:2], "o", color=BROKEN, ms=5, label=f"robot, {SIGMAS} sigma")
    axes.set(aspect="equal", xlabel="x (m)", ylabel="y (m)")


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def ellipse(mean: Float64[np.ndarray, "2"], covariance: Float64[np.ndarray, "2 2"], **style: object) -> Ellipse:
    """Returns the curve on which a Gaussian's distance from its mean is `SIGMAS`."""
    variances, axes = np.linalg.eigh(covariance)
    height, width = 2 * SIGMAS * np.sqrt(variances)
    angle_deg = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    return Ellipse((float(mean[0]), float(mean[1])), width, height, angle=float(angle_deg), **style)


def draw_variance(axes: Axes, found: Experiment) -> None:
    """The trace of the covariance: of the robot's position, and of the map, for each landmark."""
    steps = np.arange(1, len(found.states) + 1)
    robot = [np.trace(state.robot_covariance[:2, :2]) for state in found.states]
    landmarks = [np.trace(state.map_covariance) / max(len(state.landmarks), 1) for state in found.states]
    axes.semilogy(steps, robot, color=BROKEN, label="robot's position")
    axes.semilogy(steps, landmarks, color=ESTIMATE, label="map, mean of its landmarks")
    mark_closing(axes, found)
    axes.set(title="trace of the covariance", xlabel="step", ylabel="m²")
    axes.legend(loc="lower center", fontsize=9)


def mark_closing(axes: Axes, found: Experiment) -> None:
    axes.axvline(found.closing + 1, color="black", ls=":", lw=1.2)


def draw_nees(axes: Axes, found: Experiment) -> None:
    """Mean NEES of the robot and the band in which a consistent filter stays."""
    runs = found.sure.runs
    steps, (low, high) = np.arange(1, len(found.states) + 1), nees_band(3, runs)
    axes.axhspan(low, high, color="#1f9e45", alpha=0.25, label="95 % band")
    axes.semilogy(steps, found.sure.nees, color=ESTIMATE, label="noise as in the maps")
    axes.semilogy(steps, found.unsure.nees, color=BROKEN, label=f"heading noise {UNSURE_FACTOR} times as large")
    mark_closing(axes, found)
    axes.set(title=f"NEES of (x, y, heading), mean of {runs} walks", xlabel="step", yticks=NEES_TICKS)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.legend(loc="upper left", fontsize=9)


def draw_cost(axes: Axes, costs: Costs) -> None:
    """Times and a line of n^2 through the last of them."""
    n, update_ms = costs.landmarks, costs.update_ms
    axes.loglog(n, update_ms, "o-", color=ESTIMATE, label=f"scan of {SCAN_SIZE} landmarks")
    axes.loglog(n, costs.predict_ms, "o-", color=ODOMETRY, label="step of odometry")
    axes.loglog(n, update_ms[-1] * (n / n[-1]) ** 2, color=TRUE, ls="--", label="n²")
    axes.set(title="time of one update", xlabel="landmarks in the map", ylabel="ms", ylim=(0.01, None))
    axes.legend(loc="upper left", fontsize=9)
