"""The loop against scipy and closed forms, its rules of damping and radius against numbers worked out by hand."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import least_squares

from firstsight.optimisation.least_squares import (
    Damped,
    Dogleg,
    Step,
    Stopping,
    dogleg_shares,
    gauss_newton,
    minimise,
)

EXACT = Stopping(max_iterations=200, relative=1e-15, absolute=1e-24)


class Normal(NamedTuple):
    matrix: np.ndarray
    gradient: np.ndarray
    cost: float

    def quadratic_form(self, x: np.ndarray) -> float:
        return float(x @ self.matrix @ x)


@dataclass
class Dense:
    """Half the sum of squares of residuals of x, with differences for derivatives; counts what it is asked."""

    residuals: object
    linearised: int = 0
    costs: int = 0

    def cost(self, x: np.ndarray) -> float:
        self.costs += 1
        r = self.residuals(x)
        return float(r @ r) / 2

    def linearise(self, x: np.ndarray) -> Normal:
        self.linearised += 1
        h = 1e-6
        j = np.stack([(self.residuals(x + h * u) - self.residuals(x - h * u)) / (2 * h) for u in np.eye(len(x))], 1)
        r = self.residuals(x)
        return Normal(j.T @ j, j.T @ r, float(r @ r) / 2)

    def step(self, equations: Normal, damping: float) -> Step | None:
        matrix, gradient, _ = equations
        diagonal = np.diag(matrix)
        d = np.linalg.solve(matrix + damping * np.diag(diagonal), -gradient)
        return Step(d, float(damping * (d @ (diagonal * d)) - gradient @ d) / 2)

    def moved(self, x: np.ndarray, d: np.ndarray) -> np.ndarray:
        return x + d


def rosenbrock(x: np.ndarray) -> np.ndarray:
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def exponentials(x: np.ndarray) -> np.ndarray:
    """Residuals that do not vanish at the optimum."""
    t = np.array([0.0, 0.5, 1.0, 2.0, 4.0])
    return x[0] * np.exp(-x[1] * t) - np.array([3.0, 2.1, 1.7, 0.6, 0.4])


@pytest.mark.parametrize("rule", [Damped(1e-3), Dogleg(), Dogleg(0.1)], ids=["damped", "dogleg", "short dogleg"])
def test_a_bent_valley_is_walked_to_its_end(rule):
    found = minimise(Dense(rosenbrock), np.array([-1.2, 1.0]), rule, EXACT)
    np.testing.assert_allclose(found.state, [1.0, 1.0], atol=1e-8)
    assert found.converged
    assert 5 < found.iterations < 100


@pytest.mark.parametrize("rule", [Damped(1e-3), Dogleg(), Dogleg(0.1)], ids=["damped", "dogleg", "short dogleg"])
def test_started_at_the_optimum_it_has_converged(rule):
    """The first step of the dogleg, which is its first radius, is nothing here."""
    found = minimise(
        Dense(rosenbrock), np.array([1.0, 1.0]), rule, Stopping(max_iterations=9, relative=1e-5, absolute=1e-5)
    )
    assert found.converged
    assert found.iterations == 1
    np.testing.assert_allclose(found.state, [1.0, 1.0], atol=1e-8)


@pytest.mark.parametrize("solve", ["damped", "dogleg", "gauss_newton"])
def test_the_optimum_is_scipy_s(solve):
    start, oracle = np.array([1.0, 1.0]), least_squares(exponentials, [1.0, 1.0], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    problem = Dense(exponentials)
    found = (
        gauss_newton(problem, start, EXACT)
        if solve == "gauss_newton"
        else minimise(problem, start, Damped(1e-3) if solve == "damped" else Dogleg(), EXACT)
    )
    np.testing.assert_allclose(found.state, oracle.x, atol=1e-6)
    assert found.cost == pytest.approx(oracle.cost, rel=1e-9)


def test_what_is_linear_takes_one_step_and_the_next_gains_nothing():
    problem = Dense(lambda x: np.array([2 * x[0] - 6, 5 * x[1] + 10, x[0] + x[1] - 1]))
    found = minimise(problem, np.array([7.0, 7.0]), Damped(0.0), Stopping(max_iterations=50, relative=1e-9))
    np.testing.assert_allclose(found.state, [3.0, -2.0], atol=1e-8)
    assert found.iterations <= 3


def test_no_more_is_linearised_than_steps_are_kept():
    problem, start = Dense(rosenbrock), np.array([-1.2, 1.0])
    found = minimise(problem, start, Damped(1e-3), EXACT)
    assert problem.costs == found.iterations
    assert problem.linearised <= found.iterations
    limited = Dense(rosenbrock)
    assert minimise(limited, start, Damped(1e-3), Stopping(max_iterations=1, relative=0.0)).iterations == 1
    assert limited.linearised == 1


def test_nielsen_s_rule():
    """After a gain times max(1/3, 1 - (2 rho - 1)^3), after losses times 2, 4, 8; a gain begins anew."""
    rule = Damped(1.0)
    for expected in (2.0, 8.0, 64.0):
        rule.refuse()
        assert rule.damping == expected
    rule.keep(0.5)
    assert rule.damping == 64.0
    rule.keep(0.75)
    assert rule.damping == 64.0 * (1 - 0.125)
    rule.keep(0.0)
    assert rule.damping == 64.0 * 0.875 * 2
    rule.refuse()
    assert rule.damping == 64.0 * 0.875 * 4
    rule.keep(1e300)
    assert rule.damping == pytest.approx(64.0 * 0.875 * 4 / 3)


def test_damping_stays_within_limits():
    rule = Damped(1e-12)
    rule.keep(1.0)
    assert rule.damping == 1e-12
    while not rule.exhausted:
        rule.refuse()
    assert 1e16 <= rule.damping < 1e30


def test_a_step_that_cannot_be_solved_for_is_damped_more():
    class Singular(Dense):
        def step(self, equations, damping):
            return super().step(equations, damping) if damping > 1 else None

    found = minimise(
        Singular(rosenbrock), np.array([-1.2, 1.0]), Damped(1e-3), Stopping(max_iterations=60, relative=1e-6)
    )
    assert found.cost < 4
    never = minimise(
        Singular(rosenbrock), np.array([-1.2, 1.0]), Damped(1e-3), Stopping(max_iterations=3, relative=1e-6)
    )
    assert never.iterations == 3
    assert not never.converged
    np.testing.assert_array_equal(never.state, [-1.2, 1.0])


def test_a_loss_that_promised_much_is_no_end_and_nan_is_a_loss():
    stopping = Stopping(max_iterations=9, relative=0.01, absolute=0.5)
    assert stopping.reached(0.9, 50.0, 100.0)
    assert not stopping.reached(1.1, 1.0, 100.0)
    assert stopping.reached(-0.9, 0.9, 100.0)
    assert not stopping.reached(-0.9, 50.0, 100.0)
    assert stopping.reached(0.4, 0.4, 0.0)
    assert not stopping.reached(float("nan"), 0.0, 100.0)
    cliff = Dense(lambda x: np.array([x[0] if x[0] > 0.5 else np.nan, 1.0]))
    found = minimise(cliff, np.array([2.0]), Damped(1e-6), Stopping(max_iterations=60, relative=1e-9))
    assert np.isfinite(found.cost)
    assert 0.5 < found.state[0] < 2.0


def test_the_dogleg_s_path_and_promise():
    steepest, newton = np.array([1.0, 0.0]), np.array([2.0, 2.0])
    assert dogleg_shares(steepest, newton, 9.0) == (0.0, 1.0)
    assert dogleg_shares(steepest, newton, 0.5) == (0.5, 0.0)
    a, b = dogleg_shares(steepest, newton, 2.0)
    assert a + b == pytest.approx(1.0)
    assert np.linalg.norm(a * steepest + b * newton) == pytest.approx(2.0)
    problem, x = Dense(exponentials), np.array([1.0, 1.0])
    equations = problem.linearise(x)
    for radius in (1e-3, 0.05, 0.3, np.inf):
        rule = Dogleg(radius)
        rule.begin(problem, equations)
        step = rule.propose(problem, equations)
        expected = -equations.gradient @ step.tangent - equations.quadratic_form(step.tangent) / 2
        assert step.predicted == pytest.approx(expected, rel=1e-6)
        assert step.whole == (radius == np.inf)
