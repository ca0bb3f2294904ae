"""firstsight learns to see from what a robot records, without labels.

run = firstsight.perceive("sim:street", "runs/demo")            the main job: a recording in, a run folder out
learned = firstsight.learn("path/to/recording", "runs/learned")   the recording teaches itself
recording = firstsight.open("path/to/recording")                the recording alone
matching = firstsight.method("semi-global-matching")            one method of `firstsight methods`, or a trained one's folder

Nothing heavy is imported before one of these is called.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "learn", "method", "open", "perceive"]

if TYPE_CHECKING:
    from firstsight.learning.record import LearnRecord
    from firstsight.perceive import perceive as perceive
    from firstsight.recordings.recording import Recording
else:
    # The package is its function too, whatever was imported before.
    from firstsight import perceive


def open(
    source: str | Path,
    *,
    sensors: Iterable[str] | None = None,
    frames: str | None = None,
    fov_deg: float | None = None,
    depth_per_metre: float | None = None,
) -> "Recording":
    """The recording at a path, of any format that is known, or the simulated one of "sim:street", "sim:rooms", "sim:objects".

    `sensors` keeps some of camera, stereo, depth, lidar and odometry, `frames` a slice "start:stop:step"; `fov_deg` is the
    horizontal field of view of a camera without calibration, `depth_per_metre` the value of a metre in 16-bit depth images. Raises InputError for what cannot be read.
    """
    from firstsight.recordings.opening import open_recording

    names = [sensors] if isinstance(sensors, str) else sensors
    kept = None if names is None else frozenset(names)
    return open_recording(str(source), sensors=kept, frames=frames, fov_deg=fov_deg, depth_per_metre=depth_per_metre)


def learn(
    sources: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    judge_on: str | Path | None = None,
    budget_minutes: float = 10.0,
    sensors: Iterable[str] | None = None,
    frames: str | None = None,
    overwrite: bool = False,
) -> "LearnRecord":
    """Trains flow and depth on recordings of one rig without labels, and says whether it was worth it (docs/learning.md).

    What is better on the last third of the frames, or on the recording `judge_on`, is `used`; its trainings are in
    `out`/trained, for `perceive(use=...)`. All trainings together take `budget_minutes`. Raises InputError where a source
    cannot be used, and where `out` holds something else and `overwrite` is not given.
    """
    from firstsight.learning.run import learn as run
    from firstsight.perceive.run import Settings

    given = (sources,) if isinstance(sources, str | Path) else sources
    names = (sensors,) if isinstance(sensors, str) else sensors
    settings = Settings(sensors=None if names is None else tuple(names), frames=frames)
    return run(
        [str(source) for source in given],
        out,
        settings,
        judge_on=judge_on,
        budget_minutes=budget_minutes,
        overwrite=overwrite,
    )


def method(name: str | Path, config: Any = None) -> Any:
    """A method, ready to be called: by its name in the catalogue, with what it learned from the folder of its training, or a
    network that was trained elsewhere, from an ONNX file with a description beside it.

    `config` is the `Config` of its module, None for the paper's settings. A method that learns, given by name, is untrained.
    Raises InputError where there is no such method, or where the settings are another's.
    """
    from firstsight import catalogue
    from firstsight.errors import InputError
    from firstsight.perceive import choice

    if choice.origin(str(name)) != "method":
        if config is not None:
            raise InputError(f"{name}: has its settings beside its weights; leave config out")
        return choice.load(str(name))
    entry = catalogue.find(str(name))
    wanted = entry.module.Config
    if config is not None and not isinstance(config, wanted):
        raise InputError(f"{name}: config is a {type(config).__name__}; give a {wanted.__module__}.Config")
    made = entry.load()(config)
    return made.eval() if entry.learns else made
