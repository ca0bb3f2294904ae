"""The command line. Nothing heavy is imported before a command runs, so that --help answers at once."""

import errno
import inspect
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
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
    more: Positional[Annotated[tuple[str, ...], arg(metavar="SOURCE ...", help="Further recordings.")]] = (),
    /,
    out: Path | None = None,
    sensors: Sensors = None,
    frames: Frames = None,
    fov_deg: FovDeg = None,
    use: Annotated[tuple[str, ...], arg(metavar="METHOD ...")] = (),
    engine: Literal["serial", "ray"] = "serial",
    overwrite: bool = False,
) -> None:
    """Depth, motion, trajectory, moving objects and a map of a recording, with a report.

    Args:
        out: The run folder; by default runs/NAME. A killed run continues where it stopped. Of several recordings, the
            folder of their run folders (by default runs).
        use: Methods that take the place of a stage's own, by what they estimate, such as lucas-kanade for flow; the
            folder of a training for what it learned.
        engine: Several recordings one after the other, or side by side with Ray.
        overwrite: Replace the run that the folder holds.
    """
    from firstsight.perceive.run import Settings
    from firstsight.perceive.run import perceive as run_perceive

    settings = Settings(sensors=sensors, frames=frames, fov_deg=fov_deg, use=use)
    if more or engine == "ray":
        from firstsight.perceive.fleet import perceive_all

        outcomes = perceive_all((source, *more), out or Path("runs"), settings, engine=engine, overwrite=overwrite)
        failed = [outcome for outcome in outcomes if outcome.reason]
        print(f"{len(outcomes) - len(failed)} of {len(outcomes)} recordings done")
        sys.exit(2 if failed else 0)
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


def train(
    method: Positional[
        Annotated[str, arg(metavar="METHOD", help="See `firstsight methods`; auto: what suits the sensors.")]
    ],
    sources: Positional[Annotated[tuple[str, ...], arg(metavar="SOURCE ...", help="As for perceive, or pictures.")]],
    /,
    out: Path | None = None,
    recipe: Literal["auto", "tiny", "paper"] = "auto",
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    precision: Literal["float32", "bf16", "fp16"] | None = None,
    seed: int | None = None,
    checkpoint_every: int | None = None,
    device: str | None = None,
    workers: int = 0,
    tensorboard: bool = False,
    overwrite: bool = False,
    config: Any = None,
) -> None:
    """Let a method learn from recordings or pictures, without labels. Many processes: torchrun -m firstsight train ...

    Args:
        out: The folder of the training; by default runs/METHOD. A killed training continues where it stopped.
        recipe: The paper's, or a tiny one for a CPU (auto: the paper's where there is a GPU).
        steps: Of the optimiser.
        batch: Samples of a step, over all processes.
        learning_rate: The optimiser's.
        precision: Lower ones are for GPUs.
        seed: Of the order, the augmentation and the first weights.
        checkpoint_every: Steps between checkpoints.
        device: cpu, cuda, ...; by default a GPU where there is one.
        workers: Processes that decode samples.
        tensorboard: Also write for TensorBoard.
        overwrite: Replace the training that the folder holds.
        config: The method's settings.
    """
    from firstsight.commands import train as command
    from firstsight.training.fit import Runtime

    entry = command.trainable(command.chosen_method(sources) if method == "auto" else method)
    folder = out or Path("runs") / entry.name
    changes = command.Changes(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        precision=precision,
        seed=seed,
        checkpoint_every=checkpoint_every,
    )
    runtime = Runtime(device=device, workers=workers, tensorboard=tensorboard)
    command.train(
        entry,
        sources,
        folder,
        recipe=recipe,
        config=config,
        changes=changes,
        runtime=runtime,
        overwrite=overwrite,
    )


def train_of(arguments: Sequence[str]) -> Callable[..., Any]:
    """`train` with a flag for each setting of the method that the arguments name."""
    from firstsight.commands import train as command

    name = next((word for word in arguments if not word.startswith("-")), "auto")
    if name == "auto":
        return train
    entry = command.trainable(name)
    given = dict(pairwise(arguments)).get("--recipe")
    config = command.default_config(entry, command.settled(given if given in ("tiny", "paper") else "auto"))

    def train_method(*positional: Any, **flags: Any) -> None:
        train(*positional, **flags)

    signature = inspect.signature(train)
    setting = signature.parameters["config"].replace(annotation=type(config), default=config)
    described = signature.replace(parameters=[*list(signature.parameters.values())[:-1], setting])
    train_method.__dict__["__signature__"] = described  # what tyro reads
    train_method.__annotations__ = {**train.__annotations__, "config": type(config)}
    train_method.__doc__ = train.__doc__
    return train_method


def reconstruct(
    photos: Positional[Annotated[Path, arg(metavar="PHOTOS", help="A folder of photos of one scene, in any order.")]],
    /,
    out: Path | None = None,
    fov_deg: FovDeg = None,
    overwrite: bool = False,
) -> None:
    """Where photos were taken from, and the scene's points: COLMAP's text model, a point cloud and a picture.

    Args:
        out: Where to write; by default runs/PHOTOS-reconstruction. A killed run continues where it stopped.
        overwrite: Replace the reconstruction that the folder holds.
    """
    from firstsight.commands.reconstruct import print_summary, reconstruct_folder

    print_summary(*reconstruct_folder(photos, out, fov_deg=fov_deg, overwrite=overwrite))


def optimise(
    graph: Positional[Annotated[Path, arg(metavar="GRAPH", help="A pose graph: g2o or TORO.")]],
    /,
    out: Path | None = None,
    method: Literal["gauss_newton", "levenberg_marquardt", "dogleg"] = "levenberg_marquardt",
    false_loops: Literal["keep", "consistent", "graduated", "switchable"] = "keep",
    start: Literal["file", "spanning-tree", "chordal"] = "file",
) -> None:
    """The poses that agree best with a pose graph's measurements, as g2o and as a picture of before and after.

    Args:
        out: The g2o to write; by default GRAPH_optimised.g2o. The picture is written beside it.
        method: How the error is brought down.
        false_loops: What is done about them; `consistent` is the most robust.
        start: Poses to begin with.
    """
    from firstsight.commands.optimise import Settings, optimise_file

    optimise_file(graph, out, Settings(method=method, false_loops=false_loops, start=start))


def evaluate(
    method: Positional[Annotated[str, arg(metavar="METHOD_or_RUN", help="A method, or the folder of a training.")]],
    source: Positional[
        Annotated[str, arg(metavar="SOURCE", help="A recording with truth, or pictures in folders by class.")]
    ],
    /,
    out: Path | None = None,
    frames: Frames = None,
    cap_m: float = 80.0,
    crop: Literal["none", "garg"] = "none",
) -> None:
    """The field's metrics of a method against what the source knows, with their protocol.

    Args:
        out: The JSON to write; of a training, by default evaluation.json in its folder.
        cap_m: Depth beyond it is not judged.
        crop: Of depth: the part of the picture that is judged.
    """
    from firstsight.commands import evaluate as command
    from firstsight.perceive.summary import print_metrics

    metrics = command.evaluate(method, source, frames=frames, protocol=command.Protocol(cap_m=cap_m, crop=crop))
    print_metrics(metrics)
    path = out or (Path(method) / "evaluation.json" if Path(method).is_dir() else None)
    if path is not None:
        command.write_metrics(path, method, source, metrics)
        print(f"written: {path}")


def export(run: Positional[Path], /, out: Path | None = None) -> None:
    """A trained method as torch.export and ONNX, each checked against the original at two sizes.

    Args:
        run: The folder of a training.
        out: The folder to write to; by default RUN/export.
    """
    from firstsight.commands.export import export as write

    for found in write(run, out):
        batch, height, width = found.size
        print(
            f"{batch} x {height} x {width}: ONNX differs by {found.onnx:.1e}, torch.export by {found.torch_export:.1e}"
        )
    print(f"written: {out or run / 'export'}")


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
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "reconstruct": reconstruct,
    "optimise": optimise,
    "simulate": simulate,
    "methods": methods,
    "gallery": gallery,
    "show": show,
}


def main() -> None:
    """Runs a command. What a user can mend ends in one line on stderr and exit status 2."""
    arguments = sys.argv[1:]
    try:
        commands = COMMANDS | ({"train": train_of(arguments[1:])} if arguments[:1] == ["train"] else {})
        tyro.extras.subcommand_cli_from_dict(
            commands,
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
