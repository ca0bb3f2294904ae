"""What loops do to a path that drifts, and what the equations behind it look like.

Shows:  a pose graph before and after its loops: paths, the error of every edge, the sparsity of the information matrix
Slide:  Classical Mapping, GraphSLAM
Reads:  each step of odometry is a little wrong, so the path bends away from the streets. Where a crossing is met again a
        loop says so; before, loops are off by thousands of squared sigmas, after, loops and odometry share what is left
        as their sigmas say. The matrix has a block only where a measurement joins two poses: its diagonal is odometry,
        the dots off it are loops. Its order decides how much of its factor is filled.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from matplotlib.axes import Axes

from firstsight.gallery.drawing import Drawing, canvas
from firstsight.gallery.figures.slam.ekf_slam import root_mean_square
from firstsight.gallery.worlds.street_walk import odometry_start, street_walk
from firstsight.optimisation.sparse_cholesky.symbolic import analyse, fill
from firstsight.roles.pose_graph import PoseGraph
from firstsight.run_folder import Metric
from firstsight.show.pose_graph_image import FALSE, LOOP, PATH, draw_graph
from firstsight.slam.pose_graphs.factors import State, chain_pairs, factors_of, squared_errors
from firstsight.slam.pose_graphs.false_loops.consistency import loops_of
from firstsight.slam.pose_graphs.graph_problem import structure_of
from firstsight.slam.pose_graphs.pose_graph import Solution, optimise

NODES, SEED, LOOP_SHARE = 600, 3, 0.3
SIGMAS = (0.05, 0.05, 0.02)
TRUE = "#555555"


class Experiment(NamedTuple):
    """`squared` are e' Omega e of all edges, before and after; `fills` numbers of the factor, as numbered and reordered."""

    truth: PoseGraph
    before: PoseGraph
    after: PoseGraph
    solution: Solution
    squared: tuple[Float64[np.ndarray, " edges"], Float64[np.ndarray, " edges"]]
    loops: Bool[np.ndarray, " edges"]
    fills: tuple[int, int]


def experiment(scale: float = 1.0) -> Experiment:
    truth = street_walk(max(round(scale * NODES), 50), SEED, SIGMAS, LOOP_SHARE)
    before = odometry_start(truth)
    solution = optimise(before)
    after = before._replace(world_from_node=solution.world_from_node)
    nodes = len(truth.world_from_node)
    as_numbered = analyse(chain_pairs(truth), np.full(nodes, 3), np.arange(nodes))
    fills = fill(as_numbered), fill(structure_of(truth))
    loops = loops_of(truth.between.a, truth.between.b)
    return Experiment(truth, before, after, solution, (edge_errors(before), edge_errors(after)), loops, fills)


def edge_errors(graph: PoseGraph) -> Float64[np.ndarray, " edges"]:
    squared = squared_errors(factors_of(graph), State(graph.world_from_node, graph.landmarks))[0]
    return squared[: len(graph.between.a)]


def numbers(found: Experiment) -> tuple[Metric, ...]:
    places = [graph.world_from_node[:, :2, 2] for graph in (found.truth, found.before, found.after)]
    nodes, edges = len(places[0]), len(found.loops)
    freedom = 3 * (edges - nodes + 1)
    path, blocks = "position RMSE, first pose held", nodes + 2 * edges
    return (
        Metric(name="odometry alone", value=root_mean_square(places[1] - places[0]), unit="m", protocol=path),
        Metric(name="with loops", value=root_mean_square(places[2] - places[0]), unit="m", protocol=path),
        Metric(
            name="error of loops before",
            value=float(np.median(found.squared[0][found.loops])),
            unit="",
            protocol="median",
        ),
        Metric(
            name="error of loops after",
            value=float(np.median(found.squared[1][found.loops])),
            unit="",
            protocol="median of e' Omega e; 2.37 if chi-square of 3",
        ),
        Metric(
            name="chi-square per degree of freedom",
            value=2 * found.solution.error / freedom,
            unit="",
            protocol=f"{freedom} degrees; 1 expected",
        ),
        Metric(name="blocks of the matrix", value=100 * blocks / nodes**2, unit="%", protocol="not zero, upper bound"),
        Metric(
            name="factor",
            value=100 * found.fills[1] / found.fills[0],
            unit="%",
            protocol="numbers, of those in file order",
        ),
    )


def pose_graph_loops(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(1400, "A pose graph: a path that drifts, and the loops that mend it")
    panels = figure.subplot_mosaic([["before", "after"], ["errors", "matrix"]], height_ratios=[1.15, 1])
    for name, graph in (("before", found.before), ("after", found.after)):
        axes = panels[name]
        axes.plot(*found.truth.world_from_node[:, :2, 2].T, color=TRUE, lw=4, alpha=0.3, label="true path")
        draw_graph(axes, graph, found.loops, np.zeros_like(found.loops))
        axes.legend(fontsize=9, loc="upper right")
    panels["before"].set_title("odometry alone; loops join what is the same place")
    panels["after"].set_title("all poses moved until measurements agree best")
    draw_errors(panels["errors"], found)
    draw_matrix(panels["matrix"], found)
    return Drawing(figure, numbers(found))


def draw_errors(axes: Axes, found: Experiment) -> None:
    """Edges by the number of the later node."""
    between, (before, after) = found.truth.between, found.squared
    later = np.maximum(between.a, between.b)
    for chosen, colour, name in ((~found.loops, PATH, "odometry"), (found.loops, LOOP, "loops")):
        axes.semilogy(later[chosen], after[chosen], ".", color=colour, ms=4, label=f"{name}, after")
    axes.semilogy(later[found.loops], before[found.loops], "x", color=FALSE, ms=4, label="loops, before")
    axes.set(
        title="e' Ω e of each edge: its error e in squared sigmas, Ω = inverse covariance",
        xlabel="node",
        ylim=(1e-3, None),
    )
    axes.legend(fontsize=9, loc="upper left")


def draw_matrix(axes: Axes, found: Experiment) -> None:
    """A dot for every block of 3 x 3 numbers, nodes in the order of time."""
    between, nodes = found.truth.between, len(found.truth.world_from_node)
    size = max(900 / nodes, 1.5)
    for chosen, colour in ((~found.loops, PATH), (found.loops, LOOP)):
        a, b = between.a[chosen], between.b[chosen]
        axes.plot(np.concatenate([a, b]), np.concatenate([b, a]), "s", color=colour, ms=size, mew=0)
    axes.plot(np.arange(nodes), np.arange(nodes), "s", color=PATH, ms=size, mew=0)
    axes.set_aspect("equal", adjustable="box")
    axes.set(xlim=(-1, nodes), ylim=(nodes, -1), xlabel="node")
    share = 100 * found.fills[1] / found.fills[0]
    axes.set_title(f"blocks of the information matrix; reordering saves {100 - share:.0f} % of its factor")
