"""Teaching crops: what the student should see and find, the weights against their formula."""

import math

import pytest
import torch
from torch import Tensor

from firstsight.geometry.pixels import pixel_grid
from firstsight.geometry.warp import warp_by_flow
from firstsight.losses.self_supervision import Crop, border_crop, consistency, self_supervision


def constant(right: float, down: float, height: int = 12, width: int = 16) -> Tensor:
    return torch.tensor([right, down], dtype=torch.float64).view(1, 2, 1, 1).repeat(1, 1, height, width)


def test_flow_of_a_crop():
    """Windows that begin 2 rows lower and 3 columns further left in b take (-3, 2) from the flow; doubled sizes double it."""
    crop = Crop((1, 5), (3, 2), (6, 8), (12, 24))
    flow = crop.flow(constant(1.5, -0.5))
    assert flow.shape == (1, 2, 12, 24)
    assert torch.allclose(flow[0, 0], torch.tensor(3 * (1.5 + 3), dtype=torch.float64))
    assert torch.allclose(flow[0, 1], torch.tensor(2 * (-0.5 - 2), dtype=torch.float64))


def test_flow_of_a_crop_is_that_of_the_crops_images():
    """An affine flow of waves: the crops' images warped by the crop's flow agree, as the whole images do."""
    x, y = pixel_grid(40, 56, torch.float64)
    image_b = torch.stack([(0.25 * x + 0.1 * y).sin(), (0.2 * y - 0.15 * x).cos(), (0.3 * y).sin()])[None] / 2 + 0.5
    flow = torch.stack([1.3 + 0.04 * (x - 30), -0.7 + 0.03 * (y - 18) - 0.02 * x])[None]
    image_a = warp_by_flow(image_b, flow).values
    for size, share in (((24, 36), 1e-12), ((48, 72), 0.05)):
        crop = Crop((6, 7), (8, 6), (24, 36), size)
        a, b = crop.images(image_a, image_b)
        assert a.shape[2:] == size
        warped, inside = warp_by_flow(b, crop.flow(flow))
        error = (a - warped).abs().mean(1, keepdim=True)[inside].mean()
        wrong = (a - warp_by_flow(b, crop.flow(flow) + 1).values).abs().mean()
        assert float(error) < share * float(wrong)


def test_border_crop():
    assert border_crop(384, 512) == Crop((64, 64), (64, 64), (256, 384), (384, 512))


def test_consistency():
    """A gap of (0.03, -0.04) px in 12x16 px: exp(-0.0025 / (0.003^2 400)) = 0.49935; 0 where the flow leaves the image."""
    found = consistency(constant(2.0, 1.0), constant(-1.97, -1.04), 0.003)
    assert float(found[0, 0, 4, 5]) == pytest.approx(math.exp(-0.0025 / 0.0036), abs=1e-9)
    assert float(found[0, 0, 4, 5]) == pytest.approx(0.49935, abs=1e-4)
    assert (found[..., 14:] == 0).all()
    assert (found[..., 11:, :] == 0).all()


def test_equation():
    """The teacher knows (4, 0); the student of a crop of 8x8 px says (1, 0) and, for the way back, (-1.5, 0).

    Its own gap of 0.5 px gives c = exp(-0.25 / (0.03^2 128)) = 0.11416 where it stays in the crop, 0 elsewhere: weight 1 - c
    in the columns 0 to 6 and 1 in column 7. The teacher closes in the whole crop. The error of 3 px counts in one of two
    components, the other one's is 0.001: (7 (1 - 0.11416) + 1) / 8 (3.0000002 + 0.001) / 2.
    """
    crop = Crop((2, 3), (2, 3), (8, 8), (8, 8))
    student = (constant(1, 0, 8, 8), constant(-1.5, 0, 8, 8))
    loss = self_supervision(student, (constant(4, 0), constant(-4, 0)), crop)
    assert float(loss) == pytest.approx((7 * (1 - 0.114161) + 1) / 8 * 3.0010002 / 2, abs=1e-5)


def test_an_equivariant_estimator_teaches_itself_nothing():
    """A flow that depends on the images alone: cut out of the teacher it is the student's, and only the 0.001 is left."""
    flow = constant(1.0, -2.0)
    crop = Crop((3, 2), (3, 2), (8, 10), (8, 10))
    assert (crop.flow(flow) - constant(1.0, -2.0, 8, 10)).abs().max() == 0
    loss = self_supervision((crop.flow(flow), crop.flow(-flow)), (flow, -flow), crop)
    assert float(loss) < 1e-3


def test_only_the_student_is_taught():
    teacher = [constant(2, 0).requires_grad_(), constant(-2, 0).requires_grad_()]
    student = [constant(1, 0, 8, 8).requires_grad_(), constant(1, 0, 8, 8).requires_grad_()]
    self_supervision(
        (student[0], student[1]), (teacher[0], teacher[1]), Crop((2, 2), (2, 2), (8, 8), (8, 8))
    ).backward()
    assert all(flow.grad is None for flow in (*teacher, student[1]))
    assert student[0].grad is not None
    assert student[0].grad[:, 0].max() < 0  # more of x, towards the teacher's


def test_gradient():
    draw = torch.Generator().manual_seed(4)
    crop = Crop((1, 2), (2, 1), (6, 7), (6, 7))
    student = torch.randn(1, 2, 6, 7, generator=draw, dtype=torch.float64).requires_grad_()
    back = torch.randn(1, 2, 6, 7, generator=draw, dtype=torch.float64)

    def weighted(flow: Tensor) -> Tensor:
        # the weights have no gradient: held at those of the student's own flow
        return self_supervision((flow, back + 100), (constant(2, 0), constant(-2, 0)), crop)

    assert torch.autograd.gradcheck(weighted, student, fast_mode=True)
