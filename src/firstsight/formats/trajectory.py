"""Trajectories as text: TUM (`time tx ty tz qx qy qz qw`) and KITTI (3x4 rows). Both hold world_from_sensor."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int64

from firstsight.errors import InputError
from firstsight.formats.atomic import write_text
from firstsight.geometry.se3 import matrix_to_quaternion_wxyz, quaternion_wxyz_to_matrix


def read_rows(path: Path, columns: int) -> Float64[np.ndarray, "rows columns"]:
    """Numbers of a text table; `#` starts a comment. Raises InputError naming the file where a row does not fit."""
    try:
        rows = [line.split("#")[0].replace(",", " ").split() for line in path.read_text().splitlines()]
        table = np.array([row[:columns] for row in rows if row], dtype=np.float64).reshape(-1, columns)
    except FileNotFoundError:
        raise InputError(f"{path}: missing file; it holds part of this recording, restore it") from None
    except (ValueError, OSError):
        raise InputError(f"{path}: expected rows of {columns} numbers; mend or remove the file") from None
    return table


def from_rows(translation_quaternion_xyzw: Float64[np.ndarray, "rows 7"]) -> Float64[np.ndarray, "rows 4 4"]:
    """Poses of rows (tx ty tz qx qy qz qw)."""
    rows = torch.from_numpy(translation_quaternion_xyzw)
    poses = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    poses[:, :3, :3] = quaternion_wxyz_to_matrix(rows[:, [6, 3, 4, 5]])
    poses[:, :3, 3] = rows[:, :3]
    return poses.numpy()


def read_tum(path: Path) -> tuple[Int64[np.ndarray, " rows"], Float64[np.ndarray, "rows 4 4"]]:
    """Stamps in ns and poses. The times are parsed as decimals: float64 seconds since 1970 lose 100 ns."""
    from decimal import Decimal, InvalidOperation

    table = read_rows(path, 8)
    try:
        words = (line.split("#")[0].replace(",", " ").split() for line in path.read_text().splitlines())
        stamps = [int(Decimal(row[0]) * 10**9) for row in words if row]
    except InvalidOperation:
        raise InputError(f"{path}: the first column must be a time in seconds") from None
    return np.array(stamps, dtype=np.int64), from_rows(table[:, 1:])


def write_tum(
    path: Path, stamps_ns: Int64[np.ndarray, " rows"], world_from_sensor: Float64[np.ndarray, "rows 4 4"]
) -> None:
    quaternions = matrix_to_quaternion_wxyz(torch.from_numpy(world_from_sensor[:, :3, :3])).numpy()
    lines = ["# time tx ty tz qx qy qz qw"]
    for stamp, pose, (w, x, y, z) in zip(stamps_ns, world_from_sensor, quaternions, strict=True):
        numbers = " ".join(f"{value:.9f}" for value in (*pose[:3, 3], x, y, z, w))
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} {numbers}")
    write_text(path, "\n".join(lines) + "\n")


def read_kitti(path: Path) -> Float64[np.ndarray, "rows 4 4"]:
    """Poses of 3x4 rows."""
    table = read_rows(path, 12)
    poses = np.tile(np.eye(4), (len(table), 1, 1))
    poses[:, :3] = table.reshape(-1, 3, 4)
    return poses


def write_kitti(path: Path, world_from_sensor: Float64[np.ndarray, "rows 4 4"]) -> None:
    rows = world_from_sensor[:, :3].reshape(-1, 12)
    write_text(path, "".join(" ".join(f"{value:.9e}" for value in row) + "\n" for row in rows))
