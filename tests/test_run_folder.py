"""What a run folder holds is judged when it is read back, as anybody's file: in one place for each kind of file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.formats.mesh import read_mesh
from firstsight.formats.point_cloud import read_ply
from firstsight.run_folder import Metric, RunFolder, RunRecord, StageRecord

CONTENT = {
    "version": "0.1.0",
    "source": "drive",
    "format": "KITTI raw drive",
    "frames": 7,
    "scale": "metric",
    "sensors": {"lidar": True},
    "settings": {"use": []},
    "remarks": ["field of view assumed"],
    "flagged_frames": [{"frame": 3, "reason": "dark"}],
    "findings": [],
    "stages": [{"name": "depth", "method": "tsdf", "status": "done", "reason": "", "frames": 7, "seconds": 1.5}],
    "metrics": [{"name": "ATE RMSE", "value": 0.25, "unit": "m", "protocol": "SE(3)"}],
}


CAMERA = {"name": "left", "height": 12, "width": 16}


def written(folder: Path, changes: dict) -> RunFolder:
    (folder / "run.json").write_text(json.dumps(CONTENT | changes))
    return RunFolder(folder)


def test_a_record_comes_back(tmp_path: Path):
    found = written(tmp_path, {}).read_record()
    assert isinstance(found, RunRecord)
    assert found.stages == [StageRecord(name="depth", method="tsdf", status="done", frames=7, seconds=1.5)]
    assert found.metrics == [Metric(name="ATE RMSE", value=0.25, unit="m", protocol="SE(3)")]
    assert found.flagged_frames == [{"frame": 3, "reason": "dark"}]


@pytest.mark.parametrize(("changes", "reason"), [
    ({"flagged_frames": [{}]}, "flagged_frames: setting frame is missing"),
    ({"metrics": [CONTENT["metrics"][0] | {"value": None}]}, "metrics: value: null where a number is expected"),
    ({"stages": None}, "stages: null where a list is expected"),
    ({"stages": [CONTENT["stages"][0] | {"status": "half"}]}, 'stages: status: "half" where one of done, skipped is expected'),
    ({"stages": [CONTENT["stages"][0] | {"frames": "7"}]}, 'stages: frames: "7" where a whole number is expected'),
    ({"findings": [{"check": "clock", "verdict": "ok"}]}, "findings: setting measured is missing"),
    ({"settings": []}, "settings: [] where an object is expected"),
    ({"scale": 3}, "scale: 3 where one of metric, unknown is expected"),
    ({"frames": 10**30}, "frames: 1000000000000000000000000000000 where a whole number is expected"),
])  # fmt: skip
def test_a_damaged_record_is_one_line(tmp_path: Path, changes: dict, reason: str):
    run = written(tmp_path, changes)
    with pytest.raises(InputError) as refused:
        run.read_record()
    cure = "move it away or choose another folder"
    assert str(refused.value) == f"{tmp_path}/run.json: not a run record ({reason}); {cure}"


def test_deep_nesting_a_folder_and_a_pipe_are_one_line(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.record_path.write_text('{"stages": ' + "[" * 100_000)
    with pytest.raises(InputError, match=r"run\.json: not a run record \(missing or not JSON"):
        run.read_record()
    assert not run.holds_run()
    run.record_path.unlink()
    run.record_path.mkdir()
    with pytest.raises(InputError, match=r"run\.json: not a run record"):
        run.read_record()
    run.record_path.rmdir()
    os.mkfifo(run.record_path)
    with pytest.raises(InputError, match=r"run\.json: not a run record"):
        run.read_record()


@pytest.mark.parametrize(("content", "reason"), [
    ("{}", "setting loops is missing"),
    ('{"tried": 3, "loops": [[1, 2, 3]]}', r"loops: \[1, 2, 3\] where a list of 2 is expected"),
    ('{"tried": 3, "loops": [[1, 2.5]]}', "loops: 2.5 where a whole number is expected"),
    ('{"tried": 3, "loops": [[0, 6], [1, 99]]}', "frames 1 and 99 of a recording of 7"),
    ('{"tried": 3, "loops": [[-1, 2]]}', "frames -1 and 2 of a recording of 7"),
    ("[1, 2", "missing or not JSON; restore it"),
    ("[" * 100_000, "missing or not JSON; restore it"),
])  # fmt: skip
def test_damaged_loops_are_one_line(tmp_path: Path, content: str, reason: str):
    (tmp_path / "loops.json").write_text(content)
    with pytest.raises(InputError, match=rf"loops\.json: {reason}; delete it and run again$"):
        RunFolder(tmp_path).read_loops(7)


def test_loops_come_back(tmp_path: Path):
    assert RunFolder(tmp_path).read_loops(7) == []
    (tmp_path / "loops.json").write_text('{"tried": 5, "loops": [[0, 6], [1, 4]]}')
    assert RunFolder(tmp_path).read_loops(7) == [(0, 6), (1, 4)]


@pytest.mark.parametrize("read", [read_ply, read_mesh])
def test_a_folder_in_the_place_of_a_map_is_one_line(tmp_path: Path, read):
    (tmp_path / "map.ply").mkdir()
    with pytest.raises(InputError, match=r"map\.ply: a folder, device or pipe where the"):
        read(tmp_path / "map.ply")


def with_images(folder: Path, height: int, width: int) -> None:
    ones = np.ones((height, width), bool)
    png.write_scaled(folder / "depth" / "000003.png", 2.5 * ones.astype(np.float32), ones)
    png.write_flow(folder / "flow" / "000003.png", np.full((height, width, 2), [1.5, -0.25], np.float32), ones)
    png.write_scaled(folder / "flow_error" / "000003.png", 0.75 * ones.astype(np.float32), ones)
    png.write_ids(folder / "moving" / "000003.png", 7 * ones.astype(np.int64))


def test_images_of_frames_come_back_at_the_size_of_the_record(tmp_path: Path):
    run = written(tmp_path, {"sensors": {"cameras": [CAMERA, CAMERA | {"height": 99}]}})
    with_images(tmp_path, 12, 16)
    assert run.read_depth(3).depth[11, 15] == 2.5
    assert run.read_flow(3).flow[11, 15].tolist() == [1.5, -0.25]
    assert run.read_flow_error(3)[11, 15] == 0.75
    assert run.read_moving(3)[11, 15] == 7
    assert run.read_flow_error(4) is run.read_moving(4) is run.read_flow(4) is None
    assert run.holds(run.depth_path(3))
    assert (run.read_depth(4), run.holds(run.depth_path(4))) == (None, False)


@pytest.mark.parametrize("name", ["depth", "flow", "flow_error", "moving"])
@pytest.mark.parametrize(("height", "width"), [(16, 12), (12, 17), (11, 16)])
def test_an_image_of_another_size_is_one_line_and_not_held(tmp_path: Path, name: str, height: int, width: int):
    run = written(tmp_path, {"sensors": {"cameras": [CAMERA]}})
    with_images(tmp_path, height, width)
    with pytest.raises(InputError) as refused:
        getattr(run, f"read_{name}")(3)
    path = tmp_path / name / "000003.png"
    sizes = f"is {width}x{height}, the run's images are 16x12"
    assert str(refused.value) == f"{path}: {sizes}; make the run anew (--overwrite)"
    assert not run.holds(path)


@pytest.mark.parametrize("sensors", [{}, {"cameras": []}, {"cameras": None}, {"cameras": [{"height": "tall"}]}])
def test_a_record_without_a_size_lets_images_of_any_size_be_read(tmp_path: Path, sensors: dict):
    run = written(tmp_path, {"sensors": sensors})
    with_images(tmp_path, 3, 5)
    assert run.read_depth(3).depth.shape == (3, 5)
    assert run.holds(run.depth_path(3))


def test_an_image_that_is_cut_off_or_none_is_not_held(tmp_path: Path):
    run = written(tmp_path, {"sensors": {"cameras": [CAMERA]}})
    with_images(tmp_path, 12, 16)
    path = run.depth_path(3)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"\0" * len(whole), b"\xff\xd8" + whole):
        path.write_bytes(content)
        assert not run.holds(path)
    path.unlink()
    path.symlink_to(tmp_path / "nothing.png")
    assert not run.holds(path)
