"""What the maps are given of a frame, and recordings in which there is nothing to map."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.mapping.occupancy import OccupancyGrid
from firstsight.perceive.stages.mapping import OccupancyStage
from firstsight.perceive.stages.motion import write_poses
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.opening import restrict
from firstsight.recordings.simulated import simulate
from firstsight.run_folder import RunFolder


class Recorder:
    """A mapper that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list = []

    def integrate(self, observation, world_from_sensor) -> None:
        self.given.append((observation, world_from_sensor.numpy()))


def street(folder: Path, **parts) -> Workspace:
    """Two frames with true depth and poses; in the first one a square of 6x8 pixels moves."""
    recording = replace(simulate("street", frames=2, height=48, width=96), **parts)
    work = Workspace(recording, RunFolder(folder))
    for i in range(2):
        work.run.write_depth(i, recording.truth.depth[i])
    write_poses(work, np.arange(2), recording.truth.world_from_camera)
    ids = np.zeros((48, 96), np.uint16)
    ids[30:36, 40:48] = 3
    work.run.moving_path(0).parent.mkdir()
    png.write_ids(work.run.moving_path(0), ids)
    work.run.objects_path.write_text("[]")
    return work


def test_a_second_grid_keeps_what_moves(tmp_path: Path):
    """And a frame whose moving objects are not known is left out of both."""
    work = street(tmp_path)
    stage = OccupancyStage(work)
    assert stage.with_moving is not None, "the true occupancy is known"
    stage.mapper, stage.with_moving = Recorder(), Recorder()
    for frame in range(2):
        stage.process(frame)
    (static, pose), (everything, same_pose) = stage.mapper.given[0], stage.with_moving.given[0]
    known, of_still, of_all = (
        work.recording.truth.depth[0].valid, static.depth.valid[0, 0].numpy(), everything.depth.valid[0, 0].numpy()
    )  # fmt: skip
    assert np.array_equal(of_all, known)
    assert int((of_all & ~of_still).sum()) == int(known[30:36, 40:48].sum()) > 0
    assert np.array_equal(pose, same_pose)
    assert (stage.frames, len(stage.mapper.given), len(stage.with_moving.given)) == ([0], 1, 1)


def test_a_rig_without_a_camera_gives_its_sweeps(tmp_path: Path):
    recording = restrict(simulate("street", frames=2, height=48, width=96), frozenset({"lidar"}))
    work = Workspace(recording, RunFolder(tmp_path))
    write_poses(work, np.arange(2), recording.truth.world_from_camera)
    stage = OccupancyStage(work)
    stage.mapper = Recorder()
    stage.process(1)
    ((observation, world_from_sensor),) = stage.mapper.given
    assert observation.depth is None
    assert np.array_equal(observation.points_lidar.numpy(), recording.scans[1].points)
    expected = recording.truth.world_from_camera[1] @ recording.rig.lidar.body_from_lidar
    np.testing.assert_allclose(world_from_sensor, expected, atol=1e-9)


def test_a_grid_without_a_point_is_not_written(tmp_path: Path):
    """Its cells have no size: the file was refused when the report was drawn, and the run never came to its end."""
    stage = object.__new__(OccupancyStage)
    stage.mapper, stage.frames, stage.with_moving = OccupancyGrid(), [0], None
    stage.work = SimpleNamespace(run=RunFolder(tmp_path))
    with pytest.raises(InputError, match="no frame has a point that could be mapped"):
        stage.finish()
    assert not list(tmp_path.iterdir())
