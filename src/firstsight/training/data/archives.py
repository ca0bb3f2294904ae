"""Images in folders and in tar and zip archives, read where they lie."""

import gzip
import shutil
import tarfile
import zipfile
from pathlib import Path

from firstsight.errors import InputError
from firstsight.formats.atomic import replacing
from firstsight.recordings.files import IMAGE_SUFFIXES, natural_key
from firstsight.training.data.images import Images
from firstsight.training.data.wanted import Wanted


def image_folder(folder: Path, wanted: Wanted) -> Images:
    """The images in a folder and the folders in it."""
    files = sorted(
        (path for path in folder.rglob("*") if is_image(str(path))), key=lambda p: (p.parent, natural_key(p))
    )
    if not files:
        raise InputError(f"{folder}: no images in it or in its folders; give the path of images or of a recording")
    return Images(str(folder), [str(path) for path in files], lambda i: files[i].read_bytes(), wanted)


def tar_images(path: Path, wanted: Wanted, scratch: Path) -> Images:
    """The images in a tar archive, read where they lie; a compressed one is first unpacked into `scratch`."""
    plain = path
    if path.suffix in (".gz", ".tgz"):
        plain = scratch / f"{path.name.split('.')[0]}-{path.stat().st_size}.tar"
        if not plain.exists():
            with readable(path), replacing(plain) as part, gzip.open(path) as packed, part.open("wb") as out:
                shutil.copyfileobj(packed, out, 2**20)
    with readable(path), tarfile.open(plain, "r:") as archive:
        found = sorted((m.name, m.offset_data, m.size) for m in archive if m.isfile() and is_image(m.name))
    names = some_images([name for name, _, _ in found], path)

    def read(index: int) -> bytes:
        with plain.open("rb") as file:
            file.seek(found[index][1])
            return file.read(found[index][2])

    return Images(str(path), names, read, wanted)


def zip_images(path: Path, wanted: Wanted) -> Images:
    with readable(path), zipfile.ZipFile(path) as archive:
        members = sorted(name for name in archive.namelist() if is_image(name))
    names = some_images(members, path)

    def read(index: int) -> bytes:
        with readable(path), zipfile.ZipFile(path) as archive:
            return archive.read(members[index])

    return Images(str(path), names, read, wanted)


class readable:
    """Turns the many errors of a damaged archive into one line."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | EOFError | tarfile.TarError | zipfile.BadZipFile):
            raise InputError(f"{self.path}: not a readable archive ({error}); copy it again") from None


def some_images(names: list[str], path: Path) -> list[str]:
    if not names:
        raise InputError(f"{path}: no images in this archive")
    return [f"{path}/{name}" for name in names]


def is_image(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
