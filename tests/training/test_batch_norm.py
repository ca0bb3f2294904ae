"""Batch normalisation over processes, by hand: the other process has the same samples."""

import pytest
import torch
from torch import nn

from firstsight.training.step import batch_norm
from firstsight.training.step.batch_norm import follow, synchronised

VALUES = torch.tensor([[1.0], [3.0]])


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm, "process_count", lambda: 2)
    monkeypatch.setattr(batch_norm, "sum_over_processes", lambda value: 2 * value)


@pytest.mark.usefixtures("two_processes")
def test_four_samples_of_two_processes():
    """1, 3 and 1, 3 have a mean of 2 and a variance of 1, of which 4/3 is the unbiased one; times 2 and 5 more."""
    norm = nn.BatchNorm1d(1)
    with torch.no_grad():
        norm.weight.fill_(2)
        norm.bias.fill_(5)
    with synchronised(norm):
        made = norm(VALUES)
    assert made.flatten().tolist() == pytest.approx([3, 7], abs=1e-4)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(0.2)
    assert norm.running_var.item() == pytest.approx(0.9 + 0.1 * 4 / 3)
    assert int(norm.num_batches_tracked) == 1
    # outside of the block, and where it does not learn, it is torch's own
    assert "forward" not in norm.__dict__
    norm.eval()
    with synchronised(norm):
        still = norm(VALUES)
    assert still[0].item() == pytest.approx(5 + 2 * 0.8 / (0.9 + 0.4 / 3 + 1e-5) ** 0.5)
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.usefixtures("two_processes")
def test_channels_of_images_are_normalised_by_themselves():
    values = torch.tensor([1.0, 3, 10, 30, 5, 7, 50, 70]).view(2, 2, 1, 2)
    norm = nn.BatchNorm2d(2, affine=False, track_running_stats=False)
    with synchronised(norm):
        made = norm(values)
    # 1, 3, 5, 7 have a variance of 5, and the other channel is ten times as large
    expected = torch.tensor([-3.0, -1, 1, 3]) / 5**0.5
    assert made[:, 0].flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert made[:, 1].flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_without_momentum_it_is_the_mean_of_all_batches():
    norm = nn.BatchNorm1d(1, momentum=None)
    for mean in (4.0, 8.0, 3.0):
        follow(norm, torch.tensor([mean]), torch.tensor([6.0]), 4.0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(5)
    assert norm.running_var.item() == pytest.approx(8)
    follow(nn.BatchNorm1d(1, track_running_stats=False), torch.zeros(1), torch.zeros(1), 1.0)
    one = nn.BatchNorm1d(1, momentum=1.0)
    follow(one, torch.zeros(1), torch.tensor([6.0]), 1.0)
    assert one.running_var is not None
    assert one.running_var.item() == 6
