"""The true focal length explains exact matches of a turning camera; others do not."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from firstsight.doctor.focal_length import SCALES, Sweep, limited, reprojection_errors_px, sampson_errors_px
from firstsight.doctor.samples import WidePair
from firstsight.doctor.tracking import Matches

INTRINSICS = np.array([[400.0, 0, 319.5], [0, 400.0, 239.5], [0, 0, 1]])


def matches_of(rotation_deg: float, points: int = 120) -> tuple[Matches, np.ndarray]:
    """Exact matches of a camera that turns about its vertical axis and travels sideways, and their depth."""
    random = np.random.default_rng(1)
    rays = np.column_stack([random.uniform(-0.7, 0.7, points), random.uniform(-0.5, 0.5, points), np.ones(points)])
    world = rays * random.uniform(3, 8, points)[:, None]
    moved = world @ Rotation.from_euler("y", rotation_deg, degrees=True).as_matrix().T + (0.3, 0.05, 0.1)
    a, b = (p @ INTRINSICS.T / p[:, 2:] for p in (world, moved))
    return Matches(a[:, :2], b[:, :2], points), world[:, 2]


def scaled(scale: float) -> np.ndarray:
    return INTRINSICS * np.array([[scale, scale, 1.0], [scale, scale, 1.0], [1.0, 1.0, 1.0]])


@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_true_focal_length_beats_others_with_depth(scale: float):
    matches, depth = matches_of(12.0)
    assert np.median(reprojection_errors_px(matches, depth, INTRINSICS)) < 1e-3
    assert np.median(reprojection_errors_px(matches, depth, scaled(scale))) > 0.5


@pytest.mark.parametrize("scale", [0.6, 1.6])
def test_true_focal_length_beats_others_without_depth(scale: float):
    matches, _ = matches_of(20.0)
    assert np.median(sampson_errors_px(matches, INTRINSICS)) < 1e-3
    assert np.median(sampson_errors_px(matches, scaled(scale))) > 0.02


def test_a_camera_that_only_travels_fits_any_focal_length():
    """Travel alone says nothing, as the module claims."""
    matches, depth = matches_of(0.0)
    assert np.median(reprojection_errors_px(matches, depth, scaled(1.4))) < 1e-3
    assert np.median(sampson_errors_px(matches, scaled(1.4))) < 1e-3


def test_limited_keeps_only_known_points_of_pairs_with_enough():
    depth = np.where(np.arange(400) % 2 == 0, 2.0, np.nan)
    many = WidePair(0, 1, Matches(np.zeros((400, 2)), np.zeros((400, 2)), 400), depth, depth)
    few = WidePair(0, 1, Matches(np.zeros((5, 2)), np.zeros((5, 2)), 5), np.ones(5), np.ones(5))
    kept = limited([many, few], lambda pair: pair.depth_m)
    assert [len(pair.depth_m) for pair in kept] == [150]
    assert np.isfinite(kept[0].depth_m).all()


def test_one_pair_does_not_convict_a_calibration():
    """The pairs must agree: a single odd one may gain from any focal length."""
    flat = np.ones((6, len(SCALES)))
    odd, all_pairs = flat.copy(), flat.copy()
    odd[0, 0] = all_pairs[:, 0] = 0.0
    points = np.full(6, 100)
    assert not Sweep(odd, points, clear=0.08).contradicts
    assert Sweep(all_pairs, points, clear=0.08).contradicts
    assert Sweep(all_pairs, points, clear=0.08).best_scale == SCALES[0]
