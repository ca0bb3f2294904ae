"""`firstsight learn`: a recording teaches itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from firstsight.commands.parsing import DepthPerMetre, FovDeg, Frames, Sensors, Source, Switch, option, parse
from firstsight.terminal import notes, results, say, table

# Of what runs measure of themselves; the rest is in the report.
HEADLINES = ("ATE RMSE", "moving mask IoU", "triangle residual", "triangle agreeing", "occupancy IoU (within one cell)")


def main(arguments: Sequence[str]) -> None:
    parse(learn, "learn", arguments)


def learn(
    source: Positional[Source],
    more: Positional[Annotated[tuple[str, ...], option("[SOURCE ...]", "Further recordings of the same rig.")]] = (),
    /,
    out: Annotated[Path | None, option("FOLDER")] = None,
    judge_on: Annotated[str | None, option("SOURCE")] = None,
    budget: Annotated[float, option("MINUTES")] = 10.0,
    sensors: Sensors = None,
    frames: Frames = None,
    fov_deg: FovDeg = None,
    depth_per_metre: DepthPerMetre = None,
    overwrite: Switch = False,
) -> None:
    """Train flow and depth on recordings without labels, and say on frames that were held out whether it was worth it.

    Args:
        out: The folder to write; by default runs/NAME-learned. What was killed continues where it stopped.
        judge_on: A recording that judges what was learned; by default the last third of the frames, which then do not teach.
        budget: How long the trainings may take together; runs and judging come on top. (default: 10)
        overwrite: Replace what was learned in the folder.
    """
    from firstsight.learning.judging import WHOLE_RUN
    from firstsight.learning.lessons import ONE_IMAGE
    from firstsight.learning.run import learn as run_learn
    from firstsight.perceive.run import Settings, default_folder

    settings = Settings(sensors=sensors, frames=frames, fov_deg=fov_deg, depth_per_metre=depth_per_metre)
    folder = out or default_folder(source).with_name(f"{default_folder(source).name}-learned")
    learned = run_learn(
        (source, *more),
        folder,
        settings,
        judge_on=judge_on,
        budget_minutes=budget,
        overwrite=overwrite,
        console=notes(),
    )
    shown = table("stage", "measure", "before", "after", "better by")
    for one in learned.comparisons:
        if one.stage == WHOLE_RUN and one.measure not in HEADLINES:
            continue
        measure = f"{one.measure}{f' ({one.unit})' if one.unit else ''}"
        shown.add_row(one.stage, measure, f"{one.before:.4g}", f"{one.after:.4g}", f"{100 * one.gain:+.1f} %")
    results().print(shown)
    for one in learned.verdicts:
        say(f"{one.stage}: {one.method} is {'used' if one.used else 'not used'}: {one.reason}")
    in_stages = [stage for stage in learned.used if stage != ONE_IMAGE]
    use = " ".join(str(folder / "trained" / stage) for stage in in_stages)
    say(
        f"next: firstsight perceive {source} --use {use}"
        if use
        else "next: nothing learned is better; perceive as before"
    )
    say(f"report: {folder / 'report.html'}")
