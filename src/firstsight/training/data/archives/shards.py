"""Millions of images in tar shards, as WebDataset writes them: `key.jpg` with its class in `key.cls` or `key.json`.

Opening maps the index (`shard_index`) and reads nothing else. The order of an epoch keeps to a few shards at a time
(`order.Shuffled`) and is a function of the seed and the step, so that a training resumes where it was.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from firstsight.errors import InputError
from firstsight.training.data.archives.shard_index import NO_CLASS, ShardIndex, shard_index
from firstsight.training.data.dataset import digest
from firstsight.training.data.images import Images
from firstsight.training.data.wanted import Wanted

# Shards whose files a process holds open.
MAX_OPEN = 32


class Names(Sequence[str]):
    """The names of the images, decoded when asked for: a list of millions would be copied by every worker."""

    def __init__(self, index: ShardIndex):
        self._index = index

    def __len__(self) -> int:
        return len(self._index.rows)

    def __getitem__(self, number: Any) -> Any:  # never a slice
        row = self._index.rows[number]
        return f"{self._index.paths[row['shard']].name}/{row['name'].decode(errors='replace')}"


class OpenFiles:
    """The files that were used last. Reading states its place, so that forked processes can share them."""

    def __init__(self):
        self._open: OrderedDict[Path, int] = OrderedDict()

    def read(self, path: Path, offset: int, size: int) -> bytes:
        if path not in self._open:
            self._open[path] = os.open(path, os.O_RDONLY)
            if len(self._open) > MAX_OPEN:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(path)
        return os.pread(self._open[path], size, offset)

    def __del__(self):
        for descriptor in self._open.values():
            os.close(descriptor)


class Shards(Images):
    """The images of a folder of shards."""

    def __init__(self, source: str, index: ShardIndex, wanted: Wanted):
        self.index, files = index, OpenFiles()

        def read(number: int) -> bytes:
            row = index.rows[number]
            return files.read(index.paths[row["shard"]], int(row["offset"]), int(row["size"]))

        super().__init__(source, Names(index), read, wanted)

    def class_names(self) -> list[str] | None:
        """Those that the label files give; None where one is missing."""
        labels = np.asarray(self.index.rows["label"])
        return None if (labels == NO_CLASS).any() else [self.index.classes[label] for label in labels.tolist()]

    def blocks(self) -> Int64[np.ndarray, " blocks"]:
        return np.array([count for count in self.index.counts if count], np.int64)

    def for_training(self) -> "Shards":
        """All of them: shards for testing lie in a folder of their own."""
        return self

    def select(self, chosen: Sequence[int]) -> Images:
        raise InputError(f"{self.source}: frames= is not for shards; give a folder with fewer of them")

    def fingerprint(self) -> dict[str, Any]:
        names = digest(f"{path.name} {n}" for path, n in zip(self.index.paths, self.index.counts, strict=True))
        return {"source": self.source, "samples": len(self), "names": names}


def open_shards(folder: Path, wanted: Wanted, scratch: Path) -> Shards:
    """The shards in a folder. Raises InputError where there is no image in them or one is damaged."""
    index = shard_index(folder, scratch)
    if len(index.rows) == 0:
        raise InputError(f"{folder}: no images in its {len(index.paths)} shards")
    return Shards(str(folder), index, wanted)
