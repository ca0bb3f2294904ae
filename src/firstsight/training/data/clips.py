"""Samples of a recording: a frame with those around it that the method wants."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from firstsight.errors import InputError
from firstsight.recordings.recording import Recording
from firstsight.training.data.batch import Row
from firstsight.training.data.dataset import FILLED_LATER, Dataset
from firstsight.training.data.fields import FIELDS, Field, camera_of
from firstsight.training.data.taught import TAUGHT_FIELDS, Teacher
from firstsight.training.data.wanted import Clip, Wanted


class Clips(Dataset):
    """One sample for each frame around which the recording holds, and knows, all frames that a clip can reach.

    `teacher` is where `taught_*` fields come from. Raises InputError where the recording lacks a wanted field.
    """

    def __init__(self, recording: Recording, wanted: Wanted, teacher: Teacher | None = None):
        self.source, self.recording = recording.source, recording
        self.wanted, self.teacher = wanted, teacher
        self.fields = {name: self._field(name) for name in wanted.fields if name not in FILLED_LATER}
        require_pairs(wanted.clip, self.fields)
        known = self._known()
        self.frames = centres(known, wanted.clip)
        if len(self.frames) == 0:
            takes = 1 + max(wanted.clip.reach) - min(wanted.clip.reach)
            raise InputError(f"{self.source}: it has {known.sum()} usable frames; a sample takes {takes}")
        self.remarks = tuple(self._remarks(known))

    def _remarks(self, known: Bool[np.ndarray, " frames"]) -> Iterator[str]:
        if not known.all():
            yield f"{self.source}: {(~known).sum()} of {len(known)} frames have no known pose and are left out"
        if "intrinsics" in self.fields and camera_of(self.recording).assumed:
            yield f"{self.source}: its field of view is assumed; state it with {self.source}@fov-deg=DEGREES"

    def _field(self, name: str) -> Field:
        field = {**FIELDS, **TAUGHT_FIELDS}.get(name)
        learner = f"from which {self.wanted.method} learns"
        if field is None:
            raise InputError(f"{self.source}: a recording has no {name}, {learner}")
        if name in TAUGHT_FIELDS and self.teacher is None:
            raise InputError(
                f"{self.source}: it names no finished run ({name}), {learner}; write {self.source}@taught=RUN"
            )
        lacking = field.lacks(self._origin(name))
        if lacking:
            raise InputError(f"{self.source}: it has no {lacking} ({name}), {learner}")
        return field

    def _origin(self, name: str) -> Recording | Teacher | None:
        return self.teacher if name in TAUGHT_FIELDS else self.recording

    def _known(self) -> Bool[np.ndarray, " frames"]:
        """The frames at which all fields can be read."""
        known = np.ones(len(self.recording), bool)
        for name, field in self.fields.items():
            if field.known is not None:
                known &= field.known(self._origin(name))
        return known

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int, seed: int = 0) -> Row:
        frames = [int(self.frames[index]) + offset for offset in self.wanted.clip.offsets(seed)]
        return {name: self._over_time(name, frames) for name in self.fields}

    def _over_time(self, name: str, frames: list[int]) -> Any:
        over = self.fields[name].over
        if over == "frame":
            return np.stack([self._read(name, frame) for frame in frames])
        if over == "ragged":
            return [self._read(name, frame) for frame in frames]
        return self._read(name, frames[0] if over == "pair" else 0)

    def _read(self, name: str, frame: int) -> Any:
        def read() -> Any:
            return self.fields[name].read(self._origin(name), frame, self.wanted.size or (1, 1))

        return self._kept.get((name, frame), read)

    def sequence_lengths(self) -> list[int]:
        """Those of the runs of consecutive frames."""
        breaks = np.flatnonzero(np.diff(self.frames) != 1) + 1
        return np.diff([0, *breaks.tolist(), len(self)]).tolist()

    def fingerprint(self) -> dict[str, Any]:
        taught = {} if self.teacher is None else {"taught": str(self.teacher.run.path)}
        return super().fingerprint() | {"frames": len(self.recording)} | taught


def centres(known: Bool[np.ndarray, " frames"], clip: Clip) -> Int64[np.ndarray, " samples"]:
    """The frames around which all frames that a clip can reach are known."""
    earliest, latest = clip.reach
    frames = np.arange(-earliest, max(len(known) - latest, -earliest))
    return frames[np.all([known[frames + offset] for offset in clip.possible], axis=0)]


def require_pairs(clip: Clip, fields: dict[str, Field]) -> None:
    """Flow is known from a frame to the next, so a method that wants it begins its clips with two such frames."""
    pairs: Iterable[str] = [name for name, field in fields.items() if field.over == "pair"]
    (low, high), (after_low, after_high) = (*clip.ranges, clip.ranges[0])[:2]
    follows = low == high and after_low == after_high == low + 1
    assert follows or not pairs, (
        f"{', '.join(pairs)}: the clip's first two frames must follow one another, as frames(0, 1)"
    )
