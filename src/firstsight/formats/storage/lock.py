"""One process at a time: in a folder, or at a piece of work."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from firstsight.errors import InputError


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Holds the folder, which is made if need be, until the block ends or the process does, however it does.

    The lock is the system's, on the folder itself: no file of it is left behind. Raises InputError where another process
    holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another firstsight is writing to it; wait for that one, or choose another --out"
            ) from None
        yield
    finally:
        os.close(held)


@contextmanager
def turn(path: Path) -> Generator[None]:
    """Waits until no other process is in a block of the same path, which becomes an empty file that stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
