"""Running a stage from frame to frame so that a killed run goes on where it stopped."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from firstsight.errors import InputError
from firstsight.formats.storage.state import Checkpoint
from firstsight.kernels.compiling import seconds_compiling
from firstsight.perceive.stage import Stage
from firstsight.roles.state import State
from firstsight.run_folder import StageRecord

# At most this much work is done again after a kill.
SAVE_EVERY_S = 2.0


@dataclass
class Progress:
    """How far a stage has come: `frame` is the first that is not done; `seconds` do not count the compiling of kernels."""

    frame: int = 0
    seconds: float = 0.0
    worked: int = 0
    flagged: dict[int, str] = field(default_factory=dict)

    def end(self, frame: int, reason: str) -> None:
        """The frame is done; `reason` says why it could not be used, "" where it could."""
        if reason:
            self.flagged.setdefault(frame, reason)
        else:
            self.worked += 1
        self.frame = frame + 1

    def state(self) -> State:
        return asdict(self) | {"flagged": [list(flag) for flag in self.flagged.items()]}

    @classmethod
    def of(cls, state: State) -> "Progress":
        flagged = {int(frame): str(reason) for frame, reason in state["flagged"]}
        return cls(int(state["frame"]), float(state["seconds"]), int(state["worked"]), flagged)

    @contextmanager
    def timed(self) -> Generator[None]:
        """Adds the time that the block takes, without what numba compiles in it."""
        started, compiled = time.perf_counter(), seconds_compiling()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started - (seconds_compiling() - compiled)


def run_stage(stage: Stage, advance: Callable[[int], None]) -> StageRecord:
    """Runs a stage to its end, from its last checkpoint if it has one. `advance(frames)` is told of the progress."""
    checkpoint = Checkpoint(stage.work.scratch / "checkpoints" / f"{stage.name}.npz")
    stage, progress = resumed(stage, checkpoint)
    advance(progress.frame)
    saved_at = time.monotonic()

    def after_frame() -> None:
        nonlocal saved_at
        advance(progress.frame)
        if time.monotonic() - saved_at > SAVE_EVERY_S:
            checkpoint.write({"progress": progress.state(), "stage": stage.state()})
            saved_at = time.monotonic()

    work_in_order(stage, progress, after_frame)
    return concluded(stage, progress)


def resumed(stage: Stage, checkpoint: Checkpoint) -> tuple[Stage, Progress]:
    """The stage as its checkpoint has it; from the beginning where that is missing, damaged or not of this stage."""
    state = checkpoint.read()
    if state is None:
        return stage, Progress()
    try:
        progress = Progress.of(state["progress"])
        stage.restore(state["stage"])
        return stage, progress
    except Exception:  # a file may hold anything, and a method may then raise anything
        checkpoint.drop()
        return type(stage)(stage.work), Progress()


def work_in_order(stage: Stage, progress: Progress, after_frame: Callable[[], None]) -> None:
    """Works on one frame after the other, in this process."""
    for frame in range(progress.frame, len(stage.work.recording)):
        with progress.timed():
            reason = attempt(stage, frame)
        progress.end(frame, reason)
        after_frame()


def attempt(stage: Stage, frame: int) -> str:
    """Works on the frame; returns why it cannot be used, "" where it can."""
    try:
        stage.process(frame)
    except InputError as error:
        return str(error)
    return ""


def concluded(stage: Stage, progress: Progress) -> StageRecord:
    """The record of a stage all of whose frames are done."""
    stage.work.flagged |= progress.flagged
    if progress.worked == 0 and progress.flagged:
        reason = next(iter(progress.flagged.values()))
        return StageRecord(name=stage.name, method=stage.method, status="skipped", reason=reason)
    try:
        with progress.timed():
            reason = stage.finish()
    except InputError as error:
        return StageRecord(name=stage.name, method=stage.method, status="skipped", reason=str(error))
    return StageRecord(
        name=stage.name,
        method=stage.method,
        status="done",
        reason=reason,
        frames=progress.worked,
        seconds=round(progress.seconds, 3),
    )
