"""Frames that do not depend on each other, on several cores: the same bytes as on one, whatever becomes of a worker."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from firstsight.errors import InputError
from firstsight.perceive.execution import running
from firstsight.perceive.execution.running import Progress, end_in_order, run_stage
from firstsight.perceive.execution.workers import Workers
from firstsight.perceive.plan import Skip
from firstsight.perceive.run import perceive, workers_for
from firstsight.perceive.stages.depth import StereoDepth
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.stages.motion import DepthCameraMotion
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Channel, Recording
from firstsight.recordings.simulated import simulate
from firstsight.run_folder import RunFolder

FRAMES = 10


@pytest.fixture(scope="module")
def street() -> Recording:
    """The right image of frame 4 cannot be decoded."""
    recording = simulate("street", frames=FRAMES, height=96, width=320)
    right = recording.images["right"]

    def load(frame: int) -> np.ndarray:
        if frame == 4:
            raise InputError("right/4.png: cut off")
        return right[frame]

    return replace(recording, images={"left": recording.images["left"], "right": Channel(FRAMES, load)})


def written(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def alone(street: Recording, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes."""
    work = Workspace(street, RunFolder(tmp_path_factory.mktemp("alone")))
    for stage in (StereoDepth(work), FlowStage(work)):
        run_stage(stage, lambda frames: None)
    assert work.flagged == {4: "right/4.png: cut off"}
    return written(work.run.path)


def until_ready(workers: Workers) -> None:
    deadline = time.monotonic() + 240
    while not workers.has_free():
        assert time.monotonic() < deadline
        workers.collect()
        time.sleep(0.02)


def test_two_processes_write_the_bytes_of_one(street: Recording, alone: dict[str, bytes], tmp_path: Path):
    work, told = Workspace(street, RunFolder(tmp_path)), []
    workers = Workers(1, work.scratch / "tasks")
    handed: list[int] = []
    hand = workers.hand
    workers.hand = lambda frame, *rest: handed.append(frame) or hand(frame, *rest)
    try:
        until_ready(workers)
        depth = run_stage(StereoDepth(work), told.append, workers)
        by_depth = len(handed)
        flow = run_stage(FlowStage(work), told.append, workers)
    finally:
        workers.close()
    assert 0 < by_depth < len(handed)
    assert written(tmp_path) == alone
    assert (depth.frames, flow.frames) == (FRAMES - 1, FRAMES)
    assert depth.seconds > 0
    assert work.flagged == {4: "right/4.png: cut off"}
    assert told[: told.index(FRAMES) + 1] == sorted(told[: told.index(FRAMES) + 1])
    assert list((work.scratch / "tasks").iterdir()) == []


def test_what_a_worker_that_dies_held_is_done_by_the_others(street: Recording, alone: dict[str, bytes], tmp_path: Path):
    work = Workspace(street, RunFolder(tmp_path))
    workers = Workers(1, work.scratch / "tasks")
    hand = workers.hand

    def hand_and_kill(frame: int, *rest: object) -> None:
        hand(frame, *rest)
        os.kill(workers._workers[0].process.pid, signal.SIGKILL)

    workers.hand = hand_and_kill
    try:
        until_ready(workers)
        record = run_stage(StereoDepth(work), lambda frames: None, workers)
    finally:
        workers.close()
    assert record.frames == FRAMES - 1
    assert written(tmp_path) == {name: content for name, content in alone.items() if name.startswith("depth")}


def test_a_defect_in_a_worker_is_not_hidden(street: Recording, tmp_path: Path):
    work = Workspace(street, RunFolder(tmp_path))
    workers = Workers(1, work.scratch / "tasks")
    try:
        until_ready(workers)
        workers.begin(StereoDepth(work))
        workers.hand(3, {"left": np.zeros((4, 4, 3), np.uint8)}, tmp_path / "3.png")
        with pytest.raises(RuntimeError, match="frame 3"):
            workers.collect(wait=True)
    finally:
        workers.close()


PARENT = """
import sys, time
from pathlib import Path
from firstsight.perceive.execution.workers import Workers
workers = Workers(1, Path(sys.argv[1]))
print(workers._workers[0].process.pid, flush=True)
time.sleep(600)
"""


def test_a_worker_does_not_outlive_a_killed_run(tmp_path: Path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 120
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_checkpoint_tells_of_frames_without_a_gap():
    progress, ended = Progress(), {1: "", 3: ""}
    end_in_order(ended, progress)
    assert (progress.frame, progress.worked) == (0, 0)
    ended[0] = "dark"
    end_in_order(ended, progress)
    assert (progress.frame, progress.worked, progress.flagged) == (2, 1, {0: "dark"})
    assert ended == {3: ""}


def test_there_are_no_more_workers_than_frames_for_them():
    plan = [StereoDepth, DepthCameraMotion, Skip("flow", "")]
    assert workers_for(plan, 60, cores=2) == 1
    assert workers_for(plan, 60, cores=64) == 10
    assert workers_for(plan, 5, cores=2) == 0
    assert workers_for(plan, 60, cores=1) == 0
    assert workers_for(plan[1:], 60, cores=8) == 0


@pytest.mark.slow  # two whole runs
def test_perceive_on_two_cores_is_perceive_on_one(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(running, "SAVE_EVERY_S", 0.1)
    source = "sim:street:frames=12,height=96,width=320"
    runs = [perceive(source, tmp_path / str(n), console=Console(quiet=True), workers=n) for n in (1, 2)]
    ones, twos = (
        {str(p.relative_to(run.path)): p.read_bytes() for p in run.path.rglob("*") if p.is_file()} for run in runs
    )
    assert ones.keys() == twos.keys()
    timed = ("run.json", "report.html", "recording.rrd")
    assert [name for name in ones if ones[name] != twos[name] and name not in timed] == []
    assert [m.value for m in runs[0].read_record().metrics] == pytest.approx(
        [m.value for m in runs[1].read_record().metrics], abs=0, nan_ok=True
    )
