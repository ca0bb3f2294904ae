"""What samples are read from: recordings, images, arrays, or several of these one after the other."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from firstsight.errors import InputError
from firstsight.training.data.batch import Row
from firstsight.training.data.memory import Budget, Kept
from firstsight.training.data.wanted import Wanted

FILLED_LATER = frozenset({"index", "starts"})
"""Fields that the loading fills in: which sample it is, and whether a stream begins with it."""


class Dataset(ABC):
    """Samples by number. `source` is what the user calls it; one that cannot be read raises InputError naming its file.

    `remarks` are what the user should know, such as samples that were left out.
    """

    source: str
    wanted: Wanted
    remarks: tuple[str, ...] = ()
    _kept = Kept()  # keeps nothing until it is told to

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int, seed: int = 0) -> Row:
        """The wanted fields of a sample, without `index` and `starts`. `seed` decides what is drawn for it in this step."""

    def class_names(self) -> list[str] | None:
        """The name of each sample's class; None where samples have none."""
        return None

    def sequence_lengths(self) -> list[int]:
        """How many samples follow one another in time, sequence after sequence: a stream begins anew at each."""
        return [len(self)]

    def blocks(self) -> Int64[np.ndarray, " blocks"] | None:
        """The lengths of the runs of samples that are best read together, such as shards; None where any order is as good."""
        return None

    def keep(self, budget: Budget) -> None:
        """Keeps in memory what it decodes from now on, as far as the budget goes."""
        self._kept = Kept(budget)

    def fingerprint(self) -> dict[str, Any]:
        """What tells this data from other data of the same source: a training goes on only with the same."""
        return {"source": self.source, "samples": len(self)}


def digest(parts: Iterable[object]) -> str:
    """A short number of many names or numbers, in their order."""
    content = hashlib.blake2b(digest_size=8)
    for part in parts:
        content.update(f"{part}\0".encode(errors="surrogateescape"))
    return content.hexdigest()


class Arrays(Dataset):
    """Samples that lie in memory: arrays by field, whose first axis counts the samples."""

    def __init__(self, wanted: Wanted, arrays: Mapping[str, np.ndarray], source: str = "arrays"):
        self.source, self.wanted = source, wanted
        for field in wanted.fields:
            if field not in arrays and field not in FILLED_LATER:
                have = ", ".join(arrays)
                raise InputError(f"{source}: it has no {field}, from which {wanted.method} learns; it has {have}")
        self.arrays = arrays
        self._count = len(next(iter(arrays.values())))

    def __len__(self) -> int:
        return self._count

    def sample(self, index: int, seed: int = 0) -> Row:
        return {name: self.arrays[name][index] for name in self.wanted.fields if name in self.arrays}

    @classmethod
    def copied(cls, data: Dataset, indices: Iterable[int]) -> "Arrays":
        """Some samples of a data set, read now and kept in memory."""
        rows = [data.sample(index) for index in indices]
        return cls(data.wanted, {name: np.stack([row[name] for row in rows]) for name in rows[0]}, data.source)

    def fingerprint(self) -> dict[str, Any]:
        content = hashlib.blake2b(digest_size=8)
        for name in sorted(self.arrays):
            content.update(np.ascontiguousarray(self.arrays[name]).tobytes())
        return super().fingerprint() | {"content": content.hexdigest()}


class Joined(Dataset):
    """Several datasets one after the other. It numbers the classes (`label`) of all together, in the order of their names."""

    def __init__(self, parts: Sequence[Dataset]):
        self.parts = parts
        self.source, self.wanted = ", ".join(part.source for part in parts), parts[0].wanted
        self.remarks = tuple(remark for part in parts for remark in part.remarks)
        self._ends = np.cumsum([len(part) for part in parts])
        self.labels: np.ndarray | None = None
        self.classes: tuple[str, ...] = ()
        if "label" in self.wanted.fields:
            self._number_classes()

    def _number_classes(self) -> None:
        names: list[str] = []
        for part in self.parts:
            found = part.class_names()
            if found is None:
                raise InputError(
                    f"{part.source}: its samples have no label, from which {self.wanted.method} learns; "
                    "give images in folders by class"
                )
            names += found
        self.classes = tuple(sorted(set(names), key=class_order))
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.labels = np.array([numbers[name] for name in names], np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def sample(self, index: int, seed: int = 0) -> Row:
        part = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[part - 1]) if part else 0
        row = self.parts[part].sample(index - first, seed)
        return row if self.labels is None else {**row, "label": self.labels[index]}

    def class_names(self) -> list[str] | None:
        return None if self.labels is None else [self.classes[label] for label in self.labels]

    def sequence_lengths(self) -> list[int]:
        return [length for part in self.parts for length in part.sequence_lengths()]

    def blocks(self) -> Int64[np.ndarray, " blocks"] | None:
        """Those of the parts; a part that can be read in any order is as many blocks as it has samples."""
        found = [part.blocks() for part in self.parts]
        if all(blocks is None for blocks in found):
            return None
        each = [
            np.ones(len(part), np.int64) if blocks is None else blocks
            for part, blocks in zip(self.parts, found, strict=True)
        ]
        return np.concatenate(each)

    def keep(self, budget: Budget) -> None:
        for part in self.parts:
            part.keep(budget)

    def fingerprint(self) -> dict[str, Any]:
        parts = [part.fingerprint() for part in self.parts]
        return parts[0] if len(parts) == 1 else {"sources": parts, "samples": len(self)}


def class_order(name: str) -> tuple[int, int, str]:
    """Sorts classes that are numbers by their value, before those that are words."""
    return (0, int(name), "") if name.isdecimal() else (1, 0, name)
