"""What each measurement of a pose graph says: its error, its derivatives, and its part of the normal equations.

Paper:  Grisetti, Kuemmerle, Stachniss, Burgard. A Tutorial on Graph-Based SLAM. IEEE ITS Magazine 2(4), 2010.
Idea:   a motion z between nodes:   e = log(z^-1 a^-1 b)
            de / dxi_b = J_r^-1(e),  de / dxi_a = -J_r^-1(e) Ad(b^-1 a)       -> planar_between(), spatial_between()
        a prior z:                  e = log(z^-1 b)                                 (the same, a = the world, held still)
        a landmark p seen at z:     e = R_a' (p - t_a) - z                                              -> sighting()
        cost = sum rho(e' Omega e) / 2,  H = sum w J' Omega J,  g = sum w J' Omega e,  w = drho/d(e' Omega e)
                                                                      -> robust_kernels.py, linearise(), costs()
Differs: none of the derivatives is cut off at first order in e.
Units:  metres and radians; tangents are (translation, rotation) and act on the right. All arrays float64 or int64.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from firstsight.optimisation.robust_kernels import Kernel, loss
from firstsight.optimisation.sparse_cholesky import Matrix, Structure
from firstsight.optimisation.tangents import (
    planar_log,
    planar_move,
    planar_right_inverse,
    spatial_log,
    spatial_move,
    spatial_right_inverse,
)
from firstsight.roles.pose_graph import PoseGraph, Priors

WORLD = -1  # node a of a prior


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
    """What is solved for. It is moved in place."""

    world_from_node: Float64[np.ndarray, "nodes d1 d1"]
    landmarks: Float64[np.ndarray, "landmarks d"]

    def copy(self) -> "State":
        return State(self.world_from_node.copy(), self.landmarks.copy())


class Factors(NamedTuple):
    """All measurements, and the robust kernel (its number) of the motions between nodes and of the sightings."""

    relative: Relative
    points: Points
    kernel: int  # of Kernel
    threshold: float  # in sigmas


def factors_of(graph: PoseGraph, kernel: Kernel = Kernel.NONE, threshold: float = 1.0) -> Factors:
    """The graph's measurements; without priors the first node is held where it is."""
    between, priors, sightings = graph.between, graph.priors, graph.sightings
    if not len(priors.node):
        hold = np.eye(graph.tangent)[None] * np.abs(between.information).max(initial=1.0)
        priors = Priors(np.zeros(1, np.int64), graph.world_from_node[:1], hold)
    relative = Relative(
        np.concatenate([between.a, np.full(len(priors.node), WORLD)]),
        np.concatenate([between.b, priors.node]),
        inverse(np.concatenate([between.a_from_b, priors.world_from_node])),
        np.concatenate([between.information, priors.information]),
    )
    return Factors(relative, Points(*map(np.ascontiguousarray, sightings)), int(kernel), threshold)


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
    relative, points, *kernel = factors
    into = (structure.offset, panels, gradient)
    cost = _add_motions(state, relative, *kernel, confidence, structure.places, *into)
    if len(points.node):
        ties = int((relative.a != WORLD).sum())
        cost += _add_sightings(state, points, *kernel, structure.places, ties, *into)
    return Matrix(structure, panels), gradient, float(cost)


def squared_errors(
    factors: Factors, state: State
) -> tuple[Float64[np.ndarray, " motions"], Float64[np.ndarray, " sightings"]]:
    """e' Omega e of each."""
    return _squared_errors(state, factors.relative, factors.points)


def cost(factors: Factors, state: State, confidence: Float64[np.ndarray, " motions"]) -> float:
    return float(_cost(state, *factors, confidence))


def moved(state: State, step: Float64[np.ndarray, " unknowns"], structure: Structure) -> State:
    """x exp(step), a new state."""
    state = state.copy()
    _move(*state, structure.offset, step)
    return state


@njit(cache=True)
@no_type_check
def planar_between(a, b, z_inverse, scratch, e, by_b):
    """Error e (3,) and derivative by_b (3, 3) of a motion between poses a, b (3, 3); scratch[1] becomes b^-1 a."""
    d, g = scratch[0], scratch[1]
    c, s, x, y = a[0, 0], a[1, 0], b[0, 2] - a[0, 2], b[1, 2] - a[1, 2]
    m00, m10 = c * b[0, 0] + s * b[1, 0], c * b[1, 0] - s * b[0, 0]  # a^-1 b
    m02, m12 = c * x + s * y, c * y - s * x
    p, q = z_inverse[0, 0], z_inverse[1, 0]
    d[0, 0], d[1, 0] = p * m00 - q * m10, q * m00 + p * m10
    d[0, 2], d[1, 2] = p * m02 - q * m12 + z_inverse[0, 2], q * m02 + p * m12 + z_inverse[1, 2]
    g[0, 0], g[0, 1], g[1, 0], g[1, 1] = m00, m10, -m10, m00
    g[0, 2], g[1, 2] = -(m00 * m02 + m10 * m12), m10 * m02 - m00 * m12
    planar_log(d, e)
    planar_right_inverse(d, e, by_b)


@njit(cache=True)
@no_type_check
def spatial_between(a, b, z_inverse, scratch, e, by_b):
    """Error e (6,) and derivative by_b (6, 6) of a motion between poses a, b (4, 4); scratch[1] becomes b^-1 a."""
    d, g = scratch[0], scratch[1]
    for r in range(3):
        d[r, 3], g[r, 3] = 0.0, 0.0
        for c in range(3):
            d[r, c] = a[0, r] * b[0, c] + a[1, r] * b[1, c] + a[2, r] * b[2, c]  # a^-1 b
            g[c, r] = d[r, c]
            d[r, 3] += a[c, r] * (b[c, 3] - a[c, 3])
            g[r, 3] += b[c, r] * (a[c, 3] - b[c, 3])
    for c in range(4):
        x, y, z = d[0, c], d[1, c], d[2, c]
        for r in range(3):
            d[r, c] = z_inverse[r, 0] * x + z_inverse[r, 1] * y + z_inverse[r, 2] * z
    for r in range(3):
        d[r, 3] += z_inverse[r, 3]
    spatial_log(d, e)
    spatial_right_inverse(d, e, by_b)


@njit(cache=True)
@no_type_check
def planar_times_adjoint(rows, g, out):
    """out = -rows Ad(g), (n, 3), g (3, 3): what turns a derivative by node b into that by node a, g = b^-1 a."""
    for r in range(len(rows)):
        u, v = rows[r, 0], rows[r, 1]
        out[r, 0] = -(u * g[0, 0] + v * g[1, 0])
        out[r, 1] = -(u * g[0, 1] + v * g[1, 1])
        out[r, 2] = v * g[0, 2] - u * g[1, 2] - rows[r, 2]


@njit(cache=True)
@no_type_check
def spatial_times_adjoint(rows, g, out):
    """As `planar_times_adjoint`, (n, 6), g (4, 4): [v, w] Ad(g) = [v R, (v t^ + w) R]."""
    for r in range(len(rows)):
        v0, v1, v2 = rows[r, 0], rows[r, 1], rows[r, 2]
        w0 = v1 * g[2, 3] - v2 * g[1, 3] + rows[r, 3]
        w1 = v2 * g[0, 3] - v0 * g[2, 3] + rows[r, 4]
        w2 = v0 * g[1, 3] - v1 * g[0, 3] + rows[r, 5]
        for c in range(3):
            out[r, c] = -(v0 * g[0, c] + v1 * g[1, c] + v2 * g[2, c])
            out[r, c + 3] = -(w0 * g[0, c] + w1 * g[1, c] + w2 * g[2, c])


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
def _planar_normal(information, e, j, scratch, out):
    """out (4, 3) = J' Omega J and below it (J' Omega e)'; returns e' Omega e. scratch (4, 3) = Omega J, (Omega e)'."""
    squared = 0.0
    for r in range(3):
        for c in range(3):
            scratch[r, c] = information[r, 0] * j[0, c] + information[r, 1] * j[1, c] + information[r, 2] * j[2, c]
        scratch[3, r] = information[r, 0] * e[0] + information[r, 1] * e[1] + information[r, 2] * e[2]
        squared += e[r] * scratch[3, r]
    for c in range(3):
        for r in range(3):
            out[r, c] = j[0, r] * scratch[0, c] + j[1, r] * scratch[1, c] + j[2, r] * scratch[2, c]
        out[3, c] = j[0, c] * scratch[3, 0] + j[1, c] * scratch[3, 1] + j[2, c] * scratch[3, 2]
    return squared


@njit(cache=True)
@no_type_check
def _spatial_normal(information, e, j, scratch, out):
    """As `_planar_normal`, scratch and out (7, 6)."""
    squared = 0.0
    for r in range(6):
        for c in range(6):
            scratch[r, c], out[r, c] = 0.0, 0.0
        scratch[6, r], out[6, r] = 0.0, 0.0
        for k in range(6):
            omega = information[r, k]
            for c in range(6):
                scratch[r, c] += omega * j[k, c]
            scratch[6, r] += omega * e[k]
        squared += e[r] * scratch[6, r]
    for k in range(6):
        for r in range(6):
            for c in range(6):
                out[r, c] += j[k, r] * scratch[k, c]
            out[6, r] += j[k, r] * scratch[6, k]
    return squared


@njit(cache=True)
@no_type_check
def _add_block(values, start, stride, block, w):
    """values[block] += w block."""
    for r in range(block.shape[0]):
        for c in range(block.shape[1]):
            values[start + r * stride + c] += w * block[r, c]


@njit(cache=True)
@no_type_check
def _add_square(values, start, stride, block, w):
    """As `_add_block`, for one of 3x3 or 6x6, which the compiler then writes out."""
    if block.shape[1] == 3:
        for r in range(3):
            for c in range(3):
                values[start + r * stride + c] += w * block[r, c]
    else:
        for r in range(6):
            for c in range(6):
                values[start + r * stride + c] += w * block[r, c]


@njit(cache=True)
@no_type_check
def _add_motions(state, relative, kernel, threshold, confidence, places, offset, panels, gradient):
    """Adds all motions' normal equations; returns their cost. With M = J_b' Omega J_b and J_a = -J_b Ad:

    H_bb = M,  H_ba = -M Ad,  H_aa = -H_ba' Ad,  g_b = J_b' Omega e,  g_a = -Ad' g_b.
    """
    poses, a_of, b_of, information = state[0], relative[0], relative[1], relative[3]
    vertex, vertex_stride, pair, pair_stride, swapped = places
    planar = poses.shape[1] == 3
    size, scratch = 3 if planar else 6, _scratch(poses.shape[1])
    e, j, products = np.empty(size), np.empty((size, size)), np.empty((size + 1, size))
    of_b, of_ba, of_a = np.empty((size + 1, size)), np.empty((size + 1, size)), np.empty((size, size))
    cost = 0.0
    for m in range(len(a_of)):
        a, b = a_of[m], b_of[m]
        _relative_error(poses, relative, m, scratch, e, j)
        squared = (
            _planar_normal(information[m], e, j, products, of_b)
            if planar
            else _spatial_normal(information[m], e, j, products, of_b)
        )
        rho, w = loss(squared, kernel if a >= 0 else 0, threshold)
        w *= confidence[m]
        cost += rho * confidence[m] / 2
        _add_square(panels, vertex[b], vertex_stride[b], of_b, w)
        for k in range(size):
            gradient[offset[b] + k] += w * of_b[size, k]
        if a < 0:
            continue
        if planar:
            planar_times_adjoint(of_b, scratch[1], of_ba)
            planar_times_adjoint(of_ba[:size].T, scratch[1], of_a)
        else:
            spatial_times_adjoint(of_b, scratch[1], of_ba)
            spatial_times_adjoint(of_ba[:size].T, scratch[1], of_a)
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
def _add_sightings(state, points, kernel, threshold, places, ties, offset, panels, gradient):
    """Adds all sightings' normal equations; returns their cost. Their pairs follow the `ties` of the motions."""
    poses, landmarks = state
    node_of, landmark_of, seen, information = points
    vertex, vertex_stride, pair, pair_stride, swapped = places
    d, size = poses.shape[1] - 1, 3 if poses.shape[1] == 3 else 6
    e, by_node, by_point, cost = np.empty(d), np.empty((d, size)), np.empty((d, d)), 0.0
    for m in range(len(node_of)):
        a, b = node_of[m], len(poses) + landmark_of[m]
        sighting(poses[a], landmarks[landmark_of[m]], seen[m], e, by_node, by_point)
        rho, w = loss(_quadratic(information[m], e), kernel, threshold)
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
def _relative_error(poses, relative, m, scratch, e, by_b):
    """Fills in error and derivative of motion m; scratch as of `_scratch`."""
    a = relative[0][m]
    here = scratch[2] if a < 0 else poses[a]
    if poses.shape[1] == 3:
        planar_between(here, poses[relative[1][m]], relative[2][m], scratch, e, by_b)
    else:
        spatial_between(here, poses[relative[1][m]], relative[2][m], scratch, e, by_b)


@njit(cache=True)
@no_type_check
def _scratch(d1):
    """(3, d1, d1): two for what is computed, and the world's pose."""
    scratch = np.zeros((3, d1, d1))
    for k in range(d1):
        scratch[2, k, k] = 1.0
    return scratch


@njit(cache=True)
@no_type_check
def _quadratic(information, e):
    total = 0.0
    for r in range(len(e)):
        for c in range(len(e)):
            total += e[r] * information[r, c] * e[c]
    return total


@njit(cache=True)
@no_type_check
def _squared_errors(state, relative, points):
    """e' Omega e of every motion (motions,) and of every sighting (sightings,)."""
    d1 = state[0].shape[1]
    d, size = d1 - 1, 3 if d1 == 3 else 6
    of_motions, of_points = np.empty(len(relative[0])), np.empty(len(points[0]))
    scratch, e, by_b = _scratch(d1), np.empty(size), np.empty((size, size))
    for m in range(len(relative[0])):
        _relative_error(state[0], relative, m, scratch, e, by_b)
        of_motions[m] = _quadratic(relative[3][m], e)
    e, by_a, by_b = np.empty(d), np.empty((d, size)), np.empty((d, d))
    for m in range(len(points[0])):
        sighting(state[0][points[0][m]], state[1][points[1][m]], points[2][m], e, by_a, by_b)
        of_points[m] = _quadratic(points[3][m], e)
    return of_motions, of_points


@njit(cache=True)
@no_type_check
def _cost(state, relative, points, kernel, threshold, confidence):
    of_motions, of_points = _squared_errors(state, relative, points)
    total = 0.0
    for m in range(len(of_motions)):
        rho, _ = loss(of_motions[m], kernel if relative[0][m] >= 0 else 0, threshold)
        total += confidence[m] * rho / 2
    for m in range(len(of_points)):
        rho, _ = loss(of_points[m], kernel, threshold)
        total += rho / 2
    return total


@njit(cache=True)
@no_type_check
def _move(poses, landmarks, offset, step):
    """In place, by the permuted step (unknowns,)."""
    nodes, size = len(poses), 3 if poses.shape[1] == 3 else 6
    for v in range(nodes):
        if size == 3:
            planar_move(poses[v], step[offset[v] : offset[v] + 3])
        else:
            spatial_move(poses[v], step[offset[v] : offset[v] + 6])
    for v in range(len(landmarks)):
        for k in range(landmarks.shape[1]):
            landmarks[v, k] += step[offset[nodes + v] + k]
