"""Every term against finite differences, samples or dense matrices; consistency over many walks; the map of a loop."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.storage.state import read_state, write_state
from firstsight.gallery.worlds.landmark_walk import Walk, closing_step, followed, travelled, walk
from firstsight.slam.landmarks.consistency import nees, nees_band
from firstsight.slam.landmarks.ekf import (
    LEFT_OUT,
    NEW,
    EkfSlam,
    Innovation,
    State,
    associate,
    augment,
    correct,
    expected,
    gate,
    initial_state,
    innovate,
    located,
    location_jacobians,
    motion_jacobians,
    moved,
    observation_jacobian,
    predict,
    robot_error,
    squared_distances,
    update,
    wrapped,
)
from firstsight.slam.landmarks.measurements import Config, motion_covariance, observation_covariance

CONFIG = Config()
SIGMAS = [name for name in vars(CONFIG) if "_sigma_" in name]
SMALL_NOISE = replace(CONFIG, **{name: getattr(CONFIG, name) / 2 for name in SIGMAS})  # headings within 3 degrees
ROBOT = np.array([1.0, -2.0, 0.7])


@pytest.fixture
def unchecked(monkeypatch):
    """Other tests check types and shapes; over thousands of steps doing so takes most of the time."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def heading_noise_times(factor: float) -> Config:
    return replace(
        CONFIG,
        turn_sigma_rad_per_sqrt_m=factor * CONFIG.turn_sigma_rad_per_sqrt_m,
        turn_sigma_rad_per_sqrt_rad=factor * CONFIG.turn_sigma_rad_per_sqrt_rad,
    )


def differences(function, at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences, one column per number of `at`."""
    shifts = step * np.eye(len(at))
    return np.stack([(function(at + shift) - function(at - shift)) / (2 * step) for shift in shifts], -1)


def some_state(n: int = 6, seed: int = 0) -> State:
    """A full covariance, as a short walk leaves it."""
    rng = np.random.default_rng(seed)
    state = predict(initial_state(), np.array([3.0, 0.2, 0.5]), CONFIG)
    for place in rng.uniform(-8, 8, (n, 2)):
        state = augment(state, expected(state.robot, place[None]), CONFIG)
        state = predict(state, np.array([0.5, 0.1, -0.2]), CONFIG)
    return state


def dense_jacobian(innovation: Innovation, size: int) -> np.ndarray:
    """H over the whole state."""
    dense = np.zeros((2 * len(innovation.landmarks), size))
    for i, landmark in enumerate(innovation.landmarks):
        dense[2 * i : 2 * i + 2, :3] = innovation.by_robot[i]
        dense[2 * i : 2 * i + 2, 3 + 2 * landmark : 5 + 2 * landmark] = innovation.by_landmark[i]
    return dense


def kalman(mean, covariance, jacobian, residual, noise):
    """The textbook's filter, Joseph's form."""
    gain = covariance @ jacobian.T @ np.linalg.inv(jacobian @ covariance @ jacobian.T + noise)
    rest = np.eye(len(mean)) - gain @ jacobian
    return mean + gain @ residual, rest @ covariance @ rest.T + gain @ noise @ gain.T


def robot_nees(seen: Walk, states: list[State]) -> list[float]:
    pairs = zip(states, seen.robots[1:], strict=True)
    return [nees(robot_error(state, robot), state.robot_covariance) for state, robot in pairs]


def full_nees(seen: Walk, slam: EkfSlam) -> float:
    off = (slam.estimate.landmarks - seen.landmarks[slam.ids]).ravel()
    return nees(np.concatenate([robot_error(slam.estimate, seen.robots[-1]), off]), slam.estimate.covariance)


def rmse(errors) -> float:
    return float(np.sqrt((np.asarray(errors) ** 2).sum(-1).mean()))


# terms


def test_angles_are_wrapped():
    angles = np.linspace(-20, 20, 999)
    assert abs(wrapped(angles)).max() <= np.pi
    assert np.exp(1j * wrapped(angles)) == pytest.approx(np.exp(1j * angles))
    assert moved(np.array([0, 0, 3.0]), np.array([0, 0, 0.5]))[2] == pytest.approx(3.5 - 2 * np.pi)


def test_a_bearing_across_the_cut_is_a_small_innovation():
    state = augment(initial_state(), np.array([[5.0, np.pi - 0.01]]), CONFIG)
    residual = innovate(state, np.array([[5.0, -np.pi + 0.02]]), np.array([0]), CONFIG).residual
    assert residual[0] == pytest.approx([0, 0.03])
    assert associate(state, np.array([[5.0, -np.pi + 0.02]]), CONFIG).tolist() == [0]


def test_a_correction_turns_the_heading_across_the_cut():
    state = initial_state()._replace(robot=np.array([0, 0, np.pi - 0.201]))
    state = augment(state, np.array([[4.0, 0.3], [6.0, -1.0]]), CONFIG)
    predicted = predict(state, np.array([0, 0, 0.2]), CONFIG)
    after = update(predicted, np.array([[4.0, 0.05], [6.0, -1.25]]), np.array([0, 1]), CONFIG)
    assert predicted.robot[2] == pytest.approx(np.pi - 0.001)
    assert -np.pi <= after.robot[2] < -np.pi + 0.05
    assert 0.001 < robot_error(after, predicted.robot)[2] < 0.05


@pytest.mark.parametrize("motion", [[0.5, 0.0, 0.1], [-0.3, 0.4, -1.2], [0.0, 0.0, 0.8]])
def test_the_motion_s_jacobians_are_its_differences(motion):
    motion = np.array(motion)
    by_robot, by_motion = motion_jacobians(ROBOT, motion)
    assert by_robot == pytest.approx(differences(lambda r: moved(r, motion), ROBOT), abs=1e-8)
    assert by_motion == pytest.approx(differences(lambda u: moved(ROBOT, u), motion), abs=1e-8)


def test_the_observation_s_jacobians_are_its_differences():
    for place in np.random.default_rng(0).uniform(-9, 9, (20, 2)):
        (by_robot,) = observation_jacobian(ROBOT, place[None])
        (by_landmark,) = innovate(
            some_state()._replace(robot=ROBOT, landmarks=np.tile(place, (6, 1))),
            np.array([[1.0, 0.0]]),
            np.array([3]),
            CONFIG,
        ).by_landmark
        assert by_robot == pytest.approx(differences(lambda r, m=place: expected(r, m[None])[0], ROBOT), abs=1e-7)
        assert by_landmark == pytest.approx(differences(lambda m: expected(ROBOT, m[None])[0], place), abs=1e-7)


def test_a_new_landmark_s_jacobians_are_its_differences_and_it_is_where_it_was_observed():
    for z in (np.array([3.0, 0.4]), np.array([7.0, -2.9])):
        (by_robot,), (by_observation,) = location_jacobians(ROBOT, z[None])
        assert by_robot == pytest.approx(differences(lambda r, z=z: located(r, z[None])[0], ROBOT), abs=1e-7)
        assert by_observation == pytest.approx(differences(lambda z: located(ROBOT, z[None])[0], z), abs=1e-7)
        assert expected(ROBOT, located(ROBOT, z[None]))[0] == pytest.approx(z)


def test_odometry_s_variance_does_not_depend_on_how_the_way_is_cut():
    whole = motion_covariance(np.array([2.0, 0.0, 0.5]), CONFIG)
    assert whole == pytest.approx(4 * motion_covariance(np.array([0.5, 0.0, 0.125]), CONFIG))
    assert not motion_covariance(np.zeros(3), CONFIG).any()


def test_a_new_landmark_s_covariances_are_those_of_samples():
    rng, count = np.random.default_rng(0), 200_000
    state = some_state(2)
    seen = np.array([[4.0, 0.5], [6.0, -1.0]])
    grown = augment(state, seen, CONFIG)
    samples = rng.multivariate_normal(state.mean, state.covariance, count)
    noisy = seen[:, None] + rng.normal(size=(2, count, 2)) * np.sqrt(np.diag(observation_covariance(CONFIG)))
    headings = samples[:, 2] + noisy[..., 1]
    places = samples[:, :2] + noisy[..., :1] * np.stack([np.cos(headings), np.sin(headings)], -1)
    empirical = np.cov(np.column_stack([samples, places[0], places[1]]).T)
    scale = np.sqrt(np.outer(np.diag(empirical), np.diag(empirical)))
    assert grown.covariance / scale == pytest.approx(empirical / scale, abs=0.01)  # correlations, of 1 at most


# the filter


def linear_world(seed: int):
    """A robot that never turns and sees displacements: everything is linear."""
    rng = np.random.default_rng(seed)
    return rng, rng.uniform(-5, 5, (4, 2)), np.array([[-1.0, 0, 0], [0, -1, 0]])


def test_on_a_linear_system_it_is_the_kalman_filter():
    rng, landmarks, by_robot = linear_world(0)
    noise, start = np.diag([0.04, 0.09]), np.diag([1.0, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9])
    start[2, 2] = 1e-300  # the heading is known
    still = replace(CONFIG, turn_sigma_rad_per_sqrt_m=1e-150, turn_sigma_rad_per_sqrt_rad=1e-150)
    state = State(np.zeros(3), np.zeros((4, 2)), start[:3, :3], start[:3, 3:], start[3:, 3:])
    mean, covariance, robot = state.mean, start.copy(), np.zeros(3)
    for _ in range(60):
        motion = np.array([*rng.normal(size=2), 0.0])
        robot = robot + motion
        state = predict(state, motion, still)
        mean[:3] += motion
        covariance[:3, :3] += motion_covariance(motion, still)
        seen = rng.choice(4, 2, replace=False)
        observed = landmarks[seen] - robot[:2] + rng.normal(size=(2, 2)) * np.sqrt(np.diag(noise))
        residual = observed - (state.landmarks[seen] - state.robot[:2])
        innovation = Innovation(residual, np.stack([by_robot] * 2), np.stack([np.eye(2)] * 2), noise, seen)
        state = correct(state, innovation)
        jacobian = dense_jacobian(innovation, 11)
        mean, covariance = kalman(
            mean, covariance, jacobian, (observed.ravel() - jacobian @ mean), np.kron(np.eye(2), noise)
        )
        assert state.mean == pytest.approx(mean, abs=1e-9)
        assert state.covariance == pytest.approx(covariance, abs=1e-9)


def test_on_a_linear_system_without_motion_it_is_batch_least_squares():
    rng, landmarks, by_robot = linear_world(1)
    noise, prior = np.diag([0.04, 0.09]), np.diag([1.0, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9])
    state = State(np.zeros(3), np.zeros((4, 2)), prior[:3, :3], prior[:3, 3:], prior[3:, 3:])
    information, right = np.linalg.inv(prior), np.zeros(11)
    for _ in range(40):
        seen = rng.choice(4, 1)
        observed = landmarks[seen] + rng.normal(size=(1, 2)) * np.sqrt(np.diag(noise))
        residual = observed - (state.landmarks[seen] - state.robot[:2])
        innovation = Innovation(residual, by_robot[None], np.eye(2)[None], noise, seen)
        state = correct(state, innovation)
        jacobian = dense_jacobian(innovation, 11)
        information += jacobian.T @ np.linalg.inv(noise) @ jacobian
        right += jacobian.T @ np.linalg.inv(noise) @ observed.ravel()
    assert state.mean == pytest.approx(np.linalg.solve(information, right), abs=1e-9)
    assert state.covariance == pytest.approx(np.linalg.inv(information), abs=1e-9)


def test_a_scan_s_update_is_the_dense_extended_kalman_filter_s():
    state, rng = some_state(), np.random.default_rng(1)
    for seen in (np.array([2]), np.array([5, 0, 3]), np.arange(6), np.array([1, 1])):
        observations = expected(state.robot, state.landmarks[seen]) + 0.05 * rng.normal(size=(len(seen), 2))
        innovation = innovate(state, observations, seen, CONFIG)
        mean, covariance = kalman(
            state.mean,
            state.covariance,
            dense_jacobian(innovation, 15),
            innovation.residual.ravel(),
            np.kron(np.eye(len(seen)), observation_covariance(CONFIG)),
        )
        state = update(state, observations, seen, CONFIG)
        assert state.mean == pytest.approx(mean, abs=1e-12)
        assert state.covariance == pytest.approx(covariance, abs=1e-12)


def test_prediction_is_the_dense_one_and_leaves_the_map_s_memory_alone():
    state, motion = some_state(), np.array([0.7, -0.1, 0.3])
    by_robot, by_motion = motion_jacobians(state.robot, motion)
    dense, noise = np.eye(15), np.zeros((15, 15))
    dense[:3, :3] = by_robot
    noise[:3, :3] = by_motion @ motion_covariance(motion, CONFIG) @ by_motion.T
    after = predict(state, motion, CONFIG)
    assert after.covariance == pytest.approx(dense @ state.covariance @ dense.T + noise, abs=1e-14)
    assert after.map_covariance is state.map_covariance


def test_the_covariance_is_symmetric_and_positive_definite_after_1000_steps(unchecked):
    seen, slam = walk(CONFIG, laps=1000 / 88), EkfSlam(CONFIG)
    states = followed(seen, slam)
    assert len(states) >= 1000
    for state in states[::100]:
        assert (state.covariance == state.covariance.T).all()
        assert np.linalg.eigvalsh(state.covariance)[0] > 0
    assert rmse(slam.estimate.landmarks - seen.landmarks[slam.ids]) < 0.5


def test_sharp_observations_of_a_lost_robot_keep_it_positive_definite():
    sharp = replace(CONFIG, range_sigma_m=1e-4, bearing_sigma_rad=1e-5)
    lost = initial_state()._replace(robot_covariance=np.diag([100.0, 100.0, 0.1]))
    exact = np.array([[5.0, 0.5], [8.0, -1.0], [3.0, 2.0]])
    state = augment(lost, exact, sharp)
    for _ in range(300):
        state = update(state, exact, np.arange(3), sharp)
    assert (state.covariance == state.covariance.T).all()
    assert np.linalg.eigvalsh(state.covariance)[0] > 0


def test_no_landmark_ever_becomes_less_certain_and_in_the_end_all_are_known_relative_to_each_other():
    """Dissanayake et al., theorems 1 and 2."""
    lost = initial_state()._replace(robot_covariance=np.diag([1.0, 1.0, 1e-6]))
    exact = np.array([[5.0, 0.5], [8.0, -1.0], [3.0, 2.0]])
    state = augment(lost, exact, CONFIG)
    for _ in range(500):
        before, state = state, update(state, exact, np.arange(3), CONFIG)
        dets = [np.linalg.det(s.landmark_covariances()) for s in (before, state)]
        assert (dets[1] <= dets[0] * (1 + 1e-9)).all()
    covariance = state.map_covariance
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert correlation[::2, ::2].min() > 0.999
    assert correlation[1::2, 1::2].min() > 0.999


# consistency


def test_nees_is_the_dense_quadratic_form_and_its_band_that_of_chi_square():
    rng = np.random.default_rng(0)
    root, error = rng.normal(size=(5, 5)), rng.normal(size=5)
    assert nees(error, root @ root.T) == pytest.approx(error @ np.linalg.inv(root @ root.T) @ error)
    means = (rng.normal(size=(4000, 50, 3)) ** 2).sum(-1).mean(-1)
    low, high = nees_band(3, 50)
    assert ((means > low) & (means < high)).mean() == pytest.approx(0.95, abs=0.015)


def test_it_is_consistent_over_50_walks_where_noise_is_small(unchecked):
    """Half of the default noise: headings stay within some degrees, where the linearisation holds."""
    robots, fulls = [], []
    for seed in range(50):
        seen, slam = walk(SMALL_NOISE, seed), EkfSlam(SMALL_NOISE)
        robots.append(robot_nees(seen, followed(seen, slam)))
        fulls.append(full_nees(seen, slam))
    mean, (low, high) = np.mean(robots, 0), nees_band(3, 50)
    assert low < mean[-1] < high
    assert ((mean > low) & (mean < high)).mean() > 0.85  # 95 % on average; steps of one walk are not independent
    low, high = nees_band(3 + 2 * 30, 50)
    assert low < np.mean(fulls) < high


def test_it_claims_too_much_where_the_heading_is_unsure(unchecked):
    """The known inconsistency: ten times the heading's noise, and the mean NEES lies far above its band."""
    unsure = heading_noise_times(10)
    walks = [walk(unsure, seed) for seed in range(20)]
    mean = np.mean([robot_nees(seen, followed(seen, EkfSlam(unsure))) for seen in walks], 0)
    assert mean[-20:].mean() > 2 * nees_band(3, 20)[1]


# association


def test_the_gate_is_the_quantile_of_chi_square(unchecked):
    assert gate(0.99) == pytest.approx(9.2103, abs=1e-4)
    rng, state = np.random.default_rng(0), augment(initial_state(), np.array([[5.0, 0.3]]), CONFIG)
    z, spread = expected(state.robot, state.landmarks), 2 * observation_covariance(CONFIG)
    accepted = [
        associate(state, z + rng.normal(size=(1, 2)) * np.sqrt(np.diag(spread)), CONFIG)[0] == 0 for _ in range(1500)
    ]
    assert np.mean(accepted) == pytest.approx(0.99, abs=0.008)


@pytest.mark.parametrize("axis", [0, 1])
def test_inside_the_gate_it_is_taken_between_the_gates_left_out_and_beyond_new(axis):
    state = augment(initial_state(), np.array([[5.0, 0.3]]), CONFIG)
    sigma = np.sqrt(2 * np.diag(observation_covariance(CONFIG)))[axis]
    found = {}
    for probability, name in ((CONFIG.gate_probability, "gate"), (CONFIG.new_probability, "new")):
        for factor in (0.999, 1.001):
            z = np.array([[5.0, 0.3]])
            z[0, axis] += factor * sigma * np.sqrt(gate(probability))
            found[name, factor] = int(associate(state, z, CONFIG)[0])
    assert list(found.values()) == [0, LEFT_OUT, LEFT_OUT, NEW]


def test_distances_are_those_of_the_dense_filter():
    state, rng = some_state(), np.random.default_rng(0)
    observations = np.column_stack([rng.uniform(1, 9, 4), rng.uniform(-3, 3, 4)])
    squared = squared_distances(state, observations, CONFIG)
    for k in range(4):
        for n in range(6):
            innovation = innovate(state, observations[k : k + 1], np.array([n]), CONFIG)
            jacobian = dense_jacobian(innovation, 15)
            spread = jacobian @ state.covariance @ jacobian.T + observation_covariance(CONFIG)
            assert squared[k, n] == pytest.approx(nees(innovation.residual[0], spread))


def test_what_has_two_readings_is_left_out():
    twins = augment(initial_state(), np.array([[5.0, 0.0], [5.2, 0.0], [5.0, 2.0]]), CONFIG)
    assert associate(twins, np.array([[5.1, 0.0], [5.0, 2.0]]), CONFIG).tolist() == [LEFT_OUT, 2]
    single = augment(initial_state(), np.array([[5.0, 0.0]]), CONFIG)
    assert associate(single, np.array([[5.02, 0.0], [4.98, 0.0]]), CONFIG).tolist() == [LEFT_OUT, LEFT_OUT]
    assert associate(single, np.array([[5.02, 0.0], [5.45, 0.0]]), CONFIG).tolist() == [0, LEFT_OUT]


def test_no_landmark_is_given_to_two_observations():
    rng, state = np.random.default_rng(0), some_state(8)
    for _ in range(100):
        seen = rng.integers(8, size=6)
        observations = expected(state.robot, state.landmarks[seen]) + rng.normal(size=(6, 2)) * [0.3, 0.06]
        taken = Counter(i for i in associate(state, observations, CONFIG).tolist() if i >= 0)
        assert not taken or max(taken.values()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_without_ids_it_draws_the_same_map_where_landmarks_lie_apart(seed):
    seen = walk(CONFIG, seed)
    known, unknown = EkfSlam(CONFIG), EkfSlam(CONFIG)
    followed(seen, known)
    followed(seen, unknown, known=False)
    assert len(unknown.estimate.landmarks) == len(known.estimate.landmarks) == 30
    off = np.linalg.norm(unknown.estimate.landmarks - known.estimate.landmarks, axis=1)
    sigma = np.sqrt(np.trace(known.estimate.landmark_covariances(), axis1=1, axis2=2))
    assert (off < sigma).all()  # an outlier in a hundred is left out, so they are not equal to the last bit
    assert not len(unknown.ids)


# the map


def test_it_errs_much_less_than_odometry_alone(unchecked):
    slam, odometry = [], []
    for seed in range(8):
        seen = walk(CONFIG, seed, laps=4.0)
        states = followed(seen, EkfSlam(CONFIG))
        slam += [state.robot[:2] - robot[:2] for state, robot in zip(states, seen.robots[1:], strict=True)]
        odometry += list((travelled(seen.motions) - seen.robots)[1:, :2])
    assert rmse(slam) < 0.3 * rmse(odometry)


def test_closing_the_loop_makes_every_landmark_more_certain_and_the_map_more_accurate():
    seen, slam = walk(CONFIG), EkfSlam(CONFIG)
    states, closing = followed(seen, slam), closing_step(seen)
    before, after = states[closing - 1], states[closing]
    n = len(before.landmarks)
    volumes = [np.linalg.det(state.landmark_covariances()[:n]) for state in (before, after)]
    assert (volumes[1] < volumes[0]).all()
    assert np.trace(after.map_covariance[: 2 * n, : 2 * n]) < 0.5 * np.trace(before.map_covariance)
    assert np.trace(after.robot_covariance[:2, :2]) < 0.2 * np.trace(before.robot_covariance[:2, :2])
    errors = [rmse(state.landmarks[:n] - seen.landmarks[slam.ids[:n]]) for state in (before, states[-1])]
    assert errors[1] < errors[0]


def test_the_truth_explains_the_observations_better_than_anything_nearby():
    seen, rng = walk(CONFIG), np.random.default_rng(0)

    def misfit(robots, landmarks) -> float:
        total = 0.0
        for robot, (ids, observations) in zip(robots[1:], seen.sightings, strict=True):
            residual = observations - expected(robot, landmarks[ids])
            residual[:, 1] = wrapped(residual[:, 1])
            total += sum(nees(r, observation_covariance(CONFIG)) for r in residual)
        return total

    true = misfit(seen.robots, seen.landmarks)
    assert true == pytest.approx(2 * sum(len(s.ids) for s in seen.sightings), rel=0.15)
    for _ in range(5):
        assert misfit(seen.robots + rng.normal(size=seen.robots.shape) * [0.1, 0.1, 0.02], seen.landmarks) > 1.2 * true
        assert misfit(seen.robots, seen.landmarks + 0.1 * rng.normal(size=seen.landmarks.shape)) > 1.2 * true


def test_mirrored_bearings_make_it_worse_than_odometry():
    seen = walk(CONFIG)
    mirrored = seen._replace(sightings=tuple(s._replace(observations=s.observations * [1, -1]) for s in seen.sightings))
    states = followed(mirrored, EkfSlam(CONFIG))
    assert rmse(states[-1].robot[:2] - seen.robots[-1, :2]) > 5 * rmse(
        followed(seen, EkfSlam(CONFIG))[-1].robot[:2] - seen.robots[-1, :2]
    )


# the class


@pytest.mark.parametrize("known", [True, False])
def test_a_restored_filter_goes_on_to_the_same_bits(tmp_path: Path, known):
    seen = walk(CONFIG)
    whole, part, again = EkfSlam(CONFIG), EkfSlam(CONFIG), EkfSlam(CONFIG)
    followed(seen, whole, known=known)
    followed(seen._replace(motions=seen.motions[:50], sightings=seen.sightings[:50]), part, known=known)
    write_state(tmp_path / "state.npz", part.state())
    again.restore(read_state(tmp_path / "state.npz"))
    followed(seen._replace(motions=seen.motions[50:], sightings=seen.sightings[50:]), again, known=known)
    assert (again.estimate.mean == whole.estimate.mean).all()
    assert (again.estimate.covariance == whole.estimate.covariance).all()
    assert (again.ids == whole.ids).all()
    assert len(again.ids) == (len(again.estimate.landmarks) if known else 0)


def test_an_empty_scan_only_predicts():
    slam, motion = EkfSlam(CONFIG), np.array([1.0, 0.0, 0.1])
    assert slam.step(motion, np.zeros((0, 2))).tolist() == []
    assert slam.estimate.covariance == pytest.approx(predict(initial_state(), motion, CONFIG).covariance)


def test_states_are_not_changed_by_later_steps():
    slam = EkfSlam(CONFIG)
    slam.step(np.array([1.0, 0, 0]), np.array([[4.0, 0.2], [5.0, -1.0]]))
    kept, mean, covariance = slam.estimate, slam.estimate.mean.copy(), slam.estimate.covariance.copy()
    for _ in range(3):
        slam.step(np.array([0.1, 0, 0]), np.array([[3.9, 0.2]]))
    assert (kept.mean == mean).all()
    assert (kept.covariance == covariance).all()


@pytest.mark.parametrize(
    ("motion", "observation", "ids", "message"),
    [
        ([np.nan, 0, 0], [5.0, 0.1], None, "odometry is not finite"),
        ([0.1, 0, 0], [np.nan, 0.1], None, "observation 1: its range must be above 0"),
        ([0.1, 0, 0], [5.0, np.inf], None, "observation 1: .* finite"),
        ([0.1, 0, 0], [-5.0, 0.1], None, "observation 1: its range must be above 0"),
        ([0.1, 0, 0], [0.0, 0.1], None, "observation 1: its range must be above 0"),
        ([0.1, 0, 0], [5.0, 0.1], [3], "1 ids for 2 observations"),
        ([0.1, 0, 0], [5.0, 0.1], [3, 3], "observed twice in one scan"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line_and_changes_nothing(motion, observation, ids, message):
    slam = EkfSlam(CONFIG)
    before = slam.estimate
    with pytest.raises(InputError, match=message) as error:
        slam.step(np.array(motion, float), np.array([[4.0, 0.0], observation]), None if ids is None else np.array(ids))
    assert "\n" not in str(error.value)
    assert slam.estimate is before


@pytest.mark.parametrize("first", [None, np.array([7])])
def test_ids_are_given_always_or_never(first):
    slam, motion, scan = EkfSlam(CONFIG), np.array([0.1, 0, 0]), np.array([[4.0, 0.0]])
    slam.step(motion, scan, first)
    with pytest.raises(InputError, match="ids are given for some scans only"):
        slam.step(motion, scan, np.array([7]) if first is None else None)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("range_sigma_m", 0.0), ("bearing_sigma_rad", -1.0), ("turn_sigma_rad_per_sqrt_m", np.nan),
     ("gate_probability", 1.0), ("new_probability", 0.9)],
)  # fmt: skip
def test_settings_that_make_no_sense_are_named(setting, value):
    with pytest.raises(InputError, match=setting):
        replace(CONFIG, **{setting: value})
