"""A pose graph solved from more than one start, where the first one ends badly.

Paper:  Carlone, Tron, Daniilidis, Dellaert. Initialization Techniques for 3D SLAM. ICRA 2015.
Idea:   the error of a good solution is about half its degrees of freedom. One that is far above it is either a wrong optimum,
        which the spanning tree or a chordal start do not share, or there are false loops       -> looks_bad(), best_of_starts()
Units:  errors as in pose_graph.py: half the sum of squared sigmas.
"""

from typing import NamedTuple

from firstsight.optimisation.sparse_cholesky.solve import NotPositiveError
from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.descent import Config
from firstsight.slam.pose_graphs.graph_check import GraphError
from firstsight.slam.pose_graphs.initialisation import chordal, spanning_tree
from firstsight.slam.pose_graphs.pose_graph import Solution, optimise

# squared sigmas per degree of freedom, above which a solution looks bad
HIGH_ERROR = 3.0
STARTS = {"spanning-tree": spanning_tree, "chordal": chordal}


class Tried(NamedTuple):
    """The best solution, the graph at the start that it came from, and the error that each start ended with."""

    start: PoseGraph
    solution: Solution
    errors: dict[str, float]


def degrees_of_freedom(graph: PoseGraph) -> int:
    """Numbers measured, less the unknowns of all nodes but the first and of the landmarks."""
    nodes, edges = len(graph.world_from_node), len(graph.between.a)
    measured = graph.tangent * (edges + len(graph.priors.node)) + graph.dimension * len(graph.sightings.node)
    return measured - graph.tangent * (nodes - 1) - graph.dimension * len(graph.landmarks)


def looks_bad(graph: PoseGraph, error: float) -> bool:
    """Whether an error is high for what is measured."""
    freedom = degrees_of_freedom(graph)
    return freedom > 0 and 2 * error / freedom > HIGH_ERROR


def best_of_starts(graph: PoseGraph, config: Config, name: str = "given") -> Tried:
    """Solves from the graph's poses, called `name`, and where that ends badly from the others of STARTS.

    Errors can be compared where all loops are kept only: with another treatment the given start is the only one.
    """
    solution = optimise(graph, config)
    best, errors = Tried(graph, solution, {}), {name: solution.error}
    if config.false_loops != "keep" or not looks_bad(graph, solution.error):
        return best._replace(errors=errors)
    for other, place in STARTS.items():
        if other == name:
            continue
        try:
            start = place(graph)
            solution = optimise(start, config)
        except (GraphError, NotPositiveError):
            continue
        errors[other] = solution.error
        if solution.error < best.solution.error:
            best = Tried(start, solution, {})
    return best._replace(errors=errors)
