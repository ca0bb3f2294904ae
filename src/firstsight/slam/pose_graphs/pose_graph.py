"""Pose graphs: the poses (and landmarks) that agree best with all that was measured between them.

Paper:  Thrun, Montemerlo. The GraphSLAM Algorithm with Applications to Large-Scale Mapping. IJRR 25(5-6), 2006;
        Grisetti, Kuemmerle, Stachniss, Burgard. A Tutorial on Graph-Based SLAM. IEEE ITS Magazine 2(4), 2010;
        Levenberg 1944, Marquardt 1963; Powell 1970 (dogleg);
        Yang, Antonante, Tzoumas, Carlone. Graduated Non-Convexity. IEEE RA-L 5(2), 2020 (false loops);
        Suenderhauf, Protzel. Switchable Constraints for Robust Pose Graph SLAM. IROS 2012 (false loops).
Idea:   minimise F(x) = sum rho(e' Omega e) / 2 over poses and landmarks, e as in                      factors.py
        H = sum w J' Omega J,  g = sum w J' Omega e                                            -> linearise()
        Gauss-Newton         H xi = -g,  x = x exp(xi)                                         -> gauss_newton()
        Levenberg-Marquardt  (H + lambda diag H) xi = -g; lambda falls after a gain, else rises
                                                                                        -> levenberg_marquardt()
        dogleg               from the steepest descent to the Gauss-Newton step, within a radius -> dogleg()
        The sparse Cholesky factor's structure depends on the graph alone: found once       sparse_cholesky.py
        false loops: weights of loops by graduated non-convexity around all this               -> graduated()
                     a switch for each loop, solved for with the poses                        -> switchable()
                     loops kept that fit what odometry and the others say        loop_consistency.py, consistent()
        covariance of a node: its block of H^-1 at the solution         selected_inverse.py -> covariances()
Differs: landmarks are not eliminated first as in GraphSLAM; the order of elimination sees to it. Without any prior the
        first node is held where it is by a prior without error, which changes no optimum. Graduated weights begin with
        the errors at the given start, not at the least-squares solution, which false loops can carry far off. Switches
        are not unknowns of the same step: for given poses the best ones are known in closed form.
Role:   PoseGraphOptimiser.
Units:  metres and radians. The error is gtsam's: half the sum of squared sigmas.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

from firstsight.errors import InputError
from firstsight.optimisation.robust_kernels import Kernel, confidences, first_mu, switches
from firstsight.optimisation.selected_inverse import SelectedInverse
from firstsight.optimisation.sparse_cholesky import Factor, Matrix, NotPositiveError, Structure, analyse
from firstsight.roles import PoseGraphOptimiser
from firstsight.roles.pose_graph import Between, PoseGraph
from firstsight.slam.pose_graphs.factors import (
    WORLD,
    Factors,
    State,
    chain_pairs,
    cost,
    factors_of,
    inverse,
    linearise,
    moved,
    squared_errors,
)
from firstsight.slam.pose_graphs.loop_consistency import (
    adjoints,
    confirmed,
    covariance_of,
    held_against_rest,
    log_space,
    logs,
    loops_of,
    odometry_of,
    right_inverses,
)

GRADUATION = 1.4  # growth of mu
GRADUATED_STEPS = 100
GRADUATED_ITERATIONS = 3  # for the same weights; with many, early weights carry the poses off
CONSISTENT_ROUNDS = 30


@dataclass(frozen=True, kw_only=True)
class Config:
    method: Literal["gauss_newton", "levenberg_marquardt", "dogleg"] = "levenberg_marquardt"
    kernel: Kernel = Kernel.NONE
    threshold: float = 1.345  # of the kernel, in sigmas
    false_loops: Literal["keep", "graduated", "switchable", "consistent"] = "keep"
    inlier_probability: float = 0.99  # share of true loops whose error lies within the limit
    least_odds: float = 1000.0  # of a loop to be true, for "consistent"
    switch_prior: float = 1.0  # Xi, what a loop costs that is switched off, for "switchable"
    max_iterations: int = 100
    relative_tolerance: float = 1e-5  # stops when an iteration changes the error by less than this share of it
    absolute_tolerance: float = 1e-5  # or by less than this
    first_damping: float = 1e-8  # lambda; with more, the slow bending of a long loop ends too early
    first_radius: float = np.inf  # of the dogleg's region, in metres and radians; at most the first Gauss-Newton step


class Solution(NamedTuple):
    """`confidence` is 0 for motions found to be false, 1 for others, for "switchable" the switch, in between.

    `error` leaves out false motions; with switches it is that of poses and switches together. `iterations` counts
    factorisations.
    """

    world_from_node: Float64[np.ndarray, "nodes d1 d1"]
    landmarks: Float64[np.ndarray, "landmarks d"]
    error: float
    iterations: int
    converged: bool
    confidence: Float64[np.ndarray, " between"]


class Problem(NamedTuple):
    """The measurements of a graph, the structure of its equations, and memory that every iteration uses again."""

    factors: Factors
    structure: Structure
    confidence: Float64[np.ndarray, " motions"]
    panels: Float64[np.ndarray, "2 stored"]
    stacks: Float64[np.ndarray, "2 stack"]

    def linearise(self, state: State) -> tuple[Matrix, Float64[np.ndarray, " unknowns"], float]:
        return linearise(self.factors, state, self.structure, self.confidence, self.panels[0])

    def damped(self, matrix: Matrix, added: Float64[np.ndarray, " unknowns"]) -> Factor:
        """Of H + diag(added); H is kept."""
        return Factor(matrix.plus_diagonal(added, self.panels[1]), self.stacks)

    def cost(self, state: State) -> float:
        return cost(self.factors, state, self.confidence)


def problem_of(graph: PoseGraph, config: Config, structure: Structure | None) -> Problem:
    factors, structure = factors_of(graph, config.kernel, config.threshold), structure or structure_of(graph)
    panels, stacks = np.empty((2, structure.stored)), np.empty((2, structure.stack))
    return Problem(factors, structure, np.ones(len(factors.relative.a)), panels, stacks)


class Descent(NamedTuple):
    state: State
    error: float
    iterations: int
    converged: bool


def structure_of(graph: PoseGraph) -> Structure:
    """What can be kept while only numbers change: pass it to `optimise` again for a graph with the same edges."""
    nodes, d = len(graph.world_from_node), graph.dimension
    size = np.concatenate([np.full(nodes, graph.tangent), np.full(len(graph.landmarks), d)]).astype(np.int64)
    return analyse(chain_pairs(graph), size)


def optimise(graph: PoseGraph, config: Config | None = None, structure: Structure | None = None) -> Solution:
    """The graph's nearest optimum. Raises InputError where the graph does not determine its poses."""
    config = config or Config()
    check(graph)
    problem = problem_of(graph, config, structure)
    state = State(np.array(graph.world_from_node, order="C"), np.array(graph.landmarks, order="C"))
    try:
        if config.false_loops == "graduated":
            problem, found = graduated(problem, state, config)
        elif config.false_loops == "switchable":
            problem, found = switchable(problem, state, config)
        elif config.false_loops == "consistent":
            problem, found = consistent(graph, problem, state, config)
        else:
            found = METHODS[config.method](problem, state, config)
    except NotPositiveError as failure:
        raise InputError(
            f"{_name(graph, failure.vertex)} is not determined: measure it more often or remove it"
        ) from None
    return Solution(*found.state, *found[1:], problem.confidence[: len(graph.between.a)])


def _name(graph: PoseGraph, vertex: int) -> str:
    nodes = len(graph.world_from_node)
    return f"pose graph: node {vertex}" if vertex < nodes else f"pose graph: landmark {vertex - nodes}"


@final
class PoseGraphOptimisation(PoseGraphOptimiser):
    """The nearest optimum of a pose graph; `solution` of the last one says how it was reached."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.solution: Solution | None = None

    def __call__(self, graph: PoseGraph) -> PoseGraph:
        self.solution = optimise(graph, self.config)
        return graph._replace(world_from_node=self.solution.world_from_node, landmarks=self.solution.landmarks)


def gauss_newton(problem: Problem, state: State, config: Config) -> Descent:
    """Full steps until the error stands still; the best state is returned."""
    best, best_error, error = state, np.inf, np.inf
    for iteration in range(config.max_iterations + 1):
        matrix, gradient, now = problem.linearise(state)
        still = _still(error, now, config)
        error = now
        if error <= best_error:
            best, best_error = state, error
        if still or iteration == config.max_iterations:
            break
        state = moved(state, Factor(matrix, problem.stacks).solve(-gradient), problem.structure)
    return Descent(best, best_error, iteration, still)


def _still(before: float, now: float, config: Config) -> bool:
    change = abs(before - now)
    return before < np.inf and change <= max(config.absolute_tolerance, config.relative_tolerance * before)


def levenberg_marquardt(problem: Problem, state: State, config: Config) -> Descent:
    """Damped steps, of which only those that gain are kept."""
    matrix, gradient, error = problem.linearise(state)
    diagonal, damping, still, iteration = matrix.diagonal(), config.first_damping, False, 0
    while iteration < config.max_iterations and not still and damping < 1e10:
        iteration += 1
        step = problem.damped(matrix, damping * diagonal).solve(-gradient)
        trial = moved(state, step, problem.structure)
        now = problem.cost(trial)
        still = _still(error, now, config)
        if now > error:
            damping *= 10
            continue
        state, error, damping = trial, now, damping / 10
        if not still:
            matrix, gradient, _ = problem.linearise(state)
            diagonal = matrix.diagonal()
    return Descent(state, error, iteration, still)


def dogleg(problem: Problem, state: State, config: Config) -> Descent:
    """Steps within a radius that grows where the quadratic model predicts the gain well.

    The first step tried is Gauss-Newton's. With a small first radius it keeps near the start, and of several optima may
    end in a nearer and worse one than full steps find.
    """
    radius, still, iteration = config.first_radius, False, 0
    matrix, gradient, error = problem.linearise(state)
    while iteration < config.max_iterations and not still and radius > 1e-10:
        iteration += 1
        curvature = matrix.quadratic_form(gradient)
        steepest = -gradient * (gradient @ gradient / curvature) if curvature > 0 else -gradient
        newton = problem.damped(matrix, np.zeros_like(gradient)).solve(-gradient)
        if iteration == 1:
            radius = min(radius, float(np.linalg.norm(newton)))
        while not still and radius > 1e-10:
            step = dogleg_step(steepest, newton, radius)
            predicted = -(gradient @ step) - matrix.quadratic_form(step) / 2
            trial = moved(state, step, problem.structure)
            now = problem.cost(trial)
            whole = np.linalg.norm(newton) <= radius  # a shortened step may gain little long before the end
            still = bool(whole) and _still(error, now, config)
            ratio = (error - now) / predicted if predicted > 0 else 0.0
            if ratio > 0.75:
                radius = max(radius, 3 * float(np.linalg.norm(step)))
            elif ratio < 0.25:
                radius /= 2
            if now <= error:
                state, error = trial, now
                break
        if not still:
            matrix, gradient, _ = problem.linearise(state)
    return Descent(state, error, iteration, still)


def dogleg_step(
    steepest: Float64[np.ndarray, " unknowns"], newton: Float64[np.ndarray, " unknowns"], radius: float
) -> Float64[np.ndarray, " unknowns"]:
    """The point at the radius of the path 0 -> steepest -> newton, or newton where that lies within."""
    if np.linalg.norm(newton) <= radius:
        return newton
    length = float(np.linalg.norm(steepest))
    if length >= radius:
        return steepest * (radius / length)
    way = newton - steepest
    a, b, c = way @ way, steepest @ way, steepest @ steepest - radius**2
    return steepest + way * ((-b + np.sqrt(b * b - a * c)) / a)


METHODS: dict[str, Callable[[Problem, State, Config], Descent]] = {
    "gauss_newton": gauss_newton,
    "levenberg_marquardt": levenberg_marquardt,
    "dogleg": dogleg,
}


def graduated(problem: Problem, start: State, config: Config) -> tuple[Problem, Descent]:
    """Truncated least squares of the loops. Motions to the next node, priors and sightings are trusted."""
    relative, solve = problem.factors.relative, METHODS[config.method]
    loops = loops_of(relative.a, relative.b) & (relative.a != WORLD)
    limit = float(chi2.ppf(config.inlier_probability, relative.information.shape[-1]))
    few = replace(config, max_iterations=GRADUATED_ITERATIONS)
    state, iterations = start, 0
    errors = squared_errors(problem.factors, state)[0]
    mu = first_mu(errors[loops], limit)
    for _ in range(GRADUATED_STEPS):
        confidence = np.where(loops, confidences(errors, limit, mu), 1.0)
        problem = problem._replace(confidence=confidence)
        found = solve(problem, state, few)
        state, iterations = found.state, iterations + found.iterations
        if np.isin(confidence, (0.0, 1.0)).all():
            break
        errors, mu = squared_errors(problem.factors, state)[0], GRADUATION * mu
    final = solve(problem, state, config)
    return problem, final._replace(iterations=iterations + final.iterations)


def switchable(problem: Problem, start: State, config: Config) -> tuple[Problem, Descent]:
    """Poses and switches in turn, from all loops switched on and from the start's best switches; the better end of both."""
    relative = problem.factors.relative
    loops = loops_of(relative.a, relative.b) & (relative.a != WORLD)
    squared = squared_errors(problem.factors, start)[0]
    ends = [
        switched(problem, start, np.where(loops, first, 1.0), loops, config)
        for first in (1.0, switches(squared, config.switch_prior))
    ]
    problem, found = min(ends, key=lambda end: end[1].error)
    return problem, found._replace(iterations=sum(end[1].iterations for end in ends))


def switched(
    problem: Problem,
    state: State,
    switch: Float64[np.ndarray, " motions"],
    loops: Bool[np.ndarray, " motions"],
    config: Config,
) -> tuple[Problem, Descent]:
    """`error` is the joint one of poses and switches, `confidence` are the switches."""
    solve, few = METHODS[config.method], replace(config, max_iterations=GRADUATED_ITERATIONS)
    error, iterations, still = np.inf, 0, False
    while iterations < config.max_iterations and not still:
        found = solve(problem._replace(confidence=switch**2), state, few)
        state, iterations = found.state, iterations + found.iterations
        squared = squared_errors(problem.factors, state)[0]
        switch = np.where(loops, switches(squared, config.switch_prior), 1.0)
        off = config.switch_prior * ((1 - switch) ** 2).sum() / 2
        now = problem._replace(confidence=switch**2).cost(state) + float(off)
        error, still = now, _still(error, now, config)
    return problem._replace(confidence=switch), Descent(state, error, iterations, still)


def consistent(graph: PoseGraph, problem: Problem, start: State, config: Config) -> tuple[Problem, Descent]:
    """Loops that odometry or others confirm, then, solution after solution, those that fit what all others say.

    Solutions are of the graph without the loops that are out: false ones join what lies far apart, which is costly.
    """
    between, solve = graph.between, METHODS[config.method]
    loops, odometry = loops_of(between.a, between.b), odometry_of(between, len(start.world_from_node))
    numbers, chosen = np.flatnonzero(loops), Between(*(part[loops] for part in between))
    covariance, space = covariance_of(chosen.information), log_space(odometry.poses)
    gate = float(chi2.ppf(config.inlier_probability, graph.tangent))
    least = float(np.log(config.least_odds))
    inside, starts, iterations = confirmed(chosen, odometry, gate, least, space), [start], 0
    if not inside.any():
        problem, found = graduated(problem, start, config)
        inside, starts, iterations = problem.confidence[numbers] > 0, [found.state], found.iterations
    for _ in range(CONSISTENT_ROUNDS):
        confidence = np.ones(len(problem.confidence))
        confidence[numbers] = inside
        problem = problem._replace(confidence=confidence)
        kept = Between(*(part[confidence[: len(between.a)] > 0] for part in between))
        small = problem if inside.all() else problem_of(graph._replace(between=kept), config, None)
        tried = [solve(small, state, config) for state in starts]
        found = min(tried, key=lambda descent: descent.error)
        iterations += sum(descent.iterations for descent in tried)
        held = held_against_rest(*loop_errors(problem, found.state, chosen, numbers), covariance, inside, space)
        before, inside = inside, (held.squared <= gate) & (held.odds >= least)
        if (before == inside).all():
            break
        starts = [found.state, start] if (before & ~inside).any() else [found.state]
    return problem, found._replace(iterations=iterations)


def loop_errors(
    problem: Problem, state: State, loops: Between, numbers: Int64[np.ndarray, " loops"]
) -> tuple[Float64[np.ndarray, "loops size"], Float64[np.ndarray, "loops size size"]]:
    """Errors of loops, the motions of these `numbers`, and the covariance that the solution leaves in them."""
    size = loops.information.shape[-1]
    inverted = SelectedInverse(Factor(problem.linearise(state)[0], problem.stacks), problem.stacks)
    of_a, of_b = (inverted.of_vertices(end, size) for end in (loops.a, loops.b))
    across = inverted.of_pairs(numbers, size)
    poses = state.world_from_node
    b_from_a = inverse(poses[loops.b]) @ poses[loops.a]
    motions = np.ascontiguousarray(inverse(loops.a_from_b) @ inverse(b_from_a))
    errors, adjoint = logs(motions), adjoints(b_from_a)
    by_b, mixed = right_inverses(motions, errors), adjoint @ across
    inner = of_b + adjoint @ of_a @ adjoint.transpose(0, 2, 1) - mixed - mixed.transpose(0, 2, 1)
    return errors, by_b @ inner @ by_b.transpose(0, 2, 1)


def covariances(
    graph: PoseGraph, nodes: Int64[np.ndarray, " chosen"], config: Config | None = None
) -> Float64[np.ndarray, "chosen size size"]:
    """Of the right tangents of the chosen nodes, linearised at the graph's poses: give it the solution's."""
    config = config or Config()
    check(graph)
    problem = problem_of(graph, config, None)
    matrix, _, _ = problem.linearise(State(graph.world_from_node, graph.landmarks))
    return SelectedInverse(Factor(matrix)).of_vertices(nodes, graph.tangent)


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
                mend = (
                    "start from initialisation.spanning_tree()" if name in ("node", "landmark") else "mend or remove it"
                )
                raise InputError(f"pose graph: {name} {int(wrong.argmax())} is not finite; {mend}")


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
        raise InputError(f"{_name(graph, vertex)} is not connected to a prior; add a prior or an edge, or remove it")
