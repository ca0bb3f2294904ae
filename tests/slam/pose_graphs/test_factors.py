"""Errors, derivatives and normal equations against slow loops and finite differences."""

import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_log
from firstsight.optimisation.relative_motion import planar_times_adjoint, spatial_times_adjoint
from firstsight.optimisation.robust_kernels import Kernel, loss
from firstsight.roles.pose_graph import Between, PoseGraph, Priors, Sightings, pose_graph
from firstsight.slam.pose_graphs.factors import (
    State,
    chain_pairs,
    cost,
    factors_of,
    inverse,
    linearise,
    moved,
    squared_errors,
)
from firstsight.slam.pose_graphs.graph_problem import structure_of


def random_graph(synthetic, dimension: int, seed: int = 0) -> PoseGraph:
    """Five nodes, three landmarks, two priors; one pair is measured twice and one backwards."""
    poses = synthetic.random_motions(5, dimension, 0.8, seed)
    a, b = np.array([0, 1, 2, 3, 0, 4, 1]), np.array([1, 2, 3, 4, 2, 0, 2])
    measured = synthetic.random_motions(7, dimension, 0.8, seed + 1)
    graph = pose_graph(poses, Between(a, b, measured, synthetic.information(7, dimension, seed)))
    rng = np.random.default_rng(seed)
    weights = synthetic.information(6, 3, seed)[:, :dimension, :dimension]
    seen = Sightings(
        np.array([0, 1, 2, 2, 3, 4]), np.array([0, 0, 1, 2, 2, 1]), rng.normal(size=(6, dimension)), weights
    )
    prior = Priors(
        np.array([0, 3]), synthetic.random_motions(2, dimension, 0.8, 5), synthetic.information(2, dimension, 7)
    )
    return graph._replace(landmarks=rng.normal(size=(3, dimension)), sightings=seen, priors=prior)


def log(d: np.ndarray) -> np.ndarray:
    lifted, k = np.eye(4), len(d) - 1
    lifted[:k, :k], lifted[:k, 3] = d[:k, :k], d[:k, k]
    tangent = se3_log(torch.from_numpy(lifted)).numpy()
    return tangent if k == 3 else tangent[[0, 1, 5]]


def errors(graph: PoseGraph, state: State) -> list[tuple[np.ndarray, np.ndarray, bool]]:
    """(e, Omega, is a prior), from the definition."""
    poses, points = state
    out = []
    for a, b, z, omega in zip(*graph.between, strict=True):
        out.append((log(np.linalg.inv(z) @ np.linalg.inv(poses[a]) @ poses[b]), omega, False))
    for node, z, omega in zip(*graph.priors, strict=True):
        out.append((log(np.linalg.inv(z) @ poses[node]), omega, True))
    for node, landmark, z, omega in zip(*graph.sightings, strict=True):
        local = np.linalg.inv(poses[node]) @ np.append(points[landmark], 1)
        out.append((local[:-1] - z, omega, False))
    return out


@pytest.mark.parametrize("dimension", [2, 3])
def test_squared_errors_are_those_of_the_definition(synthetic, dimension):
    graph = random_graph(synthetic, dimension)
    state = State(graph.world_from_node, graph.landmarks)
    expected = [e @ omega @ e for e, omega, _ in errors(graph, state)]
    found = np.concatenate(squared_errors(factors_of(graph), state))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("kernel", list(Kernel))
@pytest.mark.parametrize("dimension", [2, 3])
def test_normal_equations_are_those_of_finite_differences(synthetic, dimension, kernel):
    graph = random_graph(synthetic, dimension)
    structure, factors = structure_of(graph), factors_of(graph, kernel, 1.5)
    state = State(graph.world_from_node, graph.landmarks)
    matrix, gradient, total = linearise(factors, state, structure, np.ones(9))
    h, hessian, pull, value = 1e-6, 0.0, 0.0, 0.0
    steps = np.eye(structure.unknowns)
    ahead = [errors(graph, moved(factors, state, h * step, structure)) for step in steps]
    behind = [errors(graph, moved(factors, state, -h * step, structure)) for step in steps]
    for i, (e, omega, is_prior) in enumerate(errors(graph, state)):
        j = np.stack([(plus[i][0] - minus[i][0]) / (2 * h) for plus, minus in zip(ahead, behind, strict=True)], 1)
        rho, w = loss(e @ omega @ e, int(Kernel.SQUARED if is_prior else kernel), 1.5)
        hessian, pull, value = hessian + w * j.T @ omega @ j, pull + w * j.T @ omega @ e, value + rho / 2
    np.testing.assert_allclose(total, value, rtol=1e-10)
    np.testing.assert_allclose(cost(factors, state, np.ones(9)), value, rtol=1e-10)
    np.testing.assert_allclose(gradient, pull, atol=1e-6 * np.abs(pull).max())
    for x in np.random.default_rng(3).normal(size=(5, structure.unknowns)):
        np.testing.assert_allclose(matrix.quadratic_form(x), x @ hessian @ x, rtol=1e-6)
    np.testing.assert_allclose(matrix.diagonal(), np.diag(hessian), rtol=1e-6)


@pytest.mark.parametrize("dimension", [2, 3])
def test_gradient_is_that_of_the_cost(synthetic, dimension):
    """The whole Jacobian of log counts: with errors of this size, one cut off at first order fails."""
    graph = random_graph(synthetic, dimension, 4)
    structure, factors = structure_of(graph), factors_of(graph, Kernel.CAUCHY, 2.0)
    state, h = State(graph.world_from_node, graph.landmarks), 1e-6
    confidence = np.linspace(0.1, 1, 9)
    _, gradient, _ = linearise(factors, state, structure, confidence)
    for k in range(structure.unknowns):
        step = np.zeros(structure.unknowns)
        step[k] = h
        ahead, behind = (cost(factors, moved(factors, state, sign * step, structure), confidence) for sign in (1, -1))
        assert gradient[k] == pytest.approx((ahead - behind) / (2 * h), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dimension", [2, 3])
def test_adjoint_carries_a_tangent_through_a_motion(synthetic, dimension):
    size = 3 * (dimension - 1)
    g, xi = synthetic.random_motions(1, dimension, 1.0)[0], np.linspace(-0.4, 0.5, size)
    adjoint = np.empty((size, size))
    (planar_times_adjoint if dimension == 2 else spatial_times_adjoint)(-np.eye(size), g, adjoint)
    small = 1e-6 * xi
    carried = log(g @ synthetic_exp(small) @ np.linalg.inv(g))
    np.testing.assert_allclose(carried / 1e-6, adjoint @ xi, atol=1e-5)


def synthetic_exp(xi: np.ndarray) -> np.ndarray:
    """exp to first order, which is enough for tangents of 1e-6."""
    if len(xi) == 3:
        x, y, t = xi
        return np.array([[1, -t, x], [t, 1, y], [0, 0, 1]])
    x, y, z, a, b, c = xi
    return np.array([[1, -c, b, x], [c, 1, -a, y], [-b, a, 1, z], [0, 0, 0, 1]])


@pytest.mark.parametrize("dimension", [2, 3])
def test_errors_are_gtsam_s(synthetic, dimension):
    gtsam = pytest.importorskip("gtsam", reason="gtsam, the oracle, is not installed")
    order = [0, 1, 2] if dimension == 2 else [3, 4, 5, 0, 1, 2]
    pose = (lambda m: gtsam.Pose2(m[0, 2], m[1, 2], np.arctan2(m[1, 0], m[0, 0]))) if dimension == 2 else gtsam.Pose3
    between = gtsam.BetweenFactorPose2 if dimension == 2 else gtsam.BetweenFactorPose3
    prior = gtsam.PriorFactorPose2 if dimension == 2 else gtsam.PriorFactorPose3
    graph = random_graph(synthetic, dimension, 9)
    values = gtsam.Values()
    for i, world_from_node in enumerate(graph.world_from_node):
        values.insert(i, pose(world_from_node))
    expected = []
    for a, b, z, omega in zip(*graph.between, strict=True):
        noise = gtsam.noiseModel.Gaussian.Information(omega[np.ix_(order, order)])
        expected.append(between(int(a), int(b), pose(z), noise).error(values))
    for node, z, omega in zip(*graph.priors, strict=True):
        noise = gtsam.noiseModel.Gaussian.Information(omega[np.ix_(order, order)])
        expected.append(prior(int(node), pose(z), noise).error(values))
    found, _ = squared_errors(factors_of(graph), State(graph.world_from_node, graph.landmarks))
    np.testing.assert_allclose(found / 2, expected, rtol=1e-9)


def test_inverse_and_pairs(synthetic):
    motions = synthetic.random_motions(4, 3, 1.0)
    np.testing.assert_allclose(inverse(motions), np.linalg.inv(motions), atol=1e-14)
    pairs = chain_pairs(random_graph(synthetic, 2))
    assert pairs.shape == (13, 2)
    assert pairs[7:, 1].min() == 5
