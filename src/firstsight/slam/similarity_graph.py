"""Graphs of similarities: the poses and scales that agree best with motions of one camera, whose unit of length drifts.

Paper:  Strasdat, Montiel, Davison. Scale Drift-Aware Large Scale Monocular SLAM. RSS 2010;
        Eade. Lie Groups for 2D and 3D Transformations. 2013 (Sim(3): exp, log, adjoint);
        Yang, Antonante, Tzoumas, Carlone. Graduated Non-Convexity. IEEE RA-L 5(2), 2020 (false loops).
Idea:   S = [s R, t; 0, 1], tangent (rho, phi, sigma), s = e^sigma
        exp = [e^sigma e^(phi^), V rho],  V = integral over u in [0, 1] of e^(u sigma) e^(u phi^)  -> similarity_exp()
        log by the same V                                                                       -> similarity_log()
        e = log(Z^-1 A^-1 B),  de / dxi_b = J_r^-1(e),  de / dxi_a = -J_r^-1(e) Ad(B^-1 A),
            J_r^-1(e) = sum B_n (-ad e)^n / n!, B_n Bernoulli's numbers with B_1 = -1/2        -> right_inverse()
        Gauss-Newton with damping over sum e' Omega e; the first node is held                   -> solve()
        weights of loops by graduated non-convexity                                            -> solve()
Differs: V is summed by Gauss's rule instead of its closed form, which has four limits to take care of.
Units:  lengths in the unit of the nodes, radians, log of scale. Tangents act on the right.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from scipy.stats import chi2

from firstsight.formats.g2o import Between
from firstsight.geometry.se3 import so3_exp, so3_log
from firstsight.slam.robust_kernels import confidences, first_mu
from firstsight.slam.sparse_cholesky import Factor, Matrix, Structure, analyse, matrix_of

SIZE = 7
NODES, WEIGHTS = (values / 2 for values in np.polynomial.legendre.leggauss(16))  # on [-1/2, 1/2]
BERNOULLI = (1.0, 1 / 2, 1 / 12, 0.0, -1 / 720, 0.0, 1 / 30240, 0.0, -1 / 1209600)  # B_n (-1)^n / n!
GRADUATION, GRADUATED_STEPS, STEPS_EACH, STEPS = 1.4, 100, 3, 30
FIRST_DAMPING, RELATIVE_TOLERANCE = 1e-8, 1e-6
HOLD = 1e3  # information of the first node's place, over the largest of any motion

Similarities = Float64[np.ndarray, "n 4 4"]
Tangents = Float64[np.ndarray, "n 7"]
Blocks = Float64[np.ndarray, "n 7 7"]


class Solution(NamedTuple):
    """`confidence` is 0 for motions found to be false, 1 for others."""

    world_from_node: Similarities
    confidence: Float64[np.ndarray, " between"]
    error: float


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


def _rotations(phi: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3 3"]:
    return so3_exp(torch.from_numpy(phi)).numpy()


def _v(phi: Float64[np.ndarray, "n 3"], sigma: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 3 3"]:
    total = np.zeros((len(phi), 3, 3))
    for node, weight in zip(NODES + 0.5, WEIGHTS, strict=True):
        total += weight * np.exp(node * sigma)[:, None, None] * _rotations(node * phi)
    return total


def similarity_exp(xi: Tangents) -> Similarities:
    rho, phi, sigma = xi[:, :3], xi[:, 3:6], xi[:, 6]
    out = np.tile(np.eye(4), (len(xi), 1, 1))
    out[:, :3, :3] = np.exp(sigma)[:, None, None] * _rotations(phi)
    out[:, :3, 3] = np.einsum("nij,nj->ni", _v(phi, sigma), rho)
    return out


def similarity_log(similarities: Similarities) -> Tangents:
    scale = scales(similarities)
    phi = so3_log(torch.from_numpy(similarities[:, :3, :3] / scale[:, None, None])).numpy()
    sigma = np.log(scale)
    rho = np.linalg.solve(_v(phi, sigma), similarities[:, :3, 3:])[..., 0]
    return np.column_stack([rho, phi, sigma])


def _hats(v: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3 3"]:
    return np.cross(np.eye(3), v[:, None, :])


def adjoint(similarities: Similarities) -> Blocks:
    """Ad: a tangent at b as one at a, of a_from_b."""
    scale, t = scales(similarities), similarities[:, :3, 3]
    rotation = similarities[:, :3, :3] / scale[:, None, None]
    out = np.zeros((len(t), SIZE, SIZE))
    out[:, :3, :3], out[:, 3:6, 3:6], out[:, 6, 6] = similarities[:, :3, :3], rotation, 1
    out[:, :3, 3:6], out[:, :3, 6] = _hats(t) @ rotation, -t
    return out


def little_adjoint(xi: Tangents) -> Blocks:
    """ad: exp(ad xi) = Ad(exp xi)."""
    out = np.zeros((len(xi), SIZE, SIZE))
    turn = _hats(xi[:, 3:6])
    out[:, :3, :3] = turn + xi[:, 6, None, None] * np.eye(3)
    out[:, 3:6, 3:6], out[:, :3, 3:6], out[:, :3, 6] = turn, _hats(xi[:, :3]), -xi[:, :3]
    return out


def right_inverse(xi: Tangents) -> Blocks:
    """J_r^-1."""
    ad, power = little_adjoint(xi), np.tile(np.eye(SIZE), (len(xi), 1, 1))
    total = np.zeros_like(ad)
    for coefficient in BERNOULLI:
        total += coefficient * power
        power = power @ ad
    return total


def errors_of(world_from_node: Similarities, between: Between) -> Float64[np.ndarray, "between 7"]:
    a_from_b = np.linalg.inv(world_from_node[between.a]) @ world_from_node[between.b]
    return similarity_log(np.linalg.inv(between.a_from_b) @ a_from_b)


def solve(world_from_node: Similarities, between: Between, inlier_probability: float = 0.99) -> Solution:
    """The nearest optimum, loops that do not fit it left out. Motions to the next node are trusted."""
    structure = analyse(np.stack([between.a, between.b], 1), np.full(len(world_from_node), SIZE))
    loops, limit = np.abs(between.b - between.a) != 1, float(chi2.ppf(inlier_probability, SIZE))
    nodes, confidence = world_from_node, np.ones(len(between.a))
    squared = squared_errors(nodes, between)
    mu = first_mu(squared[loops], limit)
    for _ in range(GRADUATED_STEPS):
        confidence = np.where(loops, confidences(squared, limit, mu), 1.0)
        nodes, squared = descend(nodes, between, structure, confidence, STEPS_EACH)
        if np.isin(confidence, (0.0, 1.0)).all():
            break
        mu *= GRADUATION
    nodes, squared = descend(nodes, between, structure, confidence, STEPS)
    return Solution(nodes, confidence, float(confidence @ squared) / 2)


def squared_errors(world_from_node: Similarities, between: Between) -> Float64[np.ndarray, " between"]:
    e = errors_of(world_from_node, between)
    return np.einsum("ni,nij,nj->n", e, between.information, e)


def descend(
    world_from_node: Similarities,
    between: Between,
    structure: Structure,
    confidence: Float64[np.ndarray, " between"],
    steps: int,
) -> tuple[Similarities, Float64[np.ndarray, " between"]]:
    """At most so many damped Gauss-Newton steps that gain; the nodes and their squared errors."""
    nodes, squared, damping = world_from_node, squared_errors(world_from_node, between), FIRST_DAMPING
    linear = None
    for _ in range(steps):
        linear = linear or normal_equations(nodes, between, structure, confidence)
        matrix, gradient = linear
        step = Factor(matrix.plus_diagonal(damping * matrix.diagonal())).solve(-gradient)
        trial = nodes @ similarity_exp(step[structure.offset[:, None] + np.arange(SIZE)])
        now = squared_errors(trial, between)
        gain = float(confidence @ (squared - now))
        if gain < 0:
            damping *= 100
            continue
        nodes, squared, damping, linear = trial, now, damping / 10, None
        if gain <= RELATIVE_TOLERANCE * float(confidence @ squared):
            break
    return nodes, squared


def normal_equations(
    world_from_node: Similarities,
    between: Between,
    structure: Structure,
    confidence: Float64[np.ndarray, " between"],
) -> tuple[Matrix, Float64[np.ndarray, " unknowns"]]:
    """H and g in the structure's order; the first node is held by a prior without error."""
    error = errors_of(world_from_node, between)
    by_b = right_inverse(error)
    by_a = -by_b @ adjoint(np.linalg.inv(world_from_node[between.b]) @ world_from_node[between.a])
    weighted = confidence[:, None, None] * between.information
    diagonal = np.zeros((len(world_from_node), SIZE, SIZE))
    diagonal[0] = HOLD * np.abs(between.information).max() * np.eye(SIZE)
    gradient = np.zeros(SIZE * len(world_from_node))
    for node, by_node in ((between.a, by_a), (between.b, by_b)):
        left = by_node.transpose(0, 2, 1) @ weighted
        np.add.at(diagonal, node, left @ by_node)
        places = structure.offset[node][:, None] + np.arange(SIZE)
        np.add.at(gradient, places, np.einsum("nij,nj->ni", left, error))
    return matrix_of(structure, diagonal, by_a.transpose(0, 2, 1) @ weighted @ by_b), gradient
