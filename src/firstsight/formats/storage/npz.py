"""NumPy's .npz files that somebody else may have made or damaged: reading them cannot run code."""

import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")

DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and the standard library raise for files that are damaged, or of another kind. RuntimeError is the parent of
NotImplementedError (a packing that is not known) and of RecursionError."""


def read_npz(path: Path, use: Callable[[np.lib.npyio.NpzFile], T]) -> T:
    """What `use` makes of the arrays. Raises one of DAMAGED where the path is no regular file, or not such a file."""
    if not path.is_file():  # a pipe would be read for ever
        raise ValueError("no regular file")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        return use(archive)
