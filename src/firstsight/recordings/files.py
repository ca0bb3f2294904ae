"""What recording formats are made of: folders of pictures, depth pictures and scans, lists of stamps."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt16
from PIL import Image as PillowImage

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.recordings.recording import Channel, DepthImage, Image, Scan, read_text

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
VELODYNE_COLUMNS = 4  # x, y, z, reflectance, each float32


def natural_key(path: Path) -> tuple[tuple[int, str], ...]:
    """Orders `image2` before `image10`."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def image_files(folder: Path) -> list[Path]:
    """The pictures directly in a folder, in natural order; hidden files are left out."""
    if not folder.is_dir():
        return []
    pictures = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((path for path in pictures if not path.name.startswith(".")), key=natural_key)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the file's header."""
    try:
        with PillowImage.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise InputError(f"{path}: missing image; restore it or leave its frame out") from None
    except OSError:
        raise InputError(f"{path}: not a readable image; copy it again or leave its frame out") from None


def first_image_size(paths: Sequence[Path]) -> tuple[int, int]:
    """The size of the first picture whose header can be read, so that one damaged file does not lose the recording."""
    for path in paths:
        try:
            return image_size(path)
        except InputError:
            continue
    raise InputError(f"{paths[0].parent}: none of its {len(paths)} images can be read; copy them again")


def image_channel(paths: Sequence[Path], size: tuple[int, int]) -> Channel[Image]:
    """Pictures of one camera. Loading one that is damaged or of another size raises InputError."""

    def load(index: int) -> Image:
        return require_size(png.read_image(paths[index]), size, paths[index])

    return Channel(len(paths), load)


def depth_channel(
    paths: Sequence[Path], size: tuple[int, int], per_metre: float, no_value: Sequence[int] = (0,)
) -> Channel[DepthImage]:
    """16-bit depth pictures that hold metres x `per_metre`; the raw values `no_value` mean that nothing was measured."""

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
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"{path}: missing scan; restore it or leave its frame out") from None
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


def seconds_to_ns(text: str, source: Path) -> int:
    """Nanoseconds of decimal seconds, exactly: float64 seconds since 1970 lose 100 ns."""
    try:
        return int(Decimal(text) * 10**9)
    except (InvalidOperation, ValueError, OverflowError):
        raise InputError(f"{source}: '{text}' is not a time in seconds; mend or remove the row") from None


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


def require_intrinsics(matrix: Float64[np.ndarray, "3 3"], source: Path) -> Float64[np.ndarray, "3 3"]:
    """The matrix. Raises InputError where it cannot be a camera's: focal lengths not positive, or another last row."""
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0 and (matrix[2] == (0, 0, 1)).all()):
        raise InputError(
            f"{source}: not a camera matrix (fx 0 cx; 0 fy cy; 0 0 1 with positive fx, fy); restore the file"
        )
    return matrix


def require_rigid(matrix: Float64[np.ndarray, "4 4"], source: Path) -> Float64[np.ndarray, "4 4"]:
    """The matrix. Raises InputError where its upper left part is no rotation."""
    rotation = matrix[:3, :3]
    if not (
        np.isfinite(matrix).all()
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
        and np.linalg.det(rotation) > 0
    ):
        raise InputError(f"{source}: holds a transform whose rotation is no rotation matrix; restore the file")
    return matrix
