"""Left-right and forward-backward consistency: zero at the truth with the right sign, against loops elsewhere."""

import math

import torch

from firstsight.losses.consistency import left_right, returns_near, round_trip


def slanted_plane(width: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Disparities of a plane in both images: x_right = x - d^l(x), d^r(x_right) = d^l(x)."""
    x = torch.arange(width, dtype=torch.float64).expand(1, 1, 3, width)
    left = 2 + 0.1 * x
    return left, 2 + 0.1 * (x + 2) / 0.9


def between(row: torch.Tensor, x: float) -> float:
    """Linear, the border repeated."""
    x = min(max(x, 0.0), len(row) - 1.0)
    below = min(math.floor(x), len(row) - 2)
    return float(row[below] + (x - below) * (row[below + 1] - row[below]))


def test_equation():
    draw = torch.Generator().manual_seed(0)
    left, right = (4 * torch.rand(1, 1, 4, 9, generator=draw, dtype=torch.float64) for _ in range(2))
    of_left, of_right = left_right(left, right)
    for y in range(4):
        for x in range(9):
            d = float(left[0, 0, y, x])
            assert abs(float(of_left[0, 0, y, x]) - abs(d - between(right[0, 0, y], x - d))) < 1e-9
            d = float(right[0, 0, y, x])
            assert abs(float(of_right[0, 0, y, x]) - abs(d - between(left[0, 0, y], x + d))) < 1e-9


def test_truth_beats_perturbation():
    """At the truth nothing is left; with the plus that eq. 4 is printed with, a lot is."""
    left, right = slanted_plane()
    of_left, of_right = left_right(left, right)
    assert of_left[..., 8:].max() < 1e-10
    assert of_right[..., :-8].max() < 1e-10
    assert left_right(-left, -right)[0][..., 8:-8].mean() > 0.5
    assert left_right(left + 0.5, right)[0][..., 8:].mean() > 0.4


def test_a_flow_and_its_inverse_return():
    x = torch.arange(30.0, dtype=torch.float64).expand(1, 1, 4, 30)
    still = torch.zeros_like(x)
    forward = torch.cat([1 + 0.1 * x, still], 1)
    backward = torch.cat([(x - 1) / 1.1 - x, still], 1)
    gap, inside = round_trip(forward, backward)
    assert gap[..., :24].abs().max() < 1e-9
    assert inside.squeeze().all(0).tolist() == [bool(v + 1 + 0.1 * v <= 29) for v in range(30)]
    assert round_trip(forward, backward + 1)[0][..., :24].abs().min() > 0.9


def test_what_does_not_return_is_left_out():
    forward, backward = torch.zeros(1, 2, 5, 20), torch.zeros(1, 2, 5, 20)
    backward[..., 10:] = 4.0
    near = returns_near(forward, backward)
    assert near[..., :10].all()
    assert not near[..., 10:].any()
    assert returns_near(forward + 100.0, backward - 100.0)[..., :10].all()  # 5 % of a long way


def test_gradient():
    draw = torch.Generator().manual_seed(1)
    left, right = (
        (1 + 2 * torch.rand(1, 1, 2, 6, generator=draw, dtype=torch.float64)).requires_grad_() for _ in range(2)
    )
    assert torch.autograd.gradcheck(lambda a, b: sum(m.mean() for m in left_right(a, b)), (left, right), fast_mode=True)
