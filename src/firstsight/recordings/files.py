"""What recording formats are made of: folders of images, depth images and scans, lists of stamps."""

import os
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt16

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.formats.trajectory import MAX_TIME_NS, time_ns
from firstsight.reading import read_bytes, read_text
from firstsight.recordings.calibration import require_intrinsics
from firstsight.recordings.recording import Channel, DepthImage, Image, Scan

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
# A 3x3 camera matrix beside images.
CALIBRATION_FILES = ("camera-intrinsics.txt", "intrinsics.txt")
# x, y, z, reflectance, each float32
VELODYNE_COLUMNS = 4
MAX_REACH_M = 1e4
# Of one part of a path: what file systems allow.
MAX_NAME_BYTES = 255
# Images that are decoded to find a recording's size.
SIZE_VOTES = 5


def natural_key(path: Path) -> tuple[tuple[int | Decimal, str], ...]:
    """Orders `image2` before `image10`, and names that are seconds since 1970, as `1305031102.5`, by their value."""
    if re.fullmatch(r"\d{9,}\.\d+", path.stem):
        return ((Decimal(path.stem), ""),)
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, in the order of their names (`in_order`); hidden files are left out."""
    return in_order([path for path in visible_files(folder) if path.suffix.lower() in IMAGE_SUFFIXES])


def scan_files(folder: Path) -> list[Path]:
    """The scans *.bin directly in a folder, in the order of their names; hidden files are left out."""
    return in_order([path for path in visible_files(folder) if path.suffix == ".bin"])


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Paths in natural order of their names, or by value where all are decimal numbers as programs print them.

    `0.1 0.15 0.2` are numbers; `1.1 1.2 ... 1.10` are not, since no program prints a zero at the end.
    """
    if paths and all(re.fullmatch(r"\d+\.(0|\d*[1-9])", path.stem) for path in paths):
        return sorted(paths, key=lambda path: Decimal(path.stem))
    return sorted(paths, key=natural_key)


def absolute(path: Path) -> Path:
    """The path from the root, without "..", as it is named: links are not followed."""
    return Path(os.path.abspath(path))


def parent_with(path: Path, name: str, up: int = 1) -> Path:
    """The folder `up` levels above a path in which `name` lies: of the path as it is named, else of what it links to."""
    named, linked = absolute(path).parents[up - 1], path.resolve().parents[up - 1]
    return linked if not (named / name).exists() and (linked / name).exists() else named


def visible_files(folder: Path) -> list[Path]:
    """What is directly in a folder, none where there is no folder, without hidden files such as macOS's `._NAME`."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def listed_file(folder: Path, name: str, source: Path, line: int) -> Path:
    """The file of a folder that line `line` (counted from 1) of the list `source` names, whether it exists or not.

    Raises InputError where the name leads out of the folder. Links in the folder are followed.
    """
    path = folder / name
    if "\0" in name or max(len(os.fsencode(part)) for part in (".", *path.parts)) > MAX_NAME_BYTES:
        raise InputError(f"{source}: line {line} names '{name[:20]}...', which no file can be called; fix the line")
    inside = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
    # ".." behind a link is not the folder in front of it
    if inside and ".." in Path(name).parts:
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    if not inside:
        raise InputError(f"{source}: line {line} names '{name}', which lies outside of {folder}; fix the line")
    return path


class ImageKind(NamedTuple):
    """What the images of one camera have in common: (height, width), and the value of 16-bit ones that is white."""

    size: tuple[int, int]
    white: int

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of it."""
        return png.white_remarks(self.white)


def image_kind(paths: Sequence[Path]) -> ImageKind:
    """The kind of most of a few images, spread over all: one that is damaged or of another size loses its frame only.

    Raises InputError where no image can be read.
    """
    some = [image for index in votes(len(paths)) if (image := _readable(paths[index])) is not None]
    if not some:
        some = list(islice((image for path in paths if (image := _readable(path)) is not None), 1))
    if not some:
        raise InputError(
            f"{paths[0].parent}: none of its {len(paths)} images can be read; the first: {_why_not(paths[0])}"
        )
    sizes = [(image.shape[0], image.shape[1]) for image in some]
    return ImageKind(max(sizes, key=sizes.count), png.white_of(some))


def votes(count: int) -> list[int]:
    """A few of `count` images, spread over all."""
    return sorted({index * (count - 1) // (SIZE_VOTES - 1) for index in range(SIZE_VOTES)})


def image_kinds(images: Mapping[str, Sequence[Path]]) -> dict[str, ImageKind]:
    """The kind of each camera's images, with one white for all: what is compared must be scaled alike."""
    kinds = {name: image_kind(paths) for name, paths in images.items()}
    white = max((kind.white for kind in kinds.values()), default=png.FULL_SCALE)
    return {name: kind._replace(white=white) for name, kind in kinds.items()}


def _readable(path: Path) -> np.ndarray | None:
    """An image at its own depth, None where it cannot be decoded."""
    try:
        return png.light_of(read_bytes(path, "image"), path)
    except InputError:
        return None


def _why_not(path: Path) -> str:
    try:
        png.read_image(path)
    except InputError as error:
        return str(error)
    return ""


def image_channel(paths: Sequence[Path], kind: ImageKind) -> Channel[Image]:
    """Images of one camera. Loading one that is damaged or of another size raises InputError."""

    def load(index: int) -> Image:
        return require_size(png.read_image(paths[index], kind.white), kind.size, paths[index])

    return Channel(len(paths), load)


def depth_channel(
    paths: Sequence[Path], size: tuple[int, int], per_metre: float, no_value: Sequence[int] = (0,)
) -> Channel[DepthImage]:
    """16-bit depth images that hold metres x `per_metre`; the raw values `no_value` mean that nothing was measured."""

    def load(index: int) -> DepthImage:
        raw = require_size(png.read_sixteen_bit(paths[index]), size, paths[index])
        return depth_from_raw(raw, per_metre, no_value)

    return Channel(len(paths), load)


def depth_from_raw(raw: UInt16[np.ndarray, "height width"], per_metre: float, no_value: Sequence[int]) -> DepthImage:
    """Metres of 16-bit values."""
    return DepthImage((raw / np.float32(per_metre)).astype(np.float32), ~np.isin(raw, no_value))


def require_size(pixels: np.ndarray, size: tuple[int, int], source: Path | str) -> np.ndarray:
    """The pixels. Raises InputError where they are not of the recording's size."""
    if pixels.shape[:2] != size:
        raise InputError(
            f"{source}: is {pixels.shape[1]}x{pixels.shape[0]}, the others are {size[1]}x{size[0]}; "
            "a recording needs images of one size"
        )
    return pixels


def velodyne_channel(paths: Sequence[Path | None]) -> Channel[Scan | None]:
    """KITTI scans (float32 x, y, z, reflectance); None where the sensor has no file for the frame."""

    def load(index: int) -> Scan | None:
        path = paths[index]
        return read_velodyne(path) if path is not None else None

    return Channel(len(paths), load)


def read_velodyne(path: Path) -> Scan:
    """One KITTI scan without its NaN points. Raises InputError where the file is missing, cut off or mostly NaN."""
    content = read_bytes(path, "scan")
    if not content or len(content) % (4 * VELODYNE_COLUMNS):
        raise InputError(
            f"{path}: {len(content)} bytes are not rows of {VELODYNE_COLUMNS} float32 (x y z reflectance); copy it again"
        )
    table = np.frombuffer(content, "<f4").reshape(-1, VELODYNE_COLUMNS).astype(np.float32)
    finite = np.isfinite(table).all(1)
    if finite.mean() < 0.5:
        raise InputError(f"{path}: {1 - finite.mean():.0%} of its points are NaN; copy it again or leave its frame out")
    # coordinates among the reflectances, or numbers read at half their width
    if (table[finite, 3] < 0).any() or (np.abs(table[finite, :3]) > MAX_REACH_M).any():
        raise InputError(
            f"{path}: its numbers are no rows of x y z reflectance; write the scan as {VELODYNE_COLUMNS} columns of float32"
        )
    return Scan(table[finite, :3], table[finite, 3])


def numbered(files: Sequence[Path]) -> dict[int, Path]:
    """Files by the number they are named with, ascending.

    Raises InputError for a name without a number, and for two files of one number.
    """
    found: dict[int, Path] = {}
    for path in files:
        digits = re.search(r"\d+", path.stem)
        if digits is None:
            raise InputError(f"{path}: files here are named by frame number; rename or remove it")
        other = found.setdefault(int(digits[0]), path)
        if other != path:
            raise InputError(f"{path}: has the frame number of {other.name}; rename or remove one of them")
    return dict(sorted(found.items()))


def rows_for(numbers: Sequence[int], rows: int, source: Path) -> Sequence[int]:
    """Which of a file's rows belong to frames of these numbers: row k to number k, unless there is a row for each frame.

    Raises InputError where there are too few.
    """
    if rows == len(numbers):
        return range(rows)
    if max(numbers) >= rows:
        raise InputError(
            f"{source}: {rows} rows for {len(numbers)} frames, whose numbers go up to {max(numbers)}; restore the file"
        )
    return numbers


def missing_images(missing: int, count: int, places: Sequence[str]) -> tuple[str, ...]:
    """The remark that `missing` of `count` frames are left out since one of the places lacks their image, if any are."""
    if not missing:
        return ()
    return (f"{missing} of {count} frames left out: an image is missing in {' or '.join(places)}",)


def regular_stamps(numbers: Sequence[int], rate_hz: float) -> Int64[np.ndarray, " frames"]:
    """Stamps of frames of these ascending numbers whose times are unknown, the first at 0: a gap in them is one in time.

    Numbers that would last longer than times may be are no counts: then the frames follow one another.
    """
    if (numbers[-1] - numbers[0]) * 1e9 / rate_hz > MAX_TIME_NS:
        numbers = range(len(numbers))
    since_first = np.array([number - numbers[0] for number in numbers], dtype=np.float64)
    return np.rint(since_first * (1e9 / rate_hz)).astype(np.int64)


def read_seconds(path: Path) -> Int64[np.ndarray, " rows"]:
    """Nanoseconds of a file with one time in seconds per line."""
    return np.array(
        [time_ns(line.strip(), "s", path) for line in read_text(path).splitlines() if line.strip()], np.int64
    )


def require_no_way_back(stamps_ns: Int64[np.ndarray, " frames"], source: Path) -> Int64[np.ndarray, " frames"]:
    """The stamps of frames that are in their order by number. Raises InputError, naming the two, where time goes back."""
    back = np.flatnonzero(np.diff(stamps_ns) < 0)
    if len(back):
        before, after = (stamps_ns[back[0] + row] / 1e9 for row in (0, 1))
        raise InputError(
            f"{source}: the time of frame {back[0] + 1} of {len(stamps_ns)} ({after:.6f} s) is before that of the frame "
            f"in front of it ({before:.6f} s); restore the file, or remove it to take regular times"
        )
    return stamps_ns


def read_matrix(path: Path, rows: int, columns: int) -> Float64[np.ndarray, "rows columns"]:
    """A small matrix of whitespace-separated numbers, one row per line."""
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    try:
        matrix = np.array(lines, dtype=np.float64)
    except ValueError:
        matrix = np.empty(0)
    if matrix.shape != (rows, columns):
        raise InputError(f"{path}: expected a {rows}x{columns} matrix of numbers; restore the file")
    return matrix


def intrinsics_beside(folder: Path) -> tuple[Path, Float64[np.ndarray, "3 3"]] | None:
    """The calibration that lies beside images, whatever their layout, with its file; None where there is none."""
    path = next((folder / name for name in CALIBRATION_FILES if (folder / name).exists()), None)
    return None if path is None else (path, read_intrinsics(path))


def read_intrinsics(path: Path) -> Float64[np.ndarray, "3 3"]:
    """A 3x3 camera matrix."""
    return require_intrinsics(read_matrix(path, 3, 3), path)
