"""What fails in measuring or drawing does not lose a run: it is named, and report and run.json are written."""

import errno
from pathlib import Path

import pytest
from rich.console import Console

from firstsight.errors import InputError
from firstsight.perceive import conclusion, measure
from firstsight.perceive.conclusion import why_failed
from firstsight.perceive.measure import Measure
from firstsight.perceive.run import perceive
from firstsight.run_folder import RunFolder, StageRecord

QUIET = Console(quiet=True)


def stage(run: RunFolder, name: str) -> StageRecord:
    return next(stage for stage in run.read_record().stages if stage.name == name)


def test_two_frames_with_truth_end_with_a_report(tmp_path: Path):
    run = perceive("sim:street:frames=2,height=48,width=160", tmp_path / "run", console=QUIET)
    assert run.report_path.exists()
    assert "3" in stage(run, "metrics").reason
    assert stage(run, "metrics").reason.startswith("occupancy: 2 frames have both")
    names = {metric.name for metric in run.read_record().metrics}
    assert "flow EPE" in names
    assert not {name for name in names if name.startswith("occupancy")}
    assert not run.scratch_path.exists()


def test_a_lost_trajectory_with_a_known_occupancy_ends_with_a_report(tmp_path: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(*_: object) -> None:
        raise TypeError("a metric\nthat is broken")

    monkeypatch.setattr(conclusion, "write_rerun", full)
    monkeypatch.setitem(measure.MEASURES, "flow", Measure(broken, frozenset()))
    run = perceive("sim:street:frames=3,height=32,width=64", tmp_path / "run", console=QUIET)
    assert run.report_path.exists()
    assert stage(run, "recording").status == "skipped"
    assert "the disk is full" in stage(run, "recording").reason
    assert "flow: TypeError: a metric that is broken" in stage(run, "metrics").reason
    assert stage(run, "occupancy").reason == "no frame has both a pose and depth"
    assert stage(run, "report").status == "done"


def test_the_reason_is_one_line():
    def fails(error: Exception) -> None:
        raise error

    assert why_failed(lambda: None) == ""
    assert why_failed(lambda: fails(InputError("rerun-sdk is missing"))) == "rerun-sdk is missing"
    assert (
        why_failed(lambda: fails(RuntimeError("sink\n closed")))
        == "it could not be written (RuntimeError: sink closed)"
    )
    with pytest.raises(KeyboardInterrupt):
        why_failed(lambda: (_ for _ in ()).throw(KeyboardInterrupt))
