"""The state of a method as files: arrays and a JSON text in NumPy's .npz. Reading them cannot run code.

In the JSON an array is {"array": number} and a dict is {"dict": {...}}, so that no dict is taken for an array. A fingerprint
of all that was written stands beside it: a state is read as it was written or not at all, so that its readers need not check it.
A `Checkpoint` is such a file that is written again and again; of a list named GROWS in any of the state's dicts, which only
ever gets longer, each item goes to a file of its own beside it, which is written once.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_bytes
from firstsight.formats.storage.npz import DAMAGED, read_npz

# The name of the JSON text among the arrays.
TREE = "tree"
# The name of the fingerprint among the arrays.
FINGERPRINT = "fingerprint"
FINGERPRINT_BYTES = 16
# The name of lists that only ever get longer.
GROWS = "grows"


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes NumPy arrays, numbers, text, None, and lists, tuples and dicts of these; tuples come back as lists."""
    tree, arrays = _parts(state)
    content = BytesIO()
    named: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
    named[TREE] = np.frombuffer(tree, np.uint8)
    named[FINGERPRINT] = np.frombuffer(_digest(tree, arrays), np.uint8)
    np.savez(content, allow_pickle=False, **named)
    write_bytes(path, content.getvalue())


def read_state(path: Path) -> dict[str, Any]:
    """The state that `write_state` wrote. Raises InputError for a file that is damaged, changed or something else."""
    try:
        return read_npz(path, _unchanged)
    except DAMAGED as error:
        raise InputError(f"{path}: not a readable state ({error}); delete it and start again") from None


def fingerprint(state: dict[str, Any]) -> str:
    """A text that states have in common only where all their values are equal, arrays to the bit, the type and the shape."""
    return _digest(*_parts(state)).hex()


def _parts(state: dict[str, Any]) -> tuple[bytes, list[np.ndarray]]:
    """The JSON text of a state, and its arrays."""
    arrays: list[np.ndarray] = []
    return json.dumps(_packed(state, arrays)).encode(), arrays


def _digest(tree: bytes, arrays: Sequence[np.ndarray]) -> bytes:
    digest = hashlib.blake2b(tree, digest_size=FINGERPRINT_BYTES)
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()


def _unchanged(named: Any) -> dict[str, Any]:
    """The state of the arrays of a file. Raises ValueError where they are not as they were written."""
    tree = named[TREE].tobytes()
    arrays = [named[str(number)] for number in range(len(named.files) - len((TREE, FINGERPRINT)))]
    if named[FINGERPRINT].tobytes() != _digest(tree, arrays):
        raise ValueError("it is not as it was written")
    return _unpacked(json.loads(tree), arrays)


class Checkpoint:
    """A state that is saved while it changes: PATH holds it, the folder of the same name without suffix what only grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.items = path, path.with_suffix("")
        self._kept: dict[str, int] = {}

    def write(self, state: dict[str, Any]) -> None:
        """Saves the state. Whenever this is interrupted, the state before it can still be read."""
        write_state(self.path, self._without_items(state, ""))

    def read(self) -> dict[str, Any] | None:
        """The state that was saved last, None where there is none or it is damaged: then nothing is left of it."""
        if not self.path.exists():
            self.drop()
            return None
        try:
            return self._with_items(read_state(self.path), "")
        except (InputError, TypeError, KeyError):
            self.drop()
            return None

    def drop(self) -> None:
        """Removes what was saved."""
        self._kept = {}
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        self.path.unlink(missing_ok=True)
        if self.items.is_symlink():
            self.items.unlink()
        elif self.items.exists():
            shutil.rmtree(self.items)

    def _without_items(self, state: dict[str, Any], place: str) -> dict[str, Any]:
        """The state with the length of each growing list in its place, after the new items were written."""
        kept: dict[str, Any] = {}
        for name, value in state.items():
            if isinstance(value, dict):
                kept[name] = self._without_items(value, f"{place}{name}.")
            elif name == GROWS:
                for number in range(self._kept.get(place, 0), len(value)):
                    write_state(self._item_path(place, number), value[number])
                kept[name] = self._kept[place] = len(value)
            else:
                kept[name] = value
        return kept

    def _with_items(self, state: dict[str, Any], place: str) -> dict[str, Any]:
        whole: dict[str, Any] = {}
        for name, value in state.items():
            if isinstance(value, dict):
                whole[name] = self._with_items(value, f"{place}{name}.")
            elif name == GROWS:
                whole[name] = [read_state(self._item_path(place, number)) for number in range(value)]
                self._kept[place] = value
            else:
                whole[name] = value
        return whole

    def _item_path(self, place: str, number: int) -> Path:
        return self.items / f"{place}{number:06d}.npz"


def _packed(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        return {"dict": {name: _packed(part, arrays) for name, part in value.items()}}
    if isinstance(value, list | tuple):
        return [_packed(part, arrays) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _unpacked(value: Any, arrays: Sequence[np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpacked(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    return {name: _unpacked(part, arrays) for name, part in value["dict"].items()}
