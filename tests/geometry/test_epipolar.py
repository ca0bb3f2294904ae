import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from firstsight.geometry.epipolar import (
    essential_matrix,
    midpoint_depths,
    parallax_angle,
    sampson_distance,
    triangulate,
)
from firstsight.geometry.se3 import inverse, se3_exp, transform


def scene(batch: tuple[int, ...] = (), seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """b_from_a, points in a, and the points on both cameras' planes."""
    generator = torch.Generator().manual_seed(seed)
    b_from_a = se3_exp(0.3 * torch.randn((*batch, 6), generator=generator, dtype=torch.float64))
    points = torch.rand((*batch, 40, 3), generator=generator, dtype=torch.float64) * 4 - 2
    points[..., 2] += 6
    in_b = transform(b_from_a, points)
    return b_from_a, points, points[..., :2] / points[..., 2:], in_b[..., :2] / in_b[..., 2:]


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_true_pairs_satisfy_the_essential_matrix(batch):
    b_from_a, _, in_a, in_b = scene(batch)
    assert sampson_distance(essential_matrix(b_from_a), in_a, in_b).max() < 1e-28


def test_essential_matrix_is_the_one_opencv_finds():
    b_from_a, _, in_a, in_b = scene()
    found, _ = cv2.findEssentialMat(in_a.numpy(), in_b.numpy(), np.eye(3), method=cv2.RANSAC, threshold=1e-6)
    ours = essential_matrix(b_from_a).numpy()
    ours, found = ours / np.linalg.norm(ours), found / np.linalg.norm(found)
    assert min(np.abs(ours - found).max(), np.abs(ours + found).max()) < 1e-6


def test_sampson_distance_against_opencv():
    b_from_a, _, in_a, in_b = scene()
    essential = essential_matrix(b_from_a)
    off_a, off_b = in_a + 0.01, in_b - 0.02
    ours = sampson_distance(essential, off_a, off_b)
    theirs = [
        cv2.sampsonDistance(np.append(a, 1.0)[:, None], np.append(b, 1.0)[:, None], essential.numpy())
        for a, b in zip(off_a.numpy(), off_b.numpy(), strict=True)
    ]
    assert np.allclose(ours.numpy(), theirs, rtol=1e-9)


def test_sampson_distance_is_how_far_a_pair_must_move():
    """Moving only b, square to its epipolar line, by d: the distance is d^2 times the line's share of both gradients."""
    b_from_a = torch.eye(4, dtype=torch.float64)
    b_from_a[0, 3] = 1.0  # sideways: epipolar lines are rows, and both images share the gradient equally
    point = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    moved = point + torch.tensor([[-0.3, 0.02]], dtype=torch.float64)
    assert sampson_distance(essential_matrix(b_from_a), point, moved).item() == pytest.approx(0.02**2 / 2)


@pytest.mark.parametrize("batch", [(), (4,)])
def test_triangulation_returns_the_points(batch):
    b_from_a, points, in_a, in_b = scene(batch)
    cameras = torch.stack([torch.eye(4, dtype=torch.float64).expand_as(b_from_a), b_from_a], -3)
    seen = torch.stack([in_a, in_b], -2)
    found = triangulate(seen, cameras[..., None, :, :, :].expand(*seen.shape[:-1], 4, 4))
    assert (found - points).abs().max() < 1e-10


def test_triangulation_of_noisy_views_against_opencv():
    b_from_a, _, in_a, in_b = scene()
    noise = 0.002 * torch.randn(in_a.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen = torch.stack([in_a + noise, in_b - noise], 1)
    cameras = torch.stack([torch.eye(4, dtype=torch.float64), b_from_a]).expand(len(in_a), 2, 4, 4)
    ours = triangulate(seen, cameras).numpy()
    theirs = cv2.triangulatePoints(np.eye(4)[:3], b_from_a.numpy()[:3], seen[:, 0].numpy().T, seen[:, 1].numpy().T)
    assert np.abs(ours - (theirs[:3] / theirs[3]).T).max() < 1e-6


def test_a_third_view_makes_triangulation_more_exact():
    b_from_a, points, in_a, in_b = scene()
    c_from_a = se3_exp(torch.tensor([-1.0, 0.5, 0.2, 0.0, 0.1, 0.0], dtype=torch.float64))
    in_c = transform(c_from_a, points)
    seen = torch.stack([in_a, in_b, in_c[:, :2] / in_c[:, 2:]], 1)
    seen = seen + 0.003 * torch.randn(seen.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    cameras = torch.stack([torch.eye(4, dtype=torch.float64), b_from_a, c_from_a]).expand(len(points), 3, 4, 4)
    two = (triangulate(seen[:, :2], cameras[:, :2]) - points).norm(dim=-1).median()
    three = (triangulate(seen, cameras) - points).norm(dim=-1).median()
    assert three < 0.7 * two


def test_parallel_rays_meet_far_away_not_at_nan():
    seen = torch.full((1, 2, 2), 0.1, dtype=torch.float64)
    cameras = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    cameras[0, 1, 0, 3] = 1.0
    point = triangulate(seen, cameras)
    assert point.isfinite().all()
    assert point.norm() > 1e6


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_depths_where_rays_are_nearest(batch):
    """Rays that meet do so at the points; rays that do not, at the depths of least squares, one pair at a time."""
    b_from_a, points, in_a, in_b = scene(batch)
    found = midpoint_depths(in_a, in_b, b_from_a)
    assert (found.depth_a - points[..., 2]).abs().max() < 1e-9
    assert (found.depth_b - transform(b_from_a, points)[..., 2]).abs().max() < 1e-9
    off_b = in_b + 0.03
    found = midpoint_depths(in_a, off_b, b_from_a)
    first = (0,) * len(batch)
    turned = np.append(in_a[first][5].numpy(), 1) @ b_from_a[first][:3, :3].numpy().T
    seen = np.append(off_b[first][5].numpy(), 1)
    depths = np.linalg.lstsq(np.column_stack([-turned, seen]), b_from_a[first][:3, 3].numpy(), rcond=None)[0]
    assert (float(found.depth_a[first][5]), float(found.depth_b[first][5])) == pytest.approx(tuple(depths))


def test_depths_by_hand():
    """From (0, 0, 0) and (1, 0, 0), facing alike: (0.25, 0) and (-0.25, 0) meet at (0.5, 0, 2), under 2 atan(1 / 4)."""
    b_from_a = torch.eye(4, dtype=torch.float64)
    b_from_a[0, 3] = -1
    in_a = torch.tensor([[0.25, 0.0], [0.25, 0.0], [-0.25, 0.0]], dtype=torch.float64)
    in_b = torch.tensor([[-0.25, 0.0], [0.25, 0.0], [0.25, 0.0]], dtype=torch.float64)
    found = midpoint_depths(in_a, in_b, b_from_a)
    assert found.depth_a.tolist() == pytest.approx([2.0, np.inf, -2.0])
    assert found.depth_b.tolist() == pytest.approx([2.0, np.inf, -2.0])
    assert found.parallax_rad.tolist() == pytest.approx([0.4899573, 0.0, 0.4899573])


def test_parallax_angle_by_hand():
    origin = torch.zeros(3, dtype=torch.float64)
    aside = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    ahead = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1e3]], dtype=torch.float64)
    angles = parallax_angle(ahead, origin, aside)
    assert torch.allclose(angles, torch.tensor([np.pi / 4, np.arctan(1e-3)], dtype=torch.float64), rtol=1e-12)
    assert (parallax_angle(ahead, origin, origin) == 0).all()


def test_parallax_does_not_depend_on_where_the_world_is():
    b_from_a, points, _, _ = scene()
    world_from_a = se3_exp(torch.tensor([1.0, 2.0, 3.0, 0.3, 0.2, 0.1], dtype=torch.float64))
    centre_b = inverse(b_from_a)[:3, 3]
    here = parallax_angle(points, torch.zeros(3, dtype=torch.float64), centre_b)
    there = parallax_angle(
        transform(world_from_a, points), world_from_a[:3, 3], transform(world_from_a, centre_b[None])[0]
    )
    assert torch.allclose(here, there, atol=1e-12)
