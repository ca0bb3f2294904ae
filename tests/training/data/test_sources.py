"""What a user may write as a source, and runs that teach."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.formats.trajectory import write_tum
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import DepthImage, Recording
from firstsight.recordings.simulated import simulate
from firstsight.run_folder import RunFolder, RunRecord
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.clips import Clips
from firstsight.training.data.opening import Source, open_dataset, parse_source, with_settings
from firstsight.training.data.taught import Teacher, finished_run
from firstsight.training.data.wanted import Wanted, frames


class TaughtFlow(NamedTuple):
    taught_flow_ab: object
    taught_valid: object


class TaughtError(NamedTuple):
    taught_flow_error: object


class TaughtDisparity(NamedTuple):
    taught_disparity: object


class TaughtPoses(NamedTuple):
    taught_world_from_camera: object


class TaughtDepth(NamedTuple):
    taught_depth_m: object
    taught_masks: object


class Calibrated(NamedTuple):
    images: object
    intrinsics: object


class Scanned(NamedTuple):
    images: object
    points_lidar: object


def test_a_source_has_settings_behind_its_name(tmp_path, monkeypatch):
    assert parse_source("drive") == Source("drive")
    assert parse_source("a@b/drive@home") == Source("a@b/drive@home")
    written = parse_source("sim:street:frames=4@frames=1:3@taught=runs/a=b@fov-deg=70")
    assert written == Source("sim:street:frames=4", "1:3", 70.0, "runs/a=b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd@frames=1").mkdir()
    assert parse_source("odd@frames=1") == Source("odd@frames=1")
    assert parse_source("odd@frames=1@frames=2:5@depth-per-metre=1000") == Source(
        "odd@frames=1", "2:5", depth_per_metre=1000.0
    )


def test_settings_of_all_sources_leave_those_of_one_alone():
    stated = {"frames": "0:4", "fov-deg": None, "depth-per-metre": 1000.0}
    assert with_settings("desk", stated) == "desk@frames=0:4@depth-per-metre=1000.0"
    assert with_settings("desk@frames=7:9", stated) == "desk@frames=7:9@depth-per-metre=1000.0"
    assert with_settings("desk", dict.fromkeys(stated)) == "desk"


def message_of(source: str, wanted: Wanted, scratch) -> str:
    with pytest.raises(InputError) as error:
        open_dataset([source], wanted, scratch)
    return str(error.value)


def test_wrong_settings_are_one_line(labelled_images, tmp_path):
    alone = Wanted(ImageBatch, (4, 4))
    world = "sim:rooms:frames=2,height=24,width=32"
    assert (
        message_of(f"{world}@frame=1:2", alone, tmp_path)
        == f"{world}@frame=: a recording can have depth-per-metre, fov-deg, frames, taught"
    )
    assert message_of(f"{world}@depth-per-metre=mm", alone, tmp_path) == (
        f"{world}@depth-per-metre=mm: depth-per-metre is a number, such as 1000 for millimetres"
    )
    assert (
        message_of(f"{world}@fov-deg=wide", alone, tmp_path) == f"{world}@fov-deg=wide: fov-deg is a number of degrees"
    )
    for setting in ("taught=runs/a", "fov-deg=60", "actions=action"):
        message = message_of(f"{labelled_images}@{setting}", alone, tmp_path)
        assert message == f"{labelled_images}@{setting.split('=')[0]}=: single images can have frames"


@pytest.mark.parametrize("name", ["drive", "log.npz", "images.zip", "images.tar.gz", "nowhere@frames=1:2"])
def test_a_source_that_does_not_exist_is_one_line(tmp_path, name):
    message = message_of(str(tmp_path / name), Wanted(ImageBatch, (4, 4)), tmp_path)
    assert message.endswith(
        f"{name.split('@')[0]}: no such file or folder; give the path of a recording, or sim:street"
    )


def test_frames_and_the_field_of_view_of_a_recording(tmp_path):
    for number in range(4):
        png.write_image(tmp_path / f"{number}.png", np.full((8, 8, 3), number, np.uint8))
    data = open_dataset([f"{tmp_path}@frames=1:4@fov-deg=90"], Wanted(Calibrated, (8, 8), frames(0, 1)), tmp_path)
    assert len(data) == 2
    assert data.sample(1)["images"][:, 0, 0, 0].tolist() == [2, 3]
    # the half width of 4 px is seen under 45 degrees
    assert data.sample(0)["intrinsics"][0, 0] == pytest.approx(4.0)


def test_an_assumed_field_of_view_is_remarked_on_where_it_matters(tmp_path):
    png.write_image(tmp_path / "0.png", np.zeros((8, 8, 3), np.uint8))
    wanted = Wanted(Calibrated, (8, 8))
    (remark,) = open_dataset([str(tmp_path)], wanted, tmp_path).remarks
    assert remark == f"{tmp_path}: its field of view is assumed; state it with {tmp_path}@fov-deg=DEGREES"
    assert open_dataset([f"{tmp_path}@fov-deg=60"], wanted, tmp_path).remarks == ()
    assert open_dataset([str(tmp_path)], Wanted(ImageBatch, (8, 8)), tmp_path).remarks == ()


def test_messages_call_the_method_by_its_name(tmp_path):
    for number in range(2):
        png.write_image(tmp_path / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError) as error:
        open_dataset([str(tmp_path)], Wanted(Scanned, (8, 8), frames(0, 1)), tmp_path, method="oyster")
    assert str(error.value) == f"{tmp_path}: it has no LiDAR (points_lidar), from which oyster learns"


def finished(path, recording: Recording, chosen: str | None = None) -> RunFolder:
    """A run that found: depth of frame 0, where column 1 is unknown, and flow of frames 0 and 2."""
    run = RunFolder(path)
    record = RunRecord(version="1", source=recording.source, format="test", frames=len(recording))
    run.write_record(replace(record, settings={"frames": chosen}))
    run.report_path.write_text("")
    columns = np.tile(np.arange(8, dtype=np.float32), (4, 1))
    run.write_depth(0, DepthImage(columns + 1, columns != 1))
    flow = np.stack([columns + 1, np.full_like(columns, 4)], -1)
    for frame in (0, 2):
        png.write_flow(run.flow_path(frame), flow, columns < 6)
    for frame in range(len(recording)):
        png.write_ids(run.moving_path(frame), (columns + frame).astype(np.uint16))
    return run


def test_a_finished_run_teaches_depth_and_masks(recording, tmp_path):
    clips = Clips(
        recording, Wanted(TaughtDepth, (4, 4), frames(0, 1)), Teacher(finished(tmp_path, recording), recording)
    )
    row = clips.sample(0)
    # columns 0, 2, 4, 6; there is no depth of frame 1
    assert row["taught_depth_m"][:, 0, 0].tolist() == [[1, 3, 5, 7], [0, 0, 0, 0]]
    assert row["taught_masks"][:, 0, 3].tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
    whole = Clips(recording, Wanted(TaughtDepth, (4, 8)), Teacher(RunFolder(tmp_path), recording)).sample(0)
    assert whole["taught_depth_m"][0, 0, 1].tolist() == [1, 0, 3, 4, 5, 6, 7, 8]


def test_a_finished_run_teaches_flow(recording, tmp_path):
    clips = Clips(
        recording, Wanted(TaughtFlow, (4, 4), frames(0, 1)), Teacher(finished(tmp_path, recording), recording)
    )
    row = clips.sample(2)
    assert row["taught_flow_ab"][:, 0].tolist() == [[0.5, 1.5, 2.5, 0], [4, 4, 4, 0]]
    assert row["taught_valid"][0, 0].tolist() == [True, True, True, False]
    assert not clips.sample(1)["taught_valid"].any()
    assert clips.sample(1)["taught_flow_ab"].tolist() == [[[0] * 4] * 4] * 2


def test_a_finished_run_teaches_the_error_that_its_flow_expects(recording, tmp_path):
    """Halved with the images' size; 0 for a frame of which the run told none."""
    run = finished(tmp_path, recording)
    png.write_scaled(run.flow_error_path(0), np.tile(np.arange(8, dtype=np.float32) / 4, (4, 1)), np.full((4, 8), True))
    clips = Clips(recording, Wanted(TaughtError, (4, 4), frames(0, 1)), Teacher(run, recording))
    assert clips.sample(0)["taught_flow_error"][0, 0].tolist() == [0, 0.25, 0.5, 0.75]
    assert not clips.sample(2)["taught_flow_error"].any()


def test_a_finished_run_teaches_disparity(tmp_path):
    """fx b / Z + cx - cx', 480 0.3 / 9 + 5 = 21 px of a width of 640, a quarter of it where images are; Z = 0 is unknown."""
    drive = simulate("street", frames=2, height=48, width=640)
    left, right = drive.rig.stereo_cameras
    inner = np.array([[480.0, 0, 310], [0, 480, 24], [0, 0, 1]])
    aside = np.eye(4)
    aside[0, 3] = 0.3
    cameras = (
        replace(left, intrinsics=inner),
        replace(right, intrinsics=inner - 5 * np.eye(3, k=2), body_from_camera=left.body_from_camera @ aside),
    )
    drive = replace(drive, rig=replace(drive.rig, cameras=cameras))
    run = RunFolder(tmp_path)
    depth = np.full((48, 640), 9.0, np.float32)
    run.write_depth(0, DepthImage(depth, np.tile(np.arange(640) < 400, (48, 1))))
    found = Clips(drive, Wanted(TaughtDisparity, (12, 160)), Teacher(run, drive)).sample(0)["taught_disparity"]
    assert found[0, 0, 5, [0, 99, 101, 159]].tolist() == pytest.approx([5.25, 5.25, 0, 0])


def test_a_finished_run_teaches_poses(recording, tmp_path):
    """Frame 3 has none: samples that would need it are left out."""
    run = finished(tmp_path, recording)
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = [0, 1, 3, 0, 10]
    kept = [0, 1, 2, 4]
    write_tum(run.trajectory_path, recording.stamps_ns[kept], poses[kept])
    clips = Clips(recording, Wanted(TaughtPoses, (4, 8), frames(0, 1)), Teacher(run, recording))
    assert clips.frames.tolist() == [0, 1]
    assert clips.sample(1)["taught_world_from_camera"][:, 0, 3].tolist() == [1, 3]
    run.trajectory_path.unlink()
    with pytest.raises(
        InputError, match=r"drive: it has no poses in its run .* \(taught_world_from_camera\), from which"
    ):
        Clips(recording, Wanted(TaughtPoses, (4, 8), frames(0, 1)), Teacher(run, recording))


def test_a_source_that_names_no_run_is_one_line(recording):
    with pytest.raises(InputError, match=r"drive: it names no finished run \(taught_flow_ab\).*write drive@taught=RUN"):
        Clips(recording, Wanted(TaughtFlow, (4, 4), frames(0, 1)))


def test_a_run_without_what_is_wanted_is_one_line(recording, tmp_path):
    run = finished(tmp_path, recording)
    for path in (tmp_path / "flow").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"drive: it has no flow in its run .* \(taught_flow_ab\), from which this"):
        Clips(recording, Wanted(TaughtFlow, (4, 4), frames(0, 1)), Teacher(run, recording))


def test_runs_that_cannot_teach_this_recording_are_one_line(recording, tmp_path):
    run = finished(tmp_path / "run", recording, "0:5")
    assert finished_run(str(run.path), recording, "0:5").run.path == run.path
    with pytest.raises(InputError, match=r"run: a run of drive \(5 frames, 0:5\); it cannot teach drive \(5 frames\)"):
        finished_run(str(run.path), recording, None)
    other = replace(recording, source="other")
    with pytest.raises(InputError, match=r"it cannot teach other \(5 frames, 0:5\): name the run of the same source"):
        finished_run(str(run.path), other, "0:5")
    run.report_path.unlink()
    with pytest.raises(InputError, match="this run is not finished; resume it with `firstsight perceive drive`"):
        finished_run(str(run.path), recording, "0:5")
    with pytest.raises(InputError, match=r"not a run folder \(no run.json\)"):
        finished_run(str(tmp_path), recording, None)


def test_a_source_names_the_run_that_teaches_it(tmp_path):
    for number in range(3):
        png.write_image(tmp_path / "in" / f"{number}.png", np.full((4, 8, 3), number, np.uint8))
    source = str(tmp_path / "in")
    finished(tmp_path / "run", open_recording(source, frames="0:2"), "0:2")
    data = open_dataset(
        [f"{source}@frames=0:2@taught={tmp_path / 'run'}"], Wanted(TaughtFlow, (4, 8), frames(0, 1)), tmp_path
    )
    assert len(data) == 1
    assert data.sample(0)["taught_flow_ab"][0, 0].tolist() == [1, 2, 3, 4, 5, 6, 0, 0]
