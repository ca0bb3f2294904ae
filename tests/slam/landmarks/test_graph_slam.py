"""GraphSLAM against EKF-SLAM: the same in the linear case, better where headings are unsure; elimination of landmarks."""

from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.storage.state import read_state, write_state
from firstsight.gallery.worlds.landmark_walk import followed, walk
from firstsight.optimisation.sparse_cholesky.solve import Factor
from firstsight.roles.pose_graph import Between, PoseGraph, Priors, Sightings
from firstsight.slam.landmarks.ekf import (
    EkfSlam,
    Innovation,
    State,
    correct,
    located,
    predict,
)
from firstsight.slam.landmarks.graph_slam import GraphSlam, motion_edge, sighting_of
from firstsight.slam.landmarks.measurements import Config, observation_covariance
from firstsight.slam.pose_graphs.factors import State as GraphState
from firstsight.slam.pose_graphs.factors import factors_of, linearise
from firstsight.slam.pose_graphs.graph_problem import structure_of
from firstsight.slam.pose_graphs.pose_graph import Config as GraphConfig
from firstsight.slam.pose_graphs.pose_graph import optimise

CONFIG = Config()
STIFF = 1e12  # information that fixes headings, so that all is linear


@pytest.fixture(scope="module")
def unchecked():
    """Other tests check types and shapes; over a walk doing so takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield


def linear_problem(steps: int = 30, seed: int = 0):
    """Motions, which landmarks are seen and where; a robot that never turns."""
    rng, landmarks = np.random.default_rng(seed), np.random.default_rng(seed).uniform(-5, 5, (4, 2))
    motions, seen, points, robot = [], [], [], np.zeros(2)
    for _ in range(steps):
        step = rng.normal(size=2)
        robot = robot + step
        motions.append(step + 0.1 * rng.normal(size=2))
        chosen = rng.choice(4, 2, replace=False)
        seen.append(chosen)
        points.append(landmarks[chosen] - robot + 0.2 * rng.normal(size=(2, 2)))
    return np.array(motions), np.array(seen), np.array(points)


def linear_graph(motions, seen, points, landmark_sigma: float = 10.0) -> PoseGraph:
    """Landmarks have a wide prior of their own: a sighting from a node held at the origin."""
    steps = len(motions)
    poses = np.tile(np.eye(3), (steps + 1, 1, 1))
    between = np.tile(np.eye(3), (steps, 1, 1))
    between[:, :2, 2] = motions
    information = np.tile(np.diag([100.0, 100.0, STIFF]), (steps, 1, 1))
    node = np.concatenate([np.repeat(np.arange(1, steps + 1), 2), np.zeros(4, np.int64)])
    landmark = np.concatenate([seen.ravel(), np.arange(4)])
    weights = np.concatenate(
        [np.tile(25 * np.eye(2), (2 * steps, 1, 1)), np.tile(np.eye(2) / landmark_sigma**2, (4, 1, 1))]
    )
    sightings = Sightings(node, landmark, np.concatenate([points.reshape(-1, 2), np.zeros((4, 2))]), weights)
    priors = Priors(np.zeros(1, np.int64), np.eye(3)[None], STIFF * np.eye(3)[None])
    first = np.arange(steps)
    return PoseGraph(poses, Between(first, first + 1, between, information), priors, np.zeros((4, 2)), sightings)


def test_in_the_linear_case_it_agrees_with_the_filter():
    motions, seen, points = linear_problem()
    start = np.diag([1e-12, 1e-12, 1e-12, *[100.0] * 8])
    state = State(np.zeros(3), np.zeros((4, 2)), start[:3, :3], start[:3, 3:], start[3:, 3:])
    still = replace(
        CONFIG,
        forward_sigma_m_per_sqrt_m=1e-9,
        sideways_sigma_m_per_sqrt_m=1e-9,
        turn_sigma_rad_per_sqrt_m=1e-9,
        turn_sigma_rad_per_sqrt_rad=1e-9,
    )
    by_robot = np.tile([[-1.0, 0, 0], [0, -1, 0]], (2, 1, 1))
    for motion, chosen, point in zip(motions, seen, points, strict=True):
        state = predict(state, np.array([*motion, 0.0]), still)
        state = state._replace(robot_covariance=state.robot_covariance + np.diag([0.01, 0.01, 0]))
        residual = point - (state.landmarks[chosen] - state.robot[:2])
        state = correct(state, Innovation(residual, by_robot, np.tile(np.eye(2), (2, 1, 1)), 0.04 * np.eye(2), chosen))
    graph = linear_graph(motions, seen, points)
    solution = optimise(graph, GraphConfig(relative_tolerance=0.0, absolute_tolerance=1e-18))
    np.testing.assert_allclose(solution.world_from_node[-1, :2, 2], state.robot[:2], atol=1e-6)
    np.testing.assert_allclose(solution.landmarks, state.landmarks, atol=1e-6)


def test_eliminating_landmarks_then_putting_them_back_is_the_full_solution():
    """The reduction of the paper, densely: Omega_xx - Omega_xm Omega_mm^-1 Omega_mx, then the landmarks from the poses."""
    graph = linear_graph(*linear_problem())
    structure, factors = structure_of(graph), factors_of(graph)
    state, ones = GraphState(graph.world_from_node, graph.landmarks), np.ones(len(factors.relative.a))
    matrix, gradient, _ = linearise(factors, state, structure, ones)
    unit, diagonal = np.eye(structure.unknowns), matrix.diagonal()
    dense = np.diag(diagonal)
    for r in range(len(unit)):
        for c in range(r):
            both = matrix.quadratic_form(unit[r] + unit[c]) - diagonal[r] - diagonal[c]
            dense[r, c] = dense[c, r] = both / 2
    nodes = len(graph.world_from_node)
    m = (structure.offset[nodes:, None] + np.arange(2)).ravel()
    x = (structure.offset[:nodes, None] + np.arange(3)).ravel()
    xx, xm, mm = dense[np.ix_(x, x)], dense[np.ix_(x, m)], dense[np.ix_(m, m)]
    reduced = xx - xm @ np.linalg.solve(mm, xm.T)
    step = np.empty(len(gradient))
    step[x] = np.linalg.solve(reduced, -gradient[x] + xm @ np.linalg.solve(mm, gradient[m]))
    step[m] = np.linalg.solve(mm, -gradient[m] - xm.T @ step[x])
    np.testing.assert_allclose(Factor(matrix).solve(-gradient), step, atol=1e-10)


def test_edges_have_the_noise_of_samples():
    rng, motion, seen = np.random.default_rng(0), np.array([2.0, 0.3, 0.9]), np.array([[6.0, 0.7]])
    a_from_b, information = motion_edge(motion, CONFIG)
    sigma = np.sqrt(np.diag(np.linalg.inv(information)))
    assert sigma[2] == pytest.approx(np.sqrt(0.01**2 * np.hypot(2, 0.3) + 0.02**2 * 0.9), rel=1e-3)
    noise = rng.normal(size=(20000, 2)) * [0.05, 0.02] * np.sqrt(np.hypot(2, 0.3))
    inside = noise @ a_from_b[:2, :2]  # in the frame of the later node
    np.testing.assert_allclose(np.cov(inside.T), np.linalg.inv(information)[:2, :2], atol=1e-4)
    point, weight = sighting_of(seen, CONFIG)
    noisy = seen + rng.normal(size=(20000, 2)) * np.sqrt(np.diag(observation_covariance(CONFIG)))
    places = located(np.zeros(3), noisy)
    np.testing.assert_allclose(point[0], located(np.zeros(3), seen)[0], atol=1e-12)
    np.testing.assert_allclose(np.cov(places.T), np.linalg.inv(weight[0]), rtol=0.05, atol=2e-4)


def with_noise(factor: float, names: str) -> Config:
    return replace(CONFIG, **{name: factor * value for name, value in vars(CONFIG).items() if names in name})


def maps(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(filter's, graph's, true) landmarks in one order."""
    seen, ekf, graph = walk(config, seed), EkfSlam(config), GraphSlam(config, solve_every=40)
    followed(seen, ekf)
    for motion, (ids, observations) in zip(seen.motions, seen.sightings, strict=True):
        graph.step(motion, observations, ids)
    graph.solve()
    assert (ekf.ids == graph.ids).all()
    return ekf.estimate.landmarks, np.array(graph.landmarks), seen.landmarks[graph.ids]


def rmse(errors) -> float:
    return float(np.sqrt((np.asarray(errors) ** 2).sum(-1).mean()))


def test_its_map_is_the_filter_s_where_noise_is_small(unchecked):
    config = with_noise(0.1, "_sigma_")
    ekf, graph, true = zip(*(maps(config, seed) for seed in range(3)), strict=True)
    assert rmse(np.subtract(ekf, graph)) < 0.1 * rmse(np.subtract(ekf, true))


def test_its_map_is_better_where_headings_are_unsure(unchecked):
    ekf, graph, true = zip(*(maps(with_noise(10, "turn_sigma"), seed) for seed in range(4)), strict=True)
    assert rmse(np.subtract(graph, true)) < 0.85 * rmse(np.subtract(ekf, true))  # measured: 1.28 m against 1.70 m


def test_messages():
    slam = GraphSlam()
    with pytest.raises(InputError, match="no steps yet"):
        slam.solve()
    with pytest.raises(InputError, match="give the ids"):
        slam.step(np.zeros(3), np.ones((1, 2)))
    with pytest.raises(InputError, match="its range must be above 0"):
        slam.step(np.zeros(3), np.zeros((1, 2)), np.array([1]))


def test_a_restored_graph_goes_on_to_the_same_bits(tmp_path: Path, unchecked):
    seen = walk(CONFIG)
    whole, again = GraphSlam(CONFIG, solve_every=5), GraphSlam(CONFIG, solve_every=5)
    steps = list(zip(seen.motions[:30], seen.sightings[:30], strict=True))
    for number, (motion, (ids, observations)) in enumerate(steps):
        if number in (0, 13):
            write_state(tmp_path / "state.npz", again.state())
            again = GraphSlam(CONFIG, solve_every=5)
            again.restore(read_state(tmp_path / "state.npz"))
        for slam in (whole, again):
            slam.step(motion, observations, ids)
    assert len(whole.landmarks) >= 10
    np.testing.assert_array_equal(again.world_from_node, whole.world_from_node)
    np.testing.assert_array_equal(again.landmarks, whole.landmarks)
    assert again.ids.tolist() == whole.ids.tolist()
