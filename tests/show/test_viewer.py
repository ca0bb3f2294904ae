"""`firstsight show`: what it opens and how, and what it says of a training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from firstsight import pretrained
from firstsight.errors import InputError
from firstsight.representation.energy import rbm
from firstsight.run_folder import RunFolder, RunRecord
from firstsight.show import viewer
from firstsight.show.viewer import show, viewer_command, viewer_environment


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.write_record(RunRecord(version="1", source="sim:street", format="simulated", frames=3))
    run.report_path.touch()
    run.rerun_path.touch()
    return run


def test_the_viewer_is_bound_to_this_machine_and_reports_nothing(run, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("FORCE_RERUN_ANALYTICS", "1")
    monkeypatch.delenv("CI", raising=False)
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **settings: started.append((command, settings)))
    monkeypatch.setattr(viewer, "find_spec", lambda _: object())
    assert show(run.path)[-1].endswith("(opening)")
    ((command, settings),) = started
    assert command == [sys.executable, "-m", "rerun", "--bind", "127.0.0.1", str(run.rerun_path)]
    assert settings["env"]["CI"] == "true"
    assert "FORCE_RERUN_ANALYTICS" not in settings["env"]


def test_the_real_viewer_listens_on_loopback_and_leaves_no_usage_data(tmp_path: Path):
    """It ends at once for want of a screen, after it has begun to listen."""
    rerun = pytest.importorskip("rerun", reason="rerun-sdk is not installed (pip install 'firstsight[view]')")
    recording = rerun.RecordingStream("firstsight")
    recording.save(tmp_path / "recording.rrd")
    recording.disconnect()
    home = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "home"), "RUST_LOG": "info"}
    environment = {k: v for k, v in viewer_environment().items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")} | home
    ended = subprocess.run(
        viewer_command(tmp_path / "recording.rrd"), env=environment, capture_output=True, timeout=60, check=False
    )
    output = (ended.stdout + ended.stderr).decode()
    assert "0.0.0.0" not in output
    assert "127.0.0.1" in output
    assert "usage data" not in output
    assert not list((tmp_path / "home").rglob("*.json"))


def test_without_a_screen_the_command_is_given(run, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    lines = show(run.path)
    assert lines[0] == "run of sim:street"
    assert lines[1] == f"report: {run.report_path}"
    assert f"rerun --bind 127.0.0.1 {run.rerun_path}" in lines[2]


def test_an_unfinished_run_is_called_so(run):
    run.report_path.unlink()
    run.rerun_path.unlink()
    assert "unfinished" in show(run.path)[1]


def test_of_a_training_it_says_where_the_files_are(tmp_path: Path):
    torch.manual_seed(0)
    folder = tmp_path / "rbm"
    pretrained.save(rbm.Rbm(rbm.Rbm.PRESETS["tiny"].config), folder)
    (folder / "sheet.png").touch()
    assert show(folder) == [
        "training of rbm",
        f"preview: {folder / 'sheet.png'}",
        f"weights: {folder / 'model.safetensors'}",
    ]
    os.remove(folder / "model.safetensors")
    assert "training unfinished; resume with" in show(folder)[-1]


def test_what_is_neither_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="not a run folder"):
        show(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        show(tmp_path / "absent")
