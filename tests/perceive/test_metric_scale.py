"""The scale of one camera from recorded odometry: noise and drift on both sides, a camera beside the body, stops, too little."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firstsight.perceive.stages.loops import CameraLoops
from firstsight.perceive.stages.motion import CameraMotion, metric_scale
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import simulate
from firstsight.recordings.simulated.scene import OdometryNoise
from firstsight.recordings.simulated.sensing import odometry
from firstsight.roles import Trajectory
from firstsight.run_folder import RunFolder

NOISE = OdometryNoise(scale=0.0, yaw_rad_per_m=0.02, translation_m=0.01, yaw_rad=0.01)  # of sim:rooms, lengths unbiased
UNIT = 0.37


@pytest.fixture(scope="module")
def rooms() -> Recording:
    return simulate("rooms", frames=320)


def estimate(true: np.ndarray, jitter_m: float, seed: int) -> np.ndarray:
    """In another unit, each position off by so much."""
    out = true.copy()
    out[:, :3, 3] += np.random.default_rng(seed).normal(0, jitter_m, (len(true), 3))
    out[:, :3, 3] *= UNIT
    return out


def measured(rooms: Recording, seed: int) -> np.ndarray:
    body_from_camera, true = rooms.rig.cameras[0].body_from_camera, rooms.truth.world_from_camera
    return odometry.measured(true @ np.linalg.inv(body_from_camera), NOISE, seed) @ body_from_camera


def ratio_of_steps(estimated: np.ndarray, metric: np.ndarray) -> float:
    steps, steps_m = (np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) for poses in (estimated, metric))
    return float(np.median(steps_m / steps))


@pytest.mark.parametrize("seed", range(4))
def test_noise_of_both_leaves_a_percent(rooms: Recording, seed: int):
    """Positions jitter by a centimetre where a step is five: frame by frame, estimated steps are too long."""
    estimated, metric = estimate(rooms.truth.world_from_camera, 0.01, seed), measured(rooms, seed)
    everywhere = np.ones(len(metric), bool)
    assert metric_scale(estimated, metric, everywhere) * UNIT == pytest.approx(1, abs=0.01)
    assert ratio_of_steps(estimated, metric) * UNIT < 0.96


def test_a_turn_that_drifts_does_not_shorten_long_ways(rooms: Recording):
    """Odometry that turns 0.1 rad per metre too far ends elsewhere, but knows the length of what it went."""
    body_from_camera, true = rooms.rig.cameras[0].body_from_camera, rooms.truth.world_from_camera
    drift = OdometryNoise(scale=0.0, yaw_rad_per_m=0.1, translation_m=0.0, yaw_rad=0.0)
    metric = odometry.measured(true @ np.linalg.inv(body_from_camera), drift, 0) @ body_from_camera
    estimated = estimate(true, 0.003, 0)
    across, across_m = (np.linalg.norm(np.ptp(poses[:, :3, 3], axis=0)) for poses in (estimated, metric))
    assert abs(across_m / across * UNIT - 1) > 0.05
    assert metric_scale(estimated, metric, np.ones(len(true), bool)) * UNIT == pytest.approx(1, abs=0.01)


def test_a_robot_that_stands_and_frames_that_are_lost(rooms: Recording):
    order = np.concatenate([np.arange(100), np.full(300, 100), np.arange(100, 320)])
    estimated = estimate(rooms.truth.world_from_camera[order], 0.003, 1)
    metric, valid = measured(rooms, 1)[order], np.ones(len(order), bool)
    valid[450:480], estimated[450:480] = False, np.nan
    assert metric_scale(estimated, metric, valid) * UNIT == pytest.approx(1, abs=0.01)


def test_a_few_stretches_that_slipped_do_not_count(rooms: Recording):
    true = rooms.truth.world_from_camera
    metric, bad = true.copy(), np.arange(20, 320, 60)
    for k in bad:
        metric[k:, :3, 3] += 0.5 * (true[k, :3, 3] - true[k - 5, :3, 3])
    scale = metric_scale(estimate(true, 0.001, 2), metric, np.ones(len(true), bool))
    assert scale * UNIT == pytest.approx(1, abs=0.01)


def test_where_nothing_is_known_the_unit_stays(rooms: Recording):
    true = rooms.truth.world_from_camera
    still = np.repeat(true[:1], 5, 0)
    assert metric_scale(true[:4], true[:4], np.zeros(4, bool)) == 1
    assert metric_scale(true[:1], true[:1], np.ones(1, bool)) == 1
    assert metric_scale(still, true[:5], np.ones(5, bool)) == 1
    assert metric_scale(true[:5], still, np.ones(5, bool)) == 1
    assert metric_scale(estimate(true, 0.0, 0)[:2], true[:2], np.ones(2, bool)) * UNIT == pytest.approx(1)


def turning(count: int) -> np.ndarray:
    """A body on a circle of 1 m; what is mounted half a metre to its left goes half as far."""
    angle = np.linspace(0, 5, count)
    out = np.tile(np.eye(4), (count, 1, 1))
    out[:, 0, 0] = out[:, 1, 1] = np.cos(angle)
    out[:, 1, 0], out[:, 0, 1] = np.sin(angle), -np.sin(angle)
    out[:, 0, 3], out[:, 1, 3] = np.sin(angle), 1 - np.cos(angle)
    return out


@pytest.fixture
def beside(rooms: Recording, tmp_path: Path) -> Workspace:
    """A camera half a metre to the left of the body whose motion odometry tells."""
    body_from_camera = rooms.rig.cameras[0].body_from_camera.copy()
    body_from_camera[:3, 3] = [0.0, 0.5, 1.0]
    camera = replace(rooms.rig.cameras[0], body_from_camera=body_from_camera)
    body = turning(60)
    recording = replace(
        rooms,
        rig=replace(rooms.rig, cameras=(camera,)),
        stamps_ns=rooms.stamps_ns[:60],
        images={},
        odometry=body,
        truth=replace(rooms.truth, world_from_camera=body @ body_from_camera),
    )
    return Workspace(recording, RunFolder(tmp_path))


def test_motion_compares_the_camera_s_way_with_the_camera_s(beside: Workspace):
    true = beside.recording.truth.world_from_camera
    first_from_camera = np.linalg.inv(true[0]) @ true
    first_from_camera[:, :3, 3] *= UNIT
    stage = CameraMotion(beside)
    poses = torch.from_numpy(first_from_camera)
    known = Trajectory(poses, torch.ones(60, dtype=torch.bool), torch.zeros(60, dtype=torch.int64))
    stage.odometry = SimpleNamespace(scale="unknown", trajectory=lambda: known)  # ty: ignore
    stage.frames = list(range(60))
    assert "scale from the recorded odometry (x 2.703)" in stage.finish()
    np.testing.assert_allclose(beside.world_from_camera, true, atol=1e-6)


def test_loops_compare_the_camera_s_way_with_the_camera_s(beside: Workspace):
    true = beside.recording.truth.world_from_camera
    small = true.copy()
    small[:, :3, 3] = true[0, :3, 3] + UNIT * (true[:, :3, 3] - true[0, :3, 3])
    np.testing.assert_allclose(CameraLoops(beside).in_metres(small, np.arange(60)), true, atol=1e-9)
