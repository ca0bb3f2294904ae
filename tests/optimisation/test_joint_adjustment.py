"""Joint adjustment against dense normal equations and the truth, full and sparse, with moving things among the measurements."""

import numpy as np
import pytest

from firstsight.optimisation import joint_adjustment
from firstsight.optimisation.joint_adjustment import Config, adjust, damped_step, normal_equations, system_of
from firstsight.optimisation.pnp import Kernel, Measurements, linearise
from firstsight.optimisation.tangents import spatial_move

INTRINSICS = np.array([[200.0, 0, 160], [0, 200, 120], [0, 0, 1]])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def scene(rng: np.random.Generator, cameras: int, points: int) -> tuple[np.ndarray, np.ndarray, Measurements]:
    """Cameras in a row before points; each point is seen by five neighbours, with depth."""
    poses = np.tile(np.eye(4), (cameras, 1, 1))
    poses[:, 0, 3] = 0.3 * np.arange(cameras)
    world = np.stack([rng.uniform(-1, 0.3 * cameras, points), rng.uniform(-1, 1, points), rng.uniform(3, 6, points)], 1)
    nearest = np.argsort(np.abs(world[:, :1] - poses[None, :, 0, 3]), axis=1)[:, :5]
    camera, point = nearest.ravel(), np.repeat(np.arange(points), 5)
    seen = world[point] - poses[camera, :3, 3]
    pixels = seen[:, :2] / seen[:, 2:] * 200 + INTRINSICS[:2, 2]
    measured = np.column_stack([pixels, 1 / seen[:, 2]])
    return poses, world, Measurements(camera, point, measured, np.tile([2.0, 2.0, 100.0], (len(camera), 1)))


def shaken(rng: np.random.Generator, poses: np.ndarray, size: float) -> np.ndarray:
    out = poses.copy()
    for pose in out[1:]:
        spatial_move(pose, rng.normal(0, size, 6))
    return out


def first_fixed(cameras: int) -> np.ndarray:
    return np.arange(cameras) == 0


def test_the_step_is_that_of_the_dense_equations(rng: np.random.Generator):
    poses, world, seen = scene(rng, 6, 30)
    poses, damping = shaken(rng, poses, 0.01), 1e-3
    system = system_of(seen, INTRINSICS, first_fixed(6), 30)
    linear = linearise(poses, world, system.measurements, INTRINSICS, Kernel.CAUCHY, 2.0)
    found = damped_step(system, normal_equations(system, linear), damping)
    assert found is not None
    jacobian = np.zeros((3 * len(seen.camera), 30 + 90))
    for i, (camera, point) in enumerate(zip(*system.measurements[:2], strict=True)):
        if camera:
            jacobian[3 * i : 3 * i + 3, 6 * camera - 6 : 6 * camera] = linear.by_camera[i]
        jacobian[3 * i : 3 * i + 3, 30 + 3 * point : 33 + 3 * point] = linear.by_point[i]
    matrix = jacobian.T @ jacobian
    matrix += damping * np.diag(matrix.diagonal())
    expected = np.linalg.solve(matrix, -jacobian.T @ linear.residual.ravel())
    np.testing.assert_allclose(found[0], expected[:30], atol=1e-9)
    np.testing.assert_allclose(found[1].ravel(), expected[30:], atol=1e-9)


def test_the_truth_is_found_again(rng: np.random.Generator):
    poses, world, seen = scene(rng, 8, 80)
    start = world + rng.normal(0, 0.05, world.shape)
    found = adjust(shaken(rng, poses, 0.02), start, seen, INTRINSICS, first_fixed(8), Config(relative_tolerance=1e-9))
    np.testing.assert_allclose(found.world_from_camera, poses, atol=1e-5)
    np.testing.assert_allclose(found.points_world, world, atol=1e-4)


def test_what_moves_does_not_pull(rng: np.random.Generator):
    poses, world, seen = scene(rng, 8, 80)
    moving = seen.point < 12  # seen a little farther on by every next camera
    seen.measured[moving, 0] += 6.0 * seen.camera[moving]
    robust, squared = (
        adjust(shaken(np.random.default_rng(1), poses, 0.01), world, seen, INTRINSICS, first_fixed(8), Config(kernel=k))
        for k in (Kernel.CAUCHY, Kernel.SQUARED)
    )
    errors = [np.abs(found.world_from_camera - poses).max() for found in (robust, squared)]
    assert errors[0] < errors[1] / 4


def test_many_cameras_are_solved_sparsely_and_the_same(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch):
    poses, world, seen = scene(rng, 100, 500)
    start = shaken(rng, poses, 0.003)
    assert system_of(seen, INTRINSICS, first_fixed(100), 500).structure is not None
    sparse = adjust(start, world, seen, INTRINSICS, first_fixed(100), Config(max_iterations=3))
    structured = joint_adjustment.structured
    monkeypatch.setattr(joint_adjustment, "structured", lambda *parts: structured(*parts, small_system=10**6))
    full = adjust(start, world, seen, INTRINSICS, first_fixed(100), Config(max_iterations=3))
    np.testing.assert_allclose(sparse.world_from_camera, full.world_from_camera, atol=1e-8)
