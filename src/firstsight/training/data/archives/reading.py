"""Images in tar and zip archives, read where they lie."""

import os
import tarfile
import zipfile
from pathlib import Path

from firstsight.errors import InputError
from firstsight.training.data.archives.unpacking import MAX_IMAGE_BYTES, OPENERS, readable, unpacked
from firstsight.training.data.images import Images, is_image
from firstsight.training.data.wanted import Wanted

ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
# The bit of a zip member's flags.
ENCRYPTED = 1


def tar_images(path: Path, wanted: Wanted, scratch: Path) -> Images:
    """The images in a tar archive; a compressed one is first unpacked into `scratch`."""
    plain = unpacked(path, scratch) if path.suffix in OPENERS else path
    with readable(path), tarfile.open(plain, "r:") as archive:
        members = [m for m in archive if m.isreg() and not m.issparse() and is_image(m.name)]
        found = sorted((m.name, m.offset_data, m.size) for m in members)
        length = plain.stat().st_size
    for name, offset, size in found:
        if size > MAX_IMAGE_BYTES or offset + size > length:
            raise InputError(f"{path}: {name} has {size} bytes, the archive {length}; copy it again")

    def read(index: int) -> bytes:
        _, offset, size = found[index]
        with plain.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    names = some_images([name for name, _, _ in found], path)
    return Images(str(path), names, read, wanted, [size for _, _, size in found])


def zip_images(path: Path, wanted: Wanted) -> Images:
    """The images in a zip archive."""
    with readable(path), zipfile.ZipFile(path) as archive:
        members = sorted((m for m in archive.infolist() if is_image(m.filename)), key=lambda m: m.filename)
    for member in members:
        require_readable(member, path)
    opened = OpenZip(path)

    def read(index: int) -> bytes:
        return opened.read(members[index])

    names = some_images([member.filename for member in members], path)
    return Images(str(path), names, read, wanted, [member.file_size for member in members])


def require_readable(member: zipfile.ZipInfo, path: Path) -> None:
    """Raises InputError where a member is encrypted, packed in a way that is not known, or too large for an image."""
    if member.flag_bits & ENCRYPTED:
        raise InputError(f"{path}: it is encrypted; unpack it and give the folder")
    if member.compress_type not in ZIP_METHODS:
        raise InputError(
            f"{path}: {member.filename} is packed with method {member.compress_type}, which is not known here; "
            "unpack it and give the folder"
        )
    if member.file_size > MAX_IMAGE_BYTES:
        raise InputError(f"{path}: {member.filename} unpacks to {member.file_size} bytes, too many for an image")


class OpenZip:
    """A zip file that stays open, since opening one reads its whole list of members. Each process opens its own."""

    def __init__(self, path: Path):
        self.path, self._process, self._archive = path, 0, None

    def read(self, member: zipfile.ZipInfo) -> bytes:
        with readable(self.path):
            if self._archive is None or self._process != os.getpid():
                self._archive, self._process = zipfile.ZipFile(self.path), os.getpid()
            return self._archive.read(member)


def some_images(names: list[str], path: Path) -> list[str]:
    if not names:
        raise InputError(f"{path}: no images in this archive")
    return names
