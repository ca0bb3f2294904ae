"""A LiDAR with a camera: the trajectory that lays the sweeps on each other better, and what is said of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from firstsight.evaluation.trajectory import absolute_errors_m, root_mean_square
from firstsight.formats.trajectory import on_frames
from firstsight.perceive.execution.running import run_stage
from firstsight.perceive.stages.lidar_camera_motion import LidarCameraMotion
from firstsight.perceive.stages.motion import LidarMotion
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Channel, Recording
from firstsight.recordings.simulated import simulate
from firstsight.roles import Trajectory
from firstsight.run_folder import RunFolder


@pytest.fixture(scope="module")
def street() -> Recording:
    """Thirteen frames, 0.4 m apart."""
    return replace(simulate("street", frames=13), odometry=None)


def begun(street: Recording, folder: Path) -> Workspace:
    work = Workspace(street, RunFolder(folder))
    for i in range(len(street)):
        work.run.write_depth(i, street.truth.depth[i])
    return work


def ate_m(work: Workspace) -> float:
    poses = on_frames(*work.run.read_trajectory(), work.recording.stamps_ns)
    return root_mean_square(absolute_errors_m(poses, work.recording.truth.world_from_camera, "se3"))


def test_small_steps_are_measured_by_image_corners(street: Recording, tmp_path: Path):
    work = begun(street, tmp_path)
    record = run_stage(LidarCameraMotion(work), lambda frames: None)
    assert record.method == "visual-odometry"
    assert record.reason.startswith("by image corners with the depth of the LiDAR: sweeps 8 frames apart disagree by ")
    by_corners_m = ate_m(work)
    run_stage(LidarMotion(work), lambda frames: None)
    assert by_corners_m < 0.02
    assert by_corners_m < 0.5 * ate_m(work)


@pytest.mark.parametrize("dark", [range(4, 6), range(13)])
def test_in_the_dark_the_sweeps_alone_are_used(street: Recording, tmp_path: Path, dark: range):
    name = street.rig.cameras[0].name
    images = [np.zeros_like(street.images[name][i]) if i in dark else street.images[name][i] for i in range(13)]
    blind = replace(street, images={name: Channel(13, lambda i: images[i])})
    work = begun(blind, tmp_path)
    record = run_stage(LidarCameraMotion(work), lambda frames: None)
    assert record.method == "lidar-odometry"
    assert record.reason.startswith("by the sweeps alone: the camera lost its way")
    assert ate_m(work) < 0.1


def test_pairs_of_sweeps_are_those_with_both_known(street: Recording, tmp_path: Path):
    """Of twelve frames four can begin a pair eight apart; the sweep of the second, and of the eleventh, has no pose."""
    stage = LidarCameraMotion(begun(street, tmp_path))
    stage.frames = list(range(12))
    known, segments = torch.ones(12, dtype=torch.bool), torch.zeros(12, dtype=torch.int64)
    sweeps = Trajectory(torch.eye(4, dtype=torch.float64).repeat(12, 1, 1), known.clone(), segments)
    sweeps.valid[[1, 10]] = False
    assert stage.pairs(sweeps, sweeps._replace(valid=known)) == [(0, 8), (3, 11)]
    assert stage.pairs(sweeps._replace(valid=known), sweeps) == [], "the corners lack frames that the sweeps have"
    assert stage.pairs(sweeps, sweeps._replace(valid=known, segments=segments + known)) == []
