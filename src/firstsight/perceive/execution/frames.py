"""Sensor frames decoded or simulated once per run: kept in memory up to a number of bytes, then as files up to another."""

import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from firstsight.errors import InputError
from firstsight.formats.storage.lock import turn
from firstsight.formats.storage.state import read_state, write_state
from firstsight.recordings.recording import Channel, DepthImage, Recording, Scan

T = TypeVar("T")

MEMORY_BYTES = 256 * 2**20
DISK_BYTES = 4 * 2**30


class Key(NamedTuple):
    """Which frame of which sensor."""

    sensor: str
    frame: int


class FrameStore:
    """Frames by sensor and number. Beyond both bounds the least recently used are forgotten and decoded anew when asked for.

    `sharers` is the number of processes that use the folder, each with its part of the bounds. With several, what one decodes
    is written to a file at once, for the others to read; whoever starts them empties the folder (`without_files`).
    """

    def __init__(
        self, folder: Path, memory_bytes: int = MEMORY_BYTES, disk_bytes: int = DISK_BYTES, sharers: int = 1
    ) -> None:
        self.folder, self.shared = folder, sharers > 1
        self.memory_left, self.disk_left = memory_bytes // sharers, disk_bytes // sharers
        self._values: OrderedDict[Key, Any] = OrderedDict()
        self._unusable: dict[Key, str] = {}

    def without_files(self) -> "FrameStore":
        """This store, after removing what is in its folder: files of an earlier process are not believed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        return self

    def get(self, key: Key, load: Callable[[int], T]) -> T:
        """The frame, from memory, from its file, or loaded. Raises the InputError of one that cannot be decoded."""
        if key in self._unusable:
            raise InputError(self._unusable[key])
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._from_disk(key)
        if value is None:
            try:
                value = self._load_once(key, load) if self.shared else load(key.frame)
            except InputError as error:
                self._unusable[key] = str(error)
                raise
        if value is not None:
            self._keep(key, value)
        return value

    def _load_once(self, key: Key, load: Callable[[int], T]) -> T:
        """Loads the frame, or takes what another process is just loading, and leaves its file to all."""
        with turn(self._path(key).with_suffix(".lock")):
            value = self._from_disk(key)
            if value is None:
                value = load(key.frame)
                if value is not None:
                    self._to_disk(key, value)
            return value

    def _keep(self, key: Key, value: Any) -> None:
        self._values[key] = value
        self.memory_left -= size_of(value)
        while self.memory_left < 0 and len(self._values) > 1:
            oldest, evicted = self._values.popitem(last=False)
            self.memory_left += size_of(evicted)
            self._to_disk(oldest, evicted)

    def _path(self, key: Key) -> Path:
        return self.folder / key.sensor / f"{key.frame:06d}.npz"

    def _to_disk(self, key: Key, value: Any) -> None:
        if self._path(key).exists() or size_of(value) > self.disk_left:
            return
        write_state(self._path(key), parts_of(value))
        self.disk_left -= size_of(value)

    def _from_disk(self, key: Key) -> Any:
        """None where there is no file, or it was damaged meanwhile."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return whole_of(read_state(path))
        except InputError:
            path.unlink(missing_ok=True)
            return None


def decoded_once(recording: Recording, store: FrameStore) -> Recording:
    """The recording with the frames of its sensors kept in the store; its truth is read as before."""

    def kept(sensor: str, channel: Channel[T]) -> Channel[T]:
        return Channel(len(channel), lambda frame: store.get(Key(sensor, frame), channel.__getitem__), keep=1)

    images = {name: kept(f"image-{number}", recording.images[name]) for number, name in enumerate(recording.images)}
    depth = None if recording.depth is None else kept("depth", recording.depth)
    scans = None if recording.scans is None else kept("scan", recording.scans)
    return replace(recording, images=images, depth=depth, scans=scans)


# The kinds of frames by a name that their files carry.
KINDS = {"depth": DepthImage, "scan": Scan}


def parts_of(value: np.ndarray | DepthImage | Scan) -> dict[str, Any]:
    """The frame as arrays."""
    for kind, type_ in KINDS.items():
        if isinstance(value, type_):
            return {"kind": kind, **value._asdict()}
    return {"kind": "image", "pixels": value}


def whole_of(parts: dict[str, Any]) -> Any:
    """The frame of its arrays."""
    kind = parts.pop("kind")
    return parts["pixels"] if kind == "image" else KINDS[kind](**parts)


def size_of(value: np.ndarray | DepthImage | Scan) -> int:
    """Bytes of the frame's arrays."""
    parts = (value,) if isinstance(value, np.ndarray) else value
    return sum(part.nbytes for part in parts if part is not None)
