"""The loops of a LiDAR alone: a walk through rooms closes, resumes after a kill to the same bytes; a street stays as it is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from firstsight.errors import InputError
from firstsight.motion.lidar_odometry import Config, LidarOdometry
from firstsight.perceive.execution.running import run_stage
from firstsight.perceive.measure import measure_trajectory
from firstsight.perceive.run import perceive
from firstsight.perceive.stages import loops
from firstsight.perceive.stages.lidar_loops import LidarLoops
from firstsight.perceive.stages.motion import LidarMotion, write_poses
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Channel, Lidar, Recording, Rig, Scan, select
from firstsight.recordings.simulated import simulate
from firstsight.recordings.simulated.indoors.rooms import rooms
from firstsight.recordings.simulated.simulate import recorded, rig_of
from firstsight.recordings.simulated.surface import moved
from firstsight.run_folder import RunFolder
from firstsight.slam.loops.lidar_loop_closing import Config as LidarConfig
from firstsight.slam.loops.lidar_loop_closing import LidarLoopClosing
from firstsight.slam.loops.scan_views import ScanConfig

FRAMES = [*range(0, 60, 3), *range(60, 270, 6), *range(270, 318, 3)]
EMPTY = Scan(np.zeros((0, 3), np.float32))


class Killed(BaseException):
    pass


def by_lidar_alone(recording: Recording, body_from_lidar: np.ndarray) -> Recording:
    """Its sweeps are taken once, a third of their points; the truth is the body's, which stands in for the reference camera."""
    body_from_camera = recording.rig.cameras[0].body_from_camera
    assert recording.scans is not None
    sweeps = [Scan(sweep.points[::3]) for sweep in recording.scans]
    true = recording.truth.world_from_camera @ np.linalg.inv(body_from_camera)
    truth = type(recording.truth)(world_from_camera=true, trajectory_reference="simulation")
    return replace(
        recording,
        rig=Rig(lidar=Lidar(body_from_lidar=body_from_lidar)),
        images={},
        scans=Channel(len(sweeps), lambda i: sweeps[i]),
        truth=truth,
    )


@pytest.fixture(scope="module")
def walk() -> Recording:
    """Round the rooms and back to the start, with a LiDAR on a mast that stands askew on the robot."""
    world = rooms(0)
    body_from_lidar = moved(0.1, -0.05, 1.0, yaw_rad=0.7)
    rig = replace(rig_of(world.viewpoint, (48, 64)), lidar=Lidar(body_from_lidar=body_from_lidar))
    return by_lidar_alone(select(recorded(world, rig, 320, 0), FRAMES), body_from_lidar)


def begun(recording: Recording, folder: Path, turn_rad: float = 0.0013) -> Workspace:
    """With a trajectory that turns so much too far at every step."""
    work, true = Workspace(recording, RunFolder(folder)), recording.truth.world_from_camera
    poses, bias = [true[0]], moved(yaw_rad=turn_rad)
    for i in range(1, len(recording)):
        poses.append(poses[-1] @ np.linalg.inv(true[i - 1]) @ true[i] @ bias)
    write_poses(work, np.arange(len(recording)), np.array(poses))
    return work


@pytest.fixture(scope="module")
def closed(walk: Recording, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    work = begun(walk, tmp_path_factory.mktemp("walk"))
    record = run_stage(LidarLoops(work), lambda frames: None)
    assert "loops of" in record.reason
    assert record.frames == len(walk)
    return work


def test_the_walk_closes_and_says_by_how_much(closed: Workspace):
    values = {metric.name: metric.value for metric in measure_trajectory(closed, "metric")}
    assert values["ATE RMSE, without loops"] > 0.05
    assert values["ATE RMSE"] < values["ATE RMSE, without loops"] / 3


def test_the_world_stays_where_it_was(closed: Workspace):
    """The trajectory is the body's again, not the LiDAR's, and starts where odometry's does."""
    start = closed.recording.truth.world_from_camera[0]
    np.testing.assert_allclose(closed.world_from_camera[0], start, atol=1e-5)


def test_loops_join_frames_of_the_same_place(closed: Workspace):
    true, pairs = closed.recording.truth.world_from_camera, closed.run.read_loops(len(closed.recording))
    assert len(pairs) >= 3
    for a, b in pairs:
        assert np.linalg.norm(true[a, :3, 3] - true[b, :3, 3]) < 2
        assert FRAMES[b] - FRAMES[a] > 100


def die(*_: object) -> None:
    raise Killed


def dying_at(last: int) -> Callable[[Workspace], LidarLoops]:
    class Dying(LidarLoops):
        def process(self, frame: int) -> None:
            return die() if frame == last else super().process(frame)

    return Dying


@pytest.mark.slow  # closes the walk twice more
def test_killed_anywhere_it_ends_the_same(walk: Recording, closed: Workspace, tmp_path: Path, monkeypatch):
    work = begun(walk, tmp_path)
    opened = work.run.trajectory_path.read_bytes()
    monkeypatch.setattr("firstsight.perceive.execution.running.SAVE_EVERY_S", 0.0)
    for last in (1, 40):
        with pytest.raises(Killed):
            run_stage(dying_at(last)(work), lambda frames: None)
    monkeypatch.setattr(loops, "write_poses", die)
    with pytest.raises(Killed):  # after all frames, before the trajectory is written
        run_stage(LidarLoops(work), lambda frames: None)
    assert work.run.trajectory_path.read_bytes() == opened
    monkeypatch.setattr(loops, "write_poses", write_poses)
    run_stage(LidarLoops(work), lambda frames: None)
    for name in ("odometry.txt", "loops.json", "trajectory.txt"):
        assert (work.run.path / name).read_bytes() == (closed.run.path / name).read_bytes()


def test_a_kept_scan_is_read_back_to_the_bit(walk: Recording, tmp_path: Path, carried_on):
    stage = LidarLoops(begun(walk, tmp_path))
    for frame in range(4):
        stage.process(frame)
    again = LidarLoops(stage.work)
    carried_on(stage, again)
    kept, view = again.closing.state(), stage.closing.state()
    assert len(kept["grows"]) == len(view["grows"]) >= 2
    for one, same in zip(kept["grows"], view["grows"], strict=True):
        np.testing.assert_array_equal(one["points"], same["points"])
        np.testing.assert_array_equal(one["world_from_lidar"], same["world_from_lidar"])
        assert one["distance_m"] == same["distance_m"]
        assert one["points"].dtype == np.float32
    np.testing.assert_array_equal(kept["poses"], view["poses"])


def test_sweeps_that_are_missing_are_flagged_and_empty_ones_passed_by(walk: Recording, tmp_path: Path):
    sweeps = [None if i == 2 else EMPTY if i == 0 else walk.scans[i] for i in range(5)]
    short = replace(select(walk, range(5)), scans=Channel(5, lambda i: sweeps[i]))
    work = begun(short, tmp_path, turn_rad=0.0)
    stage = LidarLoops(work)
    stage.closing = LidarLoopClosing(LidarConfig(scans=ScanConfig(min_path=0.0)))  # every sweep is due
    record = run_stage(stage, lambda frames: None)
    assert record.reason.startswith("0 loops")
    assert list(work.flagged) == [2]
    assert stage.frames == [0, 1, 3, 4]
    assert [stage.frames[view["frame"]] for view in stage.closing.state()["grows"]] == [1, 3, 4]
    with pytest.raises(InputError, match="no LiDAR sweep"):
        stage.observe(2)


def test_killed_in_the_middle_it_ends_the_same(walk: Recording, tmp_path: Path, monkeypatch):
    """A smaller one: the start and the end of the walk alone."""
    short = select(walk, [*range(8), *range(55, 66)])
    monkeypatch.setattr("firstsight.perceive.execution.running.SAVE_EVERY_S", 0.0)
    works = [begun(short, tmp_path / name) for name in ("whole", "killed")]
    whole = run_stage(LidarLoops(works[0]), lambda frames: None)
    with pytest.raises(Killed):
        run_stage(dying_at(13)(works[1]), lambda frames: None)
    resumed = run_stage(LidarLoops(works[1]), lambda frames: None)
    assert resumed.reason == whole.reason
    assert len(works[0].run.read_loops(len(works[0].recording))) >= 1
    for name in ("odometry.txt", "loops.json", "trajectory.txt"):
        assert (works[1].run.path / name).read_bytes() == (works[0].run.path / name).read_bytes()


@pytest.fixture(scope="module")
def street() -> Recording:
    drive = simulate("street", frames=40, height=48, width=160)
    assert drive.rig.lidar is not None
    return by_lidar_alone(drive, drive.rig.lidar.body_from_lidar)


def test_a_street_has_no_loops_and_stays_as_it_is(street: Recording, tmp_path: Path):
    work = begun(street, tmp_path)
    before = work.run.trajectory_path.read_bytes()
    record = run_stage(LidarLoops(work), lambda frames: None)
    assert record.reason.startswith("0 loops")
    assert work.run.trajectory_path.read_bytes() == before == work.run.odometry_path.read_bytes()
    assert json.loads(work.run.loops_path.read_text())["loops"] == []


@pytest.mark.slow  # all stages
def test_perceive_closes_a_walk_by_lidar_alone(walk: Recording, tmp_path: Path, monkeypatch):
    """With the motion that registration finds, which drifts little within so short a walk."""
    monkeypatch.setattr("firstsight.perceive.settings.open_recording", lambda *_, **__: walk)
    monkeypatch.setattr(
        LidarMotion, "load_method", lambda _: LidarOdometry(Config(max_range_m=20.0))
    )  # rooms, not a street
    # one process: others would open a recording of their own
    run = perceive("sim:rooms", tmp_path / "run", console=Console(quiet=True), workers=1)
    stages = {stage.name: stage for stage in run.read_record().stages}
    assert stages["motion"].method == "lidar-odometry"
    assert stages["loops"].method == "lidar-loop-closing"
    assert stages["loops"].status == "done"
    assert len(run.read_loops(run.read_record().frames)) >= 3
    values = {metric.name: metric.value for metric in run.read_record().metrics}
    assert values["ATE RMSE"] < values["ATE RMSE, without loops"] < 0.05
    for path in (run.trajectory_path, run.odometry_path, run.loops_path, run.report_path, run.occupancy_path):
        assert path.exists()
    assert not (run.path / ".work").exists()
