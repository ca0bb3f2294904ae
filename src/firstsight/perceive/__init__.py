"""The main job: a recording in, a run folder out. `firstsight.perceive(...)`; the work is in firstsight.perceive.run."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstsight.run_folder import RunFolder


def perceive(
    source: str | Path,
    out: str | Path | None = None,
    *,
    sensors: Iterable[str] | None = None,
    frames: str | None = None,
    fov_deg: float | None = None,
    depth_per_metre: float | None = None,
    use: Iterable[str | Path] = (),
    overwrite: bool = False,
) -> "RunFolder":
    """Depth, motion, trajectory, moving objects and a map of a recording, with a report; returns the run folder.

    `out` is the run folder, by default runs/NAME; an unfinished run in it is continued. `sensors`, `frames`, `fov_deg` and `depth_per_metre` are
    those of `firstsight.open`; `use` names methods, or folders of trainings, that take the place of a stage's own. Raises
    InputError where the source cannot be used, and where `out` holds another run and `overwrite` is not given.
    """
    from firstsight.perceive.run import Settings
    from firstsight.perceive.run import perceive as run

    names = (sensors,) if isinstance(sensors, str) else sensors
    methods = (use,) if isinstance(use, str | Path) else use
    settings = Settings(
        sensors=None if names is None else tuple(names),
        frames=frames,
        fov_deg=fov_deg,
        depth_per_metre=depth_per_metre,
        use=tuple(str(name) for name in methods),
    )
    return run(str(source), None if out is None else Path(out), settings, overwrite=overwrite)


class _Callable(ModuleType):
    """A module that can be called: importing a part of the package makes `firstsight.perceive` the package."""

    def __call__(self, *given: Any, **named: Any) -> "RunFolder":
        return perceive(*given, **named)


sys.modules[__name__].__class__ = _Callable
