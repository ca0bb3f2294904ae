"""Scores looked up around positions, against loops, numbers counted by hand and the whole volume."""

import math

import pytest
import torch

from firstsight.errors import InputError
from firstsight.matching.correlation.all_pairs import in_volume, lookup, pooled


def score(a: torch.Tensor, b: torch.Tensor, x: float, y: float) -> float:
    """<a, b(x, y)> / sqrt(C) of one pixel's features, b between pixels bilinearly and 0 outside."""
    left, top, total = math.floor(x), math.floor(y), 0.0
    for i, j in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        if 0 <= i < b.shape[2] and 0 <= j < b.shape[1]:
            total += float(a @ b[:, j, i]) * (1 - abs(x - i)) * (1 - abs(y - j))
    return total / math.sqrt(len(a))


def problem(channels: int = 5, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maps of two sizes and positions inside, between, at and far beyond the border."""
    generator = torch.Generator().manual_seed(channels)
    a = torch.randn(2, channels, 4, 6, generator=generator, dtype=dtype)
    b = torch.randn(2, channels, 5, 7, generator=generator, dtype=dtype)
    positions = 12 * torch.rand(2, 2, 4, 6, generator=generator, dtype=dtype) - 3
    positions[0, :, 0, 0], positions[1, :, 2, 3], positions[0, :, 1, 5] = 2.0, 1e9, -40.5
    return a.requires_grad_(), b.requires_grad_(), positions


def test_scores_counted_by_hand():
    """One pixel with four channels, looked up a quarter to the right of (1, 0) in a row of three."""
    a = torch.tensor([1.0, 0, 2, -1]).reshape(1, 4, 1, 1)
    b = torch.tensor([[2.0, 4, 8], [9, 9, 9], [1, 0, -2], [0, 6, 2]]).reshape(1, 4, 1, 3)
    # products of whole pixels: 2 + 2 - 0 = 4, 4 + 0 - 6 = -2, 8 - 4 - 2 = 2; halved by sqrt(4)
    found = lookup(a, [b], torch.tensor([1.25, 0.0]).reshape(1, 2, 1, 1), radius=1)
    row = [(0.75 * 4 + 0.25 * -2) / 2, (0.75 * -2 + 0.25 * 2) / 2, 0.75 * 2 / 2]
    assert found.flatten().tolist() == [0, 0, 0, *row, 0, 0, 0]


@pytest.mark.parametrize("channels", [1, 7])
def test_kernels_equal_loops(channels: int):
    a, b, positions = (part.detach() for part in problem(channels))
    found = lookup(a, [b], positions, radius=2)
    for sample, y, x in ((0, 0, 0), (1, 2, 3), (0, 1, 5), (1, 3, 1), (0, 2, 4), (1, 0, 5)):
        px, py = positions[sample, :, y, x].tolist()
        expected = [score(a[sample, :, y, x], b[sample], px + i, py + j) for j in range(-2, 3) for i in range(-2, 3)]
        assert found[sample, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)


def test_derivatives_equal_those_of_the_whole_volume():
    a, b, positions = problem()
    expected, found = in_volume(a, b, positions, 2), lookup(a, [b], positions, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    arriving = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    for by, reference in zip(
        torch.autograd.grad(found, (a, b), arriving), torch.autograd.grad(expected, (a, b), arriving), strict=True
    ):
        torch.testing.assert_close(by, reference, atol=1e-5, rtol=1e-5)


def test_the_whole_volume_in_double_precision():
    a, b, positions = problem(2, torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: lookup(a, [b], positions, 1), (a, b))


def test_a_level_is_the_pooled_volume():
    """RAFT pools the scores over the second image; pooling its features first is the same."""
    a, b, _ = (part.detach() for part in problem())
    whole = torch.arange(0, 2.0)
    positions = (
        torch.stack([whole.repeat(12), whole.repeat_interleave(2).repeat(6)]).reshape(1, 2, 4, 6).repeat(2, 1, 1, 1)
    )
    found = lookup(a, pooled(b, 2), 2 * positions, 0)[:, 1]
    volume = torch.einsum("bchw,bcij->bhwij", a, b) / math.sqrt(5)
    for y, x in ((0, 0), (1, 3), (3, 5)):
        i, j = (int(v) for v in positions[0, :, y, x])
        expected = volume[:, y, x, 2 * j : 2 * j + 2, 2 * i : 2 * i + 2].mean((1, 2))
        torch.testing.assert_close(found[:, y, x], expected)


def test_levels_come_one_after_the_other():
    a, b, positions = (part.detach() for part in problem())
    levels = pooled(b, 2)
    assert [tuple(level.shape[2:]) for level in levels] == [(5, 7), (2, 3)]
    found = lookup(a, levels, positions, 1)
    assert found.shape == (2, 18, 4, 6)
    assert torch.equal(found[:, 9:], lookup(a, levels[1:], positions / 2, 1))


def test_a_position_that_is_not_a_number_finds_nothing():
    a, b, positions = (part.detach() for part in problem())
    positions[0, 0, 2, 2] = torch.nan
    assert not lookup(a, [b], positions, 1)[0, :, 2, 2].any()


def test_positions_of_other_pixels_are_one_line():
    a, b, positions = problem()
    with pytest.raises(
        InputError, match=r"^lookup: positions of \(2, 2, 4, 5\); give \(2, 2, 4, 6\), one of each pixel$"
    ):
        lookup(a, [b], positions[..., :5], 1)
