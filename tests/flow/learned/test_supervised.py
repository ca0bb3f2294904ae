"""The loss that networks learn flow by, and flow of any size, with numbers counted by hand."""

import pytest
import torch
from torch import Tensor

from firstsight.errors import InputError
from firstsight.flow.learned.network_flow import check_size
from firstsight.flow.learned.supervised import LearnedFlow, of_scales, on_grid, scale_error


def maps(*rows: list) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)[None]


def known(*rows: list) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)[None, None]


TRUTH = maps([[1, 3, 5, 7], [2, 2, 9, 9]], [[0, 0, -4, -4], [8, 8, 0, 0]])
VALID = known([1, 1, 1, 0], [1, 0, 0, 0])


def test_a_coarse_grid_has_the_mean_of_what_is_known():
    """The left square knows 1, 3 and 2 of u, 0, 0 and 8 of v; of the right one a quarter is known."""
    mean, share = on_grid(TRUTH, VALID, 1, 2)
    torch.testing.assert_close(mean, maps([[2, 5]], [[8 / 3, -4]]))
    torch.testing.assert_close(share, torch.tensor([[[[0.75, 0.25]]]]))


def test_the_error_of_a_scale():
    """Distances 5 (3, -4), 13 and 0 at the three known pixels of the left half; a quarter known is not compared."""
    found = TRUTH.clone()
    found[0, :, 0, 0] += torch.tensor([3.0, -4.0])
    found[0, :, 0, 1] -= torch.tensor([5.0, 12.0])
    found[0, :, 1, 3] = 1e6  # where nothing is known
    assert scale_error(found, TRUTH, VALID, robust=False).item() == pytest.approx(18 / 4)
    expected = (5.01**0.4 + 13.01**0.4 + 2 * 0.01**0.4) / 4
    assert scale_error(found, TRUTH, VALID, robust=True).item() == pytest.approx(expected)
    coarse = maps([[2, 5]], [[8 / 3 + 2, 40]])
    assert scale_error(coarse, TRUTH, VALID, robust=False).item() == pytest.approx(2)


def test_samples_weigh_the_same_however_much_of_them_is_known():
    """Else two processes, each with a part of the batch, would not learn what one learns."""
    found = torch.cat([TRUTH + torch.tensor([3.0, -4.0])[:, None, None], TRUTH])
    error = scale_error(found, TRUTH.expand(2, -1, -1, -1), torch.cat([VALID, VALID | ~VALID]), robust=False)
    assert error.item() == pytest.approx(5 / 2)


def test_finer_scales_weigh_more():
    """.005, .01, .02, .08, .32 of sums over a quarter as many pixels each time: 1, 1/2, 1/4, 1/4, 1/4 of means."""
    truth, valid = torch.zeros(1, 2, 32, 64), torch.ones(1, 1, 32, 64, dtype=torch.bool)
    found = [torch.zeros(1, 2, 32 // 2**s, 64 // 2**s) for s in range(5)]
    for scale, weight in enumerate((1, 1 / 2, 1 / 4, 1 / 4, 1 / 4)):
        one_off = [
            flow + (torch.tensor([0.6, -0.8])[:, None, None] if s == scale else 0) for s, flow in enumerate(found)
        ]
        assert of_scales(one_off, truth, valid, robust=False).item() == pytest.approx(weight)


def test_what_is_not_known_has_no_derivative_and_no_error_at_the_truth_is_none():
    found = TRUTH.clone().requires_grad_()
    scale_error(found, TRUTH, VALID, robust=False).backward()
    assert found.grad is not None
    assert not found.grad.any(), "finite at the truth, where a root has none"
    moved = (TRUTH + 1).requires_grad_()
    scale_error(moved, TRUTH, VALID, robust=True).backward()
    assert moved.grad is not None
    assert ((moved.grad != 0).all(1, keepdim=True) == VALID).all()


def test_nothing_known_is_no_loss():
    found = torch.ones(1, 2, 2, 4, requires_grad=True)
    loss = scale_error(found, torch.full((1, 2, 2, 4), torch.nan), torch.zeros(1, 1, 2, 4, dtype=torch.bool), False)
    loss.backward()
    assert loss.item() == 0
    assert found.grad is not None
    assert not found.grad.any()


class Steady(LearnedFlow):
    """(6, -2) px at an eighth of the resolution for images of 64x128, whatever they show; both ways undo each other."""

    multiple = 64

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def flows(self, image_a: Tensor, image_b: Tensor) -> list[Tensor]:
        self.seen.append(tuple(image_a.shape[2:]))
        forward = (image_a.mean((1, 2, 3)) < image_b.mean((1, 2, 3))).float() * 2 - 1
        flow = torch.tensor([6.0, -2.0])[None] * forward[:, None]
        return [flow[:, :, None, None].expand(-1, -1, image_a.shape[2] // 8, image_a.shape[3] // 8)]


def test_images_of_any_size_are_brought_to_a_multiple_and_the_flow_back():
    """50x96 is seen as 64x128: a flow of 6 px there is 6 * 96 / 128 px, one of -2 px -2 * 50 / 64 px."""
    method = Steady()
    flow, valid, error_px = method(torch.zeros(1, 3, 50, 96), torch.ones(1, 3, 50, 96))
    assert method.seen == [(64, 128)]
    torch.testing.assert_close(flow, torch.tensor([4.5, -1.5625])[None, :, None, None].expand(1, 2, 50, 96))
    inside = torch.zeros(1, 1, 50, 96, dtype=torch.bool)
    inside[..., 2:, : 96 - 5] = True  # the flow leads out above and on the right
    assert torch.equal(valid, inside)
    assert error_px is not None
    assert error_px.shape == valid.shape


def test_a_size_that_does_not_fit_is_one_line():
    with pytest.raises(InputError, match=r"^pwc-net: size 96x128: both sides must be multiples of 64$"):
        check_size("pwc-net", (96, 128), 64)
