"""The command line. Nothing heavy is imported before a command runs, so that --help answers at once."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from firstsight.errors import InputError

Source = Annotated[str, arg(metavar="SOURCE", help="A recording (path), or sim:street, sim:rooms, sim:objects.")]
OptionalSource = Annotated[str | None, arg(metavar="SOURCE", help="As for perceive.")]
Sensors = Annotated[
    tuple[Literal["camera", "stereo", "depth", "lidar", "odometry"], ...] | None,
    arg(
        metavar="{camera,stereo,depth,lidar,odometry} ...",
        help="Use only these sensors; what is left out still serves as ground truth.",
    ),
]
Frames = Annotated[str | None, arg(metavar="START:STOP:STEP", help="Use only these frames.")]
FovDeg = Annotated[float | None, arg(help="Horizontal field of view of a camera that has no calibration.")]


def perceive(
    source: Positional[Source],
    /,
    out: Path | None = None,
    sensors: Sensors = None,
    frames: Frames = None,
    fov_deg: FovDeg = None,
    use: Annotated[tuple[str, ...], arg(metavar="METHOD ...")] = (),
    overwrite: bool = False,
) -> None:
    """Depth, motion, trajectory, moving objects and a map of a recording, with a report.

    Args:
        out: The run folder; by default runs/NAME. A killed run continues where it stopped.
        use: Methods that take the place of a stage's own, by what they estimate, such as lucas-kanade for flow.
        overwrite: Replace the run that the folder holds.
    """
    from firstsight.perceive.run import Settings
    from firstsight.perceive.run import perceive as run_perceive

    settings = Settings(sensors=sensors, frames=frames, fov_deg=fov_deg, use=use)
    run = run_perceive(source, out, settings, overwrite=overwrite)
    from firstsight.perceive.summary import print_summary

    print_summary(run)


def doctor(
    source: Positional[OptionalSource] = None,
    /,
    frames: Frames = None,
    fov_deg: FovDeg = None,
) -> None:
    """Whether a recording is fit for use and which settings suit it; without a source, the state of this installation."""
    if source is None:
        from firstsight.installation import print_installation

        print_installation()
        return
    from firstsight.doctor import print_findings
    from firstsight.perceive.plan import describe_plan

    sys.exit(print_findings(source, frames=frames, fov_deg=fov_deg, plan=describe_plan))


def simulate(
    world: Positional[Literal["street", "rooms", "objects"]],
    /,
    out: Path | None = None,
    frames: int | None = None,
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
) -> None:
    """Write a simulated recording with exact ground truth, in KITTI's raw layout.

    Args:
        world: Which world.
        out: Where to write; by default recordings/sim-WORLD.
        frames: How many frames (default: the world's own).
        seed: Another seed is another world.
        height: Image height in pixels.
        width: Image width in pixels.
    """
    from rich.progress import track

    from firstsight.recordings.simulated import simulate as make
    from firstsight.recordings.simulated.export import write_kitti_raw

    folder = out or Path("recordings") / f"sim-{world}"
    recording = make(world, frames=frames, seed=seed, height=height, width=width)
    drive = write_kitti_raw(recording, folder, progress=track)
    print(f"written: {drive}\nnext:    firstsight perceive {drive}")


def methods(name: Positional[str | None] = None, /) -> None:
    """The catalogue of methods, or all about one.

    Args:
        name: A method's name.
    """
    from firstsight import catalogue

    if name is not None:
        entry = catalogue.find(name)
        print(f"{entry.name}  ({entry.target.replace(':', '.')})\n\n{entry.description}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "family", "role", "paper", box=None, header_style="bold")
    for entry in catalogue.entries():
        table.add_row(entry.name, entry.family, entry.said("Role"), entry.said("Paper"))
    Console().print(table)


def gallery(name: Positional[str | None] = None, /, out: Path = Path("gallery")) -> None:
    """The course's figures, computed anew: lists them, or runs one's experiment and draws it.

    Args:
        name: A figure's name.
        out: The folder that the picture is written to.
    """
    from firstsight.gallery import print_drawn, print_list

    if name is None:
        print_list()
    else:
        print_drawn(name, out)


def show(run: Positional[Path], /) -> None:
    """Open a run in the Rerun viewer, or say where its files are.

    Args:
        run: A run folder.
    """
    from firstsight.show.viewer import show as open_viewer

    print(open_viewer(run))


MENDABLE = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EDQUOT}  # no right or no room to write

COMMANDS: dict[str, Callable[..., Any]] = {
    "perceive": perceive,
    "doctor": doctor,
    "simulate": simulate,
    "methods": methods,
    "gallery": gallery,
    "show": show,
}


def main() -> None:
    """Runs a command. What a user can mend ends in one line on stderr and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            config=(tyro.conf.FlagCreatePairsOff,),
            prog="firstsight",
            description="firstsight learns to see from what a robot records, without labels.",
        )
    except InputError as error:
        print(f"firstsight: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        print(f"firstsight: {error.filename or 'disk'}: {error.strerror}; nothing finished is lost", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nfirstsight: stopped; the same command continues where it stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
