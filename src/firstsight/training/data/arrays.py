"""Logs as arrays: .npz files whose arrays count frames on their first axis (actions, states, images, goals, maps ...).

    actions  float32 (frames, 2)        any name and shape; images as uint8 (frames, height, width, 3)
    episode  int64 (frames)             optional: frames of one number belong together; or
    episode_ends  int64 (episodes)      where each episode ends, counted from the first frame (as in Diffusion Policy's data)

A clip never reaches over the end of an episode or of a file. Every field of a batch is (batch, time, ...), time being the
frames of the clip, whatever the array. float64 becomes float32. The arrays that are wanted lie in memory as a whole.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firstsight.errors import InputError
from firstsight.formats.storage.npz import DAMAGED, read_npz
from firstsight.recordings.files import natural_key
from firstsight.training.data.batch import Row
from firstsight.training.data.clips import centres
from firstsight.training.data.dataset import FILLED_LATER, Dataset, digest
from firstsight.training.data.images import scaled
from firstsight.training.data.wanted import Wanted

EPISODE, EPISODE_ENDS = "episode", "episode_ends"


class Log(NamedTuple):
    """The wanted arrays of a file and the lengths of its episodes."""

    path: Path
    arrays: Mapping[str, np.ndarray]
    episodes: list[int]


class LoggedArrays(Dataset):
    """The clips of all episodes of some files, which hold the same arrays."""

    def __init__(self, source: str, logs: Sequence[Log], wanted: Wanted):
        self.source, self.wanted, self.logs = source, wanted, logs
        self.names = [name for name in wanted.fields if name not in FILLED_LATER]
        lengths = [length for log in logs for length in log.episodes]
        kept = [centres(np.ones(length, bool), wanted.clip) for length in lengths]
        starts = np.cumsum([0, *lengths])[:-1]
        self.frames = np.concatenate([begin + inner for begin, inner in zip(starts, kept, strict=True)])
        self._lengths = [len(inner) for inner in kept if len(inner)]
        self._ends = np.cumsum([sum(log.episodes) for log in logs])
        if len(self.frames) == 0:
            takes = 1 + max(wanted.clip.reach) - min(wanted.clip.reach)
            raise InputError(f"{source}: its longest episode has {max(lengths)} frames; a sample takes {takes}")

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int, seed: int = 0) -> Row:
        frame = int(self.frames[index])
        file = int(np.searchsorted(self._ends, frame, side="right"))
        log, first = self.logs[file], int(self._ends[file - 1]) if file else 0
        rows = [frame - first + offset for offset in self.wanted.clip.offsets(seed)]
        return {name: self._over_time(name, log.arrays[name], rows) for name in self.names}

    def _over_time(self, name: str, values: np.ndarray, rows: list[int]) -> Any:
        if name != "images" or self.wanted.size is None:
            return values[rows]
        return np.stack([scaled(values[row], self.wanted.size) for row in rows])

    def sequence_lengths(self) -> list[int]:
        return self._lengths

    def fingerprint(self) -> dict[str, Any]:
        files = digest(f"{log.path.name} {log.path.stat().st_size}" for log in self.logs)
        return super().fingerprint() | {"files": files}


def logged_arrays(path: Path, wanted: Wanted, called: Mapping[str, str] | None = None) -> LoggedArrays:
    """The .npz file at a path, or all of those in a folder. `called` says what a field is called there, where not by its
    own name. Raises InputError where an array is missing or damaged.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.npz"), key=natural_key)
    return LoggedArrays(str(path), [read_log(file, wanted, called or {}) for file in files], wanted)


def read_log(path: Path, wanted: Wanted, called: Mapping[str, str]) -> Log:
    """What is wanted of a file, and where its episodes end."""
    names = {name: called.get(name, name) for name in wanted.fields if name not in FILLED_LATER}
    present, found = read_arrays(path, (*names.values(), EPISODE, EPISODE_ENDS))
    for name in names.values():
        if name not in found:
            raise InputError(
                f"{path}: it has no {name}, from which {wanted.method} learns; it has {', '.join(present)}; "
                f"say with {path}@FIELD=ARRAY what a field is called there"
            )
    arrays = {name: found[there] for name, there in names.items()}
    count = frame_count(path, arrays)
    ready = {name: prepared(path, name, values) for name, values in arrays.items()}
    return Log(path, ready, episodes(path, count, found))


def read_arrays(path: Path, names: Sequence[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of all arrays of a file, and those of the named ones that it has."""
    try:
        return read_npz(path, lambda held: (held.files, {name: held[name] for name in names if name in held.files}))
    except DAMAGED as error:
        raise InputError(f"{path}: not a readable .npz of plain arrays ({error}); write it again") from None


def frame_count(path: Path, arrays: Mapping[str, np.ndarray]) -> int:
    """The length of the first axis, which all arrays share."""
    lengths = {name: len(values) if values.ndim else 0 for name, values in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"{path}: its arrays have different numbers of frames ({listed}); write them frame by frame")
    return next(iter(lengths.values()))


def prepared(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """The array in the type that batches have. Raises InputError where it holds no numbers, or images of another layout."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"{path}: {name} holds {values.dtype}, not numbers")
    if name == "images" and (values.dtype != np.uint8 or values.ndim != 4 or values.shape[-1] != 3):
        raise InputError(
            f"{path}: images are {values.dtype} {values.shape}; write them as uint8 (frames, height, width, 3)"
        )
    return values.astype(np.float32) if values.dtype == np.float64 else values


def episodes(path: Path, count: int, marks: Mapping[str, np.ndarray]) -> list[int]:
    """The lengths of a file's episodes: as it marks them, else one."""
    if EPISODE in marks:
        numbers = marks[EPISODE]
        if numbers.shape != (count,):
            raise InputError(f"{path}: episode has shape {numbers.shape}; write one number for each of {count} frames")
        ends = np.append(np.flatnonzero(np.diff(numbers)) + 1, count)
    else:
        ends = marks.get(EPISODE_ENDS, np.array([count]))
    return lengths_between(path, count, ends)


def lengths_between(path: Path, count: int, ends: np.ndarray) -> list[int]:
    """The lengths of episodes that end there. Raises InputError where the ends are no whole numbers that rise to `count`."""
    if ends.ndim != 1 or ends.dtype.kind not in "iu":
        raise InputError(
            f"{path}: episode_ends is {ends.dtype} {ends.shape}: whole numbers must rise to the number of frames, {count}; "
            "write it again"
        )
    # Python's whole numbers, which do not overflow
    lengths = [after - before for before, after in pairwise([0, *ends.tolist()])]
    if sum(lengths) != count or min(lengths, default=0) < 1:
        raise InputError(f"{path}: episode_ends must rise to the number of frames, {count}; write it again")
    return lengths
