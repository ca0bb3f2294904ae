"""What samples are read from: recordings, images, arrays, or several of these one after the other."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from firstsight.errors import InputError
from firstsight.training.data.batch import Row
from firstsight.training.data.wanted import Wanted


class Dataset(ABC):
    """Samples by number. `source` is what the user calls it; one that cannot be read raises InputError naming its file."""

    source: str
    wanted: Wanted

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int, seed: int = 0) -> Row:
        """The wanted fields of a sample. `seed` decides what is drawn for it in this step, such as the gaps of a clip."""

    def class_names(self) -> list[str] | None:
        """The name of each sample's class; None where samples have none."""
        return None

    def fingerprint(self) -> dict[str, Any]:
        """What tells this data from other data of the same source: a training goes on only with the same."""
        return {"source": self.source, "samples": len(self)}


def digest(names: Sequence[str]) -> str:
    """A short number of many names, in their order."""
    return hashlib.blake2b("\0".join(names).encode(), digest_size=8).hexdigest()


class Arrays(Dataset):
    """Samples that lie in memory: arrays by field, whose first axis counts the samples."""

    def __init__(self, wanted: Wanted, arrays: Mapping[str, np.ndarray], source: str = "arrays"):
        self.source, self.wanted = source, wanted
        for field in wanted.fields:
            if field not in arrays and field != "index":
                raise InputError(f"{source}: it has no {field}; it has {', '.join(arrays)}")
        self.arrays = arrays
        self._count = len(next(iter(arrays.values())))

    def __len__(self) -> int:
        return self._count

    def sample(self, index: int, seed: int = 0) -> Row:
        row = {name: self.arrays[name][index] for name in self.wanted.fields if name in self.arrays}
        return {**row, "index": np.int64(index)}

    def fingerprint(self) -> dict[str, Any]:
        content = hashlib.blake2b(digest_size=8)
        for name in sorted(self.arrays):
            content.update(np.ascontiguousarray(self.arrays[name]).tobytes())
        return super().fingerprint() | {"content": content.hexdigest()}


class Joined(Dataset):
    """Several datasets one after the other. It numbers the samples (`index`) and the classes (`label`) of all together."""

    def __init__(self, parts: Sequence[Dataset]):
        self.parts = parts
        self.source, self.wanted = ", ".join(part.source for part in parts), parts[0].wanted
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
                raise InputError(f"{part.source}: its samples have no label; give images in folders by class")
            names += found
        self.classes = tuple(sorted(set(names)))
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.labels = np.array([numbers[name] for name in names], np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def sample(self, index: int, seed: int = 0) -> Row:
        part = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[part - 1]) if part else 0
        row = {**self.parts[part].sample(index - first, seed), "index": np.int64(index)}
        return row if self.labels is None else {**row, "label": self.labels[index]}

    def class_names(self) -> list[str] | None:
        return None if self.labels is None else [self.classes[label] for label in self.labels]

    def fingerprint(self) -> dict[str, Any]:
        parts = [part.fingerprint() for part in self.parts]
        return parts[0] if len(parts) == 1 else {"sources": parts, "samples": len(self)}
