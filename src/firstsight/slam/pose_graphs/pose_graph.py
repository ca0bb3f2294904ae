"""Pose graphs: the poses (and landmarks) that agree best with all that was measured between them.

Paper:  Thrun, Montemerlo. The GraphSLAM Algorithm with Applications to Large-Scale Mapping. IJRR 25(5-6), 2006;
        Grisetti, Kuemmerle, Stachniss, Burgard. A Tutorial on Graph-Based SLAM. IEEE ITS Magazine 2(4), 2010.
Idea:   minimise F(x) = sum rho(e' Omega e) / 2 over poses and landmarks, e as in                      factors.py
        H = sum w J' Omega J,  g = sum w J' Omega e                                            -> factors.linearise()
        Gauss-Newton, Levenberg-Marquardt or dogleg: x = x exp(xi)             optimisation/least_squares.py, descent.py
        The sparse Cholesky factor's structure depends on the graph alone: found once        graph_problem.py
        loops that may be false                                                                false_loops/
        covariance of a node: its block of H^-1 at the solution         selected_inverse.py -> covariances()
Differs: landmarks are not eliminated first as in GraphSLAM; the order of elimination sees to it. Without any prior the
        first node is held where it is by a prior without error, which changes no optimum.
Role:   PoseGraphOptimiser.
Units:  metres and radians. The error is gtsam's: half the sum of squared sigmas.
"""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.optimisation.sparse_cholesky.selected_inverse import SelectedInverse
from firstsight.optimisation.sparse_cholesky.solve import Factor, NotPositiveError
from firstsight.optimisation.sparse_cholesky.symbolic import Structure
from firstsight.roles import PoseGraphOptimiser
from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.descent import Config, descend, problem_of
from firstsight.slam.pose_graphs.factors import State
from firstsight.slam.pose_graphs.false_loops import treatment
from firstsight.slam.pose_graphs.graph_check import GraphError, check, kind_of


class Solution(NamedTuple):
    """`confidence` is 0 for motions found to be false, 1 for others, for "switchable" the switch, in between.

    `error` leaves out false motions; with switches it is that of poses and switches together. `iterations` counts the
    steps tried.
    """

    world_from_node: Float64[np.ndarray, "nodes d1 d1"]
    landmarks: Float64[np.ndarray, "landmarks d"]
    error: float
    iterations: int
    converged: bool
    confidence: Float64[np.ndarray, " between"]


def optimise(graph: PoseGraph, config: Config | None = None, structure: Structure | None = None) -> Solution:
    """The graph's nearest optimum. Raises InputError where the graph does not determine its poses."""
    config = config or Config()
    check(graph)
    problem = problem_of(graph, config, structure)
    state = State(np.array(graph.world_from_node, order="C"), np.array(graph.landmarks, order="C"))
    try:
        if config.false_loops == "graduated":
            problem, found = treatment.graduated(problem, state, config)
        elif config.false_loops == "switchable":
            problem, found = treatment.switchable(problem, state, config)
        elif config.false_loops == "consistent":
            problem, found = treatment.consistent(graph, problem, state, config)
        else:
            found = descend(problem, state, config)
    except NotPositiveError as failure:
        problem = "is not determined: measure it more often or remove it"
        raise GraphError(*kind_of(graph, failure.vertex), problem) from None
    confidence = problem.confidence[: len(graph.between.a)]
    return Solution(*found.state, found.cost, found.iterations, found.converged, confidence)


@final
class PoseGraphOptimisation(PoseGraphOptimiser):
    """The nearest optimum of a pose graph; `solution` of the last one says how it was reached."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.solution: Solution | None = None

    def __call__(self, graph: PoseGraph) -> PoseGraph:
        self.solution = optimise(graph, self.config)
        return graph._replace(world_from_node=self.solution.world_from_node, landmarks=self.solution.landmarks)


def covariances(
    graph: PoseGraph, nodes: Int64[np.ndarray, " chosen"], config: Config | None = None
) -> Float64[np.ndarray, "chosen size size"]:
    """Of the right tangents of the chosen nodes, linearised at the graph's poses: give it the solution's."""
    config = config or Config()
    check(graph)
    problem = problem_of(graph, config, None)
    matrix = problem.linearise(State(graph.world_from_node, graph.landmarks)).matrix
    return SelectedInverse(Factor(matrix)).of_vertices(nodes, graph.tangent)
