"""`learn` from beginning to end on a tiny world; going on after it was killed; whose folder it is."""

import io
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import firstsight
from firstsight.errors import InputError
from firstsight.learning import record, run, training
from firstsight.learning.lessons import Lesson
from firstsight.learning.record import Comparison, LearnRecord
from firstsight.learning.run import Learning, Task, learn
from firstsight.perceive.run import Settings
from firstsight.recordings.opening import frame_indices, open_recording, select
from firstsight.recordings.recording import Recording
from firstsight.run_folder import RunFolder, RunRecord
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted

WORLD = "sim:street:frames=9,height=64,width=96"
CAMERA = Settings(sensors=("camera",))


def quiet() -> Console:
    return Console(file=io.StringIO())


def finished(folder: Path, source: str, settings: Settings) -> RunFolder:
    """A run that holds nothing but its record."""
    run_folder = RunFolder(folder)
    run_folder.write_record(RunRecord(version="1", source=source, format="test", frames=3, settings=settings.as_json()))
    run_folder.report_path.write_text("")
    return run_folder


@cache
def world(source: str, sensors: tuple[str, ...] | None) -> Recording:
    """Opened once: that takes a second."""
    return open_recording(source, sensors=None if sensors is None else frozenset(sensors))


def opened(settings: Settings, source: str) -> Recording:
    whole = world(source, settings.sensors)
    return whole if settings.frames is None else select(whole, frame_indices(settings.frames, len(whole)))


class Fakes:
    """Stands in for what takes time; notes in order what was asked for. `gains` are what lessons bring."""

    def __init__(self, patch: pytest.MonkeyPatch, **gains: float):
        self.asked: list[str] = []
        self.lacking: str | None = None
        self.killed_at: str | None = None
        patch.setattr(run, "perceive", self.perceive)
        patch.setattr(Settings, "open", opened)
        patch.setattr(run, "warn_if_unfit", lambda *_: None)
        patch.setattr(run, "data_of", self.data_of)
        patch.setattr(run, "steps_in", lambda seconds, *_: round(seconds))
        patch.setattr(run, "train", self.train)
        patch.setattr(run, "calibrated", lambda *_: 1.0)
        patch.setattr(run, "load", lambda name: Path(name).name)
        patch.setattr(run.pretrained, "load", lambda _: torch.nn.Linear(2, 1))
        patch.setattr(run, "write_page", lambda out, *_: (out / "report.html").write_text(""))
        for name in ("flow", "depth", "one_image"):
            found = [comparison(name.replace("one_image", "depth of one image"), gains.get(name, 0.0))]
            patch.setattr(run.judging, f"{name}_comparisons", lambda *_, found=found: found)
        patch.setattr(run.judging, "of_runs", lambda *_: [])

    def perceive(self, source: str, folder: Path, settings: Settings, console: Console) -> RunFolder:
        use = [Path(name).name for name in settings.use]
        self.asked.append(" ".join([folder.name, settings.frames or "", *use]))
        return finished(folder, source, settings)

    def data_of(self, lesson: Lesson, sources: list[str], scratch: Path) -> Arrays:
        self.asked.append(f"{lesson.name} from {' '.join(sources)}")
        if lesson.name == self.lacking:
            raise InputError("drive: it has no depth in its run")
        return Arrays(Wanted(ImageBatch), {"images": np.zeros((3, 1, 3, 4, 4), np.uint8)})

    def train(self, lesson: Lesson, steps: int, *_: object) -> None:
        if lesson.name == self.killed_at:
            raise KeyboardInterrupt
        self.asked.append(f"{lesson.name} in {steps} steps")


def comparison(stage: str, gain: float) -> Comparison:
    return Comparison(
        stage=stage, measure="error", unit="", before=1.0, after=1 - gain, better="lower", protocol="", decides=True
    )


def test_what_is_done_in_which_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stereo rig: three lessons share three minutes; depth is no better, so that the judging frames are run once more."""
    fakes = Fakes(monkeypatch, flow=0.2, depth=-0.1, one_image=0.5)
    found = learn(WORLD, tmp_path / "out", Settings(sensors=("stereo",)), budget_minutes=3.0, console=quiet())
    taught = f"{WORLD}@frames=0:6:1@taught={tmp_path / 'out' / 'teacher-1'}"
    assert [asked for asked in fakes.asked if "teacher-1 " not in asked] == [
        "before 6:9:1",
        f"flow from {WORLD}@frames=0:6:1",
        "flow in 60 steps",
        f"depth from {taught}",
        "depth in 60 steps",
        f"depth of one image from {taught}",
        "depth of one image in 60 steps",
        "after 6:9:1 flow depth",
        "kept 6:9:1 flow",
    ]
    assert found.used == ["flow", "depth of one image"]
    assert record.read(tmp_path / "out" / "learn.json") == found


def test_a_killed_learning_goes_on_with_the_steps_that_were_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fakes = Fakes(monkeypatch, flow=0.2, depth=0.2)
    fakes.killed_at = "depth"
    with pytest.raises(KeyboardInterrupt):
        learn(WORLD, tmp_path / "out", CAMERA, budget_minutes=2.0, console=quiet())
    fakes.killed_at = None
    monkeypatch.setattr(run, "steps_in", lambda *_: pytest.fail("decided twice"))
    found = learn(WORLD, tmp_path / "out", CAMERA, budget_minutes=2.0, console=quiet())
    assert [(one.name, one.steps, one.weights) for one in found.trainings] == [("flow", 60, 3), ("depth", 60, 3)]
    assert fakes.asked[-1] == "after 6:9:1 flow depth"


def test_a_lesson_that_lacks_something_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fakes = Fakes(monkeypatch, flow=0.2)
    fakes.lacking = "depth"
    found = learn(WORLD, tmp_path / "out", CAMERA, budget_minutes=2.0, console=quiet())
    assert [(one.stage, one.used, one.reason) for one in found.verdicts] == [
        ("flow", True, "error 1 -> 0.8, 20.0% better"),
        ("depth", False, "drive: it has no depth in its run"),
    ]
    assert fakes.asked[-1] == "after 6:9:1 flow"


def test_where_nothing_is_better_nothing_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fakes = Fakes(monkeypatch, flow=-0.2, depth=0.005)
    found = learn(WORLD, tmp_path / "out", CAMERA, budget_minutes=2.0, console=quiet())
    assert found.used == []
    assert fakes.asked[-1] == "after 6:9:1 flow depth"


def test_another_recording_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fakes, other = Fakes(monkeypatch, flow=0.2, depth=0.2), "sim:street:frames=4,seed=5,height=64,width=96"
    learn(WORLD, tmp_path / "out", CAMERA, judge_on=other, budget_minutes=2.0, console=quiet())
    assert fakes.asked[0] == "teacher-1 0:9:1"
    assert fakes.asked[1] == "before 0:4:1"
    assert RunFolder(tmp_path / "out" / "before").read_record().source == other


@pytest.fixture
def learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        Fakes(patch, flow=0.2, depth=0.2)
        learn(WORLD, tmp_path / "learned", CAMERA, budget_minutes=1.0, console=quiet())
    return tmp_path / "learned"


@pytest.mark.slow
def test_from_beginning_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stereo street, two steps a lesson: runs, trainings, numbers and page are there."""
    monkeypatch.setattr(training, "LEAST_STEPS", 2)
    out = tmp_path / "out"
    content = learn("sim:street:frames=9,height=96,width=320", out, budget_minutes=1e-3, console=quiet())
    assert content == record.read(out / "learn.json")
    assert {one.stage for one in content.comparisons} >= {"flow", "depth", "depth of one image"}
    assert [one.method for one in content.verdicts] == ["refined-search", "mc-cnn", "taught-depth"]
    assert all(one.weights > 0 and one.steps == 2 for one in content.trainings)
    page = (out / "report.html").read_text()
    assert "refined-search" in page
    assert "EPE" in page
    assert not (out / ".work").exists()


def test_what_is_complete_is_not_done_again(learned: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "perceive", lambda *_, **__: pytest.fail("nothing is left to do"))
    console = quiet()
    again = learn(WORLD, learned, CAMERA, budget_minutes=1.0, console=console)
    assert again == record.read(learned / "learn.json")
    assert "already complete" in console.file.getvalue()


@pytest.fixture(autouse=True)
def quickly_opened(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "slow" not in request.keywords:
        monkeypatch.setattr(Settings, "open", opened)


def test_another_task_in_the_same_folder_is_one_line(learned: Path):
    with pytest.raises(
        InputError, match=r"something else was learned there \(another budget minutes\); choose another"
    ):
        learn(WORLD, learned, CAMERA, budget_minutes=5.0, console=quiet())
    with pytest.raises(InputError, match=r"\(another recordings\)"):
        learn(WORLD, learned, CAMERA, judge_on="sim:street:frames=4,height=64,width=96", budget_minutes=1.0)


def test_overwriting_removes_what_was_learned_and_nothing_else(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    shutil.copytree(learned, out)
    (out / "notes.txt").write_text("mine")
    (out / "before" / "mine.txt").write_text("mine")
    monkeypatch.setattr(run, "complete", lambda *_: None)
    learn(WORLD, out, CAMERA, budget_minutes=2.0, overwrite=True, console=quiet())
    left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    assert left == ["before", "before/mine.txt", "learn.json", "notes.txt"]
    assert json.loads((out / "learn.json").read_text())["budget_minutes"] == 2


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="the folder holds other files; choose another --out"):
        learn(WORLD, tmp_path, CAMERA, console=quiet())
    with pytest.raises(InputError, match="nothing was learned there, so nothing is overwritten"):
        learn(WORLD, tmp_path, CAMERA, overwrite=True, console=quiet())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_record_is_one_line(learned: Path, tmp_path: Path):
    (tmp_path / "learn.json").write_text(json.dumps({"version": 3}))
    with pytest.raises(InputError, match=r"learn\.json: .*; move it away, or --overwrite it"):
        learn(WORLD, tmp_path, CAMERA, console=quiet())


def test_tasks_that_cannot_be_are_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="budget 0: give some minutes"):
        Task(sources=(WORLD,), settings=CAMERA, budget_minutes=0.0)
    with pytest.raises(InputError, match="leave --use out"):
        Task(sources=(WORLD,), settings=Settings(use=("lucas-kanade",)))


@pytest.mark.parametrize(
    ("after", "used", "words"),
    [
        (0.98, True, "EPE 1 -> 0.98 px, 2.0% better"),
        (0.995, False, "EPE 1 -> 0.995 px, 0.5% better"),
        (1.0, False, "EPE 1 -> 1 px, the same"),
        (1.25, False, "EPE 1 -> 1.25 px, 25.0% worse"),
    ],
)
def test_what_is_not_better_by_a_percent_is_not_used(tmp_path: Path, after: float, used: bool, words: str):
    learning = Learning(Task(sources=(WORLD,), settings=CAMERA), tmp_path, quiet())
    learning.record.comparisons = [
        Comparison(
            stage="flow", measure=name, unit="px", before=1.0, after=value, better="lower", protocol="", decides=d
        )
        for name, value, d in (("crop gap", 0.1, False), ("EPE", after, True))
    ]
    verdict = learning.verdict(learning.lessons[0])
    assert (verdict.used, verdict.reason) == (used, words)
    nothing = learning.verdict(learning.lessons[1])
    assert (nothing.used, nothing.reason) == (False, "nothing to judge it by")


@pytest.mark.parametrize(("after", "used"), [(1.019, True), (1.021, False)])
def test_what_is_worse_where_the_classical_method_is_sure_is_not_used(tmp_path: Path, after: float, used: bool):
    learning = Learning(Task(sources=(WORLD,), settings=CAMERA), tmp_path, quiet())
    guard = replace(comparison("flow", 1 - after), measure="EPE visible", unit="px", decides=False, guards=True)
    learning.record.comparisons = [comparison("flow", 0.3), guard]
    verdict = learning.verdict(learning.lessons[0])
    lost = "" if used else "; EPE visible 1 -> 1.02 px, 2.1% worse"
    assert (verdict.used, verdict.reason) == (used, f"error 1 -> 0.7, 30.0% better{lost}")


def test_from_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = []
    monkeypatch.setattr(run, "learn", lambda *given, **named: asked.append((given, named)))
    firstsight.learn(WORLD, tmp_path, sensors=["camera"], budget_minutes=3.0)
    ((given, named),) = asked
    assert given == ([WORLD], tmp_path, CAMERA)
    assert named == {"judge_on": None, "budget_minutes": 3, "overwrite": False}


def test_stages_whose_method_is_used_are_listed():
    content = LearnRecord(version="1", settings={}, budget_minutes=1.0)
    content.verdicts = [
        record.Verdict(stage=name, method="m", used=used, reason="")
        for name, used in (("flow", True), ("depth", False), ("depth of one image", True))
    ]
    assert content.used == ["flow", "depth of one image"]
