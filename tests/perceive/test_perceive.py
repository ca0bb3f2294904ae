"""The main job on a small simulated street: everything written, resumable after a kill, clear about what cannot be done."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from firstsight.errors import InputError
from firstsight.formats.storage.lock import locked
from firstsight.perceive.run import Settings, perceive
from firstsight.run_folder import RunFolder

STREET = "sim:street:frames=8,height=96,width=320"
QUIET = Console(quiet=True)


def run_cli(arguments: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firstsight", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return perceive(STREET, tmp_path_factory.mktemp("runs") / "street", console=QUIET)


def value(run: RunFolder, name: str) -> float:
    return next(metric.value for metric in run.read_record().metrics if metric.name == name)


def test_the_run_folder_is_complete(street: RunFolder):
    expected = {
        "run.json",
        "trajectory.txt",
        "odometry.txt",
        "loops.json",
        "map.ply",
        "mesh.ply",
        "map.pgm",
        "map.yaml",
        "places.json",
        "objects.json",
    }
    expected |= {"report.html", "recording.rrd", "depth", "flow", "flow_error", "moving"}
    assert {path.name for path in street.path.iterdir()} == expected
    assert len(list((street.path / "depth").iterdir())) == 8
    assert len(list((street.path / "flow").iterdir())) == 7
    assert len(list((street.path / "flow_error").iterdir())) == 7
    assert len(list((street.path / "moving").iterdir())) == 7
    assert all(stage.status == "done" for stage in street.read_record().stages)


def test_it_is_right_about_the_street(street: RunFolder):
    assert value(street, "bad-1 visible (answered)") < 8
    assert value(street, "flow EPE visible") < 1
    assert value(street, "ATE RMSE") < 0.1
    assert value(street, "ATE RMSE") < value(street, "ATE RMSE, raw odometry")
    assert value(street, "moving mask IoU") > 0.5


def test_the_trajectory_starts_where_the_odometry_does(street: RunFolder):
    """World: the first body frame of the recording's odometry, so the camera starts at its place on the body."""
    from firstsight.recordings.opening import open_recording

    recording = open_recording(STREET)
    _, world_from_camera = street.read_trajectory()
    expected = recording.odometry[0] @ recording.rig.cameras[0].body_from_camera
    np.testing.assert_allclose(world_from_camera[0], expected, atol=1e-6)


def contents(folder: Path) -> dict[str, bytes]:
    """What must not depend on interruptions: all but times, and the two files made from everything."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    record = json.loads(files.pop("run.json"))
    for stage in record["stages"]:
        stage["seconds"] = 0
    files.pop("report.html"), files.pop("recording.rrd")
    return files | {"run.json": json.dumps(record).encode()}


@pytest.mark.parametrize("stage", ["depth/000004.png", "moving/000002.png"])
def test_killed_and_continued_equals_uninterrupted(street: RunFolder, tmp_path: Path, stage: str):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "firstsight", "perceive", STREET, "--out", str(out)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not (out / stage).exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in (out / "depth").glob("0*.png")}
    assert finished
    resumed = run_cli(["perceive", STREET, "--out", out])
    assert resumed.returncode == 0, resumed.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    ours, theirs = contents(out), contents(street.path)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_another_run_in_the_folder_is_not_touched(street: RunFolder):
    before = street.record_path.read_bytes()
    with pytest.raises(InputError, match="another settings"):
        perceive(STREET, street.path, Settings(frames="0:4"), console=QUIET)
    assert street.record_path.read_bytes() == before


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        perceive(STREET, tmp_path, console=QUIET)


def test_out_that_is_a_file(tmp_path: Path):
    with pytest.raises(InputError, match="is a file"):
        perceive(STREET, _binary(tmp_path / "noise.bin"), console=QUIET)


def test_one_camera_says_that_its_scale_is_unknown(tmp_path: Path):
    run = perceive(STREET, tmp_path / "mono", Settings(sensors=("camera",)), console=QUIET)
    record = run.read_record()
    assert record.scale == "unknown"
    assert "Sim(3)" in next(m.protocol for m in record.metrics if m.name == "ATE RMSE")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small KITTI raw drive on disk."""
    from firstsight.recordings.simulated import simulate
    from firstsight.recordings.simulated.export import write_kitti_raw

    return write_kitti_raw(simulate("street", frames=6, height=96, width=320), tmp_path_factory.mktemp("kitti"))


def test_a_truncated_image_flags_its_frame(drive: Path, tmp_path: Path):
    copy = shutil.copytree(drive.parent, tmp_path / drive.parent.name) / drive.name
    image = sorted((copy / "image_02" / "data").iterdir())[2]
    image.write_bytes(image.read_bytes()[:2000])
    run = perceive(str(copy), tmp_path / "run", console=QUIET)
    record = run.read_record()
    assert [flag["frame"] for flag in record.flagged_frames if image.name in flag["reason"]]
    assert run.read_depth(2) is None
    assert run.read_depth(3) is not None
    assert run.report_path.exists()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "nowhere", "nowhere"),
        (lambda folder: folder, "empty"),
        (lambda folder: _binary(folder / "noise.bin"), "noise.bin"),
        (lambda folder: _binary(folder / "noise.mp4"), "noise.mp4"),
        (lambda _: Path(os.devnull), os.devnull),
    ],
    ids=["missing", "empty", "binary", "broken video", "device"],
)
def test_unusable_sources_end_in_one_line(tmp_path: Path, make, says: str):
    source = make(tmp_path)
    ended = run_cli(["perceive", source, "--out", tmp_path / "out"])
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert says in ended.stderr
    assert not (tmp_path / "out").exists()


def _binary(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    return path


def test_missing_calibration_names_the_file(drive: Path, tmp_path: Path):
    copy = shutil.copytree(drive.parent, tmp_path / drive.parent.name) / drive.name
    (copy.parent / "calib_cam_to_cam.txt").unlink()
    ended = run_cli(["perceive", copy, "--out", tmp_path / "out"])
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "calib_cam_to_cam.txt" in ended.stderr


def test_paths_may_be_text_and_one_name_a_tuple(drive: Path, tmp_path: Path):
    settings = Settings(sensors="lidar", frames="0:1")
    assert settings.sensors == ("lidar",)
    assert Settings(sensors=["camera", "lidar"]).sensors == ("camera", "lidar")
    with pytest.raises(InputError, match="nothing can be done"):
        perceive(drive, str(tmp_path / "run"), settings, console=QUIET)


def test_a_second_perceive_in_one_folder_is_refused_in_one_line(street: RunFolder):
    before = contents(street.path)
    with locked(street.path):
        ended = run_cli(["perceive", STREET, "--out", street.path, "--overwrite"])
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "another firstsight" in ended.stderr
    assert contents(street.path) == before


@pytest.mark.parametrize("content", ["null", '{"my": "project"}'])
def test_overwrite_leaves_somebody_s_own_folder_alone(tmp_path: Path, content: str):
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not the record of a run"):
        perceive("sim:street:frames=1,height=48,width=96", tmp_path, overwrite=True, console=QUIET)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "thesis.txt"]
    assert (tmp_path / "run.json").read_text() == content


def test_nothing_that_can_be_read_is_no_success(tmp_path: Path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(10):
        content = cv2.imencode(".png", np.random.default_rng(number).integers(0, 255, (48, 96), np.uint8))[1].tobytes()
        (folder / f"{number}.png").write_bytes(content[:400] if 2 <= number < 5 else content)
    with pytest.raises(
        InputError, match=r"none of its 3 frames can be read; the first: .*2\.png: damaged or truncated"
    ):
        perceive(folder, tmp_path / "run", Settings(frames="2:5"), workers=1)
    assert not (tmp_path / "run" / "report.html").exists()
