"""Depth, flow and motion: each from the two others, on a curved scene seen by a camera that turns and moves obliquely."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from firstsight.geometry.pixels import pixel_grid
from firstsight.geometry.warp import rigid_flow
from firstsight.motion.triangle import (
    Agreement,
    Degeneracy,
    degeneracy,
    depth_from_flow,
    disagreement,
    motion_from_flow,
    rigid_term,
    scale_to,
    triangulation_term,
)

HEIGHT, WIDTH = 48, 64
INTRINSICS = torch.tensor([[[70.0, 0.0, 33.0], [0.0, 65.0, 21.5], [0.0, 0.0, 1.0]]], dtype=torch.float64)
ROTATION, TRANSLATION = (0.03, -0.05, 0.02), (0.3, -0.12, 0.5)
EVERYWHERE = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)


def motion(rotation: tuple[float, ...] = ROTATION, translation: tuple[float, ...] = TRANSLATION) -> Tensor:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(rotation).as_matrix(), translation
    return torch.from_numpy(matrix)[None]


def curved_depth() -> Tensor:
    x, y = pixel_grid(HEIGHT, WIDTH, torch.float64)
    return (5 + 0.03 * x - 0.02 * y + (0.2 * x).sin() + 0.7 * (0.15 * y + 0.1 * x).cos())[None, None]


def slow_flow(depth: Tensor, b_from_a: Tensor) -> Tensor:
    """One pixel at a time: the ray to its depth, moved, and divided by its z."""
    k, move = INTRINSICS[0].numpy(), b_from_a[0].numpy()
    flow = np.zeros((1, 2, HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            point = float(depth[0, 0, y, x]) * np.array([(x - 33.0) / 70.0, (y - 21.5) / 65.0, 1.0])
            seen = k @ (move[:3, :3] @ point + move[:3, 3])
            flow[0, :, y, x] = seen[:2] / seen[2] - (x, y)
    return torch.from_numpy(flow)


@pytest.fixture(scope="module")
def flow() -> Tensor:
    return slow_flow(curved_depth(), motion())


def test_depth_and_motion_give_flow(flow):
    """Worked by hand for a camera that only moves: (70 0.3 / 5, 65 (-0.12) / 5) px at 5 m where it does not move forwards."""
    found, before = rigid_flow(curved_depth(), motion(), INTRINSICS)
    assert before.all()
    assert (found - flow).abs().max() < 1e-6
    sideways = motion((0.0, 0.0, 0.0), (0.3, -0.12, 0.0))
    even, _ = rigid_flow(torch.full_like(curved_depth(), 5.0), sideways, INTRINSICS)
    assert even[0, :, 7, 9].tolist() == pytest.approx([4.2, -1.56])


def test_flow_and_motion_give_depth(flow):
    depth, parallax, valid = depth_from_flow(flow, motion(), INTRINSICS)
    x, y = (pixel_grid(HEIGHT, WIDTH, torch.float64) + flow[0]).unbind()
    inside = (x >= 0) & (x <= WIDTH - 1) & (y >= 0) & (y <= HEIGHT - 1)
    assert torch.equal(valid[0, 0], inside & (parallax[0, 0] > 0.00175))
    assert valid.double().mean() > 0.8
    assert (depth - curved_depth())[valid].abs().max() < 1e-6


def test_depth_behind_a_camera_is_not_valid(flow):
    """The flow of the opposite motion meets behind both cameras."""
    back = motion((0.0, 0.0, 0.0), (0.3, -0.12, 0.0))
    forth = motion((0.0, 0.0, 0.0), (-0.3, 0.12, 0.0))
    there, _ = rigid_flow(curved_depth(), forth, INTRINSICS)
    depth, _, valid = depth_from_flow(there, back, INTRINSICS)
    assert not valid.any()
    assert (depth + curved_depth()).abs().max() < 1e-6


def test_still_pixels_of_a_moving_camera_are_infinitely_far_away():
    sideways = motion((0.0, 0.0, 0.0), (0.3, 0.0, 0.0))
    still = torch.zeros(1, 2, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    depth, parallax, valid = depth_from_flow(still, sideways, INTRINSICS)
    assert depth.isinf().all()
    assert parallax.max() < 1e-9
    assert not valid.any()
    torch.where(valid, depth, 0).sum().backward()
    assert still.grad is not None
    assert still.grad.isfinite().all()


def test_flow_and_depth_give_motion(flow):
    found, share = motion_from_flow(curved_depth(), flow, EVERYWHERE, INTRINSICS)
    assert (found - motion()).abs().max() < 1e-6
    assert share.tolist() == [1.0]


def test_motion_of_a_batch_with_an_object_that_moves_and_one_without_any(flow):
    """A third of the frame moves by itself, 6 px to the left; in the second frame nothing is valid."""
    other = flow.clone()
    other[..., :16, :] -= torch.tensor([6.0, 0.0]).view(1, 2, 1, 1)
    valid = torch.cat([EVERYWHERE, torch.zeros_like(EVERYWHERE)])
    found, share = motion_from_flow(
        curved_depth().repeat(2, 1, 1, 1), torch.cat([other, flow]), valid, INTRINSICS.repeat(2, 1, 1)
    )
    assert (found[0] - motion()[0]).abs().max() < 1e-6
    assert share.tolist() == pytest.approx([2 / 3, 0.0], abs=0.02)
    assert torch.equal(found[1], torch.eye(4, dtype=torch.float64))


def test_motion_is_differentiable(flow):
    """The motion of a scene scaled by s is scaled by s: d t / d s = t; and that of no other sample rests on one pixel alone."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    found, _ = motion_from_flow(scale * curved_depth(), flow, EVERYWHERE, INTRINSICS)
    for i in range(3):
        (by_scale,) = torch.autograd.grad(found[0, i, 3], scale, retain_graph=True)
        assert float(by_scale) == pytest.approx(TRANSLATION[i], abs=1e-6)
    shifted = flow.clone().requires_grad_()
    (by_flow,) = torch.autograd.grad(
        motion_from_flow(curved_depth(), shifted, EVERYWHERE, INTRINSICS).b_from_a[0, 0, 3], shifted
    )
    nudge = torch.zeros_like(flow)
    nudge[0, 0, 10, 20] = 1e-3
    moved = motion_from_flow(curved_depth(), flow + nudge, EVERYWHERE, INTRINSICS).b_from_a[0, 0, 3]
    assert float(moved - TRANSLATION[0]) / 1e-3 == pytest.approx(float(by_flow[0, 0, 10, 20]), rel=0.02)


def test_depth_is_differentiable(flow):
    def depth_of(part: Tensor, translation: Tensor) -> Tensor:
        moved = flow.clone()
        moved[..., 5:8, 30:34] = part
        b_from_a = motion().clone()
        b_from_a[0, :3, 3] = translation
        return depth_from_flow(moved, b_from_a, INTRINSICS).depth[..., 5:8, 30:34]

    part = flow[..., 5:8, 30:34].clone().requires_grad_()
    translation = torch.tensor(TRANSLATION, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(depth_of, (part, translation), fast_mode=True)


def test_triangulation_term():
    """t = (2, 4), d = (1, 4): s = (1/2 + 1) / (1/4 + 1) = 1.2, then (1 - 0.6)^2 and (1 - 1.2)^2, 0.1 in the mean."""
    triangulated = torch.tensor([[[[2.0, 4.0, torch.inf]]]], dtype=torch.float64)
    predicted = torch.tensor([[[[1.0, 4.0, 7.0]]]], dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[[[True, True, False]]]])
    assert float(scale_to(triangulated, predicted, valid)) == pytest.approx(1.2)
    loss = triangulation_term(triangulated, predicted, valid)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.1)
    assert predicted.grad is not None
    # 2 (s d / t - 1) s / t / 2
    assert predicted.grad.flatten().tolist() == pytest.approx([-0.4 * 1.2 / 2, 0.2 * 1.2 / 4, 0.0])
    assert float(triangulation_term(triangulated, 3.7 * triangulated, valid)) < 1e-12
    assert float(triangulation_term(triangulated, predicted.detach(), torch.zeros_like(valid))) == 0
    assert float(scale_to(triangulated, predicted, torch.zeros_like(valid))) == 1


def test_rigid_term(flow):
    """Flow off by (0.25, -0.5) px costs 0.75 where it is valid; what is not valid may be anything."""
    off = flow + torch.tensor([0.25, -0.5], dtype=torch.float64).view(1, 2, 1, 1)
    valid = EVERYWHERE.clone()
    valid[..., 40:, :] = False
    off[..., 40:, :] = torch.nan
    assert float(rigid_term(curved_depth(), off, valid, motion(), INTRINSICS)) == pytest.approx(0.75, abs=1e-6)
    assert float(rigid_term(curved_depth(), flow, EVERYWHERE, motion(), INTRINSICS)) < 1e-6
    for factor in (0.9, 1.1):
        assert float(rigid_term(factor * curved_depth(), flow, EVERYWHERE, motion(), INTRINSICS)) > 0.1


def test_a_turning_camera_and_a_plane_are_told(flow):
    turned, _ = rigid_flow(curved_depth(), motion(translation=(0.0, 0.0, 0.0)), INTRINSICS)
    x, y = pixel_grid(HEIGHT, WIDTH, torch.float64)
    slanted = 1 / (0.2 + 0.002 * x - 0.001 * y)[None, None]  # inverse depth is affine: a plane
    plane, _ = rigid_flow(slanted, motion(), INTRINSICS)
    assert degeneracy(turned, EVERYWHERE, INTRINSICS) == (1.0, 1.0)
    assert degeneracy(turned, EVERYWHERE, INTRINSICS).kind == "rotation"
    of_plane = degeneracy(plane, EVERYWHERE, INTRINSICS)
    assert of_plane.by_homography == 1
    assert of_plane.by_rotation < 0.5
    assert of_plane.kind == "plane"
    curved = degeneracy(flow, EVERYWHERE, INTRINSICS)
    assert curved.by_homography < 0.9
    assert curved.kind == "none"
    assert degeneracy(flow, ~EVERYWHERE, INTRINSICS) == Degeneracy(0.0, 0.0)
    # the depth that the flow of a rotation seems to have is not valid
    assert not depth_from_flow(turned, motion(), INTRINSICS).valid.all()
    assert not depth_from_flow(turned, motion(translation=(0.0, 0.0, 0.0)), INTRINSICS).valid.any()


def judged(depth: Tensor, flow: Tensor, b_from_a: Tensor, valid: Tensor = EVERYWHERE):
    return disagreement(depth, flow, valid, b_from_a, INTRINSICS)


def wide_motion() -> Tensor:
    """Twenty times the limit of 3 px: what is wrong by 3 px shows."""
    return motion((0.1, -0.2, 0.15), (1.8, -0.7, 1.1))


def test_three_that_agree():
    flow = slow_flow(curved_depth(), wide_motion())
    found = judged(curved_depth(), flow, wide_motion())
    assert found.odd_one_out == ""
    assert found.median_px < 1e-9
    assert (found.agreeing, found.with_other_depth, found.with_other_motion) == (1.0, 1.0, 1.0)
    assert found.median_flow_px == pytest.approx(float(flow.norm(dim=1).median()), rel=0.05)


def test_the_odd_one_is_found():
    depth, b_from_a = curved_depth(), wide_motion()
    flow = slow_flow(depth, b_from_a)
    x, y = pixel_grid(HEIGHT, WIDTH, torch.float64)
    upside_down = depth.flip(-1, -2) * (0.5 + 0.02 * y)
    assert judged(upside_down, flow, b_from_a).odd_one_out == "depth"
    other_way = motion((0.1, -0.2, 0.15), (1.8, 1.1, -0.7))
    assert judged(depth, flow, other_way).odd_one_out == "motion"
    waves = 9 * torch.stack([(0.9 * y).sin(), (1.1 * x + 0.3 * y).cos()])[None]
    assert judged(depth, flow + waves, b_from_a).odd_one_out == "flow"
    assert judged(0.5 * depth, flow, b_from_a).odd_one_out == "scale"
    twice = b_from_a.clone()
    twice[:, :3, 3] *= 2
    assert judged(depth, flow, twice).odd_one_out == "scale"


def test_what_moves_is_left_out_and_limits_are_three_pixels_and_five_percent():
    depth, b_from_a = curved_depth(), wide_motion()
    flow = slow_flow(depth, b_from_a)
    moved = flow.clone()
    moved[..., :20, :] += 30
    assert judged(depth, moved, b_from_a).agreeing == pytest.approx(28 / 48, abs=0.02)
    valid = EVERYWHERE.clone()
    valid[..., :20, :] = False
    assert judged(depth, moved, b_from_a, valid).agreeing == 1
    # 4 px across the flow: too much for the flow of less than 80 px that there is here, 2.9 px is not
    across = torch.stack([-flow[:, 1], flow[:, 0]], 1) / flow.norm(dim=1, keepdim=True)
    assert flow.norm(dim=1).max() < 80
    found = judged(depth, flow + 4 * across, b_from_a)
    assert (found.agreeing, found.median_px) == (0.0, pytest.approx(4, abs=1e-6))
    assert judged(depth, flow + 2.9 * across, b_from_a).agreeing == 1
    # 5 m away and moving 9 m sideways: 70 9 / 5 = 126 px, of which 5 % are 6.3 px
    even, sideways = torch.full_like(depth, 5.0), motion((0.0, 0.0, 0.0), (9.0, 0.0, 0.0))
    for down, agreeing in ((6.2, 1.0), (6.4, 0.0)):
        off = torch.tensor([126.0, down], dtype=torch.float64).view(1, 2, 1, 1).repeat(1, 1, HEIGHT, WIDTH)
        assert judged(even, off, sideways).agreeing == agreeing


def test_nothing_to_judge_is_said():
    found = judged(curved_depth(), torch.zeros(1, 2, HEIGHT, WIDTH, dtype=torch.float64), motion(), ~EVERYWHERE)
    assert all(math.isnan(value) for value in found)
    assert found.odd_one_out == ""


def test_four_fifths_agree_or_somebody_errs():
    """The shares as they are, with another depth, with another motion; the limit of 0.8 on either side."""
    for shares, odd in (
        ((0.81, 0.0, 0.0), ""),
        ((0.79, 0.81, 0.79), "depth"),
        ((0.79, 0.79, 0.81), "motion"),
        ((0.79, 0.81, 0.81), "scale"),
        ((0.79, 0.79, 0.79), "flow"),
    ):
        assert Agreement(1.0, 10.0, *shares).odd_one_out == odd
