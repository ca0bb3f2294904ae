import cv2
import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.optimisation.bundle.camera_model import Measurements, residuals, straight_lens
from firstsight.optimisation.bundle.equations import State
from firstsight.optimisation.bundle.problem import BundleProblem, Free, bundle_problem
from firstsight.optimisation.pnp import PosePrior, refine_pose, reprojection_error_px, robust_pnp
from firstsight.optimisation.robust_kernels import Kernel

INTRINSICS = np.array([[700.0, 0.0, 600.0], [0.0, 650.0, 180.0], [0.0, 0.0, 1.0]])
POSE = se3_exp(torch.tensor([0.4, -0.2, 0.9, 0.05, 0.2, -0.1], dtype=torch.float64)).numpy()  # world_from_camera


def exp(tangent: np.ndarray) -> np.ndarray:
    return se3_exp(torch.from_numpy(np.asarray(tangent, float))).numpy()


def scene(count: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points in the world and their exact (x, y, inverse depth), by OpenCV."""
    rng = np.random.default_rng(seed)
    points_camera = rng.uniform([-8, -2, 4], [8, 2, 40], (count, 3))
    pixels = cv2.projectPoints(points_camera, np.zeros(3), np.zeros(3), INTRINSICS, None)[0][:, 0]
    points_world = points_camera @ POSE[:3, :3].T + POSE[:3, 3]
    return points_world, np.column_stack([pixels, 1 / points_camera[:, 2]])


def angle_rad(rotation: np.ndarray) -> float:
    return float(np.linalg.norm(cv2.Rodrigues(np.ascontiguousarray(rotation))[0]))


def one_camera(measured: np.ndarray, precision: np.ndarray) -> Measurements:
    count = len(measured)
    return Measurements(np.zeros(count, np.int64), np.arange(count), measured, precision)


def problem_of(seen: Measurements, kernel: Kernel = Kernel.HUBER, points: int = 0) -> BundleProblem:
    free = Free(np.ones(1, bool), np.zeros(1, bool), 0, points)
    return bundle_problem(seen, np.zeros(1, np.int64), free, (int(kernel), 2.0))


def state_of(points: np.ndarray) -> State:
    return State(POSE[None], straight_lens(INTRINSICS), points)


def test_residuals_vanish_at_the_truth():
    points, measured = scene()
    seen = one_camera(measured, np.ones_like(measured))
    assert np.abs(residuals(POSE[None], points, seen, np.zeros(1, np.int64), straight_lens(INTRINSICS))).max() < 1e-9
    assert problem_of(seen).cost(state_of(points)) < 1e-18


@pytest.mark.parametrize("kernel", [Kernel.SQUARED, Kernel.HUBER, Kernel.CAUCHY])
def test_equations_of_a_pose_are_those_of_the_slow_loop(slow, kernel):
    points, measured = scene(9)
    seen = one_camera(
        measured + np.random.default_rng(2).normal(0, 2, measured.shape) * [1, 1, 0.02],
        np.tile([1.0, 2.0, 50.0], (9, 1)),
    )
    expected = slow.linearise(POSE[None], points, seen, INTRINSICS, kernel)
    (found, cost), jacobian = problem_of(seen, kernel).linearise(state_of(points)), expected.by_camera.reshape(-1, 6)
    assert cost == pytest.approx(expected.cost, rel=1e-9)
    hessian, gradient = jacobian.T @ jacobian, jacobian.T @ expected.residual.ravel()
    np.testing.assert_allclose(found.by_block[0], hessian, atol=1e-5 * np.abs(hessian).max())
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("kernel", [Kernel.SQUARED, Kernel.HUBER, Kernel.CAUCHY])
def test_robust_cost(kernel, slow):
    """The cost is rho of the pixel error and rho of the depth error."""
    points, measured = scene(1)
    for size in (0.5, 1.9, 2.1, 10.0):
        off = measured + np.array([[0.6 * size, -0.8 * size, 0.0]])
        off[0, 2] += size / 100
        problem = problem_of(one_camera(off, np.array([[1.0, 1.0, 100.0]])), kernel)
        assert problem.cost(state_of(points)) == pytest.approx(2 * slow.rho[kernel](size, 2.0), rel=1e-6)


def test_a_point_behind_the_camera_costs_and_has_no_derivative():
    points, measured = scene(2)
    points[0] = POSE[:3, 3] - 5 * POSE[:3, 2]
    both = one_camera(measured, np.ones_like(measured))
    found, cost = problem_of(both).linearise(state_of(points))
    alone, _ = problem_of(Measurements(*(part[1:] for part in both))).linearise(state_of(points))
    assert (found.by_block == alone.by_block).all()
    assert cost > 1e3


def test_robust_pnp_with_forty_percent_outliers():
    points, measured = scene(300)
    rng = np.random.default_rng(3)
    pixels = measured[:, :2] + rng.normal(0, 0.3, (300, 2))
    pixels[:120] = rng.uniform([0, 0], [1200, 360], (120, 2))
    found = robust_pnp(points, pixels, INTRINSICS)
    assert found is not None
    off = found.camera_from_world @ POSE
    assert np.linalg.norm(off[:3, 3]) < 0.01
    assert angle_rad(off[:3, :3]) < 5e-4
    assert found.inliers[120:].all()
    assert found.inliers[:120].sum() < 3


def least_squares_pose(points: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """camera_from_world of least squared reprojection error, by OpenCV, from the true pose."""
    truth = np.linalg.inv(POSE)
    rotation, translation = cv2.Rodrigues(np.ascontiguousarray(truth[:3, :3]))[0], truth[:3, 3:].copy()
    exactly = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-10)
    rotation, translation = cv2.solvePnPRefineLM(points, pixels, INTRINSICS, None, rotation, translation, exactly)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3:] = cv2.Rodrigues(rotation)[0], translation
    return pose


@pytest.mark.parametrize(("count", "share"), [(40, 0.2), (100, 0.0), (100, 0.4), (300, 0.2)])
def test_robust_pnp_is_as_good_as_least_squares_on_the_true_inliers(count, share):
    """Half a pixel of noise; a pose that was refined on RANSAC's first inliers alone errs 1.5 to 1.8 times as much."""
    rng, wrong = np.random.default_rng(7), int(share * count)
    errors_m = np.zeros((60, 2))
    for draw in range(60):
        points, measured = scene(count, draw)
        pixels = measured[:, :2] + rng.normal(0, 0.5, (count, 2))
        pixels[:wrong] = rng.uniform([0, 0], [1200, 360], (wrong, 2))
        found = robust_pnp(points, pixels, INTRINSICS)
        assert found is not None
        best = least_squares_pose(points[wrong:], pixels[wrong:])
        errors_m[draw] = [np.linalg.norm((pose @ POSE)[:3, 3]) for pose in (found.camera_from_world, best)]
    found_m, best_m = np.sqrt((errors_m**2).mean(0))
    assert found_m < 1.02 * best_m


def test_noise_within_the_limit_is_not_taken_for_outliers():
    """Three pixels of noise and a limit of twelve: every measurement counts fully, as in least squares."""
    points, measured = scene(80, 5)
    pixels = measured[:, :2] + np.random.default_rng(4).normal(0, 3.0, (80, 2))
    found = robust_pnp(points, pixels, INTRINSICS, inlier_px=12.0)
    assert found is not None
    assert found.inliers.all()
    assert np.abs(found.camera_from_world - least_squares_pose(points, pixels)).max() < 1e-4


def test_as_many_inliers_as_asked_for():
    points, measured = scene(50, 8)
    pixels = measured[:, :2].copy()
    pixels[23:] += 40.0 + 10.0 * np.arange(27)[:, None] * [1.0, -1.0]
    found = robust_pnp(points, pixels, INTRINSICS, min_inliers=23)
    assert found is not None
    assert found.inliers.tolist() == [True] * 23 + [False] * 27
    assert robust_pnp(points, pixels, INTRINSICS, min_inliers=24) is None


def test_no_pose_where_refining_leaves_too_few(monkeypatch):
    """A sample that claims all of forty points; only thirty agree with the pose that fits them."""
    points, measured = scene(40, 6)
    pixels = measured[:, :2].copy()
    pixels[30:] += np.random.default_rng(9).uniform(15, 60, (10, 2)) * [1, -1]
    truth = np.linalg.inv(POSE)
    claimed = (True, cv2.Rodrigues(np.ascontiguousarray(truth[:3, :3]))[0], truth[:3, 3:], np.arange(40)[:, None])
    monkeypatch.setattr(cv2, "solvePnPRansac", lambda *_, **__: claimed)
    found = robust_pnp(points, pixels, INTRINSICS, inlier_px=2.0, min_inliers=30)
    assert found is not None
    assert found.inliers.tolist() == [True] * 30 + [False] * 10
    assert robust_pnp(points, pixels, INTRINSICS, inlier_px=2.0, min_inliers=31) is None


def test_refinement_from_far_away_with_an_outlier():
    """Three metres and half a radian off, where full steps overshoot; the answer is that from near by."""
    points, measured = scene(60, 3)
    measured[7, :2] += [180.0, -90.0]
    precision = np.tile([1.0, 1.0, 0.0], (60, 1))
    far, near = (
        refine_pose(np.linalg.inv(POSE @ exp(off)), points, measured, precision, INTRINSICS)
        for off in ([2.0, -1.0, -2.0, 0.3, -0.3, 0.25], [0.01, 0.0, -0.01, 0.001, 0.0, 0.0])
    )
    assert np.abs(far - near).max() < 1e-4
    assert np.linalg.norm((near @ POSE)[:3, 3]) < 0.02


def test_robust_pnp_repeats_to_the_bit():
    points, measured = scene(100)
    pixels = measured[:, :2] + np.random.default_rng(0).normal(0, 1.0, (100, 2))
    first, second = (robust_pnp(points, pixels, INTRINSICS) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.camera_from_world == second.camera_from_world).all()


@pytest.mark.parametrize("count", [0, 5, 60])
def test_no_pose_from_too_few_points_or_from_nonsense(count):
    rng = np.random.default_rng(0)
    points, pixels = rng.uniform(-5, 5, (count, 3)), rng.uniform(0, 1000, (count, 2))
    assert robust_pnp(points, pixels, INTRINSICS, min_inliers=20) is None


def test_refinement_is_exact_without_noise():
    points, measured = scene()
    start = np.linalg.inv(POSE @ exp([0.1, -0.1, 0.2, 0.02, -0.01, 0.03]))
    refined = refine_pose(start, points, measured, np.ones_like(measured), INTRINSICS)
    assert np.abs(refined @ POSE - np.eye(4)).max() < 1e-9


def test_depth_fixes_the_translation_of_a_few_points():
    """Three noisy points hold the pose badly; with their depth the distance along the axis is held by it."""
    points, measured = scene(12)
    noisy = measured + np.random.default_rng(1).normal(0, [0.5, 0.5, 1e-5], measured.shape)
    start = np.linalg.inv(POSE)
    with_depth, without = (
        refine_pose(start, points, noisy, np.tile([2.0, 2.0, q], (12, 1)), INTRINSICS) for q in (1e5, 0.0)
    )
    assert abs((with_depth @ POSE)[2, 3]) < abs((without @ POSE)[2, 3])
    assert abs((with_depth @ POSE)[2, 3]) < 2e-3


def test_a_certain_prior_wins_and_an_uncertain_one_yields():
    points, measured = scene()
    elsewhere = POSE @ exp([0.05, 0.0, 0.0, 0.0, 0.0, 0.0])
    poses = [
        refine_pose(
            np.linalg.inv(POSE), points, measured, np.ones_like(measured), INTRINSICS,
            prior=PosePrior(elsewhere, np.eye(6) * information),
        )
        for information in (1e14, 1e-9)
    ]  # fmt: skip
    assert np.abs(poses[0] @ elsewhere - np.eye(4)).max() < 1e-6
    assert np.abs(poses[1] @ POSE - np.eye(4)).max() < 1e-9


def test_reprojection_error_against_opencv():
    points, measured = scene(50)
    camera_from_world = np.linalg.inv(POSE @ exp([0.1, 0.0, 0.0, 0.0, 0.01, 0.0]))
    rotation = cv2.Rodrigues(np.ascontiguousarray(camera_from_world[:3, :3]))[0]
    there = cv2.projectPoints(points, rotation, camera_from_world[:3, 3], INTRINSICS, None)[0][:, 0]
    expected = np.linalg.norm(there - measured[:, :2], axis=1)
    one = reprojection_error_px(camera_from_world, points, measured[:, :2], INTRINSICS)
    each = reprojection_error_px(np.tile(camera_from_world, (50, 1, 1)), points, measured[:, :2], INTRINSICS)
    assert np.allclose(one, expected, atol=1e-9)
    assert np.allclose(each, expected, atol=1e-9)
    behind = POSE[:3, 3] - POSE[:3, 2]
    assert np.isinf(reprojection_error_px(np.linalg.inv(POSE), behind[None], np.zeros((1, 2)), INTRINSICS)[0])
