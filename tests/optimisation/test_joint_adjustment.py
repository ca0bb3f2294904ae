"""Joint adjustment against dense normal equations and the truth, full and sparse, with moving things among the measurements."""

import numpy as np
import pytest

from firstsight.optimisation.bundle import problem as bundle
from firstsight.optimisation.bundle.camera_model import Measurements
from firstsight.optimisation.joint_adjustment import Config, adjust
from firstsight.optimisation.robust_kernels import Kernel
from firstsight.optimisation.tangents import spatial_move
from firstsight.optimisation.window_adjustment import Window, problem_of

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


def test_the_step_is_that_of_the_dense_equations(rng: np.random.Generator, slow):
    poses, world, seen = scene(rng, 6, 30)
    poses, damping, order = shaken(rng, poses, 0.01), 1e-3, rng.permutation(len(seen.camera))
    shuffled = Measurements(*(part[order] for part in seen))
    problem, start = problem_of(Window(poses, world, shuffled, INTRINSICS, first_fixed(6)), Config())
    step = problem.step(problem.linearise(start), damping)
    assert step is not None
    robust = {"kernel": Kernel.CAUCHY, "threshold": 2.0}
    cameras, points = slow.dense_step(poses, world, seen, INTRINSICS, first_fixed(6), damping, **robust)
    np.testing.assert_allclose(step.tangent.blocks, cameras, atol=1e-7)
    np.testing.assert_allclose(step.tangent.points, points, atol=1e-7)


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
    window = Window(start, world, seen, INTRINSICS, first_fixed(100))
    assert problem_of(window, Config())[0].system.structure is not None
    sparse = adjust(*window[:5], Config(max_iterations=3))
    system_of = bundle.system_of
    monkeypatch.setattr(bundle, "system_of", lambda *parts: system_of(*parts, small_system=10**6))
    assert problem_of(window, Config())[0].system.structure is None
    full = adjust(*window[:5], Config(max_iterations=3))
    np.testing.assert_allclose(sparse.world_from_camera, full.world_from_camera, atol=1e-8)
