"""Occupancy grids as the PGM and YAML pair of ROS map_server.

In memory row i grows with y, as in the world; the picture's first row is the highest y, so rows are flipped on the way out.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from firstsight.errors import InputError
from firstsight.formats.atomic import write_bytes, write_text

FREE, OCCUPIED, UNKNOWN = 254, 0, 205  # map_server's trinary values


def write_map(
    pgm: Path,
    occupied: Bool[np.ndarray, "rows columns"],
    free: Bool[np.ndarray, "rows columns"],
    origin_m: tuple[float, float],
    cell_size_m: float,
) -> None:
    """Writes `pgm` and the YAML beside it. `origin_m` is the world (x, y) of the lower-left corner of cell [0, 0]."""
    pixels = np.where(occupied, OCCUPIED, np.where(free, FREE, UNKNOWN)).astype(np.uint8)[::-1]
    rows, columns = pixels.shape
    write_bytes(pgm, f"P5\n{columns} {rows}\n255\n".encode() + pixels.tobytes())
    write_text(
        pgm.with_suffix(".yaml"),
        f"image: {pgm.name}\nresolution: {cell_size_m}\norigin: [{origin_m[0]}, {origin_m[1]}, 0.0]\n"
        "negate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.196\nmode: trinary\n",
    )


def read_map(pgm: Path) -> tuple[UInt8[np.ndarray, "rows columns"], tuple[float, float], float]:
    """Values (OCCUPIED, FREE, UNKNOWN) with row 0 at the lowest y, the origin and the cell size in metres."""
    settings = dict(line.split(": ", 1) for line in pgm.with_suffix(".yaml").read_text().splitlines())
    parts = pgm.read_bytes().split(b"\n", 3)
    if len(parts) != 4 or parts[0] != b"P5":
        raise InputError(f"{pgm}: not a binary PGM map")
    columns, rows = (int(value) for value in parts[1].split())
    x, y, _ = (float(value) for value in settings["origin"].strip("[]").split(","))
    return np.frombuffer(parts[3], np.uint8).reshape(rows, columns)[::-1].copy(), (x, y), float(settings["resolution"])
