"""learn.json: what was to be learned, from which frames, what came of it. The layout is docs/learning.md."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_json
from firstsight.formats.storage.configuration import from_json, read_json

Better = Literal["lower", "higher"]


@dataclass(kw_only=True)
class Taught:
    """One training: what it is for, which method, how long; `reason` says why there is none, "" where there is.

    `error_factor` is by how much more than the network thought it is off in frames that did not teach it.
    """

    name: str
    method: str
    steps: int = 0
    weights: int = 0
    seconds: float = 0.0
    error_factor: float = 1.0
    reason: str = ""


@dataclass(kw_only=True, frozen=True)
class Comparison:
    """A value before and after, on frames that nothing was learned from.

    The verdict hangs on the one that `decides`, if none that `guards` is worse: those say how it is where the classical
    method is sure.
    """

    stage: str
    measure: str
    unit: str
    before: float
    after: float
    better: Better
    protocol: str
    decides: bool = False
    guards: bool = False

    @property
    def gain(self) -> float:
        """The share of the value before by which the one after is better; negative where it is worse."""
        change = (self.before - self.after) if self.better == "lower" else (self.after - self.before)
        return change / abs(self.before) if self.before else 0.0


@dataclass(kw_only=True, frozen=True)
class Verdict:
    """Whether what was learned for a stage is used, and why (not)."""

    stage: str
    method: str
    used: bool
    reason: str


@dataclass(kw_only=True)
class Held:
    """The frames of a recording that teach and those that judge, as Python slices; `judge` is the recording of the latter."""

    source: str
    taught: str
    judge: str
    held_out: str


@dataclass(kw_only=True)
class LearnRecord:
    """The content of learn.json."""

    version: str
    settings: dict[str, Any]
    budget_minutes: float
    recordings: list[Held] = field(default_factory=list)
    trainings: list[Taught] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def training(self, name: str) -> Taught | None:
        """That of a lesson, None where nothing was decided of it so far."""
        return next((taught for taught in self.trainings if taught.name == name), None)

    @property
    def used(self) -> list[str]:
        """The lessons whose method is better."""
        return [verdict.stage for verdict in self.verdicts if verdict.used]

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))


def read(path: Path) -> LearnRecord:
    """Raises InputError where the file is damaged."""
    try:
        return from_json(LearnRecord, read_json(path), str(path))
    except InputError as error:
        raise InputError(f"{error}; move it away, or --overwrite it") from None
