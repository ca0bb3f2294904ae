"""The motion stage states where the way is broken: in the trajectory, the record, the flagged frames and the drawing."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from firstsight.perceive.execution.running import run_stage
from firstsight.perceive.stages.motion import CameraMotion
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.opening import open_recording
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
