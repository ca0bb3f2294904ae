"""How a pose graph is solved: the settings, and one descent with the chosen method."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from firstsight.optimisation.least_squares import Damped, Descent, Dogleg, Stopping, gauss_newton, minimise
from firstsight.optimisation.robust_kernels import Kernel
from firstsight.optimisation.sparse_cholesky.symbolic import Structure
from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.factors import State, factors_of
from firstsight.slam.pose_graphs.graph_problem import GraphProblem, graph_problem, structure_of


@dataclass(frozen=True, kw_only=True)
class Config:
    method: Literal["gauss_newton", "levenberg_marquardt", "dogleg"] = "levenberg_marquardt"
    kernel: Kernel = Kernel.SQUARED
    # of the kernel, in sigmas
    threshold: float = 1.345
    false_loops: Literal["keep", "graduated", "switchable", "consistent"] = "keep"
    # share of true loops whose error lies within the limit
    inlier_probability: float = 0.99
    # odds of a loop to be true, for "consistent"
    min_odds: float = 1000.0
    # Xi, what a loop costs that is switched off, for "switchable"
    switch_prior: float = 1.0
    max_iterations: int = 100
    # stops when an iteration changes the error by less than this share of it, or by less than this
    relative_tolerance: float = 1e-5
    absolute_tolerance: float = 1e-5
    # lambda; with more, the slow bending of a long loop takes more steps (ring: 6 with 1e-8, 5 with 1e-10) or ends too early
    first_damping: float = 1e-10
    # of the dogleg's region, in metres and radians; at most the first Gauss-Newton step
    first_radius: float = np.inf

    def stopping(self, max_iterations: int | None = None) -> Stopping:
        """When a descent ends, after fewer iterations if so told."""
        return Stopping(
            max_iterations=self.max_iterations if max_iterations is None else max_iterations,
            relative=self.relative_tolerance,
            absolute=self.absolute_tolerance,
        )


def problem_of(graph: PoseGraph, config: Config, structure: Structure | None) -> GraphProblem:
    """The graph with the kernel of the settings."""
    return graph_problem(factors_of(graph, config.kernel, config.threshold), structure or structure_of(graph))


def step_rule(config: Config) -> Damped | Dogleg:
    """The rule that bounds steps, at its start. Gauss-Newton has none and does not look at it.

    The first step that the dogleg tries is Gauss-Newton's. With a small first radius it keeps near the start, and of several
    optima may end in a nearer and worse one than full steps find.
    """
    return Dogleg(config.first_radius) if config.method == "dogleg" else Damped(config.first_damping)


def descend(
    problem: GraphProblem,
    state: State,
    config: Config,
    max_iterations: int | None = None,
    rule: Damped | Dogleg | None = None,
) -> Descent[State]:
    """The nearest optimum by the method of the settings, after at most so many iterations, with a rule that goes on or a new one."""
    stopping = config.stopping(max_iterations)
    if config.method == "gauss_newton":
        return gauss_newton(problem, state, stopping)
    return minimise(problem, state, rule or step_rule(config), stopping)
