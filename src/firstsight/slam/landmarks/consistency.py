"""Whether a filter is as unsure as it is wrong: its normalised estimation error squared (NEES) over many runs.

Source: Bar-Shalom, Li, Kirubarajan. Estimation with Applications to Tracking and Navigation. 2001, section 5.4.
"""

import numpy as np
from jaxtyping import Float64
from scipy.linalg import solve_triangular
from scipy.stats import chi2

Symmetric = Float64[np.ndarray, "size size"]


def nees(error: Float64[np.ndarray, " size"], covariance: Symmetric) -> float:
    """Normalised estimation error squared, e' P^-1 e: chi-square of dim(e) where the covariance is right."""
    whitened = solve_triangular(np.linalg.cholesky(covariance), error, lower=True, check_finite=False)
    return float(whitened @ whitened)


def nees_band(dimensions: int, runs: int, probability: float = 0.95) -> tuple[float, float]:
    """Returns where the mean NEES of that many runs lies with this probability, if the filter is consistent."""
    low, high = chi2.ppf([(1 - probability) / 2, (1 + probability) / 2], dimensions * runs) / runs
    return float(low), float(high)
