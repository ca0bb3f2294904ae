"""Kernels: weight is the derivative of rho, and the graduation ends in truncated least squares."""

import numpy as np
import pytest

from firstsight.optimisation.robust_kernels import Kernel, confidences, first_mu, loss


@pytest.mark.parametrize("kernel", list(Kernel))
@pytest.mark.parametrize("squared", [0.01, 1.0, 3.9, 4.1, 100.0])
def test_weight_is_the_derivative_of_the_loss(kernel, squared):
    h = 1e-6
    ahead, behind = loss(squared + h, int(kernel), 2.0)[0], loss(squared - h, int(kernel), 2.0)[0]
    assert loss(squared, int(kernel), 2.0)[1] == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)


def test_small_errors_count_fully_and_large_ones_less():
    for kernel in (Kernel.HUBER, Kernel.CAUCHY, Kernel.GEMAN_MCCLURE):
        assert loss(1e-9, int(kernel), 2.0) == pytest.approx((1e-9, 1.0))
        assert loss(1e4, int(kernel), 2.0)[1] < 0.05
    assert loss(1e12, int(Kernel.GEMAN_MCCLURE), 2.0)[0] == pytest.approx(4.0)


def test_graduation_from_convex_to_truncated():
    squared, limit = np.array([0.0, 4.0, 9.0, 11.0, 400.0]), 10.0
    mu = first_mu(squared, limit)
    assert mu == pytest.approx(10 / 790)
    assert (confidences(squared, limit, mu) > 0).all()
    np.testing.assert_array_equal(confidences(squared, limit, 1e6), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(confidences(squared, limit, np.inf), [1, 1, 1, 0, 0])
    assert first_mu(squared[:2], limit) == np.inf


def test_confidence_is_continuous_at_both_ends():
    mu, limit = 0.5, 10.0
    low, high = mu / (mu + 1) * limit, (mu + 1) / mu * limit
    ends = confidences(np.array([low, low * 1.000001, high * 0.999999, high]), limit, mu)
    np.testing.assert_allclose(ends, [1, 1, 0, 0], atol=1e-5)
