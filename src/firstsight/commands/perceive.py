"""`firstsight perceive`: the main job."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from firstsight.commands.parsing import DepthPerMetre, FovDeg, Frames, Sensors, Source, Switch, option, parse
from firstsight.errors import InputError
from firstsight.terminal import notes, say


def main(arguments: Sequence[str]) -> None:
    parse(perceive, "perceive", arguments)


def perceive(
    source: Positional[Source],
    more: Positional[Annotated[tuple[str, ...], option("[SOURCE ...]", "Further recordings.")]] = (),
    /,
    out: Annotated[Path | None, option("FOLDER")] = None,
    sensors: Sensors = None,
    frames: Frames = None,
    fov_deg: FovDeg = None,
    depth_per_metre: DepthPerMetre = None,
    use: Annotated[tuple[str, ...], option("METHOD|TRAINING|MODEL.onnx ...")] = (),
    engine: Literal["serial", "ray"] = "serial",
    workers: Annotated[int | None, option("NUMBER")] = None,
    overwrite: Switch = False,
) -> None:
    """Estimate depth, flow, trajectory, moving objects and maps; write a report.

    Args:
        out: The run folder to write; by default runs/NAME. A killed run continues where it stopped. With several
            recordings: the folder that their run folders are written to, by default runs.
        use: Methods, folders of trainings, or ONNX networks with their description, that take the place of a stage's
            own. What a method estimates says which: lucas-kanade replaces that of flow.
        engine: Whether several recordings run one after the other (serial) or side by side with Ray (ray).
        workers: How many cores to use, by default all. The results do not depend on it. With Ray each recording has one.
        overwrite: Replace the run that the folder holds.
    """
    from firstsight.perceive.run import Settings
    from firstsight.perceive.run import perceive as run_perceive

    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: at least one core must work")
    settings = Settings(sensors=sensors, frames=frames, fov_deg=fov_deg, depth_per_metre=depth_per_metre, use=use)
    if more or engine == "ray":
        from firstsight.perceive.fleet import perceive_all

        outcomes = perceive_all(
            (source, *more), out or Path("runs"), settings, engine=engine, overwrite=overwrite, workers=workers
        )
        failed = [outcome for outcome in outcomes if outcome.reason]
        say(f"{len(outcomes) - len(failed)} of {len(outcomes)} recordings done")
        sys.exit(2 if failed else 0)
    run = run_perceive(source, out, settings, overwrite=overwrite, console=notes(), workers=workers)
    from firstsight.perceive.summary import print_summary

    print_summary(run)
