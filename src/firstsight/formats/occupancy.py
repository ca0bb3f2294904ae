"""Occupancy grids as the PGM and YAML pair of ROS map_server.

In memory row i grows with y, as in the world; the image's first row is the highest y, so rows are flipped on the way out.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_bytes, write_text
from firstsight.reading import read_bytes, read_text

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
    """Values (OCCUPIED, FREE, UNKNOWN) with row 0 at the lowest y, the origin and the cell size in metres.

    Raises InputError naming the file where the image or the YAML beside it is missing, cut off or not of this form.
    """
    origin_m, cell_size_m = _read_placement(pgm.with_suffix(".yaml"))
    parts = read_bytes(pgm, "map").split(b"\n", 3)
    try:
        columns, rows = (int(value) for value in parts[1].split())
        values = np.frombuffer(parts[3], np.uint8).reshape(rows, columns)
    except (ValueError, IndexError):
        values = np.empty((0, 0), np.uint8)
    if parts[0] != b"P5" or values.size == 0:
        raise InputError(f"{pgm}: not a whole binary PGM map; restore or remove it")
    return values[::-1].copy(), origin_m, cell_size_m


def _read_placement(path: Path) -> tuple[tuple[float, float], float]:
    """The world (x, y) of the lower-left corner and the cell size, both in metres, of a map's YAML."""
    settings = dict(line.partition(": ")[::2] for line in read_text(path).splitlines())
    try:
        x, y, _ = (float(value) for value in settings["origin"].strip("[]").split(","))
        cell_size_m = float(settings["resolution"])
    except (KeyError, ValueError):
        raise InputError(f"{path}: has no 'origin: [x, y, angle]' and 'resolution: metres'; restore the file") from None
    if not (np.isfinite([x, y, cell_size_m]).all() and cell_size_m > 0):
        raise InputError(f"{path}: origin and resolution must be finite, the resolution above 0; restore the file")
    return (x, y), cell_size_m
