"""The jobs of a run, each of which any process can do, and the doing of them. Answers are plain values that fit in JSON."""

from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from typing import Any, Literal, NamedTuple

from firstsight.doctor import examine
from firstsight.perceive.conclusion import exported
from firstsight.perceive.execution.running import Progress, attempt, run_stage
from firstsight.perceive.measure import measure
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.show.report import draw

Answer = dict[str, Any]


class Job(NamedTuple):
    """What to do.

    examine: what the doctor says of the recording. frame: one frame of a FrameStage. stage: a whole stage, of which what is
    done is only counted. measure: some metrics. export: recording.rrd. draw: the report's drawings. `subject` is the stage's class or the metrics' name.
    """

    kind: Literal["examine", "frame", "stage", "measure", "export", "draw"]
    subject: str = ""
    frame: int = 0


class JobRunner:
    """Does jobs of one run, one after the other. `scale` is the run's."""

    def __init__(self, work: Workspace, scale: str) -> None:
        self.work, self.scale = work, scale
        self._stages: dict[str, Stage] = {}

    def run(self, job: Job, advance: Callable[[int], None]) -> Answer:
        """The answer to a job; `advance(frames)` is told how far a whole stage has come."""
        match job.kind:
            case "examine":
                return {"findings": [asdict(finding) for finding in examine(self.work.recording)]}
            case "frame":
                return {"seconds": self._run_frame(job)}
            case "stage":
                return self._run_stage(job, advance)
            case "measure":
                metrics, failed = measure(job.subject, self.work, self.scale)
                return {"metrics": [asdict(metric) for metric in metrics], "failed": failed}
            case "export":
                return {"record": asdict(exported(self.work))}
            case "draw":
                return {"drawings": draw(self.work.run, self.work.recording)}

    def _run_frame(self, job: Job) -> float:
        """The time it took. Why a frame cannot be used is found again, and said, when the whole stage is run."""
        if job.subject not in self._stages:
            self._stages[job.subject] = class_of(job.subject)(self.work)
        progress = Progress()
        with progress.timed():
            attempt(self._stages[job.subject], job.frame)
        return progress.seconds

    def _run_stage(self, job: Job, advance: Callable[[int], None]) -> Answer:
        self.work.flagged = {}
        record = run_stage(class_of(job.subject)(self.work), advance)
        return {"record": asdict(record), "flagged": list(self.work.flagged.items())}


def target_of(stage: type[Stage]) -> str:
    """The text by which another process finds the class."""
    return f"{stage.__module__}:{stage.__qualname__}"


def class_of(target: str) -> type[Stage]:
    """The inverse of `target_of`."""
    module, name = target.split(":")
    return getattr(import_module(module), name)
