"""Jobs on several cores: the same bytes as on one, whatever becomes of a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import cv2
import pytest
import torch
from rich.console import Console

from firstsight.errors import InputError
from firstsight.perceive.execution import running, workers
from firstsight.perceive.execution.jobs import Job, JobRunner, target_of
from firstsight.perceive.execution.schedule import Schedule, Step
from firstsight.perceive.execution.workers import Workers, one_thread, workers_for
from firstsight.perceive.execution.working import work_off
from firstsight.perceive.run import perceive
from firstsight.perceive.settings import Settings
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.opening import open_recording
from firstsight.run_folder import RunFolder

SOURCE = "sim:street:frames=6,height=48,width=160"
FLOW = target_of(FlowStage)


def begin(out: Path) -> dict[str, object]:
    return {"source": SOURCE, "settings": Settings().as_json(), "out": str(out), "scale": "metric", "sharers": 2}


def runner(out: Path) -> JobRunner:
    return JobRunner(Workspace(open_recording(SOURCE), RunFolder(out)), "metric")


def flow_schedule() -> Schedule:
    frames = deque(Job("frame", FLOW, frame) for frame in range(6))
    return Schedule(
        [
            Step("frames", frames),
            Step("flow", deque([Job("stage", FLOW)]), frozenset({"frames"})),
        ]
    )


def written(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes."""
    out = tmp_path_factory.mktemp("alone")
    runner(out).run(Job("stage", FLOW), lambda frames: None)
    return written(out)


def test_workers_write_the_bytes_of_one_process_though_one_is_killed(alone: dict[str, bytes], tmp_path: Path):
    heard: list[tuple[Job, dict]] = []
    crew = Workers(2, begin(tmp_path))
    killed = crew._workers[0].process.pid

    def hear(job: Job, answer: dict) -> None:
        if not heard:
            os.kill(killed, signal.SIGKILL)
        heard.append((job, answer))

    try:
        work_off(flow_schedule(), runner(tmp_path), crew, hear)
    finally:
        crew.close()
    assert written(tmp_path) == alone
    assert len(alone) == 10, "five flows and their errors"
    frames = [job.frame for job, answer in heard if job.kind == "frame"]
    assert sorted(frames) == [0, 1, 2, 3, 4, 5]
    assert heard[-1][1]["record"]["frames"] == 6
    assert heard[-1][1]["flagged"] == []


def test_this_process_does_what_no_worker_lives_to_do(alone: dict[str, bytes], tmp_path: Path):
    crew = Workers(1, begin(tmp_path))
    os.kill(crew._workers[0].process.pid, signal.SIGKILL)
    done: list[str] = []
    try:
        work_off(
            flow_schedule(), runner(tmp_path), crew, lambda job, said: done.append(job.kind) if len(said) else None
        )
    finally:
        crew.close()
    assert written(tmp_path) == alone
    assert done.count("frame") == 6


def test_images_that_a_stopped_machine_left_unfinished_are_made_anew(alone: dict[str, bytes], tmp_path: Path):
    """A name may reach the disk before the content does: then the file is short, or full of zeros."""
    for name, content in alone.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "flow" / "000001.png").write_bytes(alone["flow/000001.png"][:100])
    (tmp_path / "flow" / "000003.png").write_bytes(bytes(len(alone["flow/000003.png"])))
    (tmp_path / "flow_error" / "000004.png").write_bytes(alone["flow_error/000004.png"][:80])
    kept = (tmp_path / "flow" / "000002.png").stat().st_mtime_ns
    runner(tmp_path).run(Job("stage", FLOW), lambda frames: None)
    assert written(tmp_path) == alone
    assert (tmp_path / "flow" / "000002.png").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("subject", "source", "error", "says"),
    [
        ("firstsight.perceive.stage:Stage", SOURCE, RuntimeError, "a worker failed at frame"),
        (FLOW, "/nowhere/at/all", InputError, "/nowhere/at/all"),
    ],
)
def test_what_fails_in_a_worker_is_not_hidden(tmp_path: Path, subject: str, source: str, error: type, says: str):
    crew = Workers(1, begin(tmp_path) | {"source": source})
    schedule = Schedule([Step("frames", deque([Job("frame", subject, 3)]))])
    try:
        with pytest.raises(error, match=says):
            work_off(schedule, runner(tmp_path), crew, lambda job, answer: None)
    finally:
        crew.close()


PARENT = """
import json, sys, time
from firstsight.perceive.execution.jobs import Job
from firstsight.perceive.execution.workers import Workers
workers = Workers(1, json.loads(sys.argv[1]))
workers.hand(Job("examine"))
print(workers._workers[0].process.pid, flush=True)
time.sleep(600)
"""


def test_a_worker_does_not_outlive_a_killed_run(tmp_path: Path):
    told = json.dumps(begin(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", PARENT, told], stdout=subprocess.PIPE, text=True)
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


def test_there_are_no_more_workers_than_frames_for_them():
    assert workers_for(60, cores=2) == 2
    assert workers_for(60, cores=64) == 7
    assert workers_for(15, cores=2) == 0
    assert workers_for(60, cores=1) == 0


@pytest.mark.slow  # two whole runs
def test_perceive_on_two_cores_is_perceive_on_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "SAVE_EVERY_S", 0.1)
    monkeypatch.setattr(workers, "FRAMES_PER_WORKER", 4)
    source = "sim:street:frames=10,height=96,width=320"
    runs = [perceive(source, tmp_path / str(n), console=Console(quiet=True), workers=n) for n in (1, 2)]
    ones, twos = (
        {str(p.relative_to(run.path)): p.read_bytes() for p in run.path.rglob("*") if p.is_file()} for run in runs
    )
    assert ones.keys() == twos.keys()
    timed = ("run.json", "report.html", "recording.rrd")
    assert [name for name in ones if ones[name] != twos[name] and name not in timed] == []
    one, two = (run.read_record() for run in runs)
    assert [(stage.name, stage.status, stage.reason, stage.frames) for stage in one.stages] == [
        (stage.name, stage.status, stage.reason, stage.frames) for stage in two.stages
    ]
    assert [m.value for m in one.metrics] == pytest.approx([m.value for m in two.metrics], abs=0, nan_ok=True)


def test_within_the_block_there_is_one_thread_and_after_it_as_many_as_before():
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(3)
        cv2.setNumThreads(2)
        with one_thread():
            assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (3, 2)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
