"""The state of a method as one file: arrays and a JSON text in NumPy's .npz. Reading it cannot run code.

In the JSON an array is {"array": number} and a dict is {"dict": {...}}, so that no dict is taken for an array.
"""

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from firstsight.errors import InputError
from firstsight.formats.atomic import write_bytes

TREE = "tree"  # the name of the JSON text among the arrays


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes NumPy arrays, numbers, text, None, and lists, tuples and dicts of these; tuples come back as lists."""
    arrays: list[np.ndarray] = []
    tree = _packed(state, arrays)
    content = BytesIO()
    text = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    named = {str(number): array for number, array in enumerate(arrays)}
    np.savez(content, allow_pickle=False, **{TREE: text, **named})
    write_bytes(path, content.getvalue())


def read_state(path: Path) -> dict[str, Any]:
    """The state that `write_state` wrote. Raises InputError for a file that is damaged or something else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _unpacked(json.loads(arrays[TREE].tobytes()), arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable state ({error}); delete it and start again") from None


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


def _unpacked(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[str(value["array"])]
    return {name: _unpacked(part, arrays) for name, part in value["dict"].items()}
