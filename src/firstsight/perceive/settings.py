"""What decides a run's results: the recording and how it is used."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a run's results. A run folder is continued only with the settings it was begun with."""

    sensors: tuple[str, ...] | list[str] | str | None = None
    frames: str | None = None
    fov_deg: float | None = None
    depth_per_metre: float | None = None
    use: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Makes `sensors` and `use` tuples; one name of a sensor stands for a tuple of one."""
        object.__setattr__(self, "use", tuple(self.use))
        if self.sensors is not None:
            names = (self.sensors,) if isinstance(self.sensors, str) else tuple(self.sensors)
            object.__setattr__(self, "sensors", names)

    def open(self, source: str) -> Recording:
        """Opens the recording with these settings. Raises InputError where it cannot be used."""
        return open_recording(
            source,
            sensors=None if self.sensors is None else frozenset(self.sensors),
            frames=self.frames,
            fov_deg=self.fov_deg,
            depth_per_metre=self.depth_per_metre,
        )

    def as_json(self) -> dict[str, Any]:
        """The settings as run.json and the worker processes are told them."""
        return asdict(self) | {"sensors": list(self.sensors) if self.sensors else None, "use": list(self.use)}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "Settings":
        """The inverse of `as_json`."""
        given: dict[str, Any] = {**content, "use": tuple(content["use"])}
        return cls(**given)
