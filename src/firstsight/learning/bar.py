"""How far a training has come: a progress bar in the terminal, and pictures in its folder."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from torch import Tensor

from firstsight.progress import progress_bars
from firstsight.show.sheet import write_sheet
from firstsight.training.checkpoint import written
from firstsight.training.metrics_log import Callback


class TrainingBar(Callback):
    """A progress bar with the loss and the pace, and `preview.png` at every checkpoint."""

    def __init__(self, out: Path, console: Console, name: str = "training"):
        self.out, self.console, self.name = out, console, name
        self._open = ExitStack()

    def __enter__(self) -> "TrainingBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def on_start(self, step: int, steps: int) -> None:
        if step >= steps:
            self.console.print(f"already complete: {self.out} (--overwrite retrains from scratch)", markup=False)
        elif step:
            self.console.print(f"resuming from {written(self.out)[-1]}", markup=False)
        self.bars = self._open.enter_context(progress_bars(self.console))
        self.task = self.bars.add_task(self.name, total=steps, completed=step)

    def on_step(self, step: int, numbers: Mapping[str, float] | None) -> None:
        self.bars.update(self.task, completed=step)
        if numbers is not None:
            pace = numbers.get("samples per second")
            shown = f"{self.name}: loss {numbers['loss']:.4g}" + (f", {pace:.3g} samples/s" if pace else "")
            self.bars.update(self.task, description=shown)

    def on_remark(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)

    def on_checkpoint(self, step: int, preview: Mapping[str, Tensor]) -> None:
        if preview:  # not every method has something to look at
            write_sheet(self.out / "preview.png", preview)
