"""Writing files so that a reader, or a killed process, never sees half of one."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firstsight.errors import InputError


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yields a temporary path in the same folder; it takes `path`'s place when the block ends without an error.

    Raises InputError where a folder is in that place.
    """
    if path.is_dir() and not path.is_symlink():
        raise InputError(f"{path}: is a folder, where a file is to be written; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
