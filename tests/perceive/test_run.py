"""What a run says of its recording, and when there is nothing to be said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress, TaskID

from firstsight.errors import InputError
from firstsight.perceive.execution.jobs import Job, target_of
from firstsight.perceive.plan import Skip
from firstsight.perceive.run import (
    Bars,
    default_folder,
    describe_sensors,
    require_a_frame,
    require_a_stage,
    why_unreadable,
)
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.stages.mapping import CloudStage
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA, Camera, Channel, Recording, Rig
from firstsight.run_folder import RunRecord, StageRecord


def camera(name: str, right_m: float) -> Camera:
    body_from_camera = BODY_FROM_FORWARD_CAMERA.copy()
    body_from_camera[1, 3] = -right_m
    intrinsics = np.array([[4.0, 0, 1.5], [0, 5.0, 0.5], [0, 0, 1]])
    return Camera(name=name, size=(2, 3), intrinsics=intrinsics, body_from_camera=body_from_camera, assumed=right_m > 0)


def recording(rig: Rig | None = None, **parts: Any) -> Recording:
    return Recording(source="x", format="", rig=rig or Rig(), stamps_ns=np.arange(2, dtype=np.int64), **parts)


def record(*stages: StageRecord, flagged: int = 0) -> RunRecord:
    made = RunRecord(version="1", source="drive", format="", frames=2, stages=list(stages))
    made.flagged_frames = [{"frame": frame, "reason": "dark"} for frame in range(flagged)]
    return made


def skipped(name: str, reason: str = "") -> StageRecord:
    return StageRecord(name=name, method="", status="skipped", reason=reason)


def test_sensors_are_described_with_their_places():
    pair = Rig(cameras=(camera("left", 0.0), camera("right", 0.25)), stereo=("left", "right"))
    told = describe_sensors(recording(pair, depth=Channel(2, lambda _: None)))
    left, right = told.pop("cameras")
    assert told == {"stereo_baseline_m": 0.25, "lidar": False, "depth": True, "odometry": False}
    assert left == {
        "name": "left",
        "height": 2,
        "width": 3,
        "intrinsics": [[4.0, 0.0, 1.5], [0.0, 5.0, 0.5], [0.0, 0.0, 1.0]],
        "body_from_camera": [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        "assumed": False,
    }
    assert (right["name"], right["assumed"], right["body_from_camera"][1][3]) == ("right", True, -0.25)
    alone = describe_sensors(recording(scans=Channel(2, lambda _: None), odometry=np.zeros((2, 4, 4))))
    assert alone == {"cameras": [], "stereo_baseline_m": None, "lidar": True, "depth": False, "odometry": True}


def test_where_all_stages_are_skipped_nothing_can_be_done():
    plan = [FlowStage, Skip("map", "needs depth")]
    ends = (skipped("report"), skipped("recording"))
    require_a_stage(record(skipped("map", "needs depth"), *ends), plan)
    done = StageRecord(name="flow", method="", status="done")
    require_a_stage(record(done, skipped("map", "needs depth")), plan)
    with pytest.raises(InputError, match=r"drive: nothing can .* \(flow: too dark; map: needs depth\)"):
        require_a_stage(record(skipped("flow", "too dark"), skipped("map", "needs depth"), *ends), plan)


def test_where_no_frame_can_be_read_it_is_no_success():
    def broken(frame: int) -> Any:
        raise InputError(f"{frame}.png: damaged")

    nothing, some = Channel(2, broken), Channel(2, lambda frame: "an image" if frame else broken(frame))
    assert [why_unreadable(some, frame) for frame in (0, 1)] == ["0.png: damaged", ""]
    assert why_unreadable(Channel(2, lambda _: None), 1) == "missing"
    with pytest.raises(InputError, match=r"drive: none of its 2 frames can be read; the first: 0\.png: damaged"):
        require_a_frame(record(flagged=2), recording(images={"left": nothing}, scans=Channel(2, lambda _: None)))
    require_a_frame(record(flagged=2), recording(images={"left": nothing}, depth=some))
    require_a_frame(record(flagged=1), recording(images={"left": nothing}))
    require_a_frame(record(flagged=2), recording())


class Told(Progress):
    """A progress bar that only remembers."""

    def __init__(self):
        super().__init__(disable=True)
        self.added, self.done = [], []

    def add_task(self, name: str, total: int) -> TaskID:  # ty: ignore
        self.added.append((name, total))
        return TaskID(len(self.added) - 1)

    def update(self, task: TaskID, completed: int) -> None:  # ty: ignore
        self.done.append((self.added[task][0], completed))


def test_bars_count_frames_done_by_anyone():
    told = Told()
    bars = Bars(told, 9)
    flow, cloud = target_of(FlowStage), target_of(CloudStage)
    bars.show(Job("measure", "flow"), {})
    for frame in (4, 2):
        bars.show(Job("frame", flow, frame), {"seconds": 1.0})
    bars.show(Job("stage", cloud), {"frames": 3})
    bars.show(Job("stage", flow), {"frames": 1})
    bars.show(Job("stage", flow), {"frames": 5})
    bars.show(Job("stage", cloud), {"record": {}})
    assert told.added == [("flow", 9), ("map", 9)]
    assert told.done == [("flow", 1), ("flow", 2), ("map", 3), ("flow", 2), ("flow", 5), ("map", 9)]


def test_default_folders(monkeypatch, tmp_path: Path):
    assert default_folder("sim:street") == Path("runs/sim-street")
    assert default_folder("sim:street:frames=3,seed=1") == Path("runs/sim-street-frames-3-seed-1")
    assert default_folder("/data/drive_0001_sync/") == Path("runs/drive_0001_sync")
    (tmp_path / "my drive").mkdir()
    monkeypatch.chdir(tmp_path / "my drive")
    assert default_folder(".") == Path("runs/my drive")
    assert default_folder("..").name == tmp_path.name
    assert default_folder("/") == Path("runs/recording")
    names = ["走廊", "大厅", "走廊 2", "走廊-2", "走廊_2", "(走廊 2)", "-a", "a", ".a", "a.", "a b", "a  b"]
    assert [default_folder(f"/data/{name}") for name in names] == [Path("runs") / name for name in names]
