"""`firstsight train`: a method learns.

The arguments are read twice: first METHOD and --preset, which decide which settings there are; then all of them, with a flag
for each setting and the preset's values as defaults.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from tyro.conf import FlagConversionOff, Positional, arg

from firstsight.commands.methods import trainable
from firstsight.commands.parsing import (
    DepthPerMetre,
    FovDeg,
    Frames,
    Switch,
    arities,
    asks_for_help,
    option,
    parse,
    split,
)
from firstsight.errors import InputError

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Train a method on recordings or images, without labels.

    A method's own settings: firstsight train METHOD --help

    Many processes: torchrun -m firstsight train ...
    """

    method: Positional[Annotated[str, option("METHOD", "One of `firstsight methods`; auto: what suits the sensors.")]]
    sources: Positional[
        Annotated[tuple[str, ...], option("SOURCE [SOURCE ...]", "Recordings (as for perceive), or folders of images.")]
    ]
    out: Annotated[Path | None, option("FOLDER")] = None
    """The folder of the training; by default runs/METHOD. A killed training continues where it stopped."""
    frames: Frames = None
    fov_deg: FovDeg = None
    depth_per_metre: DepthPerMetre = None
    preset: Annotated[str, arg(metavar="NAME|auto")] = "auto"
    """Settings and recipe to start from: paper, tiny (for a CPU) or another of the method's; auto: paper with a GPU, tiny without."""
    steps: Annotated[int | None, option("N")] = None
    """Number of optimiser steps; by default the preset's."""
    batch: Annotated[int | None, option("N")] = None
    """Number of samples in a step, over all processes; by default the preset's."""
    learning_rate: Annotated[float | None, option("RATE")] = None
    """Learning rate of the optimiser; by default the preset's."""
    precision: Annotated[Literal["float32", "bf16", "fp16"] | None, option("{float32,bf16,fp16}")] = None
    """Number format of the computations; by default the preset's. Reduced precision needs a GPU."""
    seed: Annotated[int | None, option("N")] = None
    """Seed of the order of the samples, of the augmentation and of the first weights; by default the preset's."""
    checkpoint_every: Annotated[int | None, option("STEPS")] = None
    """Number of steps between checkpoints; by default the preset's."""
    device: Annotated[str | None, option("DEVICE")] = None
    """The device to train on, such as cpu or cuda; by default a GPU where there is one."""
    workers: Annotated[int, arg(metavar="N")] = 0
    """Number of processes that decode samples."""
    keep_gb: Annotated[float, arg(metavar="GB")] = 2.0
    """Gigabytes of decoded samples that stay in memory, so that each is decoded once."""
    init: Annotated[Path | None, option("WEIGHTS")] = None
    """A training or a safetensors file whose weights a new training begins with, as far as they fit."""
    validate_on: Annotated[str | None, option("SOURCE")] = None
    """Samples to measure the loss on while training; of images in folders by class also the votes of nearest neighbours."""
    tensorboard: Switch = False
    """Also write the metrics for TensorBoard."""
    overwrite: Switch = False
    """Replace the training that the folder holds."""


@dataclass(frozen=True, kw_only=True)
class FlagsWithSettings(Flags, Generic[C]):
    __doc__ = Flags.__doc__

    config: Annotated[C, FlagConversionOff]


train = Flags
"""What completion and `firstsight --help` know of this verb: all but the method's settings."""


def main(arguments: Sequence[str]) -> None:
    """Trains. Raises InputError for a method that there is not, or that is not trainable, and where SOURCE is missing."""
    words, flags = split(arguments, arities(Flags))
    helps = asks_for_help(flags)
    if not words or (words == ["auto"] and helps):
        parse(Flags, "train", arguments)
    if len(words) < 2 and not helps:
        raise InputError(f"train {words[0]}: SOURCE is missing; give a recording, a folder of images or sim:street")
    name, *sources = words
    if name != "auto":
        trainable(name)
    from firstsight.commands.work import train as work
    from firstsight.commands.work.presets import chosen_preset
    from firstsight.training.data.opening import with_settings

    entry = trainable(work.chosen_method(sources) if name == "auto" else name)
    preset = chosen_preset(entry, preset_of(flags))
    described: Any = FlagsWithSettings[type(preset.config)]  # ty: ignore[invalid-type-form]
    defaults = described(method=name, sources=tuple(sources), config=preset.config)
    given = parse(described, "train", arguments, defaults)
    changes = work.Changes(
        steps=given.steps,
        batch=given.batch,
        learning_rate=given.learning_rate,
        precision=given.precision,
        seed=given.seed,
        checkpoint_every=given.checkpoint_every,
    )
    stated = {"frames": given.frames, "fov-deg": given.fov_deg, "depth-per-metre": given.depth_per_metre}
    work.train(
        entry,
        [with_settings(source, stated) for source in sources],
        given.out or Path("runs") / entry.name,
        preset=preset,
        config=given.config,
        changes=changes,
        extras=work.Extras(
            runtime=work.Runtime(
                device=given.device,
                workers=given.workers,
                keep_bytes=round(given.keep_gb * 1e9),
                tensorboard=given.tensorboard,
            ),
            initial=given.init,
            validation=given.validate_on,
            overwrite=given.overwrite,
        ),
    )


def preset_of(flags: Sequence[str]) -> str:
    """Returns what --preset says, in whichever of its two forms; the last one counts."""
    found = "auto"
    for flag, following in zip(flags, [*flags[1:], "auto"], strict=False):
        if flag == "--preset":
            found = following
        elif flag.startswith("--preset="):
            found = flag.partition("=")[2]
    return found
