"""`firstsight train`: a method of the catalogue learns from recordings or images, and can then be used."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from firstsight import catalogue
from firstsight.commands.work.evaluate import split
from firstsight.commands.work.presets import Preset
from firstsight.doctor.printing import warn_if_unfit
from firstsight.errors import InputError
from firstsight.evaluation.neighbour_curve import NeighbourCurve
from firstsight.evaluation.probes import numbered
from firstsight.learning.bar import TrainingBar
from firstsight.learning.training_folder import forget
from firstsight.pretrained import learning
from firstsight.roles import Encoder
from firstsight.terminal import notes, say
from firstsight.training import Recipe, Trainable
from firstsight.training.data.archives.unpacking import scratch_folder
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Joined
from firstsight.training.data.images import Images
from firstsight.training.data.opening import open_dataset, open_source, parse_source
from firstsight.training.data.wanted import Wanted
from firstsight.training.fit import FitResult, Runtime
from firstsight.training.metrics_log import Callback, Callbacks
from firstsight.training.processes import world
from firstsight.training.rounds import fit_rounds
from firstsight.training.trainable import DataFacts
from firstsight.training.validation import Validation

# What `auto` chooses.
STEREO, ONE_CAMERA, IMAGES = "monodepth", "monodepth2", "dino"
# Images of a neighbours' curve: those whose labels are known, and those that are judged.
KNOWN, HELD_OUT, NEIGHBOURS = 2000, 500, 20


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
    try:
        recording = parse_source(sources[0]).recording()
    except InputError:
        return IMAGES
    if recording.rig.stereo is not None:
        return STEREO
    return ONE_CAMERA if recording.rig.cameras and recording.format != "image folder" else IMAGES


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a training may have besides method, data and recipe."""

    runtime: Runtime = Runtime()  # noqa: RUF009
    initial: Path | None = None
    validation: str | None = None
    overwrite: bool = False


def train(
    entry: catalogue.Entry,
    sources: Sequence[str],
    out: Path,
    *,
    preset: Preset,
    config: Any = None,
    changes: Changes | None = None,
    extras: Extras | None = None,
) -> FitResult:
    """Trains and writes to the folder `out`, or resumes the training there. Of many processes the first one speaks.

    Raises InputError for sources that the method cannot learn from and for all that `fit` raises.
    """
    extras, recipe = extras or Extras(), (changes or Changes()).of(preset.recipe)
    settings = config if config is not None else preset.config
    with world(extras.runtime.device) as here, ExitStack() as held:
        if extras.overwrite and here.leads:
            forget(out)
        here.barrier()
        scratch = held.enter_context(scratch_folder(out / ".work")) if here.leads else out / ".work"

        @cache
        def data(wanted: Wanted) -> Joined:
            """Opened once, though both the settings and the first round ask for it."""
            return open_dataset(sources, wanted, scratch, entry.name)

        method, samples = built(learning(entry), settings, data, recipe.seed)
        if here.leads:
            describe(f"{entry.name}: {weights_of(method):,} weights", samples, f"preset {preset.name}", notes())
        watched = held.enter_context(watch(out, method, recipe, extras.validation, scratch))
        fitted = fit_rounds(
            method,
            data,
            recipe,
            out,
            about={"name": entry.name, "sources": list(sources)},
            runtime=extras.runtime,
            callback=watched,
            initial=extras.initial,
        )
    if here.leads:
        use = f"firstsight evaluate {out} SOURCE, or firstsight perceive SOURCE --use {out}"
        say(f"trained: {out}", f"next:    {use}")
    return fitted


def built(kind: type[Trainable], config: Any, data: Callable[[Wanted], Joined], seed: int) -> tuple[Trainable, Joined]:
    """The untrained method, with what the data decides of its settings, and the data."""
    torch.manual_seed(seed)
    method = kind(config)
    samples = data(method.wanted)
    completed = kind.completed(config, DataFacts(len(samples), samples.classes))
    if completed != config:
        torch.manual_seed(seed)
        method = kind(completed)
    return method, samples


@contextmanager
def watch(out: Path, method: Trainable, recipe: Recipe, validation: str | None, scratch: Path) -> Generator[Callback]:
    """A progress bar, and every so often the loss of the samples of `validation`; of an encoder their neighbours' votes too."""
    with TrainingBar(out, notes()) as bar:
        if validation is None:
            yield bar
            return
        held_out = open_dataset([validation], method.wanted, scratch, "validation")
        curves: list[Callback] = [Validation(method, held_out, recipe.log_every, recipe.batch)]
        neighbours = neighbour_curve(method, validation, scratch, recipe.log_every)
        if neighbours is not None:
            curves.append(neighbours)
        yield Callbacks(bar, *curves)


def neighbour_curve(method: Trainable, source: str, scratch: Path, every: int) -> NeighbourCurve | None:
    """How well the features of an encoder tell the classes of the source's images; None where there are no such images."""
    if not isinstance(method, Encoder):
        return None
    height, width = method.example_inputs()["image"].shape[-2:]
    images = open_source(source, Wanted(ImageBatch, (height, width)), scratch)
    names = images.class_names() if isinstance(images, Images) else None
    if not isinstance(images, Images) or names is None or len(set(names)) < 2:
        return None
    known, held_out = split(images.relative_names, KNOWN, HELD_OUT)
    chosen, labels = [*known, *held_out], numbered(names)
    return NeighbourCurve(
        method,
        images.select(chosen),
        labels[chosen].tolist(),
        range(len(known), len(chosen)),
        every=every,
        count=min(NEIGHBOURS, len(known)),
    )


def describe(method: str, samples: Joined, preset: str, console: Console) -> None:
    """Prints what begins, after what the doctor calls unfit in it."""
    for part in samples.parts:
        if isinstance(part, Clips):
            warn_if_unfit(part.recording, console)
    for remark in samples.remarks:
        console.print(f"note: {remark}", markup=False, soft_wrap=True)
    console.print(f"{method}, {len(samples):,} samples, {preset}", markup=False)


def weights_of(method: Trainable) -> int:
    return sum(p.numel() for p in method.parameters() if p.requires_grad)
