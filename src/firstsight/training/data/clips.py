"""Samples of a recording: a frame with those around it that the method wants."""

from typing import Any

import numpy as np

from firstsight.errors import InputError
from firstsight.recordings.recording import Recording
from firstsight.training.data.batch import Row
from firstsight.training.data.dataset import Dataset
from firstsight.training.data.fields import FIELDS
from firstsight.training.data.wanted import Wanted

FILLED_LATER = {"index", "starts"}


class Clips(Dataset):
    """One sample for each frame around which the recording holds all frames that a clip can reach."""

    def __init__(self, recording: Recording, wanted: Wanted):
        self.source, self.recording, self.wanted = recording.source, recording, wanted
        self.names = [name for name in wanted.fields if name not in FILLED_LATER]
        for name in self.names:
            self._require(name)
        earliest, latest = wanted.clip.reach
        self.first = -earliest
        self._count = len(recording) + earliest - latest
        if self._count < 1:
            needed = latest - earliest + 1
            raise InputError(f"{self.source}: it has {len(recording)} frames; a sample takes {needed}")

    def _require(self, name: str) -> None:
        if name not in FIELDS:
            raise InputError(f"{self.source}: a recording has no {name}, from which this method learns")
        lacking = FIELDS[name].lacks(self.recording)
        if lacking:
            raise InputError(f"{self.source}: it has no {lacking} ({name}), from which this method learns")

    def __len__(self) -> int:
        return self._count

    def sample(self, index: int, seed: int = 0) -> Row:
        frame = self.first + index
        frames = [frame + offset for offset in self.wanted.clip.offsets(seed)]
        return {name: self._field(name, frames) for name in self.names}

    def _field(self, name: str, frames: list[int]) -> Any:
        over = FIELDS[name].over
        if over == "frame":
            return np.stack([self._read(name, frame) for frame in frames])
        if over == "ragged":
            return [self._read(name, frame) for frame in frames]
        return self._read(name, frames[0])

    def _read(self, name: str, frame: int) -> Any:
        return FIELDS[name].read(self.recording, frame, self.wanted.size or (1, 1))

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"frames": len(self.recording)}
