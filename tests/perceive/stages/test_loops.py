"""The loops stage: closes a walk that comes back, keeps odometry beside it, resumes, and leaves a drive without loops alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstsight.evaluation.trajectory import absolute_errors_m
from firstsight.formats.trajectory import read_tum
from firstsight.perceive.execution.running import run_stage
from firstsight.perceive.measure import measure_trajectory
from firstsight.perceive.stages import loops
from firstsight.perceive.stages.loops import DepthCameraLoops
from firstsight.perceive.stages.motion import write_poses
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Channel, Recording, select
from firstsight.recordings.simulated import simulate
from firstsight.run_folder import RunFolder
from firstsight.show.path_drawings import loop_edges, plan_figure, read_paths

FRAMES = [*range(0, 40, 4), *range(48, 280, 8), *range(284, 320, 4)]


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def walk() -> Recording:
    """A small walk that comes back; its images are rendered once."""
    recording = select(simulate("rooms", frames=320, height=180, width=240), FRAMES)
    name = recording.rig.cameras[0].name
    images, depth = list(recording.images[name]), recording.truth.depth
    assert depth is not None
    depths = list(depth)
    return replace(
        recording,
        images={name: Channel(len(images), lambda i: images[i])},
        truth=replace(recording.truth, depth=Channel(len(depths), lambda i: depths[i])),
    )


def begun(walk: Recording, folder: Path) -> Workspace:
    """With the true depth, and a trajectory that turns a little too far at every step."""
    work = Workspace(walk, RunFolder(folder))
    true, bias = walk.truth.world_from_camera, np.eye(4)
    bias[0, 0] = bias[2, 2] = np.cos(0.003)
    bias[0, 2], bias[2, 0] = np.sin(0.003), -np.sin(0.003)
    poses = [true[0]]
    for i in range(1, len(walk)):
        poses.append(poses[-1] @ np.linalg.inv(true[i - 1]) @ true[i] @ bias)
    for i in range(len(walk)):
        work.run.write_depth(i, walk.truth.depth[i])
    write_poses(work, np.arange(len(walk)), np.array(poses))
    return work


@pytest.fixture(scope="module")
def closed(walk: Recording, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    work = begun(walk, tmp_path_factory.mktemp("walk"))
    record = run_stage(DepthCameraLoops(work), lambda frames: None)
    assert "loops of" in record.reason
    return work


def test_the_walk_closes_and_says_by_how_much(closed: Workspace):
    values = {metric.name: metric.value for metric in measure_trajectory(closed, "metric")}
    assert values["ATE RMSE, without loops"] > 0.05
    assert values["ATE RMSE"] < values["ATE RMSE, without loops"] / 3


def test_loops_join_frames_of_the_same_place(closed: Workspace):
    true, pairs = closed.recording.truth.world_from_camera, closed.run.read_loops(len(closed.recording))
    assert len(pairs) >= 3
    for a, b in pairs:
        assert np.linalg.norm(true[a, :3, 3] - true[b, :3, 3]) < 2
        assert FRAMES[b] - FRAMES[a] > 200


@pytest.mark.slow  # closes the walk three times more
def test_killed_anywhere_it_ends_the_same(walk: Recording, closed: Workspace, tmp_path: Path, monkeypatch):
    work = begun(walk, tmp_path)
    opened = work.run.trajectory_path.read_bytes()
    monkeypatch.setattr("firstsight.perceive.execution.running.SAVE_EVERY_S", 0.0)

    def die(*_: object) -> None:
        raise Killed

    class Dying(DepthCameraLoops):
        def observe(self, frame: int):
            return die() if frame >= 30 else super().observe(frame)

    with pytest.raises(Killed):
        run_stage(Dying(work), lambda frames: None)
    monkeypatch.setattr(loops, "write_poses", die)
    with pytest.raises(Killed):  # after all frames, before the trajectory is written
        run_stage(DepthCameraLoops(work), lambda frames: None)
    assert work.run.trajectory_path.read_bytes() == opened
    monkeypatch.setattr(loops, "write_poses", write_poses)
    run_stage(DepthCameraLoops(work), lambda frames: None)
    run_stage(DepthCameraLoops(work), lambda frames: None)  # killed before the record was written
    assert work.run.odometry_path.read_bytes() == opened == closed.run.odometry_path.read_bytes()
    assert work.run.trajectory_path.read_bytes() == closed.run.trajectory_path.read_bytes()


def test_a_street_has_no_loops_and_stays_as_it_is(tmp_path: Path):
    street = simulate("street", frames=24, height=96, width=320)
    work = Workspace(street, RunFolder(tmp_path))
    for i in range(len(street)):
        work.run.write_depth(i, street.truth.depth[i])
    write_poses(work, np.arange(len(street)), street.truth.world_from_camera)
    before = work.run.trajectory_path.read_bytes()
    record = run_stage(DepthCameraLoops(work), lambda frames: None)
    assert record.reason.startswith("0 loops")
    assert work.run.trajectory_path.read_bytes() == before
    assert json.loads(work.run.loops_path.read_text())["loops"] == []


def street_of(frames: int, folder: Path) -> Workspace:
    street = simulate("street", frames=frames, height=48, width=160)
    work = Workspace(street, RunFolder(folder))
    for i in range(len(street)):
        work.run.write_depth(i, street.truth.depth[i])
    write_poses(work, np.arange(len(street)), street.truth.world_from_camera)
    return work


def killed_at_its_end(work: Workspace, monkeypatch) -> None:
    """All frames are done and saved, and nothing is written."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("firstsight.perceive.execution.running.SAVE_EVERY_S", 0.0)
        patch.setattr(loops, "write_json", die)
        with pytest.raises(Killed):
            run_stage(DepthCameraLoops(work), lambda frames: None)


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_lost_copy_of_the_odometry_is_made_again(tmp_path: Path, monkeypatch, damage: str):
    work = street_of(5, tmp_path)
    opened = work.run.trajectory_path.read_bytes()
    killed_at_its_end(work, monkeypatch)
    work.run.odometry_path.unlink()
    if damage == "damaged":
        work.run.odometry_path.write_bytes(b"\xff\xfe0.5 1 2")
    record = run_stage(DepthCameraLoops(work), lambda frames: None)
    assert (record.status, record.frames) == ("done", 5)
    assert record.reason.startswith("0 loops")
    assert work.run.odometry_path.read_bytes() == work.run.trajectory_path.read_bytes() == opened


def test_what_was_found_on_another_trajectory_is_not_believed(tmp_path: Path, monkeypatch):
    work = street_of(5, tmp_path)
    killed_at_its_end(work, monkeypatch)
    moved = work.recording.truth.world_from_camera.copy()
    moved[:, 1, 3] += 2.5
    write_poses(work, np.arange(4), moved[:4])
    work.run.odometry_path.unlink()
    begun_at: list[int] = []
    record = run_stage(DepthCameraLoops(work), begun_at.append)
    assert begun_at[0] == 0
    assert record.status == "done"
    assert len(read_tum(work.run.trajectory_path)[0]) == 4


def test_segments_are_those_of_the_frames_whatever_other_rows_there_are(tmp_path: Path):
    work = street_of(4, tmp_path)
    first, second, third, fourth = (f"{ns // 10**9}.{ns % 10**9:09d}" for ns in work.recording.stamps_ns.tolist())
    rows = [first, "9999.5", "# segment 2", second, "9999.75", third, "# segment 7", fourth]
    lines = [row if row.startswith("#") else f"{row} 0 0 0 0 0 0 1" for row in rows]
    work.run.odometry_path.write_text("\n".join(lines))
    assert DepthCameraLoops(work).segments(np.array([0, 2, 3])).tolist() == [0, 2, 7]


def test_the_plan_shows_before_after_and_loops(closed: Workspace):
    paths = read_paths(closed.run, closed.recording, "m")
    assert paths is not None
    assert np.isnan(loop_edges(paths)[2::3]).all()
    drawing = plan_figure(closed.run, paths)
    assert "before its loops were closed" in drawing
    assert np.nanmax(absolute_errors_m(paths.without_loops, paths.estimated, "first")) > 0.05
