"""Which loops are true: those that say what a chance loop would not, given odometry and the other loops.

Paper:  Mangelson, Dominic, Eustice, Vasudevan. Pairwise Consistent Measurement Set Maximization. ICRA 2018 (pairs);
        Latif, Cadena, Neira. Robust Loop Closing over Time for Pose Graph SLAM. IJRR 32(14), 2013 (chi-square of the rest).
Idea:   two loops and the odometry between their ends are a cycle. Its error, with what odometry and both loops leave
        unsure, S:   e = log(z_j^-1 A^-1 z_i B),  S = R_j + Ad(B^-1) R_i Ad(B^-1)' + S_B + Ad(z^-1) S_A Ad(z^-1)'
                                                                                               -> cycle_errors()
        true loops have e of N(0, S); those of false ones lie anywhere in the space V that the path spans. So the odds
            log T = log V - (e' S^-1 e + log |2 pi S|) / 2                                         -> log_odds()
        are small even for a small e where S is wide: a chance loop fits there too. A pair with high odds confirms each
        other; one whose e is out of S, where high odds were possible, contradicts. Loops with more contradictions than
        confirmations among the rest are taken out, the worst first                                 -> confirmed()
        given a solution: C, what it leaves unsure of a loop's error, and R of its measurement. A loop that is not in it
        has S = R + C, one that is in it is held against the others, S = R (R - C)^-1 R          -> held_against_rest()
Differs: chi-square gates alone (both papers) let any loop in where odometry is unsure by the size of the map; odds do
        not. Pairs are those of the nearest loops only: others are unsure anyway.
Units:  metres and radians; tangents (translation, rotation) on the right.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit
from scipy.spatial import KDTree

from firstsight.optimisation.tangents import planar_log, planar_right_inverse, spatial_log, spatial_right_inverse
from firstsight.roles.pose_graph import Between
from firstsight.slam.pose_graphs.factors import inverse

NEAREST = 12  # loops that each one is held against
PIVOT = 1e-9  # of the mean information, added so that what was not measured is unsure, not undefined

Motions = Float64[np.ndarray, "n d1 d1"]
Blocks = Float64[np.ndarray, "n size size"]
Errors = Float64[np.ndarray, "n size"]


class Odometry(NamedTuple):
    """Motions from node to node joined. Within a piece, the right tangent of k_from_l has the covariance

    Ad(l^-1) |spread_l - spread_k| Ad(l^-1)'.
    """

    poses: Motions
    spread: Blocks
    piece: Int64[np.ndarray, " n"]


def loops_of(a: Int64[np.ndarray, " motions"], b: Int64[np.ndarray, " motions"]) -> Bool[np.ndarray, " motions"]:
    """All motions but the first between each two nodes whose numbers follow each other: that is odometry."""
    loops = np.ones(len(a), bool)
    beside = np.flatnonzero(np.abs(b - a) == 1)
    loops[beside[np.unique(np.minimum(a, b)[beside], return_index=True)[1]]] = False
    return loops


def odometry_of(between: Between, nodes: int) -> Odometry:
    """The chain of motions that are no loops; where one is missing, a new piece begins."""
    between = Between(*(part[~loops_of(between.a, between.b)] for part in between))
    d1, size = between.a_from_b.shape[-1], between.information.shape[-1]
    steps, noise, known = np.tile(np.eye(d1), (nodes, 1, 1)), np.zeros((nodes, size, size)), np.zeros(nodes, bool)
    forward, back = (np.flatnonzero(between.b - between.a == way) for way in (1, -1))
    covariance = covariance_of(between.information)
    for chosen, motion, cause in (
        (back, inverse(between.a_from_b), carried(between.a_from_b, covariance)),
        (forward, between.a_from_b, covariance),
    ):
        node = np.maximum(between.a, between.b)[chosen]
        steps[node], noise[node], known[node] = motion[chosen], cause[chosen], True
    poses = steps.copy()
    for i in range(1, nodes):
        if known[i]:
            poses[i] = poses[i - 1] @ steps[i]
    return Odometry(poses, np.cumsum(carried(poses, noise), 0), np.cumsum(~known))


def covariance_of(information: Blocks) -> Blocks:
    size = information.shape[-1]
    mean = np.trace(information, axis1=1, axis2=2)[:, None, None] / size
    return np.linalg.inv(information + (PIVOT * mean + 1e-300) * np.eye(size))


def adjoints(a_from_b: Motions) -> Blocks:
    """Ad: a tangent at b as one at a."""
    n, d = len(a_from_b), a_from_b.shape[-1] - 1
    rotation, t = a_from_b[:, :d, :d], a_from_b[:, :d, d]
    out = np.zeros((n, 3 * (d - 1), 3 * (d - 1)))
    out[:, :d, :d] = rotation
    if d == 2:
        out[:, 0, 2], out[:, 1, 2], out[:, 2, 2] = t[:, 1], -t[:, 0], 1
        return out
    out[:, 3:, 3:] = rotation
    out[:, :3, 3:] = np.cross(t[:, None], rotation.transpose(0, 2, 1)).transpose(0, 2, 1)
    return out


def carried(a_from_b: Motions, covariance: Blocks) -> Blocks:
    """Ad covariance Ad'."""
    adjoint = adjoints(a_from_b)
    return adjoint @ covariance @ adjoint.transpose(0, 2, 1)


@njit(cache=True)
@no_type_check
def logs(motions):
    """Right tangents (n, 3 or 6) of motions (n, d1, d1)."""
    out = np.empty((len(motions), 3 if motions.shape[1] == 3 else 6))
    for i in range(len(motions)):
        if motions.shape[1] == 3:
            planar_log(motions[i], out[i])
        else:
            spatial_log(motions[i], out[i])
    return out


@njit(cache=True)
@no_type_check
def right_inverses(motions, errors):
    """J_r^-1 (n, size, size) of motions and their logarithms."""
    size = errors.shape[1]
    out = np.zeros((len(motions), size, size))
    for i in range(len(motions)):
        if size == 3:
            planar_right_inverse(motions[i], errors[i], out[i])
        else:
            spatial_right_inverse(motions[i], errors[i], out[i])
    return out


def cycle_errors(loops: Between, odometry: Odometry, i: np.ndarray, j: np.ndarray) -> tuple[Errors, Blocks]:
    """(e, S) of pairs of loops. S is infinite where no odometry joins their ends."""
    covariance = covariance_of(loops.information)
    a_from_b, poses = loops.a_from_b, odometry.poses
    b_step = inverse(poses[loops.b[i]]) @ poses[loops.b[j]]
    predicted = inverse(poses[loops.a[j]]) @ poses[loops.a[i]] @ a_from_b[i] @ b_step
    errors = logs(np.ascontiguousarray(inverse(a_from_b[j]) @ predicted))
    spread = covariance[j] + carried(inverse(b_step), covariance[i])
    for k, m, seen in ((loops.b[i], loops.b[j], None), (loops.a[i], loops.a[j], inverse(predicted))):
        grown = np.where(m > k, 1.0, -1.0)[:, None, None] * (odometry.spread[m] - odometry.spread[k])
        of_step = carried(inverse(poses[m]), grown)
        spread += of_step if seen is None else carried(seen, of_step)
        spread[odometry.piece[k] != odometry.piece[m]] = np.inf
    return errors, spread


def odometry_errors(loops: Between, odometry: Odometry) -> tuple[Errors, Blocks]:
    """As `cycle_errors`, of each loop with the odometry between its own ends, a < b."""
    poses, spread = odometry.poses, covariance_of(loops.information)
    errors = logs(np.ascontiguousarray(inverse(loops.a_from_b) @ inverse(poses[loops.a]) @ poses[loops.b]))
    spread += carried(inverse(poses[loops.b]), odometry.spread[loops.b] - odometry.spread[loops.a])
    spread[odometry.piece[loops.a] != odometry.piece[loops.b]] = np.inf
    return errors, spread


def whitened(errors: Errors, spread: Blocks) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """(e' S^-1 e, log |2 pi S|); (0, infinity) where S is infinite."""
    squared, volume = np.zeros(len(errors)), np.full(len(errors), np.inf)
    known = np.isfinite(spread).all((1, 2))
    values, vectors = np.linalg.eigh((spread[known] + spread[known].transpose(0, 2, 1)) / 2)
    values = np.maximum(values, 1e-12 * values[:, -1:])
    squared[known] = (np.einsum("nij,ni->nj", vectors, errors[known]) ** 2 / values).sum(1)
    volume[known] = np.log(2 * np.pi * values).sum(1)
    return squared, volume


def log_space(poses: Motions) -> float:
    """log V: of all places within the path's box and all rotations."""
    d = poses.shape[-1] - 1
    extent = np.maximum(np.ptp(poses[:, :d, d], axis=0), 1e-9)
    extent = np.maximum(extent, 0.1 * extent.max())  # a straight or flat path is no less of a space to err in
    return float(np.log(extent).sum() + np.log(2 * np.pi if d == 2 else 8 * np.pi**2))


class Held(NamedTuple):
    """Loops held against a solution: e' S^-1 e, and the log odds that they are true."""

    squared: Float64[np.ndarray, " n"]
    odds: Float64[np.ndarray, " n"]


def held_against_rest(
    errors: Errors, unsure: Blocks, covariance: Blocks, inside: Bool[np.ndarray, " n"], space: float
) -> Held:
    """Errors at a solution, C, R, and whether each loop is part of the solution."""
    root = np.linalg.cholesky(covariance)
    half = np.linalg.solve(root, unsure)
    shares, vectors = np.linalg.eigh(np.linalg.solve(root, half.transpose(0, 2, 1)))
    along = np.einsum("nij,ni->nj", vectors, np.linalg.solve(root, errors[..., None])[..., 0])
    sign = np.where(inside, -1.0, 1.0)[:, None]
    factors = np.maximum(1 + sign * np.maximum(shares, 0), 1e-9)
    squared = (along**2 / factors).sum(1)
    volume = errors.shape[1] * np.log(2 * np.pi) + 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
    volume += (sign * np.log(factors)).sum(1)
    return Held(squared, space - (squared + volume) / 2)


def confirmed(
    loops: Between, odometry: Odometry, gate: float, least_odds: float, space: float
) -> Bool[np.ndarray, " loops"]:
    """Loops that odometry or others near them confirm. `gate` bounds e' S^-1 e; `least_odds` are log odds."""
    loops = forward(loops)
    alone = votes_of(*odometry_errors(loops, odometry), gate, least_odds, space)
    open_to = np.flatnonzero(alone >= 0)
    kept = alone > 0
    if len(open_to) > 1:
        chosen = Between(*(part[open_to] for part in loops))
        i, j = neighbours(chosen)
        votes = votes_of(*cycle_errors(chosen, odometry, i, j), gate, least_odds, space)
        kept[open_to] = outvoted(alone[open_to], i[votes != 0], j[votes != 0], votes[votes != 0])
    return kept


def votes_of(errors: Errors, spread: Blocks, gate: float, least_odds: float, space: float) -> Int64[np.ndarray, " n"]:
    """1 for what confirms, -1 for what contradicts, 0 where nothing can be said."""
    squared, volume = whitened(errors, spread)
    best = space - volume / 2
    votes = np.where(best - squared / 2 >= least_odds, 1, 0)
    votes[(best >= least_odds) & (squared > gate)] = -1
    return votes


def neighbours(loops: Between) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """Each loop and those whose ends are nearest to its own, every pair once."""
    count = len(loops.a)
    tree = KDTree(np.stack([loops.a, loops.b], 1))
    near = tree.query(tree.data, min(NEAREST + 1, count))[1]
    i, j = np.repeat(np.arange(count), near.shape[1]), near.ravel()
    i, j = np.unique(np.sort(np.stack([i, j], 1)[i != j], 1), axis=0).T
    return i, j


def forward(loops: Between) -> Between:
    """The same loops with a < b."""
    turn = (loops.a > loops.b)[:, None, None]
    return Between(
        np.minimum(loops.a, loops.b),
        np.maximum(loops.a, loops.b),
        np.where(turn, inverse(loops.a_from_b), loops.a_from_b),
        np.where(turn, np.linalg.inv(carried(loops.a_from_b, covariance_of(loops.information))), loops.information),
    )


def outvoted(
    votes_alone: Int64[np.ndarray, " loops"], i: np.ndarray, j: np.ndarray, votes: Int64[np.ndarray, " pairs"]
) -> Bool[np.ndarray, " loops"]:
    """Takes out loops, the one with the lowest sum of votes first, until all sums of the rest are above 0."""
    one, other = np.concatenate([i, j]), np.concatenate([j, i])
    order = np.argsort(one, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(one, minlength=len(votes_alone)))])
    return _outvoted(votes_alone, start, other[order], np.concatenate([votes, votes])[order])


@njit(cache=True)
@no_type_check
def _outvoted(alone, start, other, vote):
    """The pairs of loop k are start[k]:start[k + 1]."""
    count = len(alone)
    kept, total = np.ones(count, np.bool_), alone.copy()
    for k in range(count):
        for m in range(start[k], start[k + 1]):
            total[k] += vote[m]
    for _ in range(count):
        worst = -1
        for k in range(count):
            if kept[k] and (worst < 0 or total[k] < total[worst]):
                worst = k
        if worst < 0 or total[worst] > 0:
            break
        kept[worst] = False
        for m in range(start[worst], start[worst + 1]):
            total[other[m]] -= vote[m]
    return kept
