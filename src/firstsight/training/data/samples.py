"""Samples of recordings, of folders of pictures and of archives, read one at a time and never all at once."""

import gzip
import shutil
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.formats.atomic import replacing
from firstsight.recordings.files import IMAGE_SUFFIXES, natural_key
from firstsight.recordings.opening import FORMATS, open_recording
from firstsight.recordings.recording import Image, Recording
from firstsight.training.trainable import Wanted

NO_CAMERA = np.zeros((3, 3), np.float32)


class Sample(NamedTuple):
    """One row of a batch; `intrinsics` are of the sample's size, zero where no camera is known."""

    images: UInt8[np.ndarray, "views 3 height width"]
    intrinsics: Float32[np.ndarray, "3 3"]
    baseline_m: float


class Dataset(ABC):
    """Samples by number. One that cannot be read raises InputError naming its file."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...


class Frames(Dataset):
    """The frames of a recording, with those around them that `wanted` names, scaled to its size."""

    def __init__(self, recording: Recording, wanted: Wanted):
        reference = recording.rig.reference
        if reference is None:
            raise InputError(f"{recording.source}: it has no camera; this method learns from pictures")
        if wanted.stereo and recording.rig.stereo is None:
            raise InputError(f"{recording.source}: it has no stereo pair, which this method learns from")
        self.recording, self.wanted = recording, wanted
        self.first = max(0, -min(wanted.offsets))
        self._count = len(recording) - self.first - max(0, *wanted.offsets)
        if self._count < 1:
            raise InputError(f"{recording.source}: has {len(recording)} frames; a sample takes {wanted.offsets}")
        self.cameras = [c.name for c in recording.rig.stereo_cameras] if wanted.stereo else [reference.name]
        camera = recording.rig.camera(self.cameras[0])
        self.intrinsics = scaled_intrinsics(camera.intrinsics, camera.size, wanted.size)
        self.baseline_m = recording.rig.baseline_m or 0.0 if wanted.stereo else 0.0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        frames = [self.recording[self.first + index + offset] for offset in self.wanted.offsets]
        views = [scaled(frame.image(camera), self.wanted.size) for frame in frames for camera in self.cameras]
        return Sample(np.stack(views), self.intrinsics, self.baseline_m)


class Pictures(Dataset):
    """Single pictures of any size, the middle of each scaled to the wanted size. `labels` are the names of their folders."""

    def __init__(self, names: Sequence[str], read: Callable[[int], bytes], wanted: Wanted):
        self.names, self.wanted, self._read = list(names), wanted, read

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> list[str]:
        return [Path(name).parent.name for name in self.names]

    def __getitem__(self, index: int) -> Sample:
        try:
            content = self._read(index)
        except OSError:
            raise InputError(f"{self.names[index]}: cannot be read; restore it or take it out") from None
        decoded = png.decode_bytes(content, Path(self.names[index]), cv2.IMREAD_COLOR)
        picture = covering(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), self.wanted.size)
        return Sample(picture[None], NO_CAMERA, 0.0)


class Joined(Dataset):
    """Several datasets, one after the other."""

    def __init__(self, parts: Sequence[Dataset]):
        self.parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part][index - (int(self._ends[part - 1]) if part else 0)]


def open_samples(sources: Sequence[str], wanted: Wanted, scratch: Path) -> Joined:
    """All that the sources hold: recordings, folders of pictures, tar and zip archives. `scratch` is for unpacking."""
    return Joined([open_source(source, wanted, scratch) for source in sources])


def open_source(source: str, wanted: Wanted, scratch: Path) -> Dataset:
    """Raises InputError for a source with nothing that the method can learn from."""
    path = Path(source).expanduser()
    alone = wanted.views == 1
    if source.startswith("sim:") or any(reader.recognises(path) for reader in FORMATS[:-1]):
        return Frames(open_recording(source), wanted)
    if path.is_dir() and alone:
        return picture_folder(path, wanted)
    if "".join(path.suffixes[-2:]).endswith((".tar", ".tar.gz", ".tgz", ".zip")):
        if not alone:
            raise InputError(f"{path}: an archive of single pictures; this method learns from recordings")
        return zipped_pictures(path, wanted) if path.suffix == ".zip" else tarred_pictures(path, wanted, scratch)
    return Frames(open_recording(source), wanted)


def picture_folder(folder: Path, wanted: Wanted) -> Pictures:
    """The pictures in a folder and the folders in it."""
    files = sorted(
        (path for path in folder.rglob("*") if is_picture(str(path))), key=lambda p: (p.parent, natural_key(p))
    )
    if not files:
        raise InputError(f"{folder}: no pictures in it or in its folders; give the path of pictures or of a recording")
    return Pictures([str(path) for path in files], lambda i: files[i].read_bytes(), wanted)


def tarred_pictures(path: Path, wanted: Wanted, scratch: Path) -> Pictures:
    """The pictures in a tar archive, read where they lie; a compressed one is first unpacked into `scratch`."""
    plain = path
    if path.suffix in (".gz", ".tgz"):
        plain = scratch / f"{path.name.split('.')[0]}-{path.stat().st_size}.tar"
        if not plain.exists():
            with mendable(path), replacing(plain) as part, gzip.open(path) as packed, part.open("wb") as out:
                shutil.copyfileobj(packed, out, 2**20)
    with mendable(path), tarfile.open(plain, "r:") as archive:
        found = sorted((m.name, m.offset_data, m.size) for m in archive if m.isfile() and is_picture(m.name))
    names = some_pictures([name for name, _, _ in found], path)

    def read(index: int) -> bytes:
        with plain.open("rb") as file:
            file.seek(found[index][1])
            return file.read(found[index][2])

    return Pictures(names, read, wanted)


def zipped_pictures(path: Path, wanted: Wanted) -> Pictures:
    with mendable(path), zipfile.ZipFile(path) as archive:
        members = sorted(name for name in archive.namelist() if is_picture(name))
    names = some_pictures(members, path)

    def read(index: int) -> bytes:
        with mendable(path), zipfile.ZipFile(path) as archive:
            return archive.read(members[index])

    return Pictures(names, read, wanted)


class mendable:
    """Turns the many errors of a damaged archive into one line."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | EOFError | tarfile.TarError | zipfile.BadZipFile):
            raise InputError(f"{self.path}: not a readable archive ({error}); copy it again") from None


def some_pictures(names: list[str], path: Path) -> list[str]:
    if not names:
        raise InputError(f"{path}: no pictures in this archive")
    return [f"{path}/{name}" for name in names]


def is_picture(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def scaled(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "3 rows columns"]:
    """The whole picture at another size (height, width)."""
    if image.shape[:2] != size:
        shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def covering(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "3 rows columns"]:
    """The largest middle part of the picture that has the proportions of `size`, at that size."""
    height, width = image.shape[:2]
    share = min(height / size[0], width / size[1])
    inner_height, inner_width = max(round(share * size[0]), 1), max(round(share * size[1]), 1)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return scaled(image[top : top + inner_height, left : left + inner_width], size)


def scaled_intrinsics(
    intrinsics: np.ndarray, size: tuple[int, int], wanted: tuple[int, int]
) -> Float32[np.ndarray, "3 3"]:
    """Of the picture scaled from `size` to `wanted`, pixel centres at integers in both."""
    by_y, by_x = wanted[0] / size[0], wanted[1] / size[1]
    scale = np.array([[by_x, 0, 0.5 * by_x - 0.5], [0, by_y, 0.5 * by_y - 0.5], [0, 0, 1]])
    return (scale @ intrinsics).astype(np.float32)
