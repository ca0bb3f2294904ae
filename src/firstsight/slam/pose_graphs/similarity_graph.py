"""Graphs of similarities: the poses and scales that agree best with motions of one camera, whose unit of length drifts.

Paper:  Strasdat, Montiel, Davison. Scale Drift-Aware Large Scale Monocular SLAM. RSS 2010;
        Yang, Antonante, Tzoumas, Carlone. Graduated Non-Convexity. IEEE RA-L 5(2), 2020 (false loops).
Idea:   S = [s R, t; 0, 1]: logarithm, derivatives, steps                          optimisation/similarities.py
        e = log(Z^-1 A^-1 B), a graph as one of poses, with 7 unknowns for a node  optimisation/relative_motion.py, factors.py
        Levenberg-Marquardt over sum e' Omega e; the first node is held            optimisation/least_squares.py
        weights of loops by graduated non-convexity                                robust_kernels.py -> solve()
Differs: while weights are graduated, a step is followed by another only where it gained much, and mu is never less than a
        tenth of what it would start with at the errors as they now are: with more, other loops are left out at the end.
Units:  lengths in the unit of the nodes, radians, log of scale. Tangents act on the right.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2

from firstsight.optimisation.least_squares import Damped, Descent, Stopping, minimise
from firstsight.optimisation.robust_kernels import Graduation, Kernel, graduated
from firstsight.optimisation.similarities import SIZE
from firstsight.optimisation.sparse_cholesky.symbolic import analyse
from firstsight.roles.pose_graph import Between, no_sightings
from firstsight.slam.pose_graphs.factors import Factors, Points, State, relative_of
from firstsight.slam.pose_graphs.graph_problem import GraphProblem, graph_problem

FIRST_DAMPING = 1e-8
# a step of the graduation is followed by another where it gained more than this share of the cost
WHILE_GRADUATED = Stopping(max_iterations=3, relative=0.23)
AT_THE_END = Stopping(max_iterations=30, relative=1e-9)
# of mu's first value, had the errors been what they now are
MIN_MU_SHARE = 0.1

Similarities = Float64[np.ndarray, "n 4 4"]


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
    """s of each."""
    return np.cbrt(np.linalg.det(similarities[:, :3, :3]))


def without_scale(similarities: Similarities) -> Similarities:
    """[R, t]: the pose that the similarity stands for."""
    return similarity(similarities, 1 / scales(similarities))


def solve(world_from_node: Similarities, between: Between, inlier_probability: float = 0.99) -> Solution:
    """The nearest optimum, loops that do not fit it left out. Motions to the next node are trusted."""
    start = State(np.ascontiguousarray(world_from_node), np.zeros((0, 3)))
    problem, edges = problem_of(start.world_from_node, between), len(between.a)
    loops = np.zeros(len(problem.confidence), bool)
    loops[:edges] = np.abs(between.b - between.a) != 1
    limit = float(chi2.ppf(inlier_probability, SIZE))

    def solved(state: State, confidence: Float64[np.ndarray, " motions"]) -> Descent[State]:
        return minimise(problem.with_confidence(confidence), state, Damped(FIRST_DAMPING), WHILE_GRADUATED)

    found, confidence = graduated(
        start,
        lambda state: problem.errors(state)[0],
        solved,
        loops,
        Graduation(limit=limit, min_share=MIN_MU_SHARE),
    )
    final = minimise(problem.with_confidence(confidence), found.state, Damped(FIRST_DAMPING), AT_THE_END)
    return Solution(final.state.world_from_node, confidence[:edges], final.cost)


def problem_of(world_from_node: Similarities, between: Between) -> GraphProblem:
    """The motions between the nodes, of which the first is held where it is."""
    between = Between(*map(np.ascontiguousarray, between))
    points = Points(*no_sightings(3))
    factors = Factors(relative_of(between, None, world_from_node), points, int(Kernel.SQUARED), 1.0)
    structure = analyse(np.stack([between.a, between.b], 1), np.full(len(world_from_node), SIZE))
    return graph_problem(factors, structure)
