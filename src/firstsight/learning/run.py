"""`firstsight learn`: perceive, train what the rig allows on what came of it, perceive what was held out again, compare.

OUT/teacher-1/     a run of the frames that teach, of each recording
OUT/before/        a run of the frames that judge, by the classical stages
OUT/trained/NAME/  a training for each lesson
OUT/after/         the frames that judge once more, with all that was learned
OUT/kept/          once more without what was no better, where there is such
OUT/learn.json     what came of it
OUT/report.html    the same to look at

Everything is resumed: runs and trainings by themselves, their number of steps stands in learn.json.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from firstsight import __version__, pretrained
from firstsight.doctor.printing import warn_if_unfit
from firstsight.errors import InputError
from firstsight.formats.storage.lock import locked
from firstsight.learning import judging, record
from firstsight.learning.calibration import calibrated
from firstsight.learning.clearing import clear
from firstsight.learning.lessons import DEPTH, FLOW, ONE_IMAGE, Lesson, held, judged_elsewhere, lessons
from firstsight.learning.page import write_page
from firstsight.learning.record import Comparison, Held, LearnRecord, Taught, Verdict
from firstsight.learning.training import data_of, steps_in, train
from firstsight.perceive.choice import load
from firstsight.perceive.run import Settings, perceive
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.workspace import Workspace
from firstsight.training.data.archives.unpacking import scratch_folder
from firstsight.training.data.dataset import Dataset
from firstsight.training.data.opening import with_settings

LEAST_GAIN = 0.01  # that a learned method must bring to be used
MOST_LOSS = 0.02  # that it may bring where the classical method is sure


@dataclass(frozen=True, kw_only=True)
class Task:
    """What teaches, how it is read, what judges (None: the last third of what teaches), and how long it may take."""

    sources: tuple[str, ...]
    settings: Settings
    judge_on: str | None = None
    budget_minutes: float = 10.0

    def __post_init__(self):
        if self.budget_minutes <= 0:
            raise InputError(f"budget {self.budget_minutes:g}: give some minutes")
        if self.settings.use:
            raise InputError("learn: methods that are used instead of the stages' own cannot be given; leave --use out")

    def held(self) -> list[Held]:
        """The frames of each recording that teach and that judge."""
        whole = replace(self.settings, frames=None)
        counts = {source: len(whole.open(source)) for source in self.sources}
        if self.judge_on is None:
            return [held(source, self.settings.frames, count) for source, count in counts.items()]
        others = len(whole.open(self.judge_on))
        return [
            judged_elsewhere(source, self.settings.frames, count, self.judge_on, others)
            for source, count in counts.items()
        ]


class Learning:
    """One `firstsight learn`: its folder, its record, and the steps in their order."""

    def __init__(self, task: Task, out: Path, console: Console):
        self.task, self.out, self.console = task, out, console
        self.settings = task.settings
        self.recordings = [task.settings.open(source) for source in task.sources]
        self.lessons = lessons(self.recordings[0])
        self.record = LearnRecord(
            version=__version__,
            settings=task.settings.as_json(),
            budget_minutes=task.budget_minutes,
            recordings=task.held(),
        )

    @property
    def path(self) -> Path:
        return self.out / "learn.json"

    def resume(self) -> None:
        """Goes on with the record in the folder. Raises InputError where it is of something else."""
        if not self.path.exists():
            self.record.write(self.path)
            return
        known, fresh = record.read(self.path), self.record
        for name in ("version", "settings", "budget_minutes", "recordings"):
            if getattr(known, name) != getattr(fresh, name):
                raise InputError(
                    f"{self.out}: something else was learned there (another {name.replace('_', ' ')}); "
                    "choose another --out, or --overwrite it"
                )
        self.record = known

    def teacher(self, number: int) -> Workspace:
        """A finished run of the frames that teach, made now or before."""
        held = self.record.recordings[number]
        return self._run(held.source, f"teacher-{number + 1}", replace(self.settings, frames=held.taught))

    def judge(self, kind: str, use: tuple[str, ...] = ()) -> Workspace:
        """A finished run of the frames that judge, by these methods."""
        first = self.record.recordings[0]
        return self._run(first.judge, kind, replace(self.settings, frames=first.held_out, use=use))

    def _run(self, source: str, name: str, settings: Settings) -> Workspace:
        run = perceive(source, self.out / name, settings, console=self.console)
        return Workspace(settings.open(source), run)

    def folder(self, lesson: Lesson) -> Path:
        return self.out / "trained" / lesson.name.replace(" ", "-")

    def sources(self, lesson: Lesson) -> list[str]:
        """The frames that teach, with the runs that they are taught by."""
        return [
            with_settings(
                held.source,
                {
                    "frames": held.taught,
                    "fov-deg": self.settings.fov_deg,
                    "depth-per-metre": self.settings.depth_per_metre,
                    "taught": str(self.out / f"teacher-{number + 1}") if lesson.taught else None,
                },
            )
            for number, held in enumerate(self.record.recordings)
        ]

    def begun(self, lesson: Lesson, data: Dataset | InputError) -> Taught:
        """The record of a training; how many steps it has, or why it cannot be, is decided once."""
        known = self.record.training(lesson.name)
        if known is None:
            known = Taught(name=lesson.name, method=lesson.entry.name)
            if isinstance(data, InputError):
                known.reason = str(data)
            else:
                known.steps = steps_in(60 * self.task.budget_minutes * lesson.share, lesson, data)
            self.record.trainings.append(known)
            self.record.write(self.path)
        return known

    def train(self, lesson: Lesson, before: Workspace, scratch: Path) -> None:
        """Trains, or goes on with it, and sets the error that it expects right on the frames that judge; a lesson for which the frames that teach lack something is left out."""
        sources, folder = self.sources(lesson), self.folder(lesson)
        try:
            data = data_of(lesson, sources, scratch)
        except InputError as error:
            taught = self.begun(lesson, error)
            self.console.print(f"{lesson.name} is not learned: {taught.reason}")
            return
        taught = self.begun(lesson, data)
        self.console.print(f"{lesson.name}: {taught.method} learns in {taught.steps} steps from {len(data)} samples")
        start = time.monotonic()
        train(lesson, taught.steps, data, sources, folder, self.console)
        taught.seconds += round(time.monotonic() - start, 1)
        taught.error_factor = calibrated(folder, before)
        taught.weights = sum(parameter.numel() for parameter in pretrained.load(folder).parameters())
        self.record.write(self.path)

    @property
    def learned(self) -> list[Lesson]:
        """The lessons of which there is a training."""
        return [
            lesson for lesson in self.lessons if (taught := self.record.training(lesson.name)) and not taught.reason
        ]

    def compare(self, before: Workspace, after: Workspace) -> None:
        """Stage by stage, on the frames that judge."""
        found: list[Comparison] = []
        for lesson in self.learned:
            learned = load(str(self.folder(lesson)))
            if lesson.name == FLOW:
                found += judging.flow_comparisons(before, load(FlowStage.default), learned)
            elif lesson.name == DEPTH:
                found += judging.depth_comparisons(before, after)
            else:
                found += judging.one_image_comparisons(self.teacher(0), before, learned)
        self.record.comparisons = found
        self.record.verdicts = [self.verdict(lesson) for lesson in self.lessons]

    def verdict(self, lesson: Lesson) -> Verdict:
        """Used where what decides is better by LEAST_GAIN, and nothing that guards is worse by more than MOST_LOSS."""
        taught = self.record.training(lesson.name)
        if taught is not None and taught.reason:
            return Verdict(stage=lesson.name, method=lesson.entry.name, used=False, reason=taught.reason)
        decisive = [c for c in self.record.comparisons if c.stage == lesson.name and c.decides]
        if not decisive:
            return Verdict(stage=lesson.name, method=lesson.entry.name, used=False, reason="nothing to judge it by")
        (one,) = decisive
        lost = [c for c in self.record.comparisons if c.stage == lesson.name and c.guards and c.gain < -MOST_LOSS]
        used = one.gain >= LEAST_GAIN and not lost
        reason = "; ".join([in_words(one), *map(in_words, lost)])
        return Verdict(stage=lesson.name, method=lesson.entry.name, used=used, reason=reason)


def in_words(one: Comparison) -> str:
    change = f"{one.measure} {one.before:.3g} -> {one.after:.3g} {one.unit}".strip()
    words = f"{abs(one.gain):.1%} {'better' if one.gain > 0 else 'worse'}" if one.gain else "the same"
    return f"{change}, {words}"


def learn(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: Settings | None = None,
    *,
    judge_on: str | Path | None = None,
    budget_minutes: float = 10.0,
    overwrite: bool = False,
    console: Console | None = None,
) -> LearnRecord:
    """Lets recordings of one rig teach themselves; returns what came of it, which is also in `out` (docs/learning.md).

    The last third of the first recording judges, or all of `judge_on`. An unfinished learning in `out` is continued. Raises
    InputError where a source cannot be used, and where `out` holds something else and `overwrite` is not given.
    """
    names = (sources,) if isinstance(sources, str | Path) else sources
    console, out = console or Console(stderr=True), Path(out)
    task = Task(
        sources=tuple(str(name) for name in names),
        settings=settings or Settings(),
        judge_on=None if judge_on is None else str(judge_on),
        budget_minutes=budget_minutes,
    )
    learning = Learning(task, out, console)
    with locked(out), ExitStack() as held_open:
        if overwrite:
            clear(out)
        elif not learning.path.exists() and any(out.iterdir()):
            raise InputError(f"{out}: the folder holds other files; choose another --out")
        learning.resume()
        if (out / "report.html").exists():  # written last
            console.print(f"already complete: {out} (--overwrite learns anew)", markup=False)
            return learning.record
        for recording in learning.recordings:
            warn_if_unfit(recording, console)
        complete(learning, held_open.enter_context(scratch_folder(out / ".work")))
    return learning.record


def complete(learning: Learning, scratch: Path) -> None:
    """Does what is not done yet, in order."""
    for number in range(len(learning.recordings)):
        learning.teacher(number)
    before = learning.judge("before")
    for lesson in learning.lessons:
        learning.train(lesson, before, scratch)
    folders = {lesson.name: str(learning.folder(lesson)) for lesson in learning.learned if lesson.name != ONE_IMAGE}
    learning.compare(before, learning.judge("after", tuple(folders.values())))
    kept = tuple(folder for name, folder in folders.items() if name in learning.record.used)
    works = [before]
    if kept:
        works.append(learning.judge("after" if len(kept) == len(folders) else "kept", kept))
        learning.record.comparisons += judging.of_runs(*works)
    write_page(learning.out, learning.record, works)
    learning.record.write(learning.path)
