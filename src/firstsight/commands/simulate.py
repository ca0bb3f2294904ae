"""`firstsight simulate`: a recording with exact ground truth."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from firstsight.commands.parsing import option, parse
from firstsight.errors import InputError
from firstsight.progress import progress_bars
from firstsight.suggestions import unknown
from firstsight.terminal import say

WORLDS = ("street", "rooms", "objects")


def main(arguments: Sequence[str]) -> None:
    parse(simulate, "simulate", arguments)


def simulate(
    world: Positional[Annotated[str, option("{street,rooms,objects}", "The world that is simulated.")]],
    /,
    out: Annotated[Path | None, option("FOLDER")] = None,
    frames: Annotated[int | None, option("N")] = None,
    seed: int = 0,
    height: Annotated[int | None, option("PIXELS")] = None,
    width: Annotated[int | None, option("PIXELS")] = None,
) -> None:
    """Write a simulated recording with exact ground truth, in KITTI's raw layout.

    Args:
        out: The folder to write to; by default recordings/sim-WORLD.
        frames: The number of frames; by default the world's own.
        seed: A number that chooses the world: another seed is another world.
        height: The height of the images; by default the world's own.
        width: The width of the images; by default the world's own.
    """
    if world not in WORLDS:
        raise InputError(unknown(world, "world", WORLDS))
    from firstsight.recordings.simulated import simulate as make
    from firstsight.recordings.simulated.export import write_kitti_raw

    recording = make(world, frames=frames, seed=seed, height=height, width=width)
    with progress_bars() as bars:
        folder = out or Path("recordings") / f"sim-{world}"
        drive = write_kitti_raw(recording, folder, progress=partial(bars.track, description="frames"))
    say(f"written: {drive}", f"next:    firstsight perceive {drive}")
