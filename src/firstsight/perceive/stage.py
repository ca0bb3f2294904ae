"""What a stage is, and how one is run so that a killed run goes on where it stopped."""

import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from firstsight.errors import InputError
from firstsight.formats.atomic import write_bytes
from firstsight.perceive.workspace import Workspace
from firstsight.run_folder import StageRecord

SAVE_EVERY_S = 2.0  # at most this much work is done again after a kill


class Stage(ABC):
    """One step over all frames. What a stage carries from frame to frame is in `state`, which must pickle.

    Stages of a run do not call each other: each reads what earlier ones wrote to the run folder.
    """

    name: ClassVar[str]
    method: str
    state: Any = None

    def __init__(self, work: Workspace):
        self.work = work

    @abstractmethod
    def process(self, frame: int) -> None:
        """Work on one frame. An InputError flags the frame; the run goes on."""

    def finish(self) -> str:
        """Write what belongs to the whole recording; returns what the user should know about it ("" for nothing)."""
        return ""


@dataclass
class Progress:
    """How far a stage has come; what a checkpoint holds besides the stage's state."""

    frame: int = 0
    seconds: float = 0.0
    worked: int = 0
    flagged: dict[int, str] = field(default_factory=dict)


def run_stage(stage: Stage, advance: Callable[[int], None]) -> StageRecord:
    """Run a stage to its end, from its last checkpoint if it has one. `advance(frames)` is told of the progress."""
    path = stage.work.scratch / f"{stage.name}.checkpoint"
    progress = _restore(stage, path)
    advance(progress.frame)
    saved_at = time.monotonic()
    for frame in range(progress.frame, len(stage.work.recording)):
        _process(stage, frame, progress)
        advance(frame + 1)
        if time.monotonic() - saved_at > SAVE_EVERY_S:
            _save(stage, path, progress)
            saved_at = time.monotonic()
    stage.work.flagged |= progress.flagged
    if progress.worked == 0 and progress.flagged:
        reason = next(iter(progress.flagged.values()))
        return StageRecord(name=stage.name, method=stage.method, status="skipped", reason=reason)
    started = time.perf_counter()
    reason = stage.finish()
    progress.seconds += time.perf_counter() - started
    return StageRecord(
        name=stage.name,
        method=stage.method,
        status="done",
        reason=reason,
        frames=progress.worked,
        seconds=round(progress.seconds, 3),
    )


def _process(stage: Stage, frame: int, progress: Progress) -> None:
    started = time.perf_counter()
    try:
        stage.process(frame)
        progress.worked += 1
    except InputError as error:
        progress.flagged.setdefault(frame, str(error))
    progress.seconds += time.perf_counter() - started
    progress.frame = frame + 1


def _save(stage: Stage, path: Path, progress: Progress) -> None:
    write_bytes(path, pickle.dumps((progress, stage.state), protocol=pickle.HIGHEST_PROTOCOL))


def _restore(stage: Stage, path: Path) -> Progress:
    if not path.exists():
        return Progress()
    progress, stage.state = pickle.loads(path.read_bytes())
    return progress
