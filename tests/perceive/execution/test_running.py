"""A stage that is killed anywhere goes on from its checkpoint and ends as if nothing had happened."""

import os
import pickle
import time
from pathlib import Path

import numba
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.storage.state import write_state
from firstsight.kernels.compiling import seconds_compiling
from firstsight.perceive.execution import running
from firstsight.perceive.execution.running import run_stage
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Recording, Rig
from firstsight.run_folder import RunFolder


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class Summing(Stage):
    """Adds up frame numbers; dies once at `dies_at`; cannot use frame 3."""

    name, default = "summing", "addition"
    dies_at: int | None = None

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.sum, self.seen = 0, []
        self.processed: list[int] = []

    def state(self):
        return {"sum": self.sum, "grows": [{"frame": np.array(frame)} for frame in self.seen]}

    def restore(self, state):
        self.sum, self.seen = state["sum"], [int(seen["frame"]) for seen in state["grows"]]

    def process(self, frame: int) -> None:
        self.processed.append(frame)
        if frame == self.dies_at:
            raise Killed
        if frame == 3:
            raise InputError("frame 3: damaged")
        self.sum += frame
        self.seen.append(frame)

    def finish(self) -> str:
        return f"sum {self.sum}"


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    recording = Recording(source="test", format="test", rig=Rig(), stamps_ns=np.arange(10, dtype=np.int64))
    return Workspace(recording, RunFolder(tmp_path))


@pytest.mark.parametrize("dies_at", [0, 2, 4, 9])
@pytest.mark.parametrize("save_every_s", [0.0, 1e9])
def test_resumed_equals_uninterrupted(work: Workspace, monkeypatch, dies_at: int, save_every_s: float):
    monkeypatch.setattr(running, "SAVE_EVERY_S", save_every_s)
    first = Summing(work)
    first.dies_at = dies_at
    with pytest.raises(Killed):
        run_stage(first, lambda frames: None)
    second = Summing(work)
    record = run_stage(second, lambda frames: None)
    assert record.reason == "sum 42"
    assert record.frames == 9
    assert second.seen == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert work.flagged == {3: "frame 3: damaged"}
    assert second.processed == list(range(dies_at if save_every_s == 0 else 0, 10))


def test_a_stage_without_a_usable_frame_is_skipped_with_the_reason(work: Workspace):
    class Nothing(Summing):
        def process(self, frame: int) -> None:
            raise InputError(f"frame {frame}: no light")

    record = run_stage(Nothing(work), lambda frames: None)
    assert (record.status, record.reason) == ("skipped", "frame 0: no light")


def test_a_defect_is_no_frame_that_cannot_be_used(work: Workspace):
    class Defective(Summing):
        def process(self, frame: int) -> None:
            raise ValueError("not the recording's fault")

    with pytest.raises(ValueError, match="not the recording's fault"):
        run_stage(Defective(work), lambda frames: None)


class Planted:
    """What a pickle must not be able to do."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def killed(work: Workspace, monkeypatch) -> Path:
    """The checkpoint of a run that was killed at frame 6."""
    monkeypatch.setattr(running, "SAVE_EVERY_S", 0.0)
    stage = Summing(work)
    stage.dies_at = 6
    with pytest.raises(Killed):
        run_stage(stage, lambda frames: None)
    return work.scratch / "checkpoints" / "summing.npz"


def plant_pickle(checkpoint: Path) -> None:
    for path in (checkpoint, checkpoint.with_suffix("") / "000000.npz"):
        path.write_bytes(pickle.dumps(Planted(checkpoint.parent / "ran")))


DAMAGES = {
    "pickle": plant_pickle,
    "cut": lambda checkpoint: checkpoint.write_bytes(checkpoint.read_bytes()[:100]),
    "empty": lambda checkpoint: checkpoint.write_bytes(b""),
    "other state": lambda checkpoint: write_state(checkpoint, {"progress": {"frame": "x"}}),
    "no frame": lambda checkpoint: write_state(checkpoint, {"progress": None, "stage": {}}),
    "item gone": lambda checkpoint: (checkpoint.with_suffix("") / "stage.000001.npz").unlink(),
    "item cut": lambda checkpoint: (checkpoint.with_suffix("") / "stage.000001.npz").write_bytes(b"PK"),
    "folder": lambda checkpoint: (checkpoint.unlink(), checkpoint.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_planted_checkpoint_is_dropped_and_runs_nothing(work: Workspace, monkeypatch, damage: str):
    checkpoint = killed(work, monkeypatch)
    DAMAGES[damage](checkpoint)
    assert run_stage(Summing(work), lambda frames: None).reason == "sum 42"
    assert not (checkpoint.parent / "ran").exists()


def test_what_only_grows_is_written_once(work: Workspace, monkeypatch):
    items = killed(work, monkeypatch).with_suffix("")
    written = {path.name: path.stat().st_mtime_ns for path in items.iterdir()}
    assert sorted(written) == [f"stage.{number:06d}.npz" for number in range(5)]
    run_stage(Summing(work), lambda frames: None)
    assert {path.name: path.stat().st_mtime_ns for path in items.iterdir() if path.name in written} == written
    assert len(list(items.iterdir())) == 9


def test_progress_is_told_and_time_is_that_of_the_work(work: Workspace, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(running.time, "perf_counter", lambda: float(next(clock)))
    told: list[int] = []
    record = run_stage(Summing(work), told.append)
    assert told == list(range(11))
    assert record.seconds == 11.0  # one tick for each of ten frames and the end


def test_compiling_a_kernel_is_not_counted_as_computing(work: Workspace):
    class Compiling(Summing):
        def process(self, frame: int) -> None:
            if frame == 0:
                kernel = numba.njit(lambda x: np.sort(np.cumsum(x)) + np.linalg.norm(x))
                kernel(np.ones(3))

    seconds_compiling()
    started, before = time.perf_counter(), seconds_compiling()
    record = run_stage(Compiling(work), lambda frames: None)
    took, compiled = time.perf_counter() - started, seconds_compiling() - before
    assert compiled > 0.2
    assert record.seconds < took - compiled + 0.01
