"""What a training reports: a line per logged step in metrics.jsonl, and TensorBoard where it is asked for and installed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from firstsight.errors import InputError
from firstsight.formats.atomic import write_text


class Callback:
    """Called while `fit` runs: a progress bar, an image, a test. This one does nothing."""

    def on_start(self, step: int, steps: int) -> None: ...

    def on_step(self, step: int, numbers: Mapping[str, float] | None) -> None:
        """`numbers` where the step was logged."""

    def on_checkpoint(self, step: int, preview: Mapping[str, Tensor]) -> None:
        """A checkpoint was written; `preview` is what the method shows of its last samples."""


class Measurement(Callback):
    """Measures before the first step and after every `every` of them."""

    every: int

    def on_start(self, step: int, steps: int) -> None:
        self.measure(step)

    def on_step(self, step: int, numbers: Mapping[str, float] | None) -> None:
        if step % self.every == 0:
            self.measure(step)

    def measure(self, step: int) -> None:
        """What is measured after so many steps."""
        raise NotImplementedError


class MetricsLog:
    """Appends to metrics.jsonl; lines after the step that a run continues from are dropped, since they will come again."""

    def __init__(self, folder: Path | None, step: int, tensorboard: bool = False):
        self.path = folder and folder / "metrics.jsonl"
        self._writer = summary_writer(folder) if folder and tensorboard else None
        if self.path and self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)
            write_text(
                self.path, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step)
            )

    def append(self, step: int, numbers: Mapping[str, float]) -> None:
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")
        if self._writer:
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("TensorBoard is not installed: pip install 'firstsight[tensorboard]'") from None
    return SummaryWriter(folder / "tensorboard")


def read_metrics(folder: Path) -> list[dict[str, int | float]]:
    """The logged numbers, in the order of the steps."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
