"""Graphs of similarities: the poses and scales that agree best with motions of one camera, whose unit of length drifts.

Paper:  Strasdat, Montiel, Davison. Scale Drift-Aware Large Scale Monocular SLAM. RSS 2010;
        Eade. Lie Groups for 2D and 3D Transformations. 2013 (Sim(3): exp, log, adjoint);
        Yang, Antonante, Tzoumas, Carlone. Graduated Non-Convexity. IEEE RA-L 5(2), 2020 (false loops).
Idea:   S = [s R, t; 0, 1], tangent (rho, phi, sigma), s = e^sigma
        exp = [e^sigma e^(phi^), V rho],  V = integral over u in [0, 1] of e^(u sigma) e^(u phi^)
            = a I + b phi^ + c phi^ phi^                                                       -> _v(), similarity_move()
        log by V^-1 = I / a - b / d phi^ + (b b - c p) / (a d) phi^ phi^,
            p = a - c phi' phi,  d = p p + b b phi' phi                                        -> similarity_log()
        e = log(Z^-1 A^-1 B),  de / dxi_b = J_r^-1(e),  de / dxi_a = -J_r^-1(e) Ad(B^-1 A),
            J_r^-1(e) = sum B_n (-ad e)^n / n!, B_n Bernoulli's numbers with B_1 = -1/2
                                                                     -> similarity_right_inverse(), times_adjoint()
        Gauss-Newton with damping over sum e' Omega e; the first node is held                   -> descend()
        weights of loops by graduated non-convexity                                            -> solve()
Differs: a, b and c are summed by Gauss's rule instead of their closed forms, which have four limits to take care of. While
        weights are graduated, a step is followed by another only where it gained much, and mu is never less than a
        tenth of what it would start with at the errors as they now are: with more, other loops are left out at the end.
Units:  lengths in the unit of the nodes, radians, log of scale. Tangents act on the right.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit
from scipy.stats import chi2

from firstsight.optimisation.robust_kernels import confidences, first_mu
from firstsight.optimisation.sparse_cholesky import Factor, Matrix, Structure, analyse
from firstsight.optimisation.tangents import spatial_log, spatial_move
from firstsight.roles.pose_graph import Between
from firstsight.slam.pose_graphs.factors import spatial_times_adjoint

SIZE = 7
NODES, WEIGHTS = (values / 2 for values in np.polynomial.legendre.leggauss(16))
NODES = NODES + 0.5  # in [0, 1]
GRADUATION, GRADUATED_STEPS, STEPS_EACH, STEPS = 1.4, 100, 3, 30
LEAST_MU = 0.1  # of its first value, had the errors been what they now are
FIRST_DAMPING, RELATIVE_TOLERANCE, GRADUATED_TOLERANCE = 1e-8, 1e-9, 0.3
HOLD = 1e3  # information of the first node's place, over the largest of any motion

Similarities = Float64[np.ndarray, "n 4 4"]
Tangents = Float64[np.ndarray, "n 7"]


class Solution(NamedTuple):
    """`confidence` is 0 for motions found to be false, 1 for others."""

    world_from_node: Similarities
    confidence: Float64[np.ndarray, " between"]
    error: float


class Problem(NamedTuple):
    """The motions of a graph, the structure of its equations, and memory that every step uses again."""

    between: Between
    b_from_a: Similarities  # Z^-1
    structure: Structure
    panels: Float64[np.ndarray, " stored"]
    stacks: Float64[np.ndarray, "2 stack"]


def similarity(motion: Similarities, scale: Float64[np.ndarray, " n"]) -> Similarities:
    """[s R, t]."""
    out = motion.copy()
    out[:, :3, :3] *= scale[:, None, None]
    return out


def scales(similarities: Similarities) -> Float64[np.ndarray, " n"]:
    return np.cbrt(np.linalg.det(similarities[:, :3, :3]))


def without_scale(similarities: Similarities) -> Similarities:
    """[R, t]: the pose that the similarity stands for."""
    return similarity(similarities, 1 / scales(similarities))


def solve(world_from_node: Similarities, between: Between, inlier_probability: float = 0.99) -> Solution:
    """The nearest optimum, loops that do not fit it left out. Motions to the next node are trusted."""
    problem = problem_of(between, len(world_from_node))
    loops, limit = np.abs(between.b - between.a) != 1, float(chi2.ppf(inlier_probability, SIZE))
    nodes = np.ascontiguousarray(world_from_node)
    squared = squared_errors(nodes, problem)
    mu = first_mu(squared[loops], limit)
    for _ in range(GRADUATED_STEPS):
        confidence = np.where(loops, confidences(squared, limit, mu), 1.0)
        nodes, squared = descend(nodes, squared, problem, confidence, STEPS_EACH, GRADUATED_TOLERANCE)
        if np.isin(confidence, (0.0, 1.0)).all():
            break
        mu = max(GRADUATION * mu, LEAST_MU * first_mu(squared[loops], limit))
    nodes, squared = descend(nodes, squared, problem, confidence, STEPS, RELATIVE_TOLERANCE)
    return Solution(nodes, confidence, float(confidence @ squared) / 2)


def problem_of(between: Between, nodes: int) -> Problem:
    structure = analyse(np.stack([between.a, between.b], 1), np.full(nodes, SIZE))
    between = Between(*map(np.ascontiguousarray, between))
    memory = np.empty(structure.stored), np.empty((2, structure.stack))
    return Problem(between, np.linalg.inv(between.a_from_b), structure, *memory)


def descend(
    nodes: Similarities,
    squared: Float64[np.ndarray, " between"],
    problem: Problem,
    confidence: Float64[np.ndarray, " between"],
    steps: int,
    tolerance: float,
) -> tuple[Similarities, Float64[np.ndarray, " between"]]:
    """At most so many damped Gauss-Newton steps that gain, from the nodes and the squared errors there to others.

    The last one is that which gained less than this share of the cost.
    """
    damping = FIRST_DAMPING
    for _ in range(steps):
        matrix, gradient = normal_equations(nodes, problem, confidence, damping)
        trial = moved(nodes, Factor(matrix, problem.stacks).solve(-gradient), problem.structure)
        now = squared_errors(trial, problem)
        gain = float(confidence @ (squared - now))
        if gain < 0:
            damping *= 100
            continue
        nodes, squared, damping = trial, now, damping / 10
        if gain <= tolerance * float(confidence @ squared):
            break
    return nodes, squared


def squared_errors(world_from_node: Similarities, problem: Problem) -> Float64[np.ndarray, " between"]:
    """e' Omega e of each motion."""
    between, out = problem.between, np.empty(len(problem.between.a))
    _squared_errors(world_from_node, between.a, between.b, problem.b_from_a, between.information, out)
    return out


def normal_equations(
    world_from_node: Similarities, problem: Problem, confidence: Float64[np.ndarray, " between"], damping: float = 0.0
) -> tuple[Matrix, Float64[np.ndarray, " unknowns"]]:
    """H + damping diag(H), in the problem's memory, and g, in the structure's order; the first node is held."""
    structure, between, panels = problem.structure, problem.between, problem.panels
    panels[:] = 0
    gradient = np.zeros(structure.unknowns)
    of_motions = between.a, between.b, problem.b_from_a, between.information, confidence
    _add_motions(world_from_node, *of_motions, structure.places, structure.offset, panels, gradient)
    start, stride = structure.places.vertex[:, None], structure.places.vertex_stride[:, None]
    diagonal = start + (stride + 1) * np.arange(SIZE)
    panels[diagonal[0]] += HOLD * np.abs(between.information).max()
    panels[diagonal] *= 1 + damping
    return Matrix(structure, panels), gradient


def moved(world_from_node: Similarities, step: Float64[np.ndarray, " unknowns"], structure: Structure) -> Similarities:
    """S exp(xi) of all nodes."""
    out = world_from_node.copy()
    _move(out, structure.offset, step)
    return out


@njit(cache=True)
@no_type_check
def _v(squared, sigma):
    """(a, b, c) of V = a I + b phi^ + c phi^ phi^ for a turn of this squared angle."""
    a, b, c, theta = 0.0, 0.0, 0.0, np.sqrt(squared)
    for k in range(len(NODES)):
        u = NODES[k]
        w = WEIGHTS[k] * np.exp(u * sigma)
        if theta < 1e-9:
            sine, half = u, u / 2
        else:
            sine, half = np.sin(u * theta) / theta, np.sin(u * theta / 2) / theta
        a, b, c = a + w, b + w * sine, c + 2 * w * half * half
    return a, b, c


@njit(cache=True)
@no_type_check
def _along(v, alpha, beta, gamma, x, y, z, out):
    """out (3,) = (alpha I + beta v^ + gamma v^ v^) (x, y, z)."""
    dot, squared = v[0] * x + v[1] * y + v[2] * z, v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
    out[0] = (alpha - gamma * squared) * x + beta * (v[1] * z - v[2] * y) + gamma * dot * v[0]
    out[1] = (alpha - gamma * squared) * y + beta * (v[2] * x - v[0] * z) + gamma * dot * v[1]
    out[2] = (alpha - gamma * squared) * z + beta * (v[0] * y - v[1] * x) + gamma * dot * v[2]


@njit(cache=True)
@no_type_check
def similarity_log(d, e):
    """e (7,) = log of d (4, 4), which is left without its scale."""
    volume = (
        d[0, 0] * (d[1, 1] * d[2, 2] - d[1, 2] * d[2, 1])
        - d[0, 1] * (d[1, 0] * d[2, 2] - d[1, 2] * d[2, 0])
        + d[0, 2] * (d[1, 0] * d[2, 1] - d[1, 1] * d[2, 0])
    )
    sigma = np.log(volume) / 3
    shrink = np.exp(-sigma)
    for r in range(3):
        for c in range(3):
            d[r, c] *= shrink
    spatial_log(d, e)  # phi; its rho is of a motion without scale
    phi = e[3:6]
    squared = phi[0] * phi[0] + phi[1] * phi[1] + phi[2] * phi[2]
    a, b, c = _v(squared, sigma)
    p = a - c * squared
    over = p * p + b * b * squared
    _along(phi, 1 / a, -b / over, (b * b - c * p) / (a * over), d[0, 3], d[1, 3], d[2, 3], e)
    e[6] = sigma


@njit(cache=True)
@no_type_check
def similarity_move(s, xi):
    """s (4, 4) becomes s exp(xi), xi (7,), whose rho is used up."""
    a, b, c = _v(xi[3] * xi[3] + xi[4] * xi[4] + xi[5] * xi[5], xi[6])
    step, grow = np.empty(3), np.exp(xi[6])
    _along(xi[3:6], a, b, c, xi[0], xi[1], xi[2], step)
    for r in range(3):
        s[r, 3] += s[r, 0] * step[0] + s[r, 1] * step[1] + s[r, 2] * step[2]
        xi[r] = 0.0
    spatial_move(s, xi[:6])
    for r in range(3):
        for k in range(3):
            s[r, k] *= grow


@njit(cache=True)
@no_type_check
def little_adjoint(xi, out):
    """out (7, 7) = ad of xi (7,): exp(ad xi) = Ad(exp xi)."""
    for r in range(SIZE):
        for c in range(SIZE):
            out[r, c] = 0.0
    for r in range(3):
        n, m = (r + 1) % 3, (r + 2) % 3
        out[r, r], out[r, 6] = xi[6], -xi[r]
        out[r, n], out[r, m], out[r, n + 3], out[r, m + 3] = -xi[m + 3], xi[n + 3], -xi[m], xi[n]
        out[r + 3, n + 3], out[r + 3, m + 3] = -xi[m + 3], xi[n + 3]


@njit(cache=True)
@no_type_check
def _product(x, y, out):
    """out = x y, all (7, 7)."""
    for r in range(SIZE):
        for c in range(SIZE):
            out[r, c] = 0.0
        for k in range(SIZE):
            for c in range(SIZE):
                out[r, c] += x[r, k] * y[k, c]


@njit(cache=True)
@no_type_check
def similarity_right_inverse(xi, scratch, j):
    """j (7, 7) = J_r^-1(xi) = I + ad / 2 + ad^2 / 12 - ad^4 / 720 + ad^6 / 30240 - ad^8 / 1209600; scratch (3, 7, 7)."""
    ad, square, inner = scratch[0], scratch[1], scratch[2]
    little_adjoint(xi, ad)
    _product(ad, ad, square)
    for r in range(SIZE):
        for c in range(SIZE):
            inner[r, c] = -square[r, c] / 1209600
        inner[r, r] += 1 / 30240
    _product(square, inner, j)
    for r in range(SIZE):
        j[r, r] -= 1 / 720
    _product(square, j, inner)
    for r in range(SIZE):
        inner[r, r] += 1 / 12
    _product(square, inner, j)
    for r in range(SIZE):
        for c in range(SIZE):
            j[r, c] += ad[r, c] / 2
        j[r, r] += 1.0


@njit(cache=True)
@no_type_check
def times_adjoint(rows, g, out):
    """out = -rows Ad(g), (n, 7), g (4, 4): what turns a derivative by node b into that by node a, g = b^-1 a.

    With g = [s R, t]: [v, w, x] Ad(g) = [v s R, (v t^ + w) R, x - v t].
    """
    s2 = g[0, 0] * g[0, 0] + g[0, 1] * g[0, 1] + g[0, 2] * g[0, 2]
    shrink = 1 / np.sqrt(s2)
    spatial_times_adjoint(rows, g, out)  # with s R in the place of R
    for r in range(len(rows)):
        for c in range(3, 6):
            out[r, c] *= shrink
        out[r, 6] = rows[r, 0] * g[0, 3] + rows[r, 1] * g[1, 3] + rows[r, 2] * g[2, 3] - rows[r, 6]


@njit(cache=True)
@no_type_check
def _error(a, b, z_inverse, scratch, e):
    """e (7,) of a motion between nodes a and b (4, 4); scratch[1] becomes b^-1 a."""
    d, g = scratch[0], scratch[1]
    sa, sb = 0.0, 0.0
    for k in range(3):
        sa, sb = sa + a[k, 0] * a[k, 0], sb + b[k, 0] * b[k, 0]
    for r in range(3):
        d[r, 3], g[r, 3] = 0.0, 0.0
        for c in range(3):
            dot = a[0, r] * b[0, c] + a[1, r] * b[1, c] + a[2, r] * b[2, c]
            d[r, c], g[c, r] = dot / sa, dot / sb  # a^-1 b and b^-1 a
            d[r, 3] += a[c, r] * (b[c, 3] - a[c, 3]) / sa
            g[r, 3] += b[c, r] * (a[c, 3] - b[c, 3]) / sb
    for c in range(4):
        x, y, z = d[0, c], d[1, c], d[2, c]
        for r in range(3):
            d[r, c] = z_inverse[r, 0] * x + z_inverse[r, 1] * y + z_inverse[r, 2] * z
    for r in range(3):
        d[r, 3] += z_inverse[r, 3]
    similarity_log(d, e)


@njit(cache=True)
@no_type_check
def _normal(information, e, j, scratch, out):
    """out (8, 7) = J' Omega J and below it (J' Omega e)'. scratch (8, 7) = Omega J, (Omega e)'."""
    for r in range(SIZE + 1):
        for c in range(SIZE):
            scratch[r, c], out[r, c] = 0.0, 0.0
    for r in range(SIZE):
        for k in range(SIZE):
            omega = information[r, k]
            for c in range(SIZE):
                scratch[r, c] += omega * j[k, c]
            scratch[SIZE, r] += omega * e[k]
    for k in range(SIZE):
        for r in range(SIZE):
            for c in range(SIZE):
                out[r, c] += j[k, r] * scratch[k, c]
            out[SIZE, r] += j[k, r] * scratch[SIZE, k]


@njit(cache=True)
@no_type_check
def _add(values, start, stride, block, w):
    """values[block] += w block, (7, 7)."""
    for r in range(SIZE):
        for c in range(SIZE):
            values[start + r * stride + c] += w * block[r, c]


@njit(cache=True)
@no_type_check
def _add_motions(nodes, a_of, b_of, z_inverse, information, confidence, places, offset, panels, gradient):
    """Adds all motions' normal equations. With M = J_b' Omega J_b and J_a = -J_b Ad:

    H_bb = M,  H_ba = -M Ad,  H_aa = -H_ba' Ad,  g_b = J_b' Omega e,  g_a = -Ad' g_b.
    """
    vertex, vertex_stride, pair, pair_stride, swapped = places
    motions, powers = np.zeros((2, 4, 4)), np.empty((3, SIZE, SIZE))
    e, j, products = np.empty(SIZE), np.empty((SIZE, SIZE)), np.empty((SIZE + 1, SIZE))
    of_b, of_ba, of_a = np.empty((SIZE + 1, SIZE)), np.empty((SIZE + 1, SIZE)), np.empty((SIZE, SIZE))
    for m in range(len(a_of)):
        a, b, w = a_of[m], b_of[m], confidence[m]
        _error(nodes[a], nodes[b], z_inverse[m], motions, e)
        similarity_right_inverse(e, powers, j)
        _normal(information[m], e, j, products, of_b)
        times_adjoint(of_b, motions[1], of_ba)
        times_adjoint(of_ba[:SIZE].T, motions[1], of_a)
        _add(panels, vertex[b], vertex_stride[b], of_b, w)
        _add(panels, vertex[a], vertex_stride[a], of_a, w)
        if swapped[m]:
            _add(panels, pair[m], pair_stride[m], of_ba, w)
        else:
            _add(panels, pair[m], pair_stride[m], of_ba[:SIZE].T, w)
        for k in range(SIZE):
            gradient[offset[b] + k] += w * of_b[SIZE, k]
            gradient[offset[a] + k] += w * of_ba[SIZE, k]


@njit(cache=True)
@no_type_check
def _squared_errors(nodes, a_of, b_of, z_inverse, information, out):
    """out (motions,) = e' Omega e."""
    motions, e = np.zeros((2, 4, 4)), np.empty(SIZE)
    for m in range(len(a_of)):
        _error(nodes[a_of[m]], nodes[b_of[m]], z_inverse[m], motions, e)
        out[m] = 0.0
        for r in range(SIZE):
            for c in range(SIZE):
                out[m] += e[r] * information[m, r, c] * e[c]


@njit(cache=True)
@no_type_check
def _move(nodes, offset, step):
    """In place, by the permuted step (unknowns,), which is used up."""
    for v in range(len(nodes)):
        similarity_move(nodes[v], step[offset[v] : offset[v] + SIZE])
