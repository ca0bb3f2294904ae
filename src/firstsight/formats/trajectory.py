"""Trajectories as text: TUM (`time tx ty tz qx qy qz qw`) and KITTI (3x4 rows). Both hold world_from_sensor."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_text
from firstsight.geometry.se3 import matrix_to_quaternion_wxyz, quaternion_wxyz_to_matrix
from firstsight.reading import read_text

# 146 years from 1970 on either side: the difference of two such times still fits into int64.
MAX_TIME_NS = 2**62
Unit = Literal["s", "ns", "date"]
DIGITS = {"s": 9, "ns": 0, "date": 9}  # of a nanosecond in the unit
WORDS = {"s": "seconds", "ns": "nanoseconds", "date": "a form like 2011-09-26 13:02:25.964389445"}
PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
MAX_QUOTED = 40  # characters of what is no time
# Seconds from 1970 to the years 1990 and 2100: what a robot's clock shows.
SINCE_1970_S = (631_152_000, 4_102_444_800)


def read_rows(path: Path, columns: int) -> Float64[np.ndarray, "rows columns"]:
    """Numbers of a text table; `#` starts a comment. Raises InputError naming the file where a row does not fit."""
    rows = _words(path)
    try:
        return np.array([row[:columns] for row in rows], dtype=np.float64).reshape(-1, columns)
    except ValueError:
        raise InputError(f"{path}: expected rows of {columns} numbers; fix or remove the file") from None


def _words(path: Path) -> list[list[str]]:
    rows = (line.split("#")[0].replace(",", " ").split() for line in read_text(path).splitlines())
    return [row for row in rows if row]


def time_ns(text: str, unit: Unit, source: Path | str) -> int:
    """Nanoseconds of a time as a file has it, exactly: float64 seconds since 1970 lose 100 ns. A date is taken as UTC.

    Raises InputError, naming the source and where it can be told the unit that it looks like, for what is no such time
    within MAX_TIME_NS of 1970.
    """
    try:
        number = _seconds_of_date(text) if unit == "date" else Decimal(text)
        nanoseconds = number * 10 ** DIGITS[unit]
        if abs(nanoseconds) <= MAX_TIME_NS and (unit != "ns" or nanoseconds == int(nanoseconds)):
            return int(nanoseconds)
    # not a number, not finite, an exponent that overflows, or no date
    except (ArithmeticError, ValueError):
        number = Decimal("nan")
    raise InputError(f"{source}: '{text[:MAX_QUOTED]}' is not a time in {WORDS[unit]}; {_cure_of_time(number, unit)}")


def _seconds_of_date(text: str) -> Decimal:
    """The seconds of `2011-09-26 13:02:25.964389445`, with all its digits. Raises ValueError where it is none."""
    whole, point, fraction = text.partition(".")
    # NumPy knows the words now and today, too
    if not whole[:1].isdigit() or (point and not fraction.isdigit()):
        raise ValueError(text)
    return int(np.datetime64(whole, "s").astype(np.int64)) + Decimal(f"0{point}{fraction}")


def _cure_of_time(number: Decimal, unit: Unit) -> str:
    """What to do with a number that is no time; times since 1970 in another unit are known by their size."""
    ours = PER_SECOND.get(WORDS[unit])
    for other, theirs in PER_SECOND.items():
        since_1970 = number.is_finite() and SINCE_1970_S[0] < abs(number) / theirs < SINCE_1970_S[1]
        if ours is not None and theirs != ours and since_1970:
            by = f"divide the column by {theirs // ours}" if theirs > ours else f"multiply it by {ours // theirs}"
            return f"it looks like {other}: {by}"
    return "fix or remove the row"


def require_times(nanoseconds: Iterable[int], source: Path | str) -> Int64[np.ndarray, " times"]:
    """Times in ns as an array. Raises InputError, naming the source, for one beyond MAX_TIME_NS from 1970."""
    times = list(nanoseconds)
    for time in times:
        if abs(time) > MAX_TIME_NS:
            raise InputError(f"{source}: {time} is not a time in nanoseconds; fix or remove the row")
    return np.array(times, dtype=np.int64)


def finite_or_nan(numbers: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The numbers with NaN for infinities, with which no pose can be multiplied."""
    return np.where(np.isfinite(numbers), numbers, np.nan)


def from_rows(translation_quaternion_xyzw: Float64[np.ndarray, "rows 7"]) -> Float64[np.ndarray, "rows 4 4"]:
    """Poses of rows (tx ty tz qx qy qz qw), NaN in what is not finite."""
    rows = torch.from_numpy(finite_or_nan(translation_quaternion_xyzw))
    poses = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    poses[:, :3, :3] = quaternion_wxyz_to_matrix(rows[:, [6, 3, 4, 5]])
    poses[:, :3, 3] = rows[:, :3]
    return poses.numpy()


def read_tum(path: Path) -> tuple[Int64[np.ndarray, " rows"], Float64[np.ndarray, "rows 4 4"]]:
    """Stamps in ns, read as decimals, and poses. Raises InputError naming the file where a row does not fit."""
    table = read_rows(path, 8)
    stamps = [time_ns(row[0], "s", path) for row in _words(path)]
    return np.array(stamps, dtype=np.int64), from_rows(table[:, 1:])


def read_segments(path: Path) -> Int64[np.ndarray, " rows"]:
    """The segment of each row: what the comments `# segment N` before it say, 0 without any.

    Rows of one segment are joined by what was measured; how two segments lie to each other was not measured.
    """
    number, segments = 0, []
    for line in read_text(path).splitlines():
        words = line.split()
        if words[:2] == ["#", "segment"] and len(words) == 3 and words[2].isdecimal():
            number = int(words[2])
        elif line.split("#")[0].strip():
            segments.append(number)
    return np.array(segments, np.int64)


def write_tum(
    path: Path,
    stamps_ns: Int64[np.ndarray, " rows"],
    world_from_sensor: Float64[np.ndarray, "rows 4 4"],
    segments: Int64[np.ndarray, " rows"] | None = None,
) -> None:
    """Rows of time and pose; where another segment begins than that of the row before, a comment says which."""
    quaternions = matrix_to_quaternion_wxyz(torch.from_numpy(world_from_sensor[:, :3, :3])).numpy()
    lines = ["# time tx ty tz qx qy qz qw"]
    numbers_of = np.zeros(len(stamps_ns), np.int64) if segments is None else segments
    current = 0
    for stamp, pose, (w, x, y, z), segment in zip(stamps_ns, world_from_sensor, quaternions, numbers_of, strict=True):
        if segment != current:
            lines.append(f"# segment {segment}")
            current = segment
        numbers = " ".join(f"{value:.9f}" for value in (*pose[:3, 3], x, y, z, w))
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} {numbers}")
    write_text(path, "\n".join(lines) + "\n")


def read_kitti(path: Path) -> Float64[np.ndarray, "rows 4 4"]:
    """Poses of 3x4 rows, NaN in what is not finite."""
    table = finite_or_nan(read_rows(path, 12))
    poses = np.tile(np.eye(4), (len(table), 1, 1))
    poses[:, :3] = table.reshape(-1, 3, 4)
    return poses


def write_kitti(path: Path, world_from_sensor: Float64[np.ndarray, "rows 4 4"]) -> None:
    rows = world_from_sensor[:, :3].reshape(-1, 12)
    write_text(path, "".join(" ".join(f"{value:.9e}" for value in row) + "\n" for row in rows))


def on_frames(
    rows_ns: Int64[np.ndarray, " rows"],
    world_from_camera: Float64[np.ndarray, "rows 4 4"],
    stamps_ns: Int64[np.ndarray, " frames"],
) -> Float64[np.ndarray, "frames 4 4"]:
    """Poses of a trajectory file placed on the recording's frames by equal stamps; NaN where a frame has none."""
    placed = np.full((len(stamps_ns), 4, 4), np.nan)
    row_of = {int(stamp): row for row, stamp in enumerate(rows_ns)}
    for frame, stamp in enumerate(stamps_ns):
        if int(stamp) in row_of:
            placed[frame] = world_from_camera[row_of[int(stamp)]]
    return placed
