"""Is a pose graph fit to be solved?"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from firstsight.errors import InputError
from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.factors import chain_pairs

# of the mean information: as far below 0 as rounding in a file may bring an eigenvalue
ROUNDING = 1e-6


class GraphError(InputError):
    """A node, landmark, edge, prior or sighting of a graph that cannot be used, by its number in the graph.

    Whoever knows how the graph's file calls it says so: `kind` and `number` are what to look up, `problem` ends the sentence.
    """

    def __init__(self, kind: str, number: int, problem: str):
        super().__init__(f"pose graph: {kind} {number} {problem}")
        self.kind, self.number, self.problem = kind, number, problem


def check(graph: PoseGraph) -> None:
    """Raises InputError for a graph without nodes, GraphError for a part of one that cannot be used.

    That is what is not finite, names nodes that are not there, has a matrix that is no information, or has no hold.
    """
    nodes = len(graph.world_from_node)
    if nodes == 0:
        raise InputError("pose graph: no nodes; add at least one")
    for name, first, last, count in (
        ("edge", graph.between.a, graph.between.b, nodes),
        ("prior", graph.priors.node, graph.priors.node, nodes),
        ("sighting", graph.sightings.node, graph.sightings.node, nodes),
        ("sighting", graph.sightings.landmark, graph.sightings.landmark, len(graph.landmarks)),
    ):
        wrong = (np.minimum(first, last) < 0) | (np.maximum(first, last) >= count)
        if wrong.any():
            raise GraphError(name, int(wrong.argmax()), f"names what is not there; there are {count}")
    if (graph.between.a == graph.between.b).any():
        edge = int((graph.between.a == graph.between.b).argmax())
        raise GraphError("edge", edge, "joins a node with itself; remove it")
    _check_finite(graph)
    _check_information(graph)
    _check_hold(graph)


def _check_finite(graph: PoseGraph) -> None:
    parts = {
        "node": (graph.world_from_node,),
        "edge": (graph.between.a_from_b, graph.between.information),
        "prior": (graph.priors.world_from_node, graph.priors.information),
        "landmark": (graph.landmarks,),
        "sighting": (graph.sightings.point_node, graph.sightings.information),
    }
    for name, arrays in parts.items():
        for array in arrays:
            wrong = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
            if wrong.any():
                fix = (
                    "start from initialisation.spanning_tree()" if name in ("node", "landmark") else "fix or remove it"
                )
                raise GraphError(name, int(wrong.argmax()), f"is not finite; {fix}")


def _check_information(graph: PoseGraph) -> None:
    """No eigenvalue of an information matrix is negative; it may be 0, where nothing was measured."""
    for name, information in (
        ("edge", graph.between.information),
        ("prior", graph.priors.information),
        ("sighting", graph.sightings.information),
    ):
        size = information.shape[-1]
        slack = ROUNDING * np.abs(np.diagonal(information, axis1=1, axis2=2)).mean(1) + 1e-300
        try:
            np.linalg.cholesky(information + slack[:, None, None] * np.eye(size))
        except np.linalg.LinAlgError:
            least = np.linalg.eigvalsh(information)[:, 0]
            wrong = int((least + slack).argmin())
            problem = f"has an information matrix with the negative eigenvalue {least[wrong]:.4g}; fix or remove it"
            raise GraphError(name, wrong, problem) from None


def _check_hold(graph: PoseGraph) -> None:
    """Every connected part needs a prior, unless there is one part and no prior at all."""
    nodes, pairs = len(graph.world_from_node), chain_pairs(graph)
    count = nodes + len(graph.landmarks)
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    parts, part = connected_components(joined, directed=False)
    held, to_what = np.zeros(parts, bool), "a prior"
    held[part[graph.priors.node]] = True
    if not len(graph.priors.node):
        held[np.bincount(part).argmax()], to_what = True, "the largest part"
    if not held.all():
        lost = np.flatnonzero(~held[part])
        others = f" (and {len(lost) - 1} others)" if len(lost) > 1 else ""
        problem = f"is not connected to {to_what}{others}; add a prior or an edge, or remove it"
        raise GraphError(*kind_of(graph, int(lost[0])), problem)


def kind_of(graph: PoseGraph, vertex: int) -> tuple[str, int]:
    """What a vertex of the graph's equations is: a node or a landmark, and its number."""
    nodes = len(graph.world_from_node)
    return ("node", vertex) if vertex < nodes else ("landmark", vertex - nodes)
