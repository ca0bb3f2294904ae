"""Is a pose graph fit to be solved?"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from firstsight.errors import InputError
from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.factors import chain_pairs


def check(graph: PoseGraph) -> None:
    """Raises InputError for a graph that is not finite, names nodes it does not have, or leaves a part without hold."""
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
            raise InputError(f"pose graph: {name} {int(wrong.argmax())} names what is not there; there are {count}")
    if (graph.between.a == graph.between.b).any():
        edge = int((graph.between.a == graph.between.b).argmax())
        raise InputError(f"pose graph: edge {edge} joins a node with itself; remove it")
    _check_finite(graph)
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
                raise InputError(f"pose graph: {name} {int(wrong.argmax())} is not finite; {fix}")


def _check_hold(graph: PoseGraph) -> None:
    """Every connected part needs a prior, unless there is one part and no prior at all."""
    nodes, pairs = len(graph.world_from_node), chain_pairs(graph)
    count = nodes + len(graph.landmarks)
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    parts, part = connected_components(joined, directed=False)
    if parts == 1 and not len(graph.priors.node):
        return
    held = np.zeros(parts, bool)
    held[part[graph.priors.node]] = True
    if not held.all():
        vertex = int((~held[part]).argmax())
        raise InputError(
            f"{vertex_name(graph, vertex)} is not connected to a prior; add a prior or an edge, or remove it"
        )


def vertex_name(graph: PoseGraph, vertex: int) -> str:
    """What a vertex of the graph's equations is called in messages: a node or a landmark, by its number."""
    nodes = len(graph.world_from_node)
    return f"pose graph: node {vertex}" if vertex < nodes else f"pose graph: landmark {vertex - nodes}"
