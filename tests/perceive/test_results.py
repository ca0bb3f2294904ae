"""What jobs answer is gathered in the record: stages in the plan's order, metrics in theirs."""

from pathlib import Path
from typing import Any

from firstsight.perceive.execution.jobs import Job
from firstsight.perceive.measure import MEASURES
from firstsight.perceive.plan import Skip
from firstsight.perceive.results import Results
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.stages.mapping import CloudStage
from firstsight.run_folder import RunFolder, RunRecord


def stage(name: str, status: str = "done", **more: Any) -> dict[str, Any]:
    return {"name": name, "method": "m", "status": status} | more


def results(folder: Path, **record: Any) -> Results:
    record = {"version": "1", "source": "x", "format": "f", "frames": 3} | record
    return Results(RunFolder(folder), RunRecord(**record), [FlowStage, Skip("moving", "needs depth"), CloudStage])


def names(folder: Path) -> list[str]:
    return [stage.name for stage in RunFolder(folder).read_record().stages]


def test_stages_stand_in_the_order_of_the_plan_and_are_written_when_they_end(tmp_path: Path):
    gathered = results(tmp_path)
    gathered.take(Job("export"), {"record": stage("recording")})
    gathered.take(Job("frame", "flow", 0), {"seconds": 0.25})
    gathered.take(Job("frame", "flow", 1), {"seconds": 0.5})
    gathered.take(Job("frame", "map", 1), {"seconds": 8.0})
    assert not (tmp_path / "run.json").exists()
    gathered.take(Job("stage", "map"), {"record": stage("map", "skipped", seconds=0.0), "flagged": [[2, "dark"]]})
    assert names(tmp_path) == ["moving", "map", "recording"]
    flagged = {"record": stage("flow", seconds=1.0004), "flagged": [[1, "late"], [2, "blurred"], [0, "torn"]]}
    gathered.take(Job("stage", "flow"), flagged)
    assert names(tmp_path) == ["flow", "moving", "map", "recording"]
    written = RunFolder(tmp_path).read_record()
    assert [(s.status, s.reason, s.seconds) for s in written.stages[:3]] == [
        ("done", "", 1.75),
        ("skipped", "needs depth", 0.0),
        ("skipped", "", 0.0),
    ]
    assert written.flagged_frames == [
        {"frame": 0, "reason": "torn"},
        {"frame": 1, "reason": "late"},
        {"frame": 2, "reason": "blurred"},
    ]


def test_what_was_measured_and_what_was_not_is_written_at_the_end(tmp_path: Path):
    gathered = results(tmp_path)
    finding = {"check": "blur", "verdict": "ok", "measured": "3 px", "advice": ""}
    gathered.take(Job("examine"), {"findings": [finding]})
    assert RunFolder(tmp_path).read_record().findings[0].measured == "3 px"
    for number, name in reversed(list(enumerate(MEASURES))):
        failed = {"depth": "depth: no truth", "flow": "flow: torn"}.get(name, "")
        metric = {"name": name, "value": float(number), "unit": "", "protocol": ""}
        gathered.take(Job("measure", name), {"metrics": [] if failed else [metric], "failed": failed})
    gathered.take(Job("draw"), {"drawings": ("images", "path", "course")})
    assert gathered.end() is gathered.drawings
    written = RunFolder(tmp_path).read_record()
    assert [metric.name for metric in written.metrics] == [
        "disparity",
        "trajectory",
        "moving objects",
        "agreement",
        "occupancy",
    ]
    assert [(s.name, s.status, s.reason) for s in written.stages] == [
        ("moving", "skipped", "needs depth"),
        ("metrics", "skipped", "depth: no truth; flow: torn"),
        ("report", "done", ""),
    ]


def test_a_killed_end_is_done_again_and_a_skipped_stage_stands_once(tmp_path: Path):
    record = results(tmp_path).record
    again = Results(RunFolder(tmp_path), record, [Skip("moving", "needs depth")])
    assert [s.name for s in again.record.stages] == ["moving"]
    again.take(Job("export"), {"record": stage("recording")})
    assert [s.name for s in again.record.stages] == ["moving", "recording"]
    third = Results(RunFolder(tmp_path), again.record, [Skip("moving", "needs depth")])
    assert [s.name for s in third.record.stages] == ["moving"]
