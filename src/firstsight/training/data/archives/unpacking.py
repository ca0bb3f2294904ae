"""Compressed archives are unpacked once, into a folder of the training that is emptied when the training has ended.

The unpacked file is named after the content of the archive, so that two archives of one name are not taken for one, and a
training that was killed finds it again. Processes that start together wait for the first one to unpack.
"""

import bz2
import fcntl
import gzip
import hashlib
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import replacing
from firstsight.reading import require_regular

# An archive of images hardly shrinks: what unpacks to more than this, or to more than 100 times its size, is no such archive.
MAX_BYTES = 200 * 10**9
MAX_RATIO = 100
# Below this size any ratio is harmless.
HARMLESS_BYTES = 2**28
# What is left free on the disk.
RESERVED_BYTES = 2**30
# An image file that is larger than this is none.
MAX_IMAGE_BYTES = 2**30

CHUNK = 2**20
OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)
"""What the standard library raises for archives that are damaged or of a kind that it does not read."""


@contextmanager
def readable(path: Path) -> Generator[None]:
    """Turns the many errors of a damaged archive into one line; what is no regular file is not opened."""
    require_regular(path, "archive")
    try:
        yield
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{path}: not a readable archive ({error}); copy it again") from None


def unpacked(path: Path, scratch: Path) -> Path:
    """The uncompressed file of a compressed one, in `scratch`. Raises InputError where it is damaged or grows too large."""
    with readable(path):
        plain = scratch / "unpacked" / f"{content_key(path)}.tar"
        plain.parent.mkdir(parents=True, exist_ok=True)
        with plain.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not plain.exists():
                with replacing(plain) as part:
                    unpack(path, part)
    return plain


def content_key(path: Path) -> str:
    """A name made of the whole content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def unpack(path: Path, out: Path) -> None:
    """Writes the uncompressed content."""
    limit = min(MAX_BYTES, max(MAX_RATIO * path.stat().st_size, HARMLESS_BYTES))
    room = shutil.disk_usage(out.parent).free - RESERVED_BYTES
    written = 0
    with OPENERS[path.suffix](path) as packed, out.open("wb") as file:
        while chunk := packed.read(CHUNK):
            written += len(chunk)
            if written > limit:
                raise InputError(f"{path}: unpacks to more than {limit:,} bytes; unpack it yourself if that is right")
            if written > room:
                raise InputError(f"{path}: no room to unpack it in {out.parent}; free some, or unpack it yourself")
            file.write(chunk)


@contextmanager
def scratch_folder(folder: Path) -> Generator[Path]:
    """A folder to unpack into. What was unpacked is removed when the block ends without an error; a training that was
    broken off finds it when it is resumed.
    """
    yield folder
    shutil.rmtree(folder / "unpacked", ignore_errors=True)
