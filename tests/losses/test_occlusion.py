"""What is hidden, by both ways: the splat against a loop, the masks against a scene of two layers."""

import math

import pytest
import torch
from torch import Tensor

from firstsight.losses.occlusion import range_map, seen_by_range, seen_by_round_trip

from .two_layers import two_layers


def slow_range_map(flow: Tensor) -> Tensor:
    """The sum of the equation over all pairs of pixels that touch."""
    _, height, width = flow.shape
    out = torch.zeros(height, width, dtype=flow.dtype)
    for y in range(height):
        for x in range(width):
            u, v = x + float(flow[0, y, x]), y + float(flow[1, y, x])
            for i in range(max(0, math.floor(v)), min(height, math.floor(v) + 2)):
                for j in range(max(0, math.floor(u)), min(width, math.floor(u) + 2)):
                    out[i, j] += max(0, 1 - abs(j - u)) * max(0, 1 - abs(i - v))
    return out


def test_equation():
    draw = torch.Generator().manual_seed(0)
    flow = 3 * torch.randn(2, 2, 7, 9, generator=draw, dtype=torch.float64)
    for n in range(2):
        assert torch.allclose(range_map(flow)[n, 0], slow_range_map(flow[n]))


def test_one_pixel_is_spread_over_four():
    flow = torch.zeros(1, 2, 4, 5)
    flow[0, :, 1, 2] = torch.tensor([1.25, 1.5])
    counts = range_map(flow)[0, 0]
    assert counts[1, 2] == 0
    assert counts[2, 3:].tolist() == [1 + 0.375, 1 + 0.125]
    assert counts[3, 3:].tolist() == [1 + 0.375, 1 + 0.125]


def test_nothing_is_lost_within_the_image():
    """The counts sum to the number of pixels, 300, as long as no pixel leaves; those that leave, and NaN, are lost."""
    draw = torch.Generator().manual_seed(1)
    target = torch.rand(1, 2, 15, 20, generator=draw) * torch.tensor([19.0, 14.0]).view(1, 2, 1, 1)
    y, x = torch.meshgrid(torch.arange(15.0), torch.arange(20.0), indexing="ij")
    flow = target - torch.stack([x, y])
    assert float(range_map(flow).sum()) == pytest.approx(300, abs=1e-3)
    flow[0, :, 3, 4] = torch.tensor([100.0, 0.0])
    flow[0, :, 5, 6] = torch.nan
    assert float(range_map(flow).sum()) == pytest.approx(298, abs=1e-3)


def test_both_masks_find_what_is_hidden():
    """Where b is not left; IoU against the scene's own occlusion. The square, moving by (-6, 4) over
    the background, hides 36 36 - 30 32 = 336 px that it did not hide."""
    scene = two_layers()
    assert int(scene.hidden_a.sum()) == 336
    assert (scene.outside_a & scene.hidden_a).sum() == 0
    for seen in (seen_by_range(scene.flow_ba), seen_by_round_trip(scene.flow_ab, scene.flow_ba)):
        hidden = (seen < 0.5) & ~scene.outside_a
        iou = (hidden & scene.hidden_a).sum() / (hidden | scene.hidden_a).sum()
        assert iou > 0.9
        assert (seen < 0.5)[scene.outside_a].float().mean() > 0.9


def test_a_translation_hides_nothing_inside():
    """Everything that stays in the image is seen, whole pixels or not; what leaves it at the right and above is not."""
    flow = torch.tensor([3.5, -1.25]).view(1, 2, 1, 1).expand(1, 2, 20, 30)
    for seen in (seen_by_range(-flow), seen_by_round_trip(flow, -flow)):
        assert (seen[..., 2:, :26] == 1).all()
        assert (seen[..., :, 27:] == 0).all()
        assert (seen[..., :1, :] == 0).all()


def test_limits_of_the_round_trip():
    """A gap of 0.7 px closes (0.49 < 0.5), one of 0.75 does not, but does after 4 px (0.5625 < 0.01 (16 + 10.56) + 0.5)."""
    for there, back, closes in ((0.0, 0.7, True), (0.0, 0.75, False), (4.0, -3.25, True), (-0.75, 0.0, False)):
        flows = [torch.tensor([value, 0.0]).view(1, 2, 1, 1).expand(1, 2, 5, 16) for value in (there, back)]
        assert bool(seen_by_round_trip(*flows)[0, 0, 2, 4]) is closes


def test_no_gradient_passes():
    flow = torch.zeros(1, 2, 5, 6, requires_grad=True)
    assert not seen_by_range(flow).requires_grad
    assert not seen_by_round_trip(flow, flow).requires_grad
