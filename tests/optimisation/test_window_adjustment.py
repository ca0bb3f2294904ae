import time

import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.optimisation.pnp import Kernel, Measurements, linearise
from firstsight.optimisation.window_adjustment import (
    FIXED,
    Ties,
    Window,
    add_ties,
    adjoint,
    adjust,
    back_substitute,
    move_cameras,
    reduce_to_cameras,
    tie_cost,
    tie_error,
)

INTRINSICS = np.array([[700.0, 0.0, 600.0], [0.0, 700.0, 180.0], [0.0, 0.0, 1.0]])


def exp(tangents: np.ndarray) -> np.ndarray:
    return se3_exp(torch.from_numpy(np.asarray(tangents, float))).numpy()


def scene(cameras: int = 5, points: int = 40, fixed: int = 2, depth_precision: float = 0.0, seed: int = 0) -> Window:
    """Cameras along a path that all see all points, exactly."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform([-10, -2, 8], [10, 2, 40], (points, 3))
    world_from_camera = np.tile(np.eye(4), (cameras, 1, 1))
    world_from_camera[:, 2, 3] = 0.5 * np.arange(cameras)
    world_from_camera = world_from_camera @ exp(rng.normal(0, 0.02, (cameras, 6)))
    point, camera = np.divmod(np.arange(cameras * points), cameras)
    seen = np.linalg.inv(world_from_camera)[camera] @ np.column_stack([positions, np.ones(points)])[point][:, :, None]
    x, y, z = seen[:, :3, 0].T
    measured = np.column_stack([700 * x / z + 600, 700 * y / z + 180, 1 / z])
    precision = np.tile([1.0, 1.0, depth_precision], (len(point), 1))
    measurements = Measurements(camera, point, measured, precision)
    return Window(world_from_camera, positions, measurements, INTRINSICS, np.arange(cameras) < fixed)


def perturbed(window: Window, seed: int = 1) -> Window:
    rng = np.random.default_rng(seed)
    off = rng.normal(0, 0.02, (len(window.fixed), 6)) * ~window.fixed[:, None]
    points = window.points_world + rng.normal(0, 0.3, window.points_world.shape)
    return window._replace(world_from_camera=window.world_from_camera @ exp(off), points_world=points)


def with_noise(window: Window, sigma_px: float, outliers: float = 0.0) -> Window:
    rng = np.random.default_rng(2)
    measured = window.measurements.measured.copy()
    measured[:, :2] += rng.normal(0, sigma_px, (len(measured), 2))
    wrong = rng.random(len(measured)) < outliers
    measured[wrong, :2] += rng.uniform(-60, 60, (wrong.sum(), 2))
    return window._replace(measurements=window.measurements._replace(measured=measured))


def cost(window: Window, cameras: np.ndarray, points: np.ndarray) -> float:
    return linearise(cameras, points, window.measurements, INTRINSICS).cost


def dense_step(window: Window, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Cameras' and points' steps of the full normal equations, without using their sparsity."""
    free = np.flatnonzero(~window.fixed)
    residual, by_camera, by_point, _ = linearise(
        window.world_from_camera, window.points_world, window.measurements, INTRINSICS
    )
    size = 6 * len(free)
    jacobian = np.zeros((residual.size, size + 3 * len(window.points_world)))
    for i, (camera, point) in enumerate(zip(window.measurements.camera, window.measurements.point, strict=True)):
        rows = slice(3 * i, 3 * i + 3)
        if camera in free:
            column = 6 * int(np.flatnonzero(free == camera)[0])
            jacobian[rows, column : column + 6] = by_camera[i]
        jacobian[rows, size + 3 * point : size + 3 * point + 3] = by_point[i]
    information = jacobian.T @ jacobian
    information += damping * np.diag(information.diagonal())
    step = np.linalg.solve(information, -jacobian.T @ residual.reshape(-1))
    return step[:size], step[size:].reshape(-1, 3)


@pytest.mark.parametrize("depth_precision", [0.0, 200.0])
def test_schur_step_is_the_dense_step(depth_precision):
    window = perturbed(scene(depth_precision=depth_precision))
    column = np.where(window.fixed, FIXED, np.cumsum(~window.fixed) - 1)
    linearised = linearise(window.world_from_camera, window.points_world, window.measurements, INTRINSICS)
    reduced = reduce_to_cameras(linearised, window.measurements, column, len(window.points_world), 1e-3)
    step = np.linalg.solve(reduced.information, -reduced.gradient)
    shift = back_substitute(reduced, step)
    dense_cameras, dense_points = dense_step(window, 1e-3)
    assert np.allclose(step, dense_cameras, rtol=0, atol=1e-9)
    assert np.allclose(shift, dense_points, rtol=0, atol=1e-8)


def test_recovers_a_perturbed_scene_to_a_millionth_of_a_pixel():
    truth = scene()
    found = adjust(perturbed(truth), max_iterations=40, tolerance=1e-14)
    residual = linearise(found.world_from_camera, found.points_world, truth.measurements, INTRINSICS).residual
    assert np.abs(residual).max() < 1e-6
    assert np.abs(found.world_from_camera - truth.world_from_camera).max() < 1e-9


def test_fixed_cameras_stay_to_the_bit():
    window = perturbed(scene(fixed=2))
    found = adjust(window)
    assert (found.world_from_camera[:2] == window.world_from_camera[:2]).all()
    assert not np.allclose(found.world_from_camera[2:], window.world_from_camera[2:], atol=1e-3)


def test_depth_fixes_the_scale_that_one_fixed_camera_leaves_open():
    """With one camera held and no depth every scale fits; measured depth picks the true one."""
    truth = scene(fixed=1, depth_precision=1000.0)
    centre = truth.world_from_camera[0, :3, 3]
    cameras = truth.world_from_camera.copy()
    cameras[:, :3, 3] = centre + 1.2 * (cameras[:, :3, 3] - centre)
    scaled = truth._replace(world_from_camera=cameras, points_world=centre + 1.2 * (truth.points_world - centre))
    assert (
        cost(truth._replace(measurements=without_depth(truth)), scaled.world_from_camera, scaled.points_world) < 1e-15
    )
    found = adjust(scaled, max_iterations=40, tolerance=1e-14)
    assert np.abs(found.world_from_camera - truth.world_from_camera).max() < 1e-7


def without_depth(window: Window) -> Measurements:
    return window.measurements._replace(precision=window.measurements.precision * [1, 1, 0])


def test_with_noise_the_cost_is_below_the_truths_and_as_expected():
    """E[sum of squares] = sigma^2 (2 measurements - parameters), here with the start's 6 + 7 degrees held; 4 sigma band."""
    truth = with_noise(scene(cameras=10, points=100, fixed=2), 0.5)
    found = adjust(perturbed(truth), kernel=Kernel.SQUARED, max_iterations=40, tolerance=1e-14)
    at_truth = linearise(
        truth.world_from_camera, truth.points_world, truth.measurements, INTRINSICS, Kernel.SQUARED
    ).cost
    assert found.cost < at_truth
    freedom = 2 * 1000 - (6 * 8 + 3 * 100)
    assert abs(found.cost / 0.25 - freedom) < 4 * np.sqrt(2 * freedom)


def test_outliers_pull_squares_away_but_not_robust_kernels():
    truth = with_noise(scene(cameras=8, points=100), 0.3, outliers=0.3)
    off = {}
    for kernel in Kernel:
        found = adjust(perturbed(truth), kernel=kernel, max_iterations=60, tolerance=1e-9)
        off[kernel] = np.abs(found.world_from_camera - truth.world_from_camera).max()
    assert off[Kernel.HUBER] < 0.05
    assert off[Kernel.CAUCHY] < 0.02
    assert off[Kernel.SQUARED] > 3 * off[Kernel.HUBER]


def test_adjoint_by_its_definition():
    a_from_b = exp([1.0, -2.0, 0.5, 0.3, 0.8, -0.4])
    tangent = np.array([0.1, 0.2, -0.3, 0.05, -0.1, 0.2])
    assert np.allclose(exp(adjoint(a_from_b) @ tangent) @ a_from_b, a_from_b @ exp(tangent), atol=1e-12)


def tied(window: Window, strength: float) -> Window:
    """The window with every pair of neighbours tied to a motion 10 cm longer than the true one."""
    later = np.arange(1, len(window.fixed))
    a_from_b = np.linalg.inv(window.world_from_camera[later - 1]) @ window.world_from_camera[later]
    a_from_b = a_from_b @ exp([0.0, 0.0, 0.1, 0.0, 0.0, 0.0])
    information = np.tile(strength * np.eye(6), (len(later), 1, 1))
    return window._replace(ties=Ties(later - 1, later, a_from_b, information))


def test_ties_equations_are_their_costs_derivatives():
    window = tied(scene(fixed=1), 3.0)
    column = np.where(window.fixed, FIXED, np.cumsum(~window.fixed) - 1)
    nothing = linearise(
        window.world_from_camera, window.points_world, without_depth(window)._replace(
            precision=np.zeros_like(window.measurements.precision)
        ), INTRINSICS,
    )  # fmt: skip
    reduced = reduce_to_cameras(nothing, window.measurements, column, len(window.points_world), 0.0)
    add_ties(reduced, window.world_from_camera, window.ties, column)
    step = 1e-6
    for k in range(len(reduced.gradient)):
        forward, backward = (
            tie_cost(move_cameras(window.world_from_camera, sign * step * np.eye(24)[k], column), window.ties)
            for sign in (1, -1)
        )
        # to first order in the error of 0.1 m, as documented
        assert 2 * reduced.gradient[k] == pytest.approx((forward - backward) / (2 * step), abs=0.02)
    assert np.allclose(reduced.information, reduced.information.T)


def test_strong_ties_win_over_the_points_and_weak_ones_yield():
    window = tied(scene(fixed=1), 1e12)
    strong = adjust(window, max_iterations=60, tolerance=1e-12)
    assert np.abs(tie_error(strong.world_from_camera, window.ties)).max() < 1e-4
    weak_window = tied(scene(fixed=2), 1e-6)
    weak = adjust(weak_window, max_iterations=60, tolerance=1e-12)
    assert np.abs(weak.world_from_camera - window.world_from_camera).max() < 1e-4


def test_eight_keyframes_and_three_hundred_points_are_adjusted_in_time():
    """20 ms is the aim on a quiet core; the bound is for a busy one."""
    window = perturbed(with_noise(scene(cameras=8, points=300), 0.5))
    adjust(window)  # compiled
    durations = []
    for _ in range(5):
        start = time.process_time()
        adjust(window)
        durations.append(time.process_time() - start)
    assert min(durations) < 0.1
