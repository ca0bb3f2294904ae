"""Reading whole files that somebody else made: regular ones only, so that no device or pipe is read for ever."""

import stat
from pathlib import Path

from firstsight.errors import InputError

# No image, scan or list of a recording comes near it; videos and bags are not read whole.
MAX_FILE_BYTES = 2**30


def require_regular(path: Path, what: str) -> int:
    """The size of a regular file in bytes; links are followed. For what a library opens itself, of any size.

    Raises InputError, calling the file `what`, where it is missing, a folder, a device or a pipe, or may not be read.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            return status.st_size
    except PermissionError:
        raise InputError(f"{path}: this {what} may not be read by you; change its permissions") from None
    # ValueError: a name with a zero byte in it
    except (OSError, ValueError):
        raise InputError(f"{path}: missing {what}; restore it or leave its frame out") from None
    raise InputError(f"{path}: a folder, device or pipe where the {what} itself should be; replace or remove it")


def read_bytes(path: Path, what: str, at_most: float | None = None) -> bytes:
    """The content of a regular file; links are followed.

    Raises InputError, calling the file `what`, for what `require_regular` refuses and for more than `at_most` bytes (by
    default MAX_FILE_BYTES).
    """
    size = require_regular(path, what)
    if size > (MAX_FILE_BYTES if at_most is None else at_most):
        raise InputError(f"{path}: {size} bytes are too many for one {what}; replace or remove it")
    try:
        return path.read_bytes()
    except PermissionError:
        raise InputError(f"{path}: this {what} may not be read by you; change its permissions") from None
    except OSError as error:
        raise InputError(f"{path}: this {what} cannot be read ({error.strerror}); copy it again") from None


def read_text(path: Path) -> str:
    """A small text file (UTF-8, without the mark that some editors put in front).

    Raises InputError where it is missing, no regular file or not text.
    """
    if not path.exists():
        raise InputError(f"{path}: missing file; it holds part of this recording, restore it")
    try:
        return read_bytes(path, "text file").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as text ({error}); restore it") from None
