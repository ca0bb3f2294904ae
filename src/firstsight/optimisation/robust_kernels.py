"""How much an error counts: kernels that bound what one wrong measurement can do, and graduated non-convexity.

Paper:  Zhang. Parameter Estimation Techniques. Image and Vision Computing 15, 1997 (kernels, as weights);
        Yang, Antonante, Tzoumas, Carlone. Graduated Non-Convexity for Robust Spatial Perception. IEEE RA-L 5(2), 2020;
        Suenderhauf, Protzel. Switchable Constraints for Robust Pose Graph SLAM. IROS 2012;
        Agarwal, Tipaldi, Spinello, Stachniss, Burgard. Robust Map Optimization using Dynamic Covariance Scaling. ICRA 2013.
Idea:   the cost of a measurement is rho(s) / 2, s = e' Omega e, and its weight in least squares w = drho / ds -> loss()
            Huber           s,  2 t sqrt(s) - t^2 beyond t            Cauchy      t^2 log(1 + s / t^2)
            Geman-McClure   t^2 s / (t^2 + s)
            dynamic covariance scaling   s,  t^2 (3 s - t^2) / (t^2 + s) beyond t^2: w = (2 t^2 / (t^2 + s))^2
        truncated least squares min(s, c^2) has many minima. It is approached from a convex surrogate, mu -> infinity:
            w = 0 for s >= (mu + 1) / mu c^2,  1 for s <= mu / (mu + 1) c^2,  else c sqrt(mu (mu + 1) / s) - mu
                                                                                               -> confidences()
            mu starts at c^2 / (2 max s - c^2) and grows by 1.4 after each solution           -> first_mu(), graduated()
        a switch u in [0, 1] of a measurement makes it u^2 s + (1 - u)^2 t^2; the best u is t^2 / (t^2 + s)   -> switches()
            (with it the cost is Geman-McClure's; but switches start at 1, whatever the first errors are)
Units:  s without unit (squared sigmas), t and c in sigmas.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeVar, no_type_check

import numpy as np
from jaxtyping import Bool, Float64
from numba import njit

from firstsight.optimisation.least_squares import Descent

State = TypeVar("State")

# rounds of graduation, of which a few dozen are needed
MAX_ROUNDS = 100


class Kernel(IntEnum):
    """rho of an error, by number inside compiled loops; the equations are above. SQUARED counts all errors fully."""

    SQUARED = 0
    HUBER = 1
    CAUCHY = 2
    GEMAN_MCCLURE = 3
    DYNAMIC_COVARIANCE = 4


@njit(cache=True, forceinline=True)
@no_type_check
def loss(squared, kernel, threshold):
    """(rho, w) of s = `squared`, the kernel given by its number."""
    limit = threshold * threshold
    if kernel == 1 and squared > limit:
        root = np.sqrt(squared)
        return 2 * threshold * root - limit, threshold / root
    if kernel == 2:
        return limit * np.log1p(squared / limit), limit / (limit + squared)
    if kernel == 3:
        share = limit / (limit + squared)
        return share * squared, share * share
    if kernel == 4 and squared > limit:
        share = 2 * limit / (limit + squared)
        return (3 * squared - limit) * share / 2, share * share
    return squared, 1.0


def switches(squared: Float64[np.ndarray, " n"], prior: float) -> Float64[np.ndarray, " n"]:
    """u in [0, 1] that makes u^2 s + (1 - u)^2 prior least."""
    return prior / (prior + squared)


def first_mu(squared: Float64[np.ndarray, " n"], limit: float) -> float:
    """So small that the surrogate is convex at these errors; infinite where all lie within the limit c^2."""
    excess = 2 * float(squared.max(initial=0.0)) - limit
    return limit / excess if excess > 0 else np.inf


def confidences(squared: Float64[np.ndarray, " n"], limit: float, mu: float) -> Float64[np.ndarray, " n"]:
    """Weights in [0, 1] of the surrogate with parameter mu."""
    if np.isinf(mu):
        return (squared <= limit).astype(float)
    smallest = mu / (mu + 1) * limit  # of the errors that do not count fully
    between = np.sqrt(limit * mu * (mu + 1) / np.maximum(squared, smallest)) - mu
    return np.where(squared <= smallest, 1.0, np.clip(between, 0.0, 1.0))  # exactly 1, not to rounding


@dataclass(frozen=True, kw_only=True)
class Graduation:
    """How weights are graduated.

    `growth` is the factor of mu from round to round. `min_share` bounds mu from below, by a share of what it would start with
    had the first errors been the present ones: errors that the first rounds took away then cost no more rounds.
    """

    limit: float
    growth: float = 1.4
    min_share: float = 0.0


def graduated(
    state: State,
    errors: Callable[[State], Float64[np.ndarray, " n"]],
    solve: Callable[[State, Float64[np.ndarray, " n"]], Descent[State]],
    judged: Bool[np.ndarray, " n"],
    graduation: Graduation,
) -> tuple[Descent[State], Float64[np.ndarray, " n"]]:
    """Solutions with weights that go from a convex surrogate to truncated least squares: the last one, and its weights.

    `errors` are the squared errors s at a state, `solve` improves a state for given weights; only what is `judged` may lose
    weight. The iterations of all solutions are counted.
    """
    squared, iterations = errors(state), 0
    mu = first_mu(squared[judged], graduation.limit)
    for _ in range(MAX_ROUNDS):
        weights = np.where(judged, confidences(squared, graduation.limit, mu), 1.0)
        found = solve(state, weights)
        state, iterations = found.state, iterations + found.iterations
        if np.isin(weights, (0.0, 1.0)).all():
            break
        squared = errors(state)
        mu = max(graduation.growth * mu, graduation.min_share * first_mu(squared[judged], graduation.limit))
    return replace(found, iterations=iterations), weights
