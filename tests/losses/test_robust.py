"""Robust penalties at literal values."""

import pytest
import torch

from firstsight.losses.robust import charbonnier, power_law


def test_equation():
    """((0.3)^2 + 1e-6)^0.45 = 0.33838..., (0.3 + 0.01)^0.4 = 0.62596..., computed by hand."""
    x = torch.tensor([-0.3, 0.0, 0.3, 2.0], dtype=torch.float64)
    assert charbonnier(x).tolist() == pytest.approx([0.3383852, 0.0019953, 0.3383852, 1.8660663], abs=1e-6)
    assert power_law(x).tolist() == pytest.approx([0.6259573, 0.1584893, 0.6259573, 1.3221427], abs=1e-6)
    assert charbonnier(x, epsilon=0.4, alpha=0.5).tolist() == pytest.approx([0.5, 0.4, 0.5, 2.0396078], abs=1e-6)
    assert power_law(x, epsilon=0.2, q=0.5).tolist() == pytest.approx([0.7071068, 0.4472136, 0.7071068, 1.4832397])


def test_gradient():
    x = torch.tensor([-0.7, 0.2, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(charbonnier, x)
    assert torch.autograd.gradcheck(power_law, x)


def test_the_slope_at_zero_is_zero():
    for penalty in (charbonnier, power_law):
        x = torch.zeros(2, 3, requires_grad=True)
        penalty(x).sum().backward()
        assert x.grad is not None
        assert x.grad.abs().max() == 0
