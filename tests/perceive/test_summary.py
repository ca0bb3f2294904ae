"""What a run prints at its end: few numbers, and names from outside as they are."""

from pathlib import Path

import pytest

from firstsight.perceive.summary import HEADLINES, headlines, print_summary
from firstsight.run_folder import Finding, Metric, RunFolder, RunRecord, StageRecord


def metric(name: str, value: float = 1.5) -> Metric:
    return Metric(name=name, value=value, unit="m", protocol="as always")


def test_at_most_twelve_numbers_in_a_fixed_order():
    everything = [metric(name) for name in (*reversed(HEADLINES), "one more", "and another")]
    shown = [found.name for found in headlines(everything)]
    assert shown == list(HEADLINES)
    assert len(shown) == 12
    assert headlines([metric("one more")]) == []


def test_the_summary_says_where_the_rest_is_and_obeys_nothing(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "100")
    run = RunFolder(tmp_path / "o[/red]")
    record = RunRecord(version="1", source="x", format="simulated", frames=3, scale="unknown")
    advice = "pip install 'firstsight[view]'"
    record.stages = [
        StageRecord(name="depth", method="moving-object-segmentation", status="done", frames=3, seconds=6.0),
        StageRecord(name="recording", method="rerun", status="skipped", reason=advice),
    ]
    record.metrics = [metric("ATE RMSE", 0.046071), metric("RPE rotation"), metric("disparity error density")]
    record.flagged_frames = [{"frame": 4, "reason": "dark"}, {"frame": 7, "reason": "torn"}]
    record.findings = [Finding(check="blur", verdict="unfit", measured="\x1b[31mmuch", advice="[bold]hold still")]
    run.write_record(record)
    print_summary(run)
    printed = capsys.readouterr().out
    lines = [line.rstrip() for line in printed.splitlines()]
    assert lines[1].split() == ["depth", "moving-object-segmentation", "3", "2000"]
    assert lines[2].endswith(f"skipped: {advice}")
    assert "ATE RMSE      0.04607 m" in lines
    assert "1 more metrics, each with its protocol: report.html and run.json" in lines
    assert "density" not in printed
    assert "2 frames could not be used fully; the first: frame 4: dark" in lines
    assert "scale: unknown (one camera alone; distances are in units of their own)" in lines
    assert "doctor: blur: \\x1b[31mmuch. [bold]hold still" in lines
    assert lines[-1] == f"report: {tmp_path}/o[/red]/report.html"
