import pytest
import torch

from firstsight.geometry import pixels, se3, warp


def random_image(batch: int = 2, height: int = 9, width: int = 13) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_identity_warp_is_exact():
    image = random_image()
    values, inside = warp.warp_by_flow(image, torch.zeros(2, 2, 9, 13))
    torch.testing.assert_close(values, image, atol=2e-6, rtol=0)
    assert inside.all()


def test_one_pixel_shift_is_exact():
    """Flow (1, 0): pixel x of a lies at x + 1 in b, so the value comes from the right; the last column comes from outside."""
    image = random_image()
    flow = torch.zeros(2, 2, 9, 13)
    flow[:, 0] = 1
    values, inside = warp.warp_by_flow(image, flow)
    torch.testing.assert_close(values[..., :-1], image[..., 1:], atol=2e-6, rtol=0)
    assert inside[..., :-1].all()
    assert not inside[..., -1].any()


def test_disparity_takes_from_the_left_of_the_right_image():
    image = random_image()
    values, _ = warp.warp_by_disparity(image, torch.full((2, 1, 9, 13), 2.0))
    torch.testing.assert_close(values[..., 2:], image[..., :-2], atol=2e-6, rtol=0)


def test_sample_against_a_loop():
    image = random_image(1).double()
    points = torch.rand(1, 2, 4, 5, dtype=torch.float64) * torch.tensor([12.0, 8.0])[:, None, None]
    values, _ = pixels.sample(image, points)
    for i in range(4):
        for j in range(5):
            x, y = points[0, :, i, j]
            x0, y0 = min(int(x), 11), min(int(y), 7)
            fx, fy = x - x0, y - y0
            top = image[0, :, y0, x0] * (1 - fx) + image[0, :, y0, x0 + 1] * fx
            bottom = image[0, :, y0 + 1, x0] * (1 - fx) + image[0, :, y0 + 1, x0 + 1] * fx
            torch.testing.assert_close(values[0, :, i, j], top * (1 - fy) + bottom * fy)


def test_sample_gradient():
    image = random_image(1).double().requires_grad_()
    inner = (torch.rand(1, 2, 3, 3, dtype=torch.float64) * 5 + 1.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, p: pixels.sample(i, p).values, (image, inner))


def test_resized_flow_scales_its_values():
    flow = torch.ones(1, 2, 4, 6)
    doubled = pixels.resize_flow(flow, 8, 18)
    torch.testing.assert_close(doubled[:, 0], torch.full((1, 8, 18), 3.0))
    torch.testing.assert_close(doubled[:, 1], torch.full((1, 8, 18), 2.0))


def test_rigid_flow_of_a_step_to_the_right():
    """The camera moves 0.5 m right: a point 5 m away moves fx * 0.5 / 5 px left in the image."""
    intrinsics = torch.tensor([[[100.0, 0, 6], [0, 100.0, 4], [0, 0, 1]]])
    b_from_a = se3.se3_exp(torch.tensor([[-0.5, 0, 0, 0, 0, 0]]))
    flow, defined = warp.rigid_flow(torch.full((1, 1, 9, 13), 5.0), b_from_a, intrinsics)
    torch.testing.assert_close(flow[:, 0], torch.full((1, 9, 13), -10.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(flow[:, 1], torch.zeros(1, 9, 13), atol=1e-4, rtol=0)
    assert defined.all()


def test_rigid_flow_is_undefined_behind_the_camera():
    b_from_a = se3.se3_exp(torch.tensor([[0.0, 0, -6.0, 0, 0, 0]]))
    intrinsics = torch.eye(3)[None] * torch.tensor([100.0, 100.0, 1.0])
    assert not warp.rigid_flow(torch.full((1, 1, 4, 4), 5.0), b_from_a, intrinsics)[1].any()


def test_forward_backward_flags_what_does_not_return():
    forward = torch.zeros(1, 2, 8, 20)
    forward[:, 0] = 3
    backward = -forward.clone()
    backward[..., 10:] = 5
    consistent, gap_px = warp.forward_backward_check(forward, backward)
    assert consistent[..., :7].all()
    assert not consistent[..., 7:].any()
    assert gap_px[0, 0, 4, [2, 6, 7, 12]].tolist() == pytest.approx([0, 0, 89**0.5, 89**0.5]), "3 + 5 and 5 px"


def test_depth_from_disparity_with_offset_and_without_parallax():
    disparity = torch.tensor([10.0, 12.0, 2.0, 0.0])
    depth = warp.disparity_to_depth(disparity, fx=700.0, baseline_m=0.5, cx_left_minus_right=2.0)
    torch.testing.assert_close(depth, torch.tensor([43.75, 35.0, torch.inf, torch.inf]))


def test_values_at_coordinates_that_are_not_a_number_are_not_one():
    """Neither is this hidden, nor does the backward pass read outside of the image (it crashed); infinity is far outside."""
    image = random_image(1, 4, 6).requires_grad_()
    points = torch.zeros(1, 2, 2, 2)
    points[0, :, 0, 1] = torch.tensor([torch.nan, 1.0])
    points[0, :, 1, 0] = torch.tensor([2.0, torch.nan])
    points[0, :, 1, 1] = torch.tensor([torch.inf, -torch.inf])
    points.requires_grad_()
    values, inside = pixels.sample(image, points)
    assert values.isnan()[0, 0].tolist() == [[False, True], [True, False]]
    assert inside[0, 0].tolist() == [[True, False], [False, False]]
    assert torch.equal(values[0, :, 1, 1], image[0, :, 0, 5])
    values[~values.isnan()].sum().backward()
    assert image.grad.isfinite().all()


def test_a_warp_by_nothing_but_nan_can_be_differentiated():
    image = random_image(1, 64, 192)
    values, _ = pixels.sample(image, torch.full((1, 2, 64, 192), torch.nan).requires_grad_())
    assert values.isnan().all()
    values.sum().backward()
