"""Damped least squares: the nearest optimum of a sum of squares. One loop for all solvers of the package.

Paper:  Madsen, Nielsen, Tingleff. Methods for Non-Linear Least Squares Problems. 2nd edition, IMM, DTU, 2004;
        Levenberg 1944, Marquardt 1963; Nielsen. Damping Parameter in Marquardt's Method. IMM-REP-1999-05;
        Powell. A Hybrid Method for Nonlinear Equations. 1970 (dogleg).
Idea:   near x the cost is F(x (+) d) = F + g' d + d' H d / 2, g and H of the residuals' first derivatives. A step d is tried,
        kept if it gains, and rated by rho = gain / the gain that the model predicts                        -> minimise()
        Levenberg-Marquardt  (H + lambda D) d = -g, D the diagonal of H; predicted (lambda d' D d - g' d) / 2
                after a gain lambda *= max(1/3, 1 - (2 rho - 1)^3), else lambda *= 2, 4, 8, ...             -> Damped
        dogleg  the point at the radius of the way 0 -> steepest descent -> Gauss-Newton, or its end;
                the radius grows where rho > 3/4 and is halved where rho < 1/4                              -> Dogleg
        Gauss-Newton  H d = -g, every step is taken, the best x returned                                    -> gauss_newton()
        It ends when a step gains less than a tolerance, or loses and promised no more                      -> Stopping
Differs: lambda multiplies the diagonal of H (Marquardt), not the identity, so it has no unit.
"""

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float64

State = TypeVar("State")
Tangent = TypeVar("Tangent")

Vector = Float64[np.ndarray, " unknowns"]

# lambda: with less, a direction that nothing measures (a free gauge, a point seen once) is lost to rounding
MIN_DAMPING = 1e-12
# lambda and radius where no step that is short enough gains: rounding is all that is left
MAX_DAMPING = 1e16
MIN_RADIUS = 1e-10


@dataclass(frozen=True)
class Step(Generic[Tangent]):
    """A step to try, the gain in cost that the linear model predicts, and whether it is not cut short by a radius."""

    tangent: Tangent
    predicted: float
    whole: bool = True


@runtime_checkable
class Equations(Protocol):
    """The normal equations at a state, with the cost there."""

    @property
    def cost(self) -> float: ...


@runtime_checkable
class Problem(Protocol[State]):
    """What is solved. `step` may use the equations' memory up, as long as it can be called again with another damping."""

    def cost(self, state: State, /) -> float: ...

    def linearise(self, state: State, /) -> Any:
        """The `Equations` at a state. Those of the state before may be overwritten."""

    def step(self, equations: Any, damping: float, /) -> Step[Any] | None:
        """Solves (H + damping D) d = -g; None where that is not positive definite."""

    def moved(self, state: State, tangent: Any, /) -> State:
        """The state (+) the tangent, a new one."""


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When to end: a step gains less than a share of the cost, or than an absolute number; the cost is as good as none."""

    max_iterations: int
    relative: float
    absolute: float = 0.0
    negligible: float = 0.0

    def reached(self, gain: float, predicted: float, cost: float) -> bool:
        """Whether this step, from this cost, says that there is nothing to gain; a loss must have promised as little."""
        limit = max(self.absolute, self.relative * cost)
        return abs(gain) <= limit and (gain >= 0 or predicted <= limit)


@dataclass(frozen=True)
class Descent(Generic[State]):
    """What a descent ended with. `iterations` counts the steps tried, also those that were not kept."""

    state: State
    cost: float
    iterations: int
    converged: bool


@runtime_checkable
class StepRule(Protocol):
    """How long a step may be: proposes one, and learns from how well it went."""

    @property
    def exhausted(self) -> bool: ...

    def begin(self, problem: Any, equations: Any) -> None:
        """Called once for all new equations."""

    def propose(self, problem: Any, equations: Any) -> Step[Any] | None: ...

    def keep(self, ratio: float) -> None:
        """The step was kept and gained `ratio` times what was predicted."""

    def refuse(self) -> None: ...


def minimise(problem: Problem[State], state: State, rule: StepRule, stopping: Stopping) -> Descent[State]:
    """The nearest optimum, by steps of which only those that gain are kept."""
    equations = problem.linearise(state)
    rule.begin(problem, equations)
    cost, iteration = equations.cost, 0
    converged = cost < stopping.negligible
    while iteration < stopping.max_iterations and not converged and not rule.exhausted:
        iteration += 1
        if equations is None:
            equations = problem.linearise(state)
            rule.begin(problem, equations)
        step = rule.propose(problem, equations)
        if step is None:
            rule.refuse()
            continue
        trial = problem.moved(state, step.tangent)
        now = problem.cost(trial)
        gain = cost - now
        converged = step.whole and stopping.reached(gain, step.predicted, cost)
        if not gain >= 0:
            rule.refuse()
            continue
        rule.keep(gain / step.predicted if step.predicted > 0 else 0.0)
        state, cost, equations = trial, now, None
        converged = converged or cost < stopping.negligible
    return Descent(state, float(cost), iteration, bool(converged))


def gauss_newton(problem: Problem[State], state: State, stopping: Stopping) -> Descent[State]:
    """Undamped steps, all of them taken, until the cost stands still; the best state is returned."""
    equations = problem.linearise(state)
    best, best_cost, cost = state, equations.cost, equations.cost
    converged, iteration = cost < stopping.negligible, 0
    while iteration < stopping.max_iterations and not converged:
        iteration += 1
        step = problem.step(equations, 0.0)
        if step is None:
            break
        state = problem.moved(state, step.tangent)
        equations = problem.linearise(state)
        change = abs(cost - equations.cost)
        converged = stopping.reached(change, change, cost)
        cost = equations.cost
        if cost <= best_cost:
            best, best_cost = state, cost
    return Descent(best, float(best_cost), iteration, bool(converged))


@dataclass
class Damped:
    """Levenberg-Marquardt with Nielsen's rule, from a first lambda. `growth` is the first factor after a loss."""

    damping: float
    growth: float = 2.0

    @property
    def exhausted(self) -> bool:
        return self.damping >= MAX_DAMPING

    def __post_init__(self) -> None:
        self._factor = self.growth

    def begin(self, problem: Any, equations: Any) -> None:
        """There is nothing to prepare."""

    def propose(self, problem: Any, equations: Any) -> Step[Any] | None:
        return problem.step(equations, self.damping)

    def keep(self, ratio: float) -> None:
        surplus = min(2 * ratio - 1, 1.0)
        self.damping = max(self.damping * max(1 / 3, 1 - surplus**3), MIN_DAMPING)
        self._factor = self.growth

    def refuse(self) -> None:
        self.damping *= self._factor
        self._factor *= 2


@dataclass
class Dogleg:
    """Steps within a radius; at first at most the Gauss-Newton step.

    Tangents are arrays, equations have a `gradient` and a `quadratic_form`, which is asked for before `step` uses them up.
    """

    radius: float = np.inf
    _first: bool = field(default=True, init=False)

    @property
    def exhausted(self) -> bool:
        return self.radius <= MIN_RADIUS

    def begin(self, problem: Any, equations: Any) -> None:
        self._gradient = equations.gradient
        slope = float(self._gradient @ self._gradient)
        curvature = equations.quadratic_form(self._gradient)
        self._cauchy = slope / curvature if curvature > 0 else 1.0
        self._bend = self._cauchy**2 * max(curvature, 0.0)
        newton = problem.step(equations, 0.0)
        self._newton = None if newton is None else newton.tangent
        if self._first and self._newton is not None:
            # started at an optimum that step is nothing, which is not a radius without a step that gains
            self.radius = max(min(self.radius, float(np.linalg.norm(self._newton))), 2 * MIN_RADIUS)
        self._first = False

    def propose(self, problem: Any, equations: Any) -> Step[Any] | None:
        if self._newton is None:
            return None
        steepest = -self._cauchy * self._gradient
        first, second = dogleg_shares(steepest, self._newton, self.radius)
        tangent = first * steepest + second * self._newton
        # H newton = -g, so the curvature along the step needs no more products with H
        along = first**2 * self._bend - 2 * first * second * (self._gradient @ steepest)
        along -= second**2 * (self._gradient @ self._newton)
        self._length = float(np.linalg.norm(tangent))
        predicted = -(self._gradient @ tangent) - along / 2
        return Step(tangent, float(predicted), whole=second == 1.0 and first == 0.0)

    def keep(self, ratio: float) -> None:
        if ratio > 0.75:
            self.radius = max(self.radius, 3 * self._length)
        elif ratio < 0.25:
            self.radius /= 2

    def refuse(self) -> None:
        self.radius /= 2


def dogleg_shares(steepest: Vector, newton: Vector, radius: float) -> tuple[float, float]:
    """(a, b): a steepest + b newton is the point at the radius of the path 0 -> steepest -> newton, or newton if within."""
    if np.linalg.norm(newton) <= radius:
        return 0.0, 1.0
    length = float(np.linalg.norm(steepest))
    if length >= radius:
        return radius / length, 0.0
    way = newton - steepest
    a, b, c = way @ way, steepest @ way, steepest @ steepest - radius**2
    along = float((-b + np.sqrt(b * b - a * c)) / a)
    return 1 - along, along
