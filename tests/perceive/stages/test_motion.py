"""The motion stage states where the way is broken: in the trajectory, the record, the flagged frames and the drawing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from firstsight.perceive.execution.running import run_stage
from firstsight.perceive.stages.motion import CameraMotion, DepthCameraMotion, RecordedMotion, brief, metric_scale
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording, Rig
from firstsight.roles import Observation, Odometry, Trajectory
from firstsight.run_folder import RunFolder
from firstsight.show.path_drawings import plan_figure, read_paths


class Broken(Odometry):
    """Ten frames: two measured, three lost, a segment of three, one lost, and the first segment again."""

    needs = frozenset({"image"})
    scale = "unknown"

    def __init__(self) -> None:
        self.frames = 0

    def step(self, observation: Observation) -> None:
        self.frames += 1

    def trajectory(self) -> Trajectory:
        poses = torch.eye(4, dtype=torch.float64).repeat(10, 1, 1)
        poses[:, 2, 3] = torch.arange(10) / 4
        valid = torch.tensor([1, 1, 0, 0, 0, 1, 1, 1, 0, 1], dtype=torch.bool)
        return Trajectory(poses, valid, torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 0]))

    def state(self) -> dict:
        return {"frames": self.frames}

    def restore(self, state: dict) -> None:
        self.frames = state["frames"]


def test_a_broken_way_is_stated_everywhere(tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(10):
        pixels = np.random.default_rng(i).integers(0, 255, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(images / f"{i:03d}.png")
    recording = open_recording(str(images), fov_deg=60.0)
    work = Workspace(recording, RunFolder(tmp_path / "run"))
    stage = CameraMotion(work)
    stage.odometry = Broken()
    record = run_stage(stage, lambda frames: None)
    assert record.reason == (
        "lost in 4 frames: 2, 3, 4, 8; the way is broken before frame 5, 9: how the parts lie to each other was not measured"
    )
    assert sorted(work.flagged) == [2, 3, 4, 5, 8, 9]
    assert work.flagged[3] == "motion: lost, so it has no pose"
    assert work.flagged[5] == "motion: how it lies to the frames before was not measured"
    segments = work.run.read_segments()
    assert segments is not None
    assert segments.tolist() == [0, 0, 1, 1, 1, 0]
    paths = read_paths(work.run, recording, "units")
    assert paths is not None
    assert paths.breaks == ((1, 5), (7, 9))
    drawing = plan_figure(work.run, paths)
    assert "broken: the motion between was not measured" in drawing
    assert "<title>breaks</title>" in drawing


def straight(*x_m: float) -> np.ndarray:
    poses = np.tile(np.eye(4), (len(x_m), 1, 1))
    poses[:, 0, 3] = x_m
    return poses


def test_the_scale_is_that_of_ways():
    estimated, metric = straight(0.0, 1.0, 2.0, 4.0), straight(5.0, 7.5, 10.0, 15.0)
    assert metric_scale(estimated, metric, np.ones(4, bool)) == pytest.approx(2.5)
    estimated[1, 0, 3] = 900
    assert metric_scale(estimated, metric, np.array([True, False, True, True])) == pytest.approx(2.5)
    assert metric_scale(estimated, metric, np.zeros(4, bool)) == 1


def test_one_camera_knows_no_metres_unless_odometry_tells_them(tmp_path: Path):
    recording = Recording(source="", format="", rig=Rig(), stamps_ns=np.arange(2, dtype=np.int64))
    told = replace(recording, odometry=np.tile(np.eye(4), (2, 1, 1)))
    assert [CameraMotion.scale(each, ()) for each in (recording, told)] == ["unknown", "metric"]
    assert DepthCameraMotion.scale(recording, ()) == "metric"


def test_of_many_frames_the_first_few_are_named():
    assert brief(np.array([3])) == "3"
    assert brief(np.arange(6)) == "0, 1, 2, 3, 4, 5"
    assert brief(np.arange(10, 19)) == "10, 11, 12, 13, 14, 15 and 3 more"
    assert brief(np.arange(4), most=2) == "0, 1 and 2 more"


def test_odometry_alone_is_the_trajectory(tmp_path: Path):
    odometry = np.tile(np.eye(4), (3, 1, 1))
    odometry[:, :3, 3] = [[0, 0, 0], [0.5, -0.25, 0], [1.25, -0.5, 0.125]]
    stamps_ns = np.array([10, 30, 45]) * 10**8
    recording = Recording(source="wheels", format="test", rig=Rig(), stamps_ns=stamps_ns, odometry=odometry)
    work = Workspace(recording, RunFolder(tmp_path))
    record = run_stage(RecordedMotion(work), lambda frames: None)
    assert record.reason == "as recorded: no sensor to better it"
    found_ns, poses = work.run.read_trajectory()
    assert found_ns.tolist() == stamps_ns.tolist()
    np.testing.assert_allclose(poses, odometry, atol=1e-6)
