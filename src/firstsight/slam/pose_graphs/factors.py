"""What each measurement of a pose graph says: its error, its derivatives, and its part of the normal equations.

Paper:  Grisetti, Kuemmerle, Stachniss, Burgard. A Tutorial on Graph-Based SLAM. IEEE ITS Magazine 2(4), 2010.
Idea:   a motion z between nodes:   e = log(z^-1 a^-1 b)                            -> optimisation/relative_motion.py
        a prior z:                  e = log(z^-1 b)                                 (the same, a = the world, held still)
        a landmark p seen at z:     e = R_a' (p - t_a) - z                                              -> sighting()
        cost = sum rho(e' Omega e) / 2,  H = sum w J' Omega J,  g = sum w J' Omega e,  w = drho/d(e' Omega e)
                                                                      -> robust_kernels.py, linearise(), cost()
Units:  metres and radians; tangents are (translation, rotation, log of scale in graphs of similarities) and act on the
        right. All arrays float64 or int64.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from firstsight.optimisation.relative_motion import (
    WORLD,
    blocks_of,
    linearise_motion,
    quadratic,
    relative_error,
    workspace,
)
from firstsight.optimisation.robust_kernels import Kernel, loss
from firstsight.optimisation.similarities import SIZE as SIMILARITY_SIZE
from firstsight.optimisation.similarities import similarity_move
from firstsight.optimisation.sparse_cholesky.matrix import Matrix
from firstsight.optimisation.sparse_cholesky.symbolic import Structure
from firstsight.optimisation.tangents import planar_move, spatial_move
from firstsight.roles.pose_graph import Between, PoseGraph, Priors


class Relative(NamedTuple):
    """Motions between nodes, then priors, whose node a is the WORLD."""

    a: Int64[np.ndarray, " motions"]
    b: Int64[np.ndarray, " motions"]
    b_from_a: Float64[np.ndarray, "motions d1 d1"]  # z^-1
    information: Float64[np.ndarray, "motions size size"]


class Points(NamedTuple):
    """Sightings of landmarks."""

    node: Int64[np.ndarray, " sightings"]
    landmark: Int64[np.ndarray, " sightings"]
    point_node: Float64[np.ndarray, "sightings d"]
    information: Float64[np.ndarray, "sightings d d"]


class State(NamedTuple):
    """What is solved for."""

    world_from_node: Float64[np.ndarray, "nodes d1 d1"]
    landmarks: Float64[np.ndarray, "landmarks d"]


class Factors(NamedTuple):
    """All measurements, and the robust kernel (its number) of the motions between nodes and of the sightings."""

    relative: Relative
    points: Points
    kernel: int  # of Kernel
    threshold: float  # in sigmas

    @property
    def robust(self) -> tuple[int, float]:
        return self.kernel, self.threshold


def factors_of(graph: PoseGraph, kernel: Kernel = Kernel.SQUARED, threshold: float = 1.0) -> Factors:
    """The graph's measurements; without priors the first node is held where it is."""
    relative = relative_of(graph.between, graph.priors, graph.world_from_node)
    return Factors(relative, Points(*map(np.ascontiguousarray, graph.sightings)), int(kernel), threshold)


def relative_of(between: Between, priors: Priors | None, nodes: Float64[np.ndarray, "nodes d1 d1"]) -> Relative:
    """Motions and priors in one list; without priors the first of the nodes is held where it is."""
    if priors is None or not len(priors.node):
        hold = np.eye(between.information.shape[-1])[None] * np.abs(between.information).max(initial=1.0)
        priors = Priors(np.zeros(1, np.int64), nodes[:1], hold)
    inverted = inverse if between.information.shape[-1] < SIMILARITY_SIZE else np.linalg.inv
    return Relative(
        np.concatenate([between.a, np.full(len(priors.node), WORLD)]),
        np.concatenate([between.b, priors.node]),
        np.ascontiguousarray(inverted(np.concatenate([between.a_from_b, priors.world_from_node]))),
        np.concatenate([between.information, priors.information]),
    )


def inverse(a_from_b: Float64[np.ndarray, "n d1 d1"]) -> Float64[np.ndarray, "n d1 d1"]:
    """b_from_a, in SE(2) or SE(3)."""
    out = a_from_b.copy()
    out[:, :-1, :-1] = a_from_b[:, :-1, :-1].transpose(0, 2, 1)
    out[:, :-1, -1] = -np.einsum("nij,nj->ni", out[:, :-1, :-1], a_from_b[:, :-1, -1])
    return out


def chain_pairs(graph: PoseGraph) -> Int64[np.ndarray, "pairs 2"]:
    """The vertices that each motion and each sighting joins; landmarks are numbered after the nodes."""
    between = np.stack([graph.between.a, graph.between.b], 1)
    sightings = np.stack([graph.sightings.node, graph.sightings.landmark + len(graph.world_from_node)], 1)
    return np.concatenate([between, sightings])


def linearise(
    factors: Factors,
    state: State,
    structure: Structure,
    confidence: Float64[np.ndarray, " motions"],
    panels: Float64[np.ndarray, " stored"] | None = None,
) -> tuple[Matrix, Float64[np.ndarray, " unknowns"], float]:
    """(H, g, cost), H and g in the structure's order; the cost of each motion is scaled by its confidence.

    H is written to `panels` where they are given: fresh memory costs as much as the arithmetic.
    """
    panels = np.empty(structure.stored) if panels is None else panels
    panels[:] = 0
    gradient = np.zeros(structure.unknowns)
    relative, points, into = factors.relative, factors.points, (structure.offset, panels, gradient)
    cost = _add_motions(state.world_from_node, relative, factors.robust, confidence, structure.places, into)
    if len(points.node):
        ties = int((relative.a != WORLD).sum())
        cost += _add_sightings(state, points, factors.robust, structure.places, ties, into)
    return Matrix(structure, panels), gradient, float(cost)


def squared_errors(
    factors: Factors, state: State
) -> tuple[Float64[np.ndarray, " motions"], Float64[np.ndarray, " sightings"]]:
    """e' Omega e of each."""
    return _squared_errors(state, factors.relative, factors.points)


def cost_of_errors(
    factors: Factors,
    squared: tuple[Float64[np.ndarray, " motions"], Float64[np.ndarray, " sightings"]],
    confidence: Float64[np.ndarray, " motions"],
) -> float:
    """The cost of squared errors, those of motions scaled by their confidence."""
    return float(_cost(*squared, factors.relative.a, factors.robust, confidence))


def cost(factors: Factors, state: State, confidence: Float64[np.ndarray, " motions"]) -> float:
    """The cost at a state."""
    return cost_of_errors(factors, squared_errors(factors, state), confidence)


def moved(factors: Factors, state: State, step: Float64[np.ndarray, " unknowns"], structure: Structure) -> State:
    """x exp(step), a new state."""
    poses, landmarks = state.world_from_node.copy(), state.landmarks.copy()
    _move(poses, landmarks, factors.relative.information.shape[-1], structure.offset, step.copy())
    return State(poses, landmarks)


@njit(cache=True)
@no_type_check
def sighting(node, point, z, e, by_node, by_point):
    """Error e (d,), derivatives by_node (d, 3 or 6) and by_point (d, d) of a point (d,) seen from a pose at z (d,)."""
    d = len(point)
    for r in range(d):
        e[r] = -z[r]
        for c in range(d):
            e[r] += node[c, r] * (point[c] - node[c, d])
            by_point[r, c] = node[c, r]
            by_node[r, c] = 0.0
        by_node[r, r] = -1.0
    if d == 2:
        by_node[0, 2], by_node[1, 2] = e[1] + z[1], -e[0] - z[0]
        return
    for r in range(3):
        n, m = (r + 1) % 3, (r + 2) % 3
        by_node[r, r + 3], by_node[r, n + 3], by_node[r, m + 3] = 0.0, -e[m] - z[m], e[n] + z[n]


@njit(cache=True)
@no_type_check
def _add_block(values, start, stride, block, w):
    """values[block] += w block."""
    for r in range(block.shape[0]):
        for c in range(block.shape[1]):
            values[start + r * stride + c] += w * block[r, c]


@njit(cache=True, forceinline=True)
@no_type_check
def _add_square(values, start, stride, block, w):
    """As `_add_block`, for one of the sizes of motions, which the compiler then writes out."""
    if block.shape[1] == 3:
        for r in range(3):
            for c in range(3):
                values[start + r * stride + c] += w * block[r, c]
    elif block.shape[1] == 6:
        for r in range(6):
            for c in range(6):
                values[start + r * stride + c] += w * block[r, c]
    else:
        for r in range(7):
            for c in range(7):
                values[start + r * stride + c] += w * block[r, c]


@njit(cache=True)
@no_type_check
def _add_motions(poses, relative, robust, confidence, places, into):
    """Adds all motions' normal equations, whose terms are those of `relative_motion`; returns their cost."""
    a_of, b_of, z_inverse, information = relative
    vertex, vertex_stride, pair, pair_stride, swapped = places
    offset, panels, gradient = into
    size = information.shape[1]
    cost, matrices = 0.0, workspace(poses.shape[1])
    e, j, scratch, of_b, of_ba, of_a = blocks_of(size)
    for m in range(len(a_of)):
        a, b = a_of[m], b_of[m]
        here = matrices[2] if a < 0 else poses[a]
        relative_error(here, poses[b], z_inverse[m], matrices, e)
        squared = linearise_motion(e, matrices, information[m], j, scratch, of_b, of_ba, of_a)
        rho, w = loss(squared, robust[0] if a >= 0 else 0, robust[1])
        w *= confidence[m]
        cost += rho * confidence[m] / 2
        _add_square(panels, vertex[b], vertex_stride[b], of_b, w)
        for k in range(size):
            gradient[offset[b] + k] += w * of_b[size, k]
        if a < 0:
            continue
        _add_square(panels, vertex[a], vertex_stride[a], of_a, w)
        for k in range(size):
            gradient[offset[a] + k] += w * of_ba[size, k]
        if swapped[m]:
            _add_square(panels, pair[m], pair_stride[m], of_ba[:size], w)
        else:
            _add_square(panels, pair[m], pair_stride[m], of_ba[:size].T, w)
    return cost


@njit(cache=True)
@no_type_check
def _add_sightings(state, points, robust, places, ties, into):
    """Adds all sightings' normal equations; returns their cost. Their pairs follow the `ties` of the motions."""
    poses, landmarks = state
    offset, panels, gradient = into
    node_of, landmark_of, seen, information = points
    vertex, vertex_stride, pair, pair_stride, swapped = places
    d, size = poses.shape[1] - 1, 3 if poses.shape[1] == 3 else 6
    e, by_node = np.empty(d), np.empty((d, size))
    by_point, cost = np.empty((d, d)), 0.0
    for m in range(len(node_of)):
        a, b = node_of[m], len(poses) + landmark_of[m]
        sighting(poses[a], landmarks[landmark_of[m]], seen[m], e, by_node, by_point)
        rho, w = loss(quadratic(information[m], e), robust[0], robust[1])
        cost += rho / 2
        weighted = information[m] @ by_node
        _add_block(panels, vertex[a], vertex_stride[a], by_node.T @ weighted, w)
        _add_block(panels, vertex[b], vertex_stride[b], by_point.T @ information[m] @ by_point, w)
        across, pull = by_point.T @ weighted, information[m] @ e
        if swapped[ties + m]:
            _add_block(panels, pair[ties + m], pair_stride[ties + m], across, w)
        else:
            _add_block(panels, pair[ties + m], pair_stride[ties + m], across.T, w)
        gradient[offset[a] : offset[a] + size] += w * (by_node.T @ pull)
        gradient[offset[b] : offset[b] + d] += w * (by_point.T @ pull)
    return cost


@njit(cache=True)
@no_type_check
def _squared_errors(state, relative, points):
    """e' Omega e of every motion (motions,) and of every sighting (sightings,)."""
    poses, landmarks = state
    a_of, b_of, z_inverse, information = relative
    of_motions, of_points = np.empty(len(a_of)), np.empty(len(points[0]))
    size, d = information.shape[1], poses.shape[1] - 1
    matrices, e = workspace(d + 1), np.empty(size)
    for m in range(len(a_of)):
        here = matrices[2] if a_of[m] < 0 else poses[a_of[m]]
        relative_error(here, poses[b_of[m]], z_inverse[m], matrices, e)
        of_motions[m] = quadratic(information[m], e)
    e, by_node, by_point = np.empty(d), np.empty((d, size)), np.empty((d, d))
    for m in range(len(points[0])):
        sighting(poses[points[0][m]], landmarks[points[1][m]], points[2][m], e, by_node, by_point)
        of_points[m] = quadratic(points[3][m], e)
    return of_motions, of_points


@njit(cache=True)
@no_type_check
def _cost(of_motions, of_points, a_of, robust, confidence):
    """Half the sum of rho of squared errors, of motions scaled by their confidence; priors know no kernel."""
    total = 0.0
    for m in range(len(of_motions)):
        rho, _ = loss(of_motions[m], robust[0] if a_of[m] >= 0 else 0, robust[1])
        total += confidence[m] * rho / 2
    for m in range(len(of_points)):
        rho, _ = loss(of_points[m], robust[0], robust[1])
        total += rho / 2
    return total


@njit(cache=True)
@no_type_check
def _move(poses, landmarks, size, offset, step):
    """In place, by the permuted step (unknowns,), which may be used up."""
    nodes = len(poses)
    for v in range(nodes):
        xi = step[offset[v] : offset[v] + size]
        if size == 3:
            planar_move(poses[v], xi)
        elif size == 6:
            spatial_move(poses[v], xi)
        else:
            similarity_move(poses[v], xi)
    for v in range(len(landmarks)):
        for k in range(landmarks.shape[1]):
            landmarks[v, k] += step[offset[nodes + v] + k]
