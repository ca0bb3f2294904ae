"""Coloured point clouds as binary PLY, which every viewer opens."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_bytes
from firstsight.reading import read_bytes

XYZ_BYTES, VERTEX_BYTES = 12, 15
HEADER = """ply
format binary_little_endian 1.0
comment {comment}
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
end_header
"""


def write_ply(
    path: Path, points: Float32[np.ndarray, "points 3"], colours: UInt8[np.ndarray, "points 3"], comment: str
) -> None:
    header = HEADER.format(count=len(points), comment=comment)
    write_bytes(path, header.encode() + pack_vertices(points, colours))


def read_ply(path: Path) -> tuple[Float32[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"]]:
    """Reads what write_ply writes. Raises InputError for any other PLY."""
    counts, body = split_ply(read_bytes(path, "point cloud", bounded=False))
    if counts.keys() != {"vertex"} or len(body) != counts["vertex"] * VERTEX_BYTES:
        raise InputError(f"{path}: not a point cloud that firstsight wrote (binary PLY with x y z red green blue)")
    return unpack_vertices(body)


def pack_vertices(points: Float32[np.ndarray, "points 3"], colours: UInt8[np.ndarray, "points 3"]) -> bytes:
    xyz = np.ascontiguousarray(points, "<f4").view(np.uint8).reshape(-1, XYZ_BYTES)
    return np.hstack([xyz, colours]).tobytes()


def unpack_vertices(body: bytes) -> tuple[Float32[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"]]:
    vertices = np.frombuffer(body, np.uint8).reshape(-1, VERTEX_BYTES)
    return vertices[:, :XYZ_BYTES].copy().view("<f4"), vertices[:, XYZ_BYTES:].copy()


def split_ply(content: bytes) -> tuple[dict[str, int], bytes]:
    """How many of each element a PLY announces, and what follows its header; nothing of what is no PLY."""
    head, _, body = content.partition(b"end_header\n")
    elements = [line.split() for line in head.decode(errors="replace").splitlines() if line.startswith("element ")]
    return {words[1]: int(words[2]) for words in elements if len(words) == 3 and words[2].isdecimal()}, body
