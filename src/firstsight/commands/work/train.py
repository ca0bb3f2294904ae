"""`firstsight train`: a method of the catalogue learns from recordings or images, and can then be used."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor

from firstsight import catalogue
from firstsight.commands.work.presets import Preset
from firstsight.doctor import examine
from firstsight.errors import InputError
from firstsight.pretrained import learning
from firstsight.progress import progress_bars
from firstsight.recordings.recording import Recording
from firstsight.show.sheet import write_sheet
from firstsight.terminal import notes, say
from firstsight.training import Recipe, Trainable, fit
from firstsight.training.checkpoint import written
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Joined
from firstsight.training.data.opening import open_dataset
from firstsight.training.fit import FitResult, Runtime
from firstsight.training.metrics_log import Callback
from firstsight.training.processes import world
from firstsight.training.trainable import DataFacts

STEREO, ONE_CAMERA, IMAGES = "monodepth", "monodepth2", "dino"  # what `auto` chooses


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What to use instead of the recipe's own; None: its own."""

    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    precision: Literal["float32", "bf16", "fp16"] | None = None
    seed: int | None = None
    checkpoint_every: int | None = None

    def of(self, recipe: Recipe) -> Recipe:
        return replace(recipe, **{name: value for name, value in vars(self).items() if value is not None})


def chosen_method(sources: Sequence[str]) -> str:
    """What suits the sensors of the first source."""
    from firstsight.recordings.opening import open_recording

    try:
        recording = open_recording(sources[0])
    except InputError:
        return IMAGES
    if recording.rig.stereo is not None:
        return STEREO
    return ONE_CAMERA if recording.rig.cameras and recording.format != "image folder" else IMAGES


def train(
    entry: catalogue.Entry,
    sources: Sequence[str],
    out: Path,
    *,
    preset: Preset,
    config: Any = None,
    changes: Changes | None = None,
    runtime: Runtime | None = None,
    overwrite: bool = False,
) -> FitResult:
    """Trains and writes to the folder `out`, or resumes the training there. Of many processes the first one speaks.

    Raises InputError for sources that the method cannot learn from and for all that `fit` raises.
    """
    runtime = runtime or Runtime()
    plan = (changes or Changes()).of(preset.recipe)
    with world(runtime.device) as here:
        if overwrite and here.leads:
            forget(out)
        here.barrier()
        console = notes()
        method, samples = built(
            learning(entry), config if config is not None else preset.config, sources, plan.seed, out
        )
        if here.leads:
            describe(f"{entry.name}: {weights_of(method):,} weights", samples, f"preset {preset.name}", console)
        with Bar(out, console) as watch:
            about = {"name": entry.name, "sources": list(sources)}
            fitted = fit(method, samples, plan, out, about=about, runtime=runtime, callback=watch)
    if here.leads:
        use = f"firstsight evaluate {out} SOURCE, or firstsight perceive SOURCE --use {out}"
        say(f"trained: {out}", f"next:    {use}")
    return fitted


def built(kind: type[Trainable], config: Any, sources: Sequence[str], seed: int, out: Path) -> tuple[Trainable, Joined]:
    """The untrained method, with what the data decides of its settings, and the data."""
    torch.manual_seed(seed)
    method = kind(config)
    data = open_dataset(sources, method.wanted, out / ".work")
    completed = kind.completed(config, DataFacts(len(data), data.classes))
    if completed != config:
        torch.manual_seed(seed)
        method = kind(completed)
    return method, data


def describe(method: str, samples: Joined, preset: str, console: Console) -> None:
    """What begins, after what the doctor calls unfit in it."""
    for part in samples.parts:
        if isinstance(part, Clips):
            warn_if_unfit(part.recording, console)
    console.print(f"{method}, {len(samples):,} samples, {preset}", markup=False)


def forget(out: Path) -> None:
    """Removes a training. Raises InputError for a folder that holds anything else."""
    if out.exists() and not (out / "config.json").exists():
        raise InputError(f"{out}: not the folder of a training; choose another --out")
    shutil.rmtree(out, ignore_errors=True)


def weights_of(method: Trainable) -> int:
    return sum(p.numel() for p in method.parameters() if p.requires_grad)


def warn_if_unfit(recording: Recording, console: Console) -> None:
    """What the doctor calls unfit, before hours are spent on it."""
    for finding in examine(recording):
        if finding.verdict == "unfit":
            words = f"unfit: {recording.source}: {finding.check}: {finding.measured}. {finding.advice}"
            console.print(words, style="yellow", markup=False, soft_wrap=True)


class Bar(Callback):
    """A progress bar with the loss and the pace, and `preview.png` at every checkpoint."""

    def __init__(self, out: Path, console: Console):
        self.out, self.console = out, console
        self._open = ExitStack()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def on_start(self, step: int, steps: int) -> None:
        if step >= steps:
            self.console.print(f"already complete: {self.out} (--overwrite retrains from scratch)", markup=False)
        elif step:
            self.console.print(f"resuming from {written(self.out)[-1]}", markup=False)
        self.bars = self._open.enter_context(progress_bars(self.console))
        self.task = self.bars.add_task("training", total=steps, completed=step)

    def on_step(self, step: int, numbers: Mapping[str, float] | None) -> None:
        self.bars.update(self.task, completed=step)
        if numbers is not None:
            pace = numbers.get("samples per second")
            shown = f"loss {numbers['loss']:.4g}" + (f", {pace:.3g} samples/s" if pace else "")
            self.bars.update(self.task, description=shown)

    def on_checkpoint(self, step: int, preview: Mapping[str, Tensor]) -> None:
        write_sheet(self.out / "preview.png", preview)
