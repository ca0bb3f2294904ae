"""Similarities against matrix exponentials and finite differences; graphs of drifting scale against the truth."""

import numpy as np
import pytest
from scipy.linalg import expm

from firstsight.formats.g2o import Between
from firstsight.slam.similarity_graph import (
    adjoint,
    little_adjoint,
    right_inverse,
    scales,
    similarity_exp,
    similarity_log,
    solve,
    without_scale,
)


def generator(xi: np.ndarray) -> np.ndarray:
    x, y, z = xi[3:6]
    out = np.zeros((4, 4))
    out[:3, :3] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) + xi[6] * np.eye(3)
    out[:3, 3] = xi[:3]
    return out


@pytest.fixture
def xi(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(6, 7)) * np.array([1.0, 1e-6, 0.1, 1, 1, 1])[:, None]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_exp_is_the_matrix_exponential_and_log_its_inverse(xi: np.ndarray):
    found = similarity_exp(xi)
    np.testing.assert_allclose(found, [expm(generator(row)) for row in xi], atol=1e-13)
    np.testing.assert_allclose(similarity_log(found), xi, atol=1e-12)


def test_adjoints(xi: np.ndarray, rng: np.random.Generator):
    motion, step = similarity_exp(xi), rng.normal(size=(6, 7))
    carried = np.einsum("nij,nj->ni", adjoint(motion), step)
    np.testing.assert_allclose(similarity_exp(carried) @ motion, motion @ similarity_exp(step), atol=1e-10)
    np.testing.assert_allclose([expm(row) for row in little_adjoint(xi)], adjoint(motion), atol=1e-12)


def test_right_inverse_against_finite_differences(xi: np.ndarray):
    small, h = 0.3 * xi, 1e-6
    start = similarity_exp(small)

    def logs(k: int, by: float) -> np.ndarray:
        return similarity_log(start @ similarity_exp(np.tile(by * np.eye(7)[k], (6, 1))))

    numeric = np.stack([(logs(k, h) - logs(k, -h)) / (2 * h) for k in range(7)], -1)
    np.testing.assert_allclose(right_inverse(small), numeric, atol=1e-7)


def circle(nodes: int, laps: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi * laps, nodes)
    poses = np.tile(np.eye(4), (nodes, 1, 1))
    poses[:, :2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    poses[:, 0, 3], poses[:, 1, 3] = 10 * np.cos(angle), 10 * np.sin(angle)
    return poses


def drifting(true: np.ndarray, growth: float) -> tuple[np.ndarray, Between, np.ndarray]:
    """Odometry whose unit shrinks by `growth` each step, its chain, and the unit at each node."""
    steps = np.linalg.inv(true[:-1]) @ true[1:]
    unit = np.exp(growth * np.arange(len(true)))
    steps[:, :3, 3] *= unit[:-1, None]
    poses = [true[0]]
    for step in steps:
        poses.append(poses[-1] @ step)
    node = np.arange(len(steps))
    information = np.diag([1e2, 1e2, 1e2, 1e4, 1e4, 1e4, 1e4])
    return np.array(poses), Between(node, node + 1, steps, np.tile(information, (len(steps), 1, 1))), unit


def looped(chain: Between, true: np.ndarray, unit: np.ndarray, pairs: list[tuple[int, int]]) -> Between:
    a, b = np.array(pairs).T
    motion = np.linalg.inv(true[a]) @ true[b]
    motion[:, :3, 3] *= unit[a][:, None]
    motion[:, :3, :3] *= (unit[a] / unit[b])[:, None, None]  # lengths of b times this are lengths of a
    information = np.tile(1e4 * np.eye(7), (len(a), 1, 1))
    return Between(*(np.concatenate(p) for p in zip(chain, (a, b, motion, information), strict=True)))


def test_scale_drift_is_recovered():
    true = circle(80, 1.25)
    poses, chain, unit = drifting(true, 0.005)
    graph = looped(chain, true, unit, [(k, k + 63) for k in range(0, 16, 3)])
    found = solve(poses, graph)
    before = np.linalg.norm(poses[:, :3, 3] - true[:, :3, 3], axis=1).max()
    after = np.linalg.norm(without_scale(found.world_from_node)[:, :3, 3] - true[:, :3, 3], axis=1).max()
    assert before > 3
    assert after < 0.2 * before
    np.testing.assert_allclose(scales(found.world_from_node)[-1], 1 / unit[-1], rtol=0.05)
    np.testing.assert_allclose(found.world_from_node[0], poses[0], atol=1e-3)
    assert (found.confidence == 1).all()


def test_a_false_loop_is_left_out():
    true = circle(80, 1.25)
    poses, chain, unit = drifting(true, 0.002)
    graph = looped(chain, true, unit, [(k, k + 63) for k in range(0, 16, 3)])
    graph.a_from_b[-1, :3, 3] += 8.0
    found = solve(poses, graph)
    assert found.confidence[-1] == 0
    assert found.confidence[:-1].min() == 1
