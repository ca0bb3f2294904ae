"""Descriptors of scans against slow loops, and what turns do to them."""

import numpy as np
import pytest

from firstsight.slam.loops.scan_context import Config, aligned, described, ring_keys, yaw_rad

CONFIG = Config(rings=8, sectors=24, max_range_m=20.0)


@pytest.fixture
def points() -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.column_stack([rng.normal(0, 8, (3000, 2)), rng.uniform(-1.5, 6, 3000)])


def about_z(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def test_each_bin_holds_the_greatest_height(points: np.ndarray):
    expected = np.zeros((8, 24))
    for x, y, z in points:
        distance = np.hypot(x, y)
        if distance < 20:
            ring, sector = int(distance / 2.5), int(np.arctan2(y, x) % (2 * np.pi) / (2 * np.pi / 24))
            expected[ring, sector] = max(expected[ring, sector], z + 1.5)
    np.testing.assert_array_equal(described(points, -1.5, CONFIG), expected)


@pytest.mark.parametrize("sectors", [1, 7, 23])
def test_a_turn_shifts_the_columns(points: np.ndarray, sectors: int):
    """a_from_b turns left by so many sectors: what b has in a column, a has so many further."""
    of_b = described(points, -1.5, CONFIG)
    of_a = described(points @ about_z(sectors * 2 * np.pi / 24 + 1e-9).T, -1.5, CONFIG)
    np.testing.assert_allclose(of_a, np.roll(of_b, sectors, 1), atol=1e-12)
    found = aligned(of_a[None], of_b)
    assert found.shift.tolist() == [sectors]
    assert found.similarity[0] == pytest.approx(1)
    np.testing.assert_array_equal(ring_keys(of_a[None]), ring_keys(of_b[None]))


def test_alignment_equals_the_slow_loop():
    rng = np.random.default_rng(0)
    contexts = rng.uniform(0, 5, (6, 8, 24)) * (rng.random((6, 8, 24)) < 0.4)
    contexts[:, :, :5] = 0
    found = aligned(contexts[:5], contexts[5])
    for k in range(5):
        means = []
        for shift in range(24):
            cosines = []
            for j in range(24):
                a, b = contexts[k][:, (j + shift) % 24], contexts[5][:, j]
                if a.any() and b.any():
                    cosines.append(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
            means.append(np.mean(cosines) if len(cosines) > 0.3 * 24 else 0.0)
        assert found.shift[k] == int(np.argmax(means))
        assert found.similarity[k] == pytest.approx(max(means))


def test_another_place_is_less_alike_than_the_same_from_half_a_metre_away(points: np.ndarray):
    other = np.random.default_rng(9)
    blocks = np.repeat(other.uniform(-15, 15, (30, 2)), 100, 0) + other.normal(0, 0.8, (3000, 2))
    here, there = np.column_stack([blocks, points[:, 2]]), points
    moved = (here - [0.4, 0.3, 0]) @ about_z(2.0).T
    contexts = np.array([described(cloud, -1.5, CONFIG) for cloud in (moved, there)])
    found = aligned(contexts, described(here, -1.5, CONFIG))
    assert found.similarity[0] > found.similarity[1] + 0.05
    assert yaw_rad(int(found.shift[0]), 24) == pytest.approx(2.0, abs=2 * np.pi / 24)


def test_scans_without_points_are_like_nothing(points: np.ndarray):
    empty = described(np.zeros((0, 3)), 0.0, CONFIG)
    assert not empty.any()
    assert aligned(np.array([empty, described(points, -1.5, CONFIG)]), empty).similarity.tolist() == [0, 0]


def test_turns_are_between_minus_pi_and_pi():
    np.testing.assert_allclose([yaw_rad(k, 60) for k in (0, 15, 45)], [0, np.pi / 2, -np.pi / 2])
