"""Stereo by comparison: soft argmin by hand and where it fails, errors that are masked, and that random dots are matched."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from firstsight.depth.cost_volume_net import Batch, Config, CostVolumeNet, agreeing, masked_error, soft_argmin
from firstsight.errors import InputError
from firstsight.training.data.dataset import Arrays
from firstsight.training.fit import Runtime, fit
from firstsight.training.recipe import Recipe

SMALL = Config(size=(32, 64), width=8, inner=4, layers=3, largest_share=0.25)


def costs(*values: float) -> torch.Tensor:
    return torch.tensor(values)[None, :, None, None]


def test_soft_argmin_by_hand():
    """Weights 1/4, 1/2 and 1/4 of costs log 2, 0, log 2, then 1/2, 1/3 and 1/6 of 0, log 1.5, log 3."""
    log = np.log
    assert soft_argmin(costs(log(2), 0.0, log(2))).item() == pytest.approx(1.0)
    assert soft_argmin(costs(0.0, log(1.5), log(3))).item() == pytest.approx(1 / 3 + 2 / 6)


def test_a_sharp_cost_is_its_minimum_and_two_equal_ones_their_middle():
    """The latter is its known failure: nothing is there."""
    assert soft_argmin(costs(50.0, 50, 50, 0, 50)).item() == pytest.approx(3)
    assert soft_argmin(costs(0.0, 50, 50, 50, 0)).item() == pytest.approx(2)


def test_errors_of_what_is_known():
    """|3 - 1| and |0.5 - 4| of the first sample, |2 - 2.5| of the second; unknown pixels have no derivative."""
    found = torch.tensor([[[[3.0, 7.0, 0.5]]], [[[2.0, 9.0, 9.0]]]], requires_grad=True)
    true = torch.tensor([[[[1.0, 0.0, 4.0]]], [[[2.5, 0.0, 0.0]]]])
    error = masked_error(found, true)
    assert error.item() == pytest.approx((5.5 / 2 + 0.5) / 2)
    error.backward()
    assert found.grad is not None
    assert ((found.grad != 0) == (true > 0)).all()


def test_left_and_right_must_agree():
    """Left pixel 4 points to right pixel 2; there the disparity is 2 or 5. The first pixels point outside."""
    left, right = torch.full((1, 1, 1, 8), 2.0), torch.full((1, 1, 1, 8), 2.0)
    right[..., 2] = 5
    assert agreeing(left, right)[0, 0, 0].tolist() == [False, False, True, True, False, True, True, True]


def test_derivatives_in_double_precision():
    cost = torch.randn(1, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(soft_argmin, cost)


def dots(count: int) -> Arrays:
    """Random dots 3 px wide, the lower half 4 px nearer than the upper one, by 8 and 4 px."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        texture = rng.integers(0, 255, (3, 11, 30), np.uint8).repeat(3, 1).repeat(3, 2)[:, :32]
        left, right = texture[:, :, :64].copy(), texture[:, :, 4:68].copy()
        right[:, 16:] = texture[:, 16:, 8:72]
        rows.append((left, right))
    disparity = np.full((count, 1, 1, 32, 64), 4, np.float32)
    disparity[:, :, :, 16:] = 8
    for row, (value, shift) in enumerate(((4, 4), (8, 8))):
        disparity[:, :, :, 16 * row : 16 * (row + 1), :shift] = 0  # not seen in the right image
        assert value == shift
    fields = {"images": np.stack([a[None] for a, _ in rows]), "right": np.stack([b[None] for _, b in rows])}
    return Arrays(CostVolumeNet(SMALL).wanted, {**fields, "disparity": disparity}, "random dots")


@pytest.mark.slow
def test_random_dots_are_learned(tmp_path):
    torch.manual_seed(0)
    method, data = CostVolumeNet(SMALL), dots(8)
    fit(method, data, Recipe(steps=400, batch=8, learning_rate=4e-3, warm_up=0.05, schedule="cosine", log_every=100),
        tmp_path, runtime=Runtime(device="cpu"))  # fmt: skip
    batch = Batch(*(torch.from_numpy(np.stack([data.sample(i)[name] for i in range(8)])) for name in Batch._fields))
    found = method.eval()(batch.images[:, 0], batch.right[:, 0])
    error = masked_error(found.disparity, batch.disparity[:, 0]).item()
    print(f"{error:.3f} px, valid {found.valid.float().mean():.2f}")
    assert error < 0.3
    assert found.valid.float().mean() > 0.6


def test_images_of_any_size():
    torch.manual_seed(0)
    found = CostVolumeNet(SMALL)(torch.rand(1, 3, 33, 70), torch.rand(1, 3, 33, 70))
    assert found.disparity.shape == found.valid.shape == (1, 1, 33, 70)


@pytest.mark.parametrize(
    ("change", "line"), [({"size": (30, 64)}, "size 30x64: both sides"), ({"layers": 1}, "1 layers; give at least 2")]
)
def test_settings_that_do_not_fit_are_one_line(change: dict, line: str):
    with pytest.raises(InputError, match=f"^cost-volume-net: {line}"):
        replace(SMALL, **change)
