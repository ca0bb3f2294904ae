"""What a scan costs a filter and a graph while the map grows, and how well both know the map.

Shows:  EKF-SLAM's time per scan against GraphSLAM's on the same walk, and the errors of both
Slide:  Classical Mapping, Extended Kalman Filter and GraphSLAM
Reads:  the filter changes its whole covariance at each scan: its time grows with the square of the map, once that is
        large. The graph solves for the whole path anew, which grows with its length, and needs more iterations where a
        loop closes; solved after every scan it costs more than the filter up to maps of many thousands, but it need not
        be solved after every scan, and keeps no covariance. It corrects the past, and linearises it anew: its map is the
        better one where headings are unsure.
"""

from collections.abc import Callable
from functools import partial
from time import thread_time
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes

from firstsight.gallery.drawing import Drawing, canvas
from firstsight.gallery.figures.slam.ekf_slam import SCAN_SIZE, root_mean_square, surrounded
from firstsight.gallery.worlds.landmark_walk import Walk, travelled, walk
from firstsight.run_folder import Metric
from firstsight.slam.landmarks.ekf import Config, EkfSlam, expected, update
from firstsight.slam.landmarks.graph_slam import GraphSlam

CONFIG = Config()
STRETCH, SEED, SAMPLES = 12, 0, 30  # times that the graph is solved
LARGE = (500, 700, 1000)  # landmarks of maps that no walk is made for
TAIL = 10  # steps after which costs are the least of
TICKS = (10, 20, 50, 100, 200, 500, 1000)
TRUE, EKF = "#555555", "#c0392b"
GRAPH, ODOMETRY = "#1f4e9e", "#e07b00"


class Course(NamedTuple):
    """Sizes of the map and ms for a step, at some steps of the walk."""

    landmarks: Float64[np.ndarray, " samples"]
    poses: Float64[np.ndarray, " samples"]
    ekf_ms: Float64[np.ndarray, " samples"]
    graph_ms: Float64[np.ndarray, " samples"]


class Filter(NamedTuple):
    """The least ms for a scan in maps of these numbers of landmarks."""

    landmarks: Float64[np.ndarray, " sizes"]
    update_ms: Float64[np.ndarray, " sizes"]


class Experiment(NamedTuple):
    """A walk, the cost along it, what the filter's scan costs in maps that are LARGE, and both estimates at its end."""

    seen: Walk
    course: Course
    large: Filter
    ekf_path: Float64[np.ndarray, "steps 2"]
    ekf_landmarks: Float64[np.ndarray, "landmarks 2"]
    graph_path: Float64[np.ndarray, "steps 2"]
    graph_landmarks: Float64[np.ndarray, "landmarks 2"]
    order: np.ndarray


def experiment(scale: float = 1.0) -> Experiment:
    seen = walk(CONFIG, SEED, stretch=max(round(scale**2 * STRETCH), 1))
    ekf, graph = EkfSlam(CONFIG), GraphSlam(CONFIG, solve_every=10**9)
    every, rows = max(len(seen.motions) // SAMPLES, 1), []
    path, recent = [], []
    graph.step(seen.motions[0], seen.sightings[0].observations, seen.sightings[0].ids)
    graph.solve()  # compiles
    for step, (motion, (ids, observations)) in enumerate(zip(seen.motions, seen.sightings, strict=True)):
        recent = [*recent[1 - TAIL :], timed(partial(ekf.step, motion, observations, ids))]
        path.append(ekf.estimate.robot[:2])
        if step:
            graph.step(motion, observations, ids)
        if step and (step % every == 0 or step == len(seen.motions) - 1):
            spent = timed(graph.solve)
            rows.append((len(ekf.estimate.landmarks), step + 2, min(recent), spent))
    course = Course(*np.array(rows, float).T)
    graph_path = np.array(graph.world_from_node)[1:, :2, 2]
    large = scans([size for size in LARGE if size <= max(scale * LARGE[-1], LARGE[1])])
    return Experiment(
        seen, course, large, np.array(path), ekf.estimate.landmarks, graph_path, np.array(graph.landmarks), graph.ids
    )


def scans(sizes: list[int]) -> Filter:
    rows = []
    for size in sizes:
        state, seen = surrounded(size), np.arange(SCAN_SIZE)
        observations = expected(state.robot, state.landmarks[seen])
        rows.append((size, min(timed(partial(update, state, observations, seen, CONFIG)) for _ in range(TAIL))))
    return Filter(*np.array(rows, float).T)


def timed(work: Callable[[], object]) -> float:
    """ms of CPU time of this thread, which others on the machine do not lengthen."""
    start = thread_time()
    work()
    return 1e3 * (thread_time() - start)


def numbers(found: Experiment) -> tuple[Metric, ...]:
    true_path, true_map = found.seen.robots[1:, :2], found.seen.landmarks[found.order]
    odometry, course = travelled(found.seen.motions)[1:, :2], found.course
    size = f"{course.landmarks[-1]:.0f} landmarks, {course.poses[-1]:.0f} poses, CPU time"
    path, places = "position RMSE, all poses", "landmark RMSE"
    slope = growth(found.large.landmarks, found.large.update_ms), growth(course.landmarks, course.graph_ms)
    fitted = "exponent of time over landmarks"
    large = f"{fitted}, {found.large.landmarks[0]:.0f} to {found.large.landmarks[-1]:.0f}"
    return (
        Metric(name="EKF-SLAM, step", value=float(course.ekf_ms[-1]), unit="ms", protocol=size),
        Metric(name="GraphSLAM, step", value=float(course.graph_ms[-1]), unit="ms", protocol=size),
        Metric(name="EKF-SLAM, growth", value=slope[0], unit="", protocol=large),
        Metric(name="GraphSLAM, growth", value=slope[1], unit="", protocol=f"{fitted}, upper half of the walk"),
        Metric(name="odometry", value=root_mean_square(odometry - true_path), unit="m", protocol=path),
        Metric(
            name="EKF-SLAM, path", value=root_mean_square(found.ekf_path - true_path), unit="m", protocol="when made"
        ),
        Metric(name="GraphSLAM, path", value=root_mean_square(found.graph_path - true_path), unit="m", protocol=path),
        Metric(name="EKF-SLAM, map", value=root_mean_square(found.ekf_landmarks - true_map), unit="m", protocol=places),
        Metric(
            name="GraphSLAM, map", value=root_mean_square(found.graph_landmarks - true_map), unit="m", protocol=places
        ),
    )


def growth(landmarks: Float64[np.ndarray, " samples"], ms: Float64[np.ndarray, " samples"]) -> float:
    """p of ms ~ landmarks^p, by least squares of the logarithms."""
    large = landmarks >= landmarks.max() / 2
    return float(np.polyfit(np.log(landmarks[large]), np.log(np.maximum(ms[large], 1e-3)), 1)[0])


def slam_cost(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(850, "The price of a scan: a filter's covariance against a graph's whole path")
    costs, path = figure.subplots(1, 2)
    draw_costs(costs, found.course, found.large)
    draw_paths(path, found)
    return Drawing(figure, numbers(found))


def draw_costs(axes: Axes, course: Course, large: Filter) -> None:
    n = course.landmarks
    axes.loglog(n, course.ekf_ms, "o", ms=4, color=EKF, label="EKF-SLAM: a step of odometry and its scan")
    axes.loglog(n, course.graph_ms, "o", ms=4, color=GRAPH, label="GraphSLAM: all poses and landmarks, solved anew")
    axes.loglog(large.landmarks, large.update_ms, "o", mfc="none", color=EKF, label="EKF-SLAM: a scan, map made up")
    every = np.concatenate([n, large.landmarks])
    axes.loglog(every, large.update_ms[-1] * (every / every[-1]) ** 2, color=TRUE, ls="--", label="n²")
    axes.loglog(every, np.median(course.graph_ms[-3:]) * every / n[-1], color=TRUE, ls=":", label="n")
    axes.set_xticks(TICKS, labels=list(map(str, TICKS)), minor=False)
    axes.xaxis.set_minor_formatter("")
    axes.set(
        xlim=(0.9 * n[0], 1.2 * every[-1]),
        ylim=(0.05, None),
        title="time of one step",
        xlabel="landmarks in the map",
        ylabel="ms of CPU time",
    )
    axes.legend(fontsize=9, loc="lower right")


def draw_paths(axes: Axes, found: Experiment) -> None:
    seen, odometry = found.seen, travelled(found.seen.motions)
    axes.plot(*seen.robots[:, :2].T, color=TRUE, lw=5, alpha=0.35, label="true path")
    axes.plot(*odometry[:, :2].T, color=ODOMETRY, ls="--", label="odometry alone")
    axes.plot(*found.ekf_path.T, color=EKF, lw=1.2, label="EKF-SLAM, when it was made")
    axes.plot(*found.graph_path.T, color=GRAPH, lw=1.2, label="GraphSLAM")
    axes.plot(*seen.landmarks.T, "+", color="black", ms=5, label="true landmark")
    axes.plot(*found.graph_landmarks.T, ".", color=GRAPH, ms=3, label="landmark of GraphSLAM")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(title="the walk", xlabel="x (m)", ylabel="y (m)")
    axes.legend(fontsize=9, loc="center")
