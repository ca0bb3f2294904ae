import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.motion.depth_alignment import DepthAlignmentConfig, align_depth, surface_of

INTRINSICS = np.array([[200.0, 0.0, 79.5], [0.0, 200.0, 59.5], [0.0, 0.0, 1.0]])
CORNER = [
    ([0.0, -1.0, 0.0], -0.35),
    ([0.7, 0.0, -0.7], -1.2),
    ([-0.6, 0.1, -0.8], -1.3),
]  # floor and two walls: n x = d
MOTION = se3_exp(torch.tensor([0.03, -0.02, 0.04, 0.01, 0.02, -0.015], dtype=torch.float64)).numpy()
GUESS = MOTION @ se3_exp(torch.tensor([0.01, -0.01, 0.01, 0.005, -0.005, 0.005], dtype=torch.float64)).numpy()
CONFIG = DepthAlignmentConfig(iterations=15)


def depth_image(planes: list, world_from_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of the planes along each pixel's ray, from n . (R p + t) = d."""
    v, u = np.mgrid[:120, :160]
    rays = np.stack([(u - 79.5) / 200, (v - 59.5) / 200, np.ones(u.shape)], -1)
    nearest = np.full(u.shape, np.inf)
    for normal, offset in planes:
        along = rays @ world_from_camera[:3, :3].T @ normal
        with np.errstate(divide="ignore"):
            z = (offset - np.asarray(normal) @ world_from_camera[:3, 3]) / along
        nearest = np.where((z > 0.1) & (z < nearest), z, nearest)
    valid = np.isfinite(nearest)
    return np.where(valid, nearest, 0).astype(np.float32), valid


def noisy(depth: np.ndarray, sigma_per_m: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma_per_m, depth.shape) * depth**2
    return (depth + noise).astype(np.float32)


def test_motion_in_a_corner_of_a_room():
    surface = surface_of(*depth_image(CORNER, np.eye(4)), INTRINSICS, CONFIG)
    assert surface is not None
    aligned = align_depth(surface, *depth_image(CORNER, MOTION), GUESS, INTRINSICS, CONFIG)
    assert aligned is not None
    assert np.abs(aligned.a_from_b - MOTION).max() < 5e-4


def test_noise_of_a_sensor_averages_out_and_the_information_says_by_how_much():
    reference, valid = depth_image(CORNER, np.eye(4))
    surface = surface_of(noisy(reference, 0.002, 0), valid, INTRINSICS, CONFIG)
    assert surface is not None
    depth, valid = depth_image(CORNER, MOTION)
    aligned = align_depth(surface, noisy(depth, 0.002, 1), valid, GUESS, INTRINSICS, CONFIG)
    assert aligned is not None
    off = (aligned.a_from_b - MOTION)[:3, 3]
    assert np.abs(off).max() < 3e-3
    claimed = np.sqrt(np.linalg.inv(aligned.information).diagonal()[:3])
    assert (np.abs(off) < 10 * claimed).all()


def test_along_a_plain_wall_there_is_no_information():
    wall = [([0.0, 0.0, 1.0], 1.5)]
    surface = surface_of(*depth_image(wall, np.eye(4)), INTRINSICS, CONFIG)
    assert surface is not None
    aligned = align_depth(surface, *depth_image(wall, np.eye(4)), np.eye(4), INTRINSICS, CONFIG)
    assert aligned is not None
    sideways, up, ahead = aligned.information.diagonal()[:3]
    assert max(sideways, up) < 1e-4 * ahead
    assert np.abs(aligned.a_from_b - np.eye(4)).max() < 1e-6


def test_surfaces_too_far_away_or_too_noisy_are_left_to_the_corners():
    far = [([0.0, 0.0, 1.0], 8.0)]
    assert surface_of(*depth_image(far, np.eye(4)), INTRINSICS, CONFIG) is None
    depth, valid = depth_image(CORNER, np.eye(4))
    surface = surface_of(depth, valid, INTRINSICS, CONFIG)
    assert surface is not None
    assert align_depth(surface, noisy(depth, 0.03, 0), valid, np.eye(4), INTRINSICS, CONFIG) is None
    nothing = np.zeros_like(valid)
    assert align_depth(surface, depth, nothing, np.eye(4), INTRINSICS, CONFIG) is None


def test_something_that_moves_by_itself_does_not_pull():
    surface = surface_of(*depth_image(CORNER, np.eye(4)), INTRINSICS, CONFIG)
    assert surface is not None
    depth, valid = depth_image(CORNER, MOTION)
    depth[40:90, 60:100] *= 0.93  # a tenth of the image came nearer
    aligned = align_depth(surface, depth, valid, GUESS, INTRINSICS, CONFIG)
    assert aligned is not None
    assert np.abs(aligned.a_from_b - MOTION).max() < 3e-3


@pytest.mark.parametrize("row", [30, 60, 90])
def test_normals_are_the_planes_and_none_span_a_depth_edge(row):
    step = [([0.0, 0.0, 1.0], 1.0)]
    depth, valid = depth_image(step, np.eye(4))
    depth[:, 80:] = 1.6
    surface = surface_of(depth, valid, INTRINSICS, CONFIG)
    assert surface is not None
    assert np.allclose(np.abs(surface.normals[row, 20:70]), [0, 0, 1], atol=1e-5)
    assert np.isnan(surface.normals[row, 78:83]).all()
    assert np.allclose(surface.points[row, 40], [(40 - 79.5) / 200, (row - 59.5) / 200, 1.0], atol=1e-5)
