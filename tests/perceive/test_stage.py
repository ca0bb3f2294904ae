"""A stage that is killed anywhere goes on from its checkpoint and ends as if nothing had happened."""

from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.perceive import stage as stage_module
from firstsight.perceive.stage import Stage, run_stage
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Recording, Rig
from firstsight.run_folder import RunFolder


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class Summing(Stage):
    """Adds up frame numbers; dies once at `dies_at`; cannot use frame 3."""

    name, method = "summing", "addition"
    dies_at: int | None = None

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.state = {"sum": 0, "seen": []}
        self.processed: list[int] = []

    def process(self, frame: int) -> None:
        self.processed.append(frame)
        if frame == self.dies_at:
            raise Killed
        if frame == 3:
            raise InputError("frame 3: damaged")
        self.state["sum"] += frame
        self.state["seen"].append(frame)

    def finish(self) -> str:
        return f"sum {self.state['sum']}"


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    recording = Recording(source="test", format="test", rig=Rig(), stamps_ns=np.arange(10, dtype=np.int64))
    return Workspace(recording, RunFolder(tmp_path))


@pytest.mark.parametrize("dies_at", [0, 2, 4, 9])
@pytest.mark.parametrize("save_every_s", [0.0, 1e9])
def test_resumed_equals_uninterrupted(work: Workspace, monkeypatch, dies_at: int, save_every_s: float):
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", save_every_s)
    first = Summing(work)
    first.dies_at = dies_at
    with pytest.raises(Killed):
        run_stage(first, lambda frames: None)
    second = Summing(work)
    record = run_stage(second, lambda frames: None)
    assert record.reason == "sum 42"
    assert record.frames == 9
    assert second.state["seen"] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert work.flagged == {3: "frame 3: damaged"}
    assert second.processed == list(range(dies_at if save_every_s == 0 else 0, 10))


def test_a_stage_without_a_usable_frame_is_skipped_with_the_reason(work: Workspace):
    class Nothing(Summing):
        def process(self, frame: int) -> None:
            raise InputError(f"frame {frame}: no light")

    record = run_stage(Nothing(work), lambda frames: None)
    assert (record.status, record.reason) == ("skipped", "frame 0: no light")
