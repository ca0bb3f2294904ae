"""Clouds of planes laid onto each other: exact motions, what noise leaves unsure, corridors, strangers."""

import numpy as np
import pytest
import torch

from firstsight.geometry.points import move_points
from firstsight.geometry.se3 import se3_exp, se3_log
from firstsight.slam.loops.scan_registration import (
    Config,
    Pairs,
    Surfaces,
    information,
    linearised,
    registered,
    surfaces_of,
    thinned,
)

SPACING_M = 0.3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def face(rng: np.random.Generator, corner: list[float], u: list[float], v: list[float]) -> np.ndarray:
    """Points on a parallelogram, 40 for each square metre."""
    u, v = np.array(u), np.array(v)
    count = int(40 * np.linalg.norm(np.cross(u, v)))
    return np.array(corner) + rng.random((count, 1)) * u + rng.random((count, 1)) * v


def yard(rng: np.random.Generator) -> np.ndarray:
    """A floor, four walls of which one stands askew, and a box."""
    return np.concatenate([
        face(rng, [-8, -6, 0], [16, 0, 0], [0, 12, 0]),
        face(rng, [-8, -6, 0], [16, 0, 0], [0, 0, 4]),
        face(rng, [-8, 6, 0], [16, 0, 0], [0, 0, 4]),
        face(rng, [-8, -6, 0], [0, 12, 0], [0, 0, 4]),
        face(rng, [6, -6, 0], [2, 12, 0], [0, 0, 4]),
        face(rng, [1, 1, 0], [2, 0, 0], [0, 0, 1.5]),
        face(rng, [1, 1, 0], [0, 2, 0], [0, 0, 1.5]),
    ])  # fmt: skip


def passage(rng: np.random.Generator) -> np.ndarray:
    """Floor and two smooth walls."""
    sides = [face(rng, [-12, y, 0], [24, 0, 0], [0, 0, 3]) for y in (-1.5, 1.5)]
    return np.concatenate([face(rng, [-12, -1.5, 0], [24, 0, 0], [0, 3, 0]), *sides])


def surfaces(points: np.ndarray) -> Surfaces:
    return surfaces_of(thinned(points, SPACING_M), SPACING_M, Config())


def motion(tangent: list[float]) -> np.ndarray:
    return se3_exp(torch.tensor(tangent, dtype=torch.float64)).numpy()


def error_of(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return se3_log(torch.from_numpy(np.linalg.inv(true) @ found)).numpy()


def test_each_voxel_keeps_the_mean_of_its_points(rng: np.random.Generator):
    points = rng.uniform(-3, 3, (500, 3))
    cells: dict[tuple, list] = {}
    for point in points:
        cells.setdefault(tuple(np.floor(point / 0.7).astype(int)), []).append(point)
    expected = [np.mean(cells[cell], axis=0) for cell in sorted(cells)]
    np.testing.assert_allclose(thinned(points, 0.7), expected, atol=1e-12)
    assert thinned(np.zeros((0, 3)), 0.7).shape == (0, 3)


def test_normals_are_those_of_the_planes(rng: np.random.Generator):
    of = surfaces(face(rng, [0, 0, 0], [5, 0, 0], [0, 3, 3]))
    assert of.flat.mean() > 0.8
    np.testing.assert_allclose(np.abs(of.normals[of.flat] @ [0, -np.sqrt(0.5), np.sqrt(0.5)]), 1, atol=1e-9)
    line = surfaces_of(np.outer(np.arange(40) * 0.1, [1.0, 0.2, 0.0]), 0.1, Config())
    assert not line.flat.any()


def test_the_jacobian_is_that_of_the_residuals(rng: np.random.Generator):
    of, at = surfaces(yard(rng)), motion([0.2, -0.1, 0.3, 0.1, 0.2, -0.3])
    rows = np.arange(0, len(of.points), 40)
    pairs = Pairs(rows, of.points[rows] + 0.1, of.normals[rows])
    jacobian, residuals = linearised(of, pairs, at)
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-6
        ahead = linearised(of, pairs, at @ motion(step.tolist()))[1]
        np.testing.assert_allclose((ahead - residuals) / 1e-6, jacobian[:, k], atol=1e-4)


def test_a_known_motion_is_recovered_to_a_millimetre(rng: np.random.Generator):
    """Other points of the same planes."""
    true = motion([0.9, -0.7, 0.1, 0.02, -0.03, 0.12])
    source = surfaces(move_points(yard(rng), np.linalg.inv(true)))
    found = registered(source, surfaces(yard(rng)), np.eye(4), Config())
    assert found is not None
    error = error_of(found.target_from_source, true)
    assert np.linalg.norm(error[:3]) < 1e-3
    assert np.linalg.norm(error[3:]) < 2e-4
    assert found.overlap > 0.95
    assert found.hold > 0.1


def test_information_covers_the_errors(rng: np.random.Generator):
    """Of eight draws with 3 cm of noise, the mean of e' Omega e lies below 6, that of the dimension: cautious, not bold."""
    true, squared = motion([0.3, 0.2, 0.0, 0.0, 0.0, 0.05]), []
    for _ in range(8):
        a, b = (cloud + rng.normal(0, 0.03, cloud.shape) for cloud in (yard(rng), yard(rng)))
        found = registered(surfaces(move_points(b, np.linalg.inv(true))), surfaces(a), np.eye(4), Config())
        assert found is not None
        error = error_of(found.target_from_source, true)
        squared.append(error @ found.information @ error)
    assert 0.01 < np.mean(squared) < 6


def test_information_of_one_plane_says_nothing_along_it():
    normals, points = np.tile([0.0, 0, 1], (50, 1)), np.random.default_rng(0).uniform(-3, 3, (50, 3))
    jacobian = np.hstack([normals, np.cross(points, normals)])
    of = information(jacobian, np.ones(50), 0.02, SPACING_M)
    assert of[2, 2] > 100
    assert np.abs(of[[0, 1, 5], [0, 1, 5]]).max() < 1e-2 * of[2, 2]


def test_what_moved_does_not_mislead(rng: np.random.Generator):
    """A cart that stands elsewhere in the second cloud."""
    carts = [np.concatenate([face(rng, [x, -3, 0], [2, 0, 0], [0, 0, 1.5]), face(rng, [x, -3, 0], [0, 1, 0], [0, 0, 1.5])])
             for x in (-2.0, -1.2)]  # fmt: skip
    a, b = (surfaces(np.concatenate([yard(rng), cart])) for cart in carts)
    found = registered(b, a, motion([0.3, 0.2, 0, 0, 0, 0.05]), Config())
    assert found is not None
    assert np.linalg.norm(error_of(found.target_from_source, np.eye(4))[:3]) < 0.01


def test_a_smooth_passage_does_not_hold(rng: np.random.Generator):
    found = registered(surfaces(passage(rng)), surfaces(passage(rng)), motion([0.8, 0, 0, 0, 0, 0]), Config())
    assert found is not None
    assert found.hold < 0.02


def test_ground_alone_is_no_overlap(rng: np.random.Generator):
    grounds = [surfaces(face(rng, [-8, -6, 0], [16, 0, 0], [0, 12, 0])) for _ in range(2)]
    found = registered(*grounds, np.eye(4), Config())
    assert found is None or found.overlap == 0


def test_strangers_do_not_overlap(rng: np.random.Generator):
    found = registered(surfaces(passage(rng)), surfaces(yard(rng)), np.eye(4), Config())
    assert found is None or found.overlap < 0.3


def test_nothing_lies_on_nothing(rng: np.random.Generator):
    empty, some = surfaces(np.zeros((0, 3))), surfaces(yard(rng))
    assert registered(empty, some, np.eye(4), Config()) is None
    assert registered(some, empty, np.eye(4), Config()) is None
