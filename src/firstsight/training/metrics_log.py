"""What a training reports: a line per logged step in metrics.jsonl, and TensorBoard where it is asked for and installed."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from firstsight.errors import InputError
from firstsight.extras import install_command
from firstsight.formats.storage.atomic import write_text
from firstsight.reading import read_bytes


class Callback:
    """Called while `fit` runs: a progress bar, an image, a validation. This one only prints remarks, on stderr."""

    def on_start(self, step: int, steps: int) -> None: ...

    def on_step(self, step: int, numbers: Mapping[str, float] | None) -> None:
        """`numbers` where the step was logged."""

    def on_checkpoint(self, step: int, preview: Mapping[str, Tensor]) -> None:
        """A checkpoint was written; `preview` is what the method shows of its last samples."""

    def on_remark(self, line: str) -> None:
        """Something that the user should know, such as a damaged file that is passed over."""
        print(f"firstsight: {line}", file=sys.stderr)

    def numbers(self, step: int) -> Mapping[str, float]:
        """More numbers to log after this many steps (of which the first is 0), such as a validation loss; often none."""
        return {}


class Silent(Callback):
    """Does nothing at all: what the processes do that do not lead."""

    def on_remark(self, line: str) -> None: ...


class Callbacks(Callback):
    """Several callbacks, one after the other. The first one makes the remarks."""

    def __init__(self, *callbacks: Callback):
        self.callbacks = callbacks

    def on_start(self, step: int, steps: int) -> None:
        for callback in self.callbacks:
            callback.on_start(step, steps)

    def on_step(self, step: int, numbers: Mapping[str, float] | None) -> None:
        for callback in self.callbacks:
            callback.on_step(step, numbers)

    def on_checkpoint(self, step: int, preview: Mapping[str, Tensor]) -> None:
        for callback in self.callbacks:
            callback.on_checkpoint(step, preview)

    def on_remark(self, line: str) -> None:
        self.callbacks[0].on_remark(line)

    def numbers(self, step: int) -> Mapping[str, float]:
        return {name: value for callback in self.callbacks for name, value in callback.numbers(step).items()}


class Measurement(Callback):
    """Measures before the first step and after every `every` of them; the numbers are logged."""

    every: int

    def numbers(self, step: int) -> Mapping[str, float]:
        return self.measure(step) or {} if step % self.every == 0 else {}

    def measure(self, step: int) -> Mapping[str, float] | None:
        """What is measured after so many steps."""
        raise NotImplementedError


class MetricsLog:
    """Appends to metrics.jsonl; lines after the step that a run continues from are dropped, since they will come again."""

    def __init__(self, folder: Path | None, step: int, tensorboard: bool = False):
        self.path = folder and folder / "metrics.jsonl"
        self._writer = summary_writer(folder) if folder and tensorboard else None
        self.damaged = 0
        if self.path and self.path.exists():
            rows, self.damaged = _rows(self.path)
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step))

    def append(self, step: int, numbers: Mapping[str, float]) -> None:
        """Adds a line."""
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")
        if self._writer:
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Ends TensorBoard's file."""
        if self._writer:
            self._writer.close()


def summary_writer(folder: Path) -> Any:
    """TensorBoard's writer for a training. Raises InputError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(f"TensorBoard is not installed: {install_command('tensorboard')}") from None
    return SummaryWriter(folder / "tensorboard")


def read_metrics(folder: Path) -> list[dict[str, int | float]]:
    """The logged numbers, in the order of the steps; lines that are damaged are left out."""
    path = folder / "metrics.jsonl"
    return _rows(path)[0] if path.exists() else []


def _rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines of a log, and how many are damaged. A last line without its end is one that a kill cut off, not damage."""
    lines = read_bytes(path, "log").split(b"\n")[:-1]
    rows = [_row(line) for line in lines]
    whole = [row for row in rows if row is not None]
    return whole, len(rows) - len(whole)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
