"""A graph as a problem of least squares: its measurements, the structure of its equations, memory used again and again."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from firstsight.optimisation.least_squares import Step
from firstsight.optimisation.sparse_cholesky.matrix import Matrix
from firstsight.optimisation.sparse_cholesky.solve import Factor
from firstsight.optimisation.sparse_cholesky.symbolic import Structure, analyse
from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.factors import (
    Factors,
    State,
    chain_pairs,
    cost_of_errors,
    linearise,
    moved,
    squared_errors,
)

Vector = Float64[np.ndarray, " unknowns"]
Errors = tuple[Float64[np.ndarray, " motions"], Float64[np.ndarray, " sightings"]]


@dataclass
class Equations:
    """H, g and the cost at a state. A factor takes the place of H: `spent` says that it has.

    The diagonal of H is read from it when it is needed first: it lies scattered, which costs a tenth of linearising.
    """

    state: State
    matrix: Matrix
    gradient: Vector
    cost: float
    spent: bool = False
    diagonal: Vector | None = None

    def quadratic_form(self, x: Vector) -> float:
        """x' H x, before H is spent."""
        return self.matrix.quadratic_form(x)


@dataclass
class Memory:
    """What every iteration uses again: the panels of H, scratch of the factorisation, and the errors of the last state."""

    panels: Float64[np.ndarray, " stored"]
    stacks: Float64[np.ndarray, "2 stack"]
    errors: tuple[State, Errors] | None = None


@dataclass(frozen=True)
class GraphProblem:
    """`confidence` scales the cost of each motion. H is kept once: new equations overwrite those before."""

    factors: Factors
    structure: Structure
    confidence: Float64[np.ndarray, " motions"]
    memory: Memory

    def with_confidence(self, confidence: Float64[np.ndarray, " motions"]) -> "GraphProblem":
        """The same problem, in the same memory, with other confidences."""
        return replace(self, confidence=confidence)

    def errors(self, state: State) -> Errors:
        """e' Omega e of each motion and sighting."""
        if self.memory.errors is None or self.memory.errors[0] is not state:
            self.memory.errors = state, squared_errors(self.factors, state)
        return self.memory.errors[1]

    def cost(self, state: State) -> float:
        """Half the sum of rho of the errors."""
        return cost_of_errors(self.factors, self.errors(state), self.confidence)

    def linearise(self, state: State) -> Equations:
        """H, g and the cost."""
        matrix, gradient, cost = linearise(self.factors, state, self.structure, self.confidence, self.memory.panels)
        return Equations(state, matrix, gradient, cost)

    def step(self, equations: Equations, damping: float) -> Step[Vector]:
        """Solves (H + damping diag H) d = -g. Raises NotPositiveError where the graph does not determine it.

        H is factored in its place. Refused steps are few, so computing H again costs less than a copy of it for every step.
        """
        if equations.spent:
            linearise(self.factors, equations.state, self.structure, self.confidence, self.memory.panels)
        added = None
        if damping > 0:
            equations.diagonal = equations.matrix.diagonal() if equations.diagonal is None else equations.diagonal
            added = damping * equations.diagonal
            equations.matrix.add_diagonal(added)
        equations.spent = True
        tangent = Factor(equations.matrix, self.memory.stacks).solve(-equations.gradient)
        damped = 0.0 if added is None else float(tangent @ (added * tangent))
        return Step(tangent, (damped - float(equations.gradient @ tangent)) / 2)

    def moved(self, state: State, tangent: Vector) -> State:
        """x exp(tangent)."""
        return moved(self.factors, state, tangent, self.structure)


def graph_problem(factors: Factors, structure: Structure) -> GraphProblem:
    """The problem with all confidences 1, in new memory."""
    memory = Memory(np.empty(structure.stored), np.empty((2, structure.stack)))
    return GraphProblem(factors, structure, np.ones(len(factors.relative.a)), memory)


def structure_of(graph: PoseGraph) -> Structure:
    """What can be kept while only numbers change: pass it to `optimise` again for a graph with the same edges."""
    nodes, landmarks = len(graph.world_from_node), len(graph.landmarks)
    size = np.repeat([graph.tangent, graph.dimension], [nodes, landmarks]).astype(np.int64)
    return analyse(chain_pairs(graph), size)
