"""Logarithms against geometry/se3.py, their derivatives against finite differences."""

import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp, se3_log
from firstsight.optimisation.tangents import (
    planar_log,
    planar_move,
    planar_right_inverse,
    spatial_log,
    spatial_move,
    spatial_right_inverse,
)
from firstsight.roles.pose_graph import planar

ANGLES = [0.0, 1e-9, 1e-4, 0.1, 0.199, 0.201, 1.0, 2.5, 3.1]


def motion(angle: float, size: int) -> np.ndarray:
    rng = np.random.default_rng(int(1e4 * angle))
    if size == 3:
        return planar(*rng.normal(size=2), angle)
    axis = rng.normal(size=3)
    tangent = np.concatenate([rng.normal(size=3), angle * axis / np.linalg.norm(axis)])
    return se3_exp(torch.from_numpy(tangent)).numpy()


def log(d: np.ndarray) -> np.ndarray:
    out = np.empty(3 * (len(d) - 2))
    (planar_log if len(d) == 3 else spatial_log)(d, out)
    return out


def moved(d: np.ndarray, xi: np.ndarray) -> np.ndarray:
    out = d.copy()
    (planar_move if len(d) == 3 else spatial_move)(out, xi)
    return out


@pytest.mark.parametrize("angle", ANGLES)
def test_spatial_log_and_move_are_those_of_se3(angle):
    d = motion(angle, 6)
    np.testing.assert_allclose(log(d), se3_log(torch.from_numpy(d)).numpy(), atol=1e-12)
    xi = np.array([0.3, -0.2, 0.5, 0.4, 0.1, -0.7]) * angle
    np.testing.assert_allclose(moved(d, xi), d @ se3_exp(torch.from_numpy(xi)).numpy(), atol=1e-13)


@pytest.mark.parametrize("angle", ANGLES)
def test_planar_log_and_move_are_those_of_se3_in_the_plane(angle):
    d = motion(angle, 3)
    lifted = np.eye(4)
    lifted[:2, :2], lifted[:2, 3] = d[:2, :2], d[:2, 2]
    expected = se3_log(torch.from_numpy(lifted)).numpy()[[0, 1, 5]]
    np.testing.assert_allclose(log(d), expected, atol=1e-12)
    np.testing.assert_allclose(moved(np.eye(3), log(d)), d, atol=1e-13)


def test_spatial_log_near_half_a_turn():
    for axis in np.eye(3):
        tangent = np.concatenate([[1.0, 2.0, 3.0], (np.pi - 1e-7) * axis])
        found = log(se3_exp(torch.from_numpy(tangent)).numpy())
        np.testing.assert_allclose(found, tangent, atol=1e-8)


@pytest.mark.parametrize("size", [3, 6])
@pytest.mark.parametrize("angle", ANGLES)
def test_right_inverse_is_the_derivative_of_log(angle, size):
    d = motion(angle, size)
    j = np.empty((size, size))
    (planar_right_inverse if size == 3 else spatial_right_inverse)(d, log(d), j)
    h = 1e-6
    numeric = np.stack([(log(moved(d, h * xi)) - log(moved(d, -h * xi))) / (2 * h) for xi in np.eye(size)], 1)
    np.testing.assert_allclose(j, numeric, atol=2e-8 * max(1, np.abs(j).max()))
