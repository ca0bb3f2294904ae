"""What recording formats are made of: folders of images, depth images and scans, lists of stamps."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt16

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.formats.trajectory import seconds_to_ns
from firstsight.reading import read_bytes, read_text
from firstsight.recordings.calibration import require_intrinsics
from firstsight.recordings.recording import Channel, DepthImage, Image, Scan

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
# x, y, z, reflectance, each float32
VELODYNE_COLUMNS = 4
# Images that are decoded to find a recording's size.
SIZE_VOTES = 5


def natural_key(path: Path) -> tuple[tuple[int, str], ...]:
    """Orders `image2` before `image10`."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, in natural order; hidden files are left out."""
    if not folder.is_dir():
        return []
    images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((path for path in images if not path.name.startswith(".")), key=natural_key)


def listed_file(folder: Path, name: str, source: Path, line: int) -> Path:
    """The file of a folder that line `line` (counted from 1) of the list `source` names, whether it exists or not.

    Raises InputError where the name leads out of the folder. Links in the folder are followed.
    """
    path = folder / name
    inside = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
    # ".." behind a link is not the folder in front of it
    if inside and ".." in Path(name).parts:
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    if not inside:
        raise InputError(f"{source}: line {line} names '{name}', which lies outside of {folder}; fix the line")
    return path


def common_image_size(paths: Sequence[Path]) -> tuple[int, int]:
    """(height, width) of most of a few images, spread over all: one that is damaged or of another size loses its frame only.

    Raises InputError where no image can be read.
    """
    spread = sorted({index * (len(paths) - 1) // (SIZE_VOTES - 1) for index in range(SIZE_VOTES)})
    sizes = [size for index in spread if (size := _readable_size(paths[index])) is not None]
    if sizes:
        return max(sizes, key=sizes.count)
    found = next(filter(None, map(_readable_size, paths)), None)
    if found is None:
        raise InputError(f"{paths[0].parent}: none of its {len(paths)} images can be read; copy them again")
    return found


def _readable_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of an image as it is decoded, None where it cannot be."""
    try:
        height, width, _ = png.read_image(path).shape
    except InputError:
        return None
    return height, width


def image_channel(paths: Sequence[Path], size: tuple[int, int]) -> Channel[Image]:
    """Images of one camera. Loading one that is damaged or of another size raises InputError."""

    def load(index: int) -> Image:
        return require_size(png.read_image(paths[index]), size, paths[index])

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
    return Scan(table[finite, :3], table[finite, 3])


def numbered(files: Sequence[Path]) -> dict[int, Path]:
    """Files by the number they are named with. Raises InputError for a name without one."""
    try:
        return {int(re.findall(r"\d+", path.stem)[0]): path for path in files}
    except IndexError:
        unnumbered = next(path for path in files if not re.search(r"\d", path.stem))
        raise InputError(f"{unnumbered}: files here are named by frame number; rename or remove it") from None


def require_same_count(first: tuple[str, int], second: tuple[str, int]) -> None:
    """Raises InputError where two parts of a recording, given as (place, count), do not have a file for each frame."""
    if first[1] != second[1]:
        raise InputError(
            f"{first[0]} has {first[1]} files but {second[0]} has {second[1]}; "
            "each frame needs one of both: restore the missing ones or remove the extra ones"
        )


def regular_stamps(count: int, rate_hz: float) -> Int64[np.ndarray, " count"]:
    """Stamps of a recording whose times are unknown, starting at 0."""
    return np.rint(np.arange(count) * (1e9 / rate_hz)).astype(np.int64)


def read_seconds(path: Path) -> Int64[np.ndarray, " rows"]:
    """Nanoseconds of a file with one time in seconds per line."""
    return np.array(
        [seconds_to_ns(line.strip(), path) for line in read_text(path).splitlines() if line.strip()], np.int64
    )


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


def read_intrinsics(path: Path) -> Float64[np.ndarray, "3 3"]:
    """A 3x3 camera matrix."""
    return require_intrinsics(read_matrix(path, 3, 3), path)
