"""One case: a sample is copied, mutated and read, within bounds of memory and time; what came of it is one word or a finding."""

import resource
import shutil
import signal
import traceback
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from firstsight.errors import InputError
from fuzzing.checks import require_one_line
from fuzzing.folders import mutate
from fuzzing.targets import TARGETS, Target

VALUE, REFUSED, FINDING = "value", "InputError", "finding"
# What a case may take beyond what the process has when it starts.
MEMORY_BYTES = 3 * 2**30
TIME_S = 20


class Case(NamedTuple):
    """Case `number` of a seed: the same on every machine."""

    seed: int
    number: int

    def random(self) -> Random:
        return Random(f"{self.seed}/{self.number}")


class Outcome(NamedTuple):
    """`kind` groups findings: the exception and the last line of firstsight that it passed, or what was wrong."""

    outcome: str
    target: str
    kind: str
    changed: list[str]


class TooLongError(BaseException):
    """The time is over. Nothing that is tested may catch it."""


class Samples:
    """The intact samples, made when first needed, in a folder in which a place is kept for the case at hand.

    They are made there as well: runs and trainings know the path of what they came from.
    """

    def __init__(self, folder: Path, case: Path | None = None) -> None:
        self.folder, self.case = folder, case or folder / "case"

    def path(self, target: Target) -> Path:
        path = self.folder / target.sample.__name__
        if not path.exists():
            self.clear()
            self.case.mkdir(parents=True)
            target.sample(self.case)
            shutil.move(self.case, path)
        return path

    def copied(self, target: Target) -> Path:
        """A copy of the intact sample, for one case."""
        path = self.path(target)
        self.clear()
        shutil.copytree(path, self.case)
        return self.case

    def clear(self) -> None:
        shutil.rmtree(self.case, ignore_errors=True)


def drawn(case: Case, names: list[str]) -> str:
    """The name of the target of a case."""
    return case.random().choices(names, [TARGETS[name].weight for name in names])[0]


class Thorough(Random):
    """Makes every reading that is made now and then."""

    def random(self) -> float:
        return 0.0


def require_intact(name: str, samples: Samples) -> None:
    """Reads the sample as it is, which compiles what is compiled. Raises what reading raises, and where anything is wrong."""
    target = TARGETS[name]
    faults = list(target.read(samples.copied(target), Thorough(0)))
    if faults:
        raise AssertionError(f"{name}: the intact sample is refused: {faults[0]}")


def run(case: Case, name: str, samples: Samples) -> Outcome:
    """Mutates a copy of the sample and reads it."""
    target, random = TARGETS[name], case.random()
    random.random()  # has drawn the target
    folder = samples.copied(target)
    changed = mutate(folder / target.mutated, random)
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            faults = list(target.read(folder, random))
    except InputError as error:
        return answered(error, name, changed)
    except TooLongError:
        return Outcome(FINDING, name, f"more than {TIME_S} s", changed)
    except BaseException as error:
        return Outcome(FINDING, name, kind_of(error), changed)
    if faults:
        return Outcome(FINDING, name, f"accepted: {faults[0]}", changed)
    return Outcome(VALUE, name, "", changed)


def answered(error: InputError, name: str, changed: list[str]) -> Outcome:
    try:
        require_one_line(error)
    except AssertionError as fault:
        return Outcome(FINDING, name, str(fault), changed)
    return Outcome(REFUSED, name, "", changed)


def kind_of(error: BaseException) -> str:
    """The exception and the last place in firstsight that it passed: what to mend."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/firstsight/" in frame.filename]
    if not frames:
        return f"{type(error).__name__} outside: {error}"
    last = frames[-1]
    return f"{type(error).__name__} {last.filename.rpartition('/firstsight/')[2]}:{last.lineno} {last.name}"


@contextmanager
def limited() -> Generator[None]:
    """Within the block memory is bounded, and after TIME_S it is left with TooLongError."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def end(*_: Any) -> None:
        raise TooLongError

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, TIME_S)
    resource.setrlimit(resource.RLIMIT_AS, (own_bytes() + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def own_bytes() -> int:
    """The address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
