"""The command that is proposed, and what is printed."""

import json

import pytest

from firstsight.doctor import Given, calibration, lidar, print_findings
from firstsight.doctor.printing import conclusion, findings_table
from firstsight.doctor.samples import Samples
from firstsight.doctor.settings import proposed_command, proposed_frames, usable_sensors
from firstsight.run_folder import Finding
from firstsight.terminal import results


@pytest.mark.parametrize(
    ("frames", "step", "proposed"),
    [(None, 1, None), ("5:20", 1, "5:20"), (None, 3, "::3"), ("5:20", 3, "5:20:3"), ("::2", 3, "::6")],
)
def test_frames(frames: str | None, step: int, proposed: str | None):
    assert proposed_frames(frames, step) == proposed


def test_broken_sensors_are_left_out(street_samples: Samples):
    assert usable_sensors(street_samples, set()) is None
    assert usable_sensors(street_samples, {lidar.ALIGNMENT}) == ["camera", "stereo", "odometry"]
    assert usable_sensors(street_samples, {calibration.STEREO_ROWS}) == ["camera", "lidar", "odometry"]


def test_command(street_samples: Samples):
    misaligned = [Finding(check=lidar.ALIGNMENT, verdict="unfit", measured="", advice="")]
    command = proposed_command(street_samples, misaligned, "my drive", Given(fov_deg=90.0, depth_per_metre=1000.0))
    assert (
        command == "firstsight perceive 'my drive' --sensors camera stereo odometry --fov-deg 90 --depth-per-metre 1000"
    )


def test_conclusion():
    fine = Finding(check="clock", verdict="ok", measured="10 Hz")
    noted = Finding(check="exposure", verdict="note", measured="dark")
    broken = Finding(check="image motion", verdict="unfit", measured="still recording")
    assert conclusion([fine]) == "fit for use"
    assert conclusion([fine, noted]) == "fit for use; see the notes on exposure"
    assert conclusion([fine, noted, broken]) == "unfit: image motion: still recording"


def test_print_findings(capsys: pytest.CaptureFixture[str]):
    source = "sim:rooms:frames=12,height=96,width=128"
    plan = [("depth", "semi-global-matching"), ("moving", "skipped: [no] motion")]
    assert print_findings(source, Given(frames="2:"), plan=lambda recording: plan) == 0
    printed = capsys.readouterr().out
    assert "image motion" in printed
    assert "semi-global-matching" in printed
    assert "skipped: [no] motion" in printed
    assert f"firstsight perceive {source} --frames 2:" in printed
    assert "fit for use" in printed.splitlines()[-1]


def test_an_unfit_recording_ends_with_status_1(capsys: pytest.CaptureFixture[str]):
    assert print_findings("sim:rooms:frames=1,height=96,width=128") == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("unfit: length: 1 frames")


def test_findings_as_json(capsys: pytest.CaptureFixture[str]):
    source = "sim:rooms:frames=1,height=96,width=128"
    assert print_findings(source, plan=lambda recording: [("depth", "none")], as_json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["source"] == source
    assert printed["stages"] == [{"stage": "depth", "method": "none"}]
    assert printed["conclusion"].startswith("unfit: length: 1 frames")
    assert {"check", "verdict", "measured", "advice"} == set(printed["findings"][0])


def test_names_from_outside_are_shown_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "150")
    found = Finding(check="blur", verdict="note", measured="a\x1b[31m [red]", advice="pip install '.[view]'")
    results().print(findings_table([found]))
    printed = capsys.readouterr().out
    assert "a\\x1b[31m [red]" in printed
    assert "pip install '.[view]'" in printed
