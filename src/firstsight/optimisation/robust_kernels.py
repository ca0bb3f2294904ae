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
            mu starts at c^2 / (2 max s - c^2) and grows by 1.4 after each solution           -> first_mu()
        a switch u in [0, 1] of a measurement makes it u^2 s + (1 - u)^2 t^2; the best u is t^2 / (t^2 + s)   -> switches()
            (with it the cost is Geman-McClure's; but switches start at 1, whatever the first errors are)
Units:  s without unit (squared sigmas), t and c in sigmas.
"""

from enum import IntEnum
from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit


class Kernel(IntEnum):
    NONE = 0
    HUBER = 1
    CAUCHY = 2
    GEMAN_MCCLURE = 3
    DYNAMIC_COVARIANCE = 4


@njit(cache=True)
@no_type_check
def loss(squared, kernel, threshold):
    """(rho, w) of s."""
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
