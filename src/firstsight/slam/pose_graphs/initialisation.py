"""Poses to start from where the given ones are bad or missing.

Paper:  Carlone, Tron, Daniilidis, Dellaert. Initialization Techniques for 3D SLAM. ICRA 2015 (chordal relaxation);
        Martinec, Pajdla. Robust Rotation and Translation Estimation in Multiview Reconstruction. CVPR 2007.
Idea:   spanning tree: each node is put where the first motion that reaches it from the first node says -> spanning_tree()
        chordal: min sum kappa |R_a Z - R_b|^2 over matrices of any kind, linear and solved exactly; the nearest
        rotations of it (SVD); then min sum tau |R_a z + t_a - t_b|^2, linear in t                    -> chordal()
        kappa, tau: the mean information of a motion's rotation and translation
        a landmark is put at the mean of where it was seen                                     -> place_landmarks()
Differs: the first node is held by a weight HOLD times the largest instead of being taken out of the equations.
"""

import numpy as np
from jaxtyping import Float64, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order

from firstsight.optimisation.sparse_cholesky.matrix import matrix_of
from firstsight.optimisation.sparse_cholesky.solve import Factor
from firstsight.optimisation.sparse_cholesky.symbolic import Structure, analyse
from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.factors import inverse
from firstsight.slam.pose_graphs.graph_check import GraphError

HOLD = 1e3


def spanning_tree(graph: PoseGraph) -> PoseGraph:
    """The same graph; the first node stays, or is the identity where it is not finite.

    Raises GraphError where a node is not reached by motions.
    """
    between, nodes = graph.between, len(graph.world_from_node)
    joined = coo_array((np.ones(len(between.a)), (between.a, between.b)), (nodes, nodes))
    order, reached_from = breadth_first_order(joined.tocsr(), 0, directed=False)
    if len(order) < nodes:
        lost = int(np.setdiff1d(np.arange(nodes), order)[0])
        raise GraphError("node", lost, "is not reached by edges from the first node; add an edge or remove it")
    edge_of = {(int(a), int(b)): i for i, (a, b) in enumerate(zip(between.a, between.b, strict=True))}
    b_from_a = inverse(between.a_from_b)
    poses = graph.world_from_node.copy()
    if not np.isfinite(poses[0]).all():
        poses[0] = np.eye(graph.dimension + 1)
    for node in order[1:]:
        source = int(reached_from[node])
        forward = edge_of.get((source, int(node)))
        step = between.a_from_b[forward] if forward is not None else b_from_a[edge_of[int(node), source]]
        poses[node] = poses[source] @ step
    return place_landmarks(graph._replace(world_from_node=poses))


def chordal(graph: PoseGraph) -> PoseGraph:
    """The same graph with all nodes but the first placed anew, whatever their poses were."""
    between, d, nodes = graph.between, graph.dimension, len(graph.world_from_node)
    first = graph.world_from_node[0] if np.isfinite(graph.world_from_node[0]).all() else np.eye(d + 1)
    diagonals = np.diagonal(between.information, axis1=1, axis2=2)
    pairs, measured = np.stack([between.a, between.b], 1), between.a_from_b
    rotations = _rotations(analyse(pairs, np.full(nodes, d)), pairs, measured, diagonals[:, d:].mean(1), first)
    translations = _translations(pairs, measured, diagonals[:, :d].mean(1), rotations, first)
    poses = np.tile(np.eye(d + 1), (nodes, 1, 1))
    poses[:, :d, :d], poses[:, :d, d] = rotations, translations
    return place_landmarks(graph._replace(world_from_node=poses))


def _vertex_sums(pairs: Int64[np.ndarray, "pairs 2"], weight: Float64[np.ndarray, " pairs"], nodes: int) -> np.ndarray:
    """Weights of all pairs of each node, and what holds the first one."""
    total = np.bincount(pairs.ravel(), np.repeat(weight, 2), nodes)
    total[0] += HOLD * weight.max()
    return total


def _rotations(
    structure: Structure,
    pairs: Int64[np.ndarray, "pairs 2"],
    measured: Float64[np.ndarray, "pairs d1 d1"],
    weight: Float64[np.ndarray, " pairs"],
    first: Float64[np.ndarray, "d1 d1"],
) -> Float64[np.ndarray, "nodes d d"]:
    """Row k of all matrices is the solution for row k of the first node's."""
    d, nodes = len(first) - 1, len(structure.offset)
    diagonal = _vertex_sums(pairs, weight, nodes)[:, None, None] * np.eye(d)
    factor = Factor(matrix_of(structure, diagonal, -weight[:, None, None] * measured[:, :d, :d]))
    relaxed, places = np.empty((nodes, d, d)), structure.offset[:, None] + np.arange(d)
    for k in range(d):
        right = np.zeros(structure.unknowns)
        right[places[0]] = HOLD * weight.max() * first[k, :d]
        relaxed[:, k] = factor.solve(right)[places]
    u, _, vt = np.linalg.svd(relaxed)
    u[:, :, -1] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt


def _translations(
    pairs: Int64[np.ndarray, "pairs 2"],
    measured: Float64[np.ndarray, "pairs d1 d1"],
    weight: Float64[np.ndarray, " pairs"],
    rotations: Float64[np.ndarray, "nodes d d"],
    first: Float64[np.ndarray, "d1 d1"],
) -> Float64[np.ndarray, "nodes d"]:
    nodes, d = rotations.shape[:2]
    structure = analyse(pairs, np.ones(nodes, np.int64))
    diagonal = _vertex_sums(pairs, weight, nodes)[:, None, None]
    factor = Factor(matrix_of(structure, diagonal, -weight[:, None, None]))
    steps = weight[:, None] * np.einsum("nij,nj->ni", rotations[pairs[:, 0]], measured[:, :d, d])
    out = np.empty((nodes, d))
    for k in range(d):
        pull = np.bincount(pairs[:, 1], steps[:, k], nodes) - np.bincount(pairs[:, 0], steps[:, k], nodes)
        pull[0] += HOLD * weight.max() * first[k, d]
        right = np.empty(nodes)
        right[structure.offset] = pull
        out[:, k] = factor.solve(right)[structure.offset]
    return out


def place_landmarks(graph: PoseGraph) -> PoseGraph:
    """Puts each landmark at the mean of its sightings; one that nobody saw stays."""
    sightings, d = graph.sightings, graph.dimension
    poses = graph.world_from_node[sightings.node]
    seen = np.einsum("nij,nj->ni", poses[:, :d, :d], sightings.point_node) + poses[:, :d, d]
    count = np.bincount(sightings.landmark, minlength=len(graph.landmarks))
    total = np.zeros_like(graph.landmarks)
    np.add.at(total, sightings.landmark, seen)
    landmarks = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], graph.landmarks)
    return graph._replace(landmarks=landmarks)
