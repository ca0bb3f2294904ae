"""Pose graphs some of whose loops are false: which to believe is solved for with the poses.

Paper:  Yang, Antonante, Tzoumas, Carlone. Graduated Non-Convexity. IEEE RA-L 5(2), 2020;
        Suenderhauf, Protzel. Switchable Constraints for Robust Pose Graph SLAM. IROS 2012.
Idea:   weights of loops by graduated non-convexity around the solver                    robust_kernels.py, graduated()
        a switch for each loop, solved for with the poses                                               -> switchable()
        loops kept that fit what odometry and the others say                   consistency.py, groups.py -> consistent()
Differs: graduated weights begin with the errors at the given start, not at the least-squares solution, which false loops can
        carry far off. Switches are not unknowns of the same step: for given poses the best ones are known in closed form.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import chi2

from firstsight.optimisation import robust_kernels
from firstsight.optimisation.least_squares import Descent
from firstsight.optimisation.relative_motion import WORLD
from firstsight.optimisation.robust_kernels import Graduation, switches
from firstsight.optimisation.sparse_cholesky.selected_inverse import SelectedInverse
from firstsight.optimisation.sparse_cholesky.solve import Factor, NotPositiveError
from firstsight.roles.pose_graph import Between, PoseGraph
from firstsight.slam.pose_graphs.descent import Config, descend, problem_of, step_rule
from firstsight.slam.pose_graphs.factors import State, inverse
from firstsight.slam.pose_graphs.false_loops.consistency import (
    Held,
    Odometry,
    adjoints,
    confirmed,
    covariance_of,
    forward,
    held_against_rest,
    log_space,
    logs,
    loops_of,
    odometry_of,
    right_inverses,
)
from firstsight.slam.pose_graphs.false_loops.groups import groups_of, next_groups, posterior_bound, standing
from firstsight.slam.pose_graphs.graph_problem import GraphProblem
from firstsight.slam.pose_graphs.initialisation import chordal

# for the same weights; with many, early weights carry the poses off
GRADUATED_ITERATIONS = 3
CONSISTENT_ROUNDS = 50
# for a true loop to lie within what the others say, when those that are out are looked at again
FINAL_PROBABILITY = 1 - 1e-6


class Bounds(NamedTuple):
    """What a loop must keep to: its squared error, the same when it is looked at again, and its log odds."""

    gate: float
    last: float
    odds: float


def graduated(problem: GraphProblem, start: State, config: Config) -> tuple[GraphProblem, Descent[State]]:
    """Truncated least squares of the loops. Motions to the next node, priors and sightings are trusted."""
    relative = problem.factors.relative
    loops = loops_of(relative.a, relative.b) & (relative.a != WORLD)
    limit = float(chi2.ppf(config.inlier_probability, relative.information.shape[-1]))

    def solve(state: State, confidence: Float64[np.ndarray, " motions"]) -> Descent[State]:
        return descend(problem.with_confidence(confidence), state, config, GRADUATED_ITERATIONS)

    found, confidence = robust_kernels.graduated(
        start, lambda state: problem.errors(state)[0], solve, loops, Graduation(limit=limit)
    )
    problem = problem.with_confidence(confidence)
    final = descend(problem, found.state, config)
    return problem, replace(final, iterations=found.iterations + final.iterations)


def switchable(problem: GraphProblem, start: State, config: Config) -> tuple[GraphProblem, Descent[State]]:
    """Poses and switches in turn, from all loops switched on and from the start's best switches; the better end of both."""
    relative = problem.factors.relative
    loops = loops_of(relative.a, relative.b) & (relative.a != WORLD)
    squared = problem.errors(start)[0]
    ends = [
        switched(problem, start, np.where(loops, first, 1.0), loops, config)
        for first in (1.0, switches(squared, config.switch_prior))
    ]
    problem, found = min(ends, key=lambda end: end[1].cost)
    return problem, replace(found, iterations=sum(end[1].iterations for end in ends))


def switched(
    problem: GraphProblem,
    state: State,
    switch: Float64[np.ndarray, " motions"],
    loops: Bool[np.ndarray, " motions"],
    config: Config,
) -> tuple[GraphProblem, Descent[State]]:
    """The cost is the joint one of poses and switches, `confidence` are the switches."""
    stopping, rule = config.stopping(), step_rule(config)
    error, iterations, still = np.inf, 0, False
    while iterations < config.max_iterations and not still:
        found = descend(problem.with_confidence(switch**2), state, config, GRADUATED_ITERATIONS, rule)
        refused = found.state is state and not found.converged
        # where all steps lost, the rule goes on with shorter ones
        rule = rule if refused else step_rule(config)
        state, iterations = found.state, iterations + found.iterations
        squared = problem.errors(state)[0]
        switch = np.where(loops, switches(squared, config.switch_prior), 1.0)
        off = config.switch_prior * ((1 - switch) ** 2).sum() / 2
        now = problem.with_confidence(switch**2).cost(state) + float(off)
        change = abs(error - now)
        still = not refused and error < np.inf and stopping.reached(change, change, error)
        error = now
        if found.iterations == 0:
            break
    return problem.with_confidence(switch), Descent(state, error, iterations, still)


def consistent(
    graph: PoseGraph, problem: GraphProblem, start: State, config: Config
) -> tuple[GraphProblem, Descent[State]]:
    """Groups of loops that odometry or others confirm, then, solution after solution, loops that fit what all others say.

    Solutions are of the graph without the loops that are out: false ones join what lies far apart, which is costly. When
    nothing changes any more, those that are out are looked at again, by the odds that the others have shown.
    """
    between = graph.between
    loops, odometry = loops_of(between.a, between.b), odometry_of(between, len(start.world_from_node))
    numbers, chosen = np.flatnonzero(loops), Between(*(part[loops] for part in between))
    covariance, space = covariance_of(chosen.information), log_space(odometry.poses)
    bounds = Bounds(
        float(chi2.ppf(config.inlier_probability, graph.tangent)),
        float(chi2.ppf(FINAL_PROBABILITY, graph.tangent)),
        float(np.log(config.min_odds)),
    )
    inside, group = first_groups(forward(chosen), odometry, bounds, space)
    starts, iterations = starts_without(graph, start, numbers[~inside]), 0
    again, many = False, 1
    if not inside.any():
        problem, found = graduated(problem, start, config)
        inside, starts, iterations = problem.confidence[numbers] > 0, [found.state], found.iterations
    for _ in range(CONSISTENT_ROUNDS):
        confidence = np.ones(len(problem.confidence))
        confidence[numbers] = inside
        problem = problem.with_confidence(confidence)
        small = problem if inside.all() else problem_of(without(graph, numbers[~inside]), config, None)
        tried = [descend(small, state, config) for state in starts]
        found = min(tried, key=lambda descent: descent.cost)
        iterations += sum(descent.iterations for descent in tried)
        held = held_against_rest(*loop_errors(problem, found.state, chosen, numbers), covariance, inside, space)
        against = held.squared > bounds.gate
        least = min(bounds.odds, posterior_bound(group, inside, against))
        before, bound = inside, np.where(inside, least, bounds.odds)
        inside = held_to(held, bounds.last if again else bounds.gate, bound)
        if (before == inside).all() or not against.any():
            again = True
            # an error in an uncertainty that is wider than the space says nothing, and nothing against the loop
            held = held._replace(odds=np.maximum(held.odds, -held.squared / 2))
            inside = inside | next_groups(group, held_to(held, bounds.last, least) & ~inside, held.odds, many)
            many *= 2
            if (before == inside).all():
                break
        starts = [found.state, start] if (before & ~inside).any() else [found.state]
    return problem, replace(found, iterations=iterations)


def first_groups(
    loops: Between, odometry: Odometry, bounds: Bounds, space: float
) -> tuple[Bool[np.ndarray, " loops"], Int64[np.ndarray, " loops"]]:
    """The loops to begin with, and the group of every loop; a < b."""
    limits = bounds.gate, bounds.odds, space
    group, inside = groups_of(loops, odometry, *limits), confirmed(loops, odometry, *limits)
    if inside.any():
        among = Between(*(part[inside] for part in loops))
        inside[np.flatnonzero(inside)] = standing(among, group[inside], odometry, *limits)
    return inside, group


def held_to(held: Held, gate: float, least_odds: float | Float64[np.ndarray, " loops"]) -> Bool[np.ndarray, " loops"]:
    """Loops whose error is within the gate, and that are at least so likely to be true."""
    return (held.squared <= gate) & (held.odds >= least_odds)


def without(graph: PoseGraph, out: Int64[np.ndarray, " out"]) -> PoseGraph:
    """The graph without these motions."""
    return graph._replace(between=Between(*(np.delete(part, out, 0) for part in graph.between)))


def starts_without(graph: PoseGraph, start: State, out: Int64[np.ndarray, " out"]) -> list[State]:
    """The start, and a chordal one of the graph without these motions, where they leave it whole."""
    if not len(graph.between.a):
        return [start]
    try:
        other = chordal(without(graph, out))
    except NotPositiveError:
        return [start]
    return [start, State(np.ascontiguousarray(other.world_from_node), other.landmarks)]


def loop_errors(
    problem: GraphProblem, state: State, loops: Between, numbers: Int64[np.ndarray, " loops"]
) -> tuple[Float64[np.ndarray, "loops size"], Float64[np.ndarray, "loops size size"]]:
    """Errors of loops, the motions of these `numbers`, and the covariance that the solution leaves in them."""
    size, stacks = loops.information.shape[-1], problem.memory.stacks
    inverted = SelectedInverse(Factor(problem.linearise(state).matrix, stacks), stacks)
    of_a, of_b = (inverted.of_vertices(end, size) for end in (loops.a, loops.b))
    across = inverted.of_pairs(numbers, size)
    poses = state.world_from_node
    b_from_a = inverse(poses[loops.b]) @ poses[loops.a]
    motions = np.ascontiguousarray(inverse(loops.a_from_b) @ inverse(b_from_a))
    errors, adjoint = logs(motions), adjoints(b_from_a)
    by_b, mixed = right_inverses(motions, errors), adjoint @ across
    inner = of_b + adjoint @ of_a @ adjoint.transpose(0, 2, 1) - mixed - mixed.transpose(0, 2, 1)
    return errors, by_b @ inner @ by_b.transpose(0, 2, 1)
