"""What says whether features have collapsed, by hand."""

import pytest
import torch

from firstsight.training.collapse import effective_rank, feature_std


def test_the_deviation_of_directions():
    """Two directions of two differ by 1 in both numbers: half of that, times the root of 2. Lengths do not count."""
    assert feature_std(torch.tensor([[5.0, 0.0], [0.0, 0.1]])) == pytest.approx(0.5 * 2**0.5, abs=1e-6)
    assert feature_std(torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.3, 0.4]])) == pytest.approx(0, abs=1e-6)
    # columns: 1, 1, 0 and 0, 0, 1 and nothing: the root of 2/9 twice, a third of their sum, times the root of 3
    three = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 7.0, 0.0]])
    assert feature_std(three) == pytest.approx(2 * (2 / 9) ** 0.5 / 3 * 3**0.5, abs=1e-6)


def test_the_effective_rank():
    """Singular values 3 and 1 are shares of 3/4 and 1/4, whose entropy is 0.562335."""
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(1.754765, abs=1e-4)
    assert effective_rank(torch.eye(4)) == pytest.approx(4, abs=1e-4)
    assert effective_rank(torch.ones(5, 3)) == pytest.approx(1, abs=1e-4)
