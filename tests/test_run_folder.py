"""What a run folder holds is judged when it is read back, as anybody's file: in one place for each kind of file."""

import json
import os
from pathlib import Path

import pytest

from firstsight.errors import InputError
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
