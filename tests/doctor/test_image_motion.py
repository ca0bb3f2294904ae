"""Turning, travelling and how fast."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from firstsight.doctor.motion import GOOD_PX, TOO_LARGE_PX, bearings, judged, motion_beyond_rotation_px
from firstsight.doctor.samples import WidePair
from firstsight.doctor.tracking import Matches

INTRINSICS = np.array([[400.0, 0, 319.5], [0, 400.0, 239.5], [0, 0, 1]])


def seen_after(rotation_deg: tuple[float, float, float], travel_m: tuple[float, float, float]) -> WidePair:
    """Points in front of a camera before and after it moves."""
    random = np.random.default_rng(0)
    points = np.column_stack([random.uniform(-2, 2, (80, 2)), random.uniform(4, 8, 80)])
    moved = points @ Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix().T + travel_m
    a, b = (p @ INTRINSICS.T / p[:, 2:] for p in (points, moved))
    return WidePair(0, 5, Matches(a[:, :2], b[:, :2], 80), points[:, 2], np.full(80, np.nan))


def test_turning_is_explained_fully():
    pair = seen_after((2.0, 6.0, -3.0), (0.0, 0.0, 0.0))
    assert pair.matches.motion_px > 30
    assert motion_beyond_rotation_px(pair, INTRINSICS) < 1e-6


def test_travelling_is_not():
    rotated = seen_after((2.0, 6.0, -3.0), (0.4, 0.0, 0.0))
    assert motion_beyond_rotation_px(rotated, INTRINSICS) > 2


def test_a_few_moving_points_do_not_bend_the_rotation():
    pair = seen_after((2.0, 6.0, -3.0), (0.0, 0.0, 0.0))
    pair.matches.points_b[:20] += 30
    assert motion_beyond_rotation_px(pair, INTRINSICS) < 0.3  # least squares would leave 7 px


def test_too_few_points_tell_nothing():
    pair = WidePair(0, 1, Matches(np.zeros((3, 2)), np.ones((3, 2)), 3), np.ones(3), np.ones(3))
    assert np.isnan(motion_beyond_rotation_px(pair, INTRINSICS))


def test_bearing_of_the_principal_point_is_the_axis():
    np.testing.assert_allclose(
        bearings(np.array([[319.5, 239.5], [719.5, 239.5]]), INTRINSICS), [[0, 0, 1], [0.5**0.5, 0, 0.5**0.5]]
    )


@pytest.mark.parametrize(
    ("typical_px", "static", "step", "verdict", "advised"),
    [
        (GOOD_PX, 0.0, 1, "ok", ""),
        (TOO_LARGE_PX + 1, 0.0, 1, "note", "more frames per second"),
        (0.5, 0.1, 12, "note", "--frames ::12"),
        (GOOD_PX, 0.6, 1, "note", "--frames START:STOP"),
    ],
)
def test_judged(typical_px: float, static: float, step: int, verdict: str, advised: str):
    found, advice = judged(typical_px, static, step)
    assert found == verdict
    assert advised in advice
