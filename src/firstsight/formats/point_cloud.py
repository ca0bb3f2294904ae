"""Coloured point clouds as binary PLY, which every viewer opens."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from firstsight.errors import InputError
from firstsight.formats.atomic import write_bytes

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
    xyz = np.ascontiguousarray(points, "<f4").view(np.uint8).reshape(-1, XYZ_BYTES)
    vertices = np.hstack([xyz, colours])
    write_bytes(path, HEADER.format(count=len(points), comment=comment).encode() + vertices.tobytes())


def read_ply(path: Path) -> tuple[Float32[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"]]:
    """Reads what write_ply writes. Raises InputError for any other PLY."""
    head, found, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode(errors="replace").splitlines()
    count = next((int(line.split()[2]) for line in lines if line.startswith("element vertex")), None)
    if not found or count is None or len(body) != count * VERTEX_BYTES:
        raise InputError(f"{path}: not a point cloud that firstsight wrote (binary PLY with x y z red green blue)")
    vertices = np.frombuffer(body, np.uint8).reshape(-1, VERTEX_BYTES)
    return vertices[:, :XYZ_BYTES].copy().view("<f4"), vertices[:, XYZ_BYTES:].copy()
