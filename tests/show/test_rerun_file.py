"""The Rerun file, read back by Rerun's own reader."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.mesh import Mesh, write_mesh
from firstsight.formats.occupancy import write_map
from firstsight.recordings.recording import Recording, Rig, Truth
from firstsight.run_folder import RunFolder
from firstsight.show.rerun_file import write_rerun


def rows_by_entity(run: RunFolder) -> Counter[str]:
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed (pip install 'firstsight[view]')")
    rows: Counter[str] = Counter()
    for part in chunk.RrdReader(str(run.rerun_path)).stream().to_chunks():
        rows[str(part.entity_path)] += part.num_rows
    return rows


def test_every_part_of_the_run_is_in_the_file(run: RunFolder, recording: Recording) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (pip install 'firstsight[view]')")
    write_rerun(run, recording)
    rows = rows_by_entity(run)
    expected = {
        "/world": 1,
        "/world/map/cloud": 1,
        "/world/map/occupancy": 1,
        "/world/true_trajectory": 1,
        "/world/camera": 3,
        "/world/camera/image": 3 + 1,  # and the pinhole
        "/world/camera/image/depth": 3,
        "/world/camera/image/moving": 3,
        "/world/trajectory": 2,
        "/world/lidar": 3,
        "/flow": 2,
    }
    assert {entity: rows[entity] for entity in expected} == expected
    assert [path.name for path in run.path.iterdir() if "part" in path.name] == []


def test_timelines_are_the_frame_and_the_time_since_the_start(run: RunFolder, recording: Recording) -> None:
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed (pip install 'firstsight[view]')")
    write_rerun(run, recording)
    frames, times = [], []
    for part in chunk.RrdReader(str(run.rerun_path)).stream().to_chunks():
        if part.entity_path == "/world/camera":
            batch = part.to_record_batch()
            frames += batch.column("frame").to_pylist()
            times += batch.column("time").cast("int64").to_pylist()
    assert sorted(frames) == [0, 1, 2]
    np.testing.assert_array_equal(sorted(times), recording.stamps_ns)


def test_occupancy_image_has_the_highest_y_in_its_first_row(run: RunFolder, recording: Recording) -> None:
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed (pip install 'firstsight[view]')")
    occupied = np.zeros((2, 3), bool)
    occupied[1, 0] = True
    write_map(run.occupancy_path, occupied, ~occupied, (0.0, 0.0), 0.5)
    write_rerun(run, recording)
    parts = chunk.RrdReader(str(run.rerun_path)).stream().to_chunks()
    batch = next(part.to_record_batch() for part in parts if part.entity_path == "/world/map/occupancy")
    column = next(name for name in batch.schema.names if name.endswith("GridMap:data"))
    assert batch.column(column).to_pylist()[0][0] == [100, 0, 0, 0, 0, 0]


def test_what_the_run_lacks_is_left_out(recording: Recording, write_record: Callable[..., RunFolder]) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (pip install 'firstsight[view]')")
    lidar_alone = replace(recording, rig=Rig(lidar=recording.rig.lidar), images={}, truth=Truth())
    run = write_record(lidar_alone)
    write_rerun(run, lidar_alone)
    rows = rows_by_entity(run)
    assert rows["/world"] == 1
    assert rows["/world/camera/image"] == rows["/world/trajectory"] == rows["/flow"] == 0


def test_missing_rerun_is_named_with_its_installation(
    run: RunFolder, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(InputError, match=r"pip install .*\[view\]'"):
        write_rerun(run, recording)
    assert not run.rerun_path.exists()


def test_the_mesh_is_drawn_where_the_run_has_one(run: RunFolder, recording: Recording) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (pip install 'firstsight[view]')")
    write_rerun(run, recording)
    assert rows_by_entity(run)["/world/map/mesh"] == 0
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    write_mesh(run.mesh_path, Mesh(corners, np.zeros((3, 3), np.uint8), np.array([[0, 1, 2]], np.int32)), "made up")
    write_rerun(run, recording)
    assert rows_by_entity(run)["/world/map/mesh"] == 1
