"""Coloured triangle meshes as binary PLY, which every viewer opens."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from firstsight.errors import InputError
from firstsight.formats.point_cloud import HEADER, VERTEX_BYTES, pack_vertices, split_ply, unpack_vertices
from firstsight.formats.storage.atomic import write_bytes
from firstsight.reading import read_bytes
from firstsight.roles.mapping import Mesh

END = "end_header\n"
FACES = "element face {faces}\nproperty list uchar int vertex_indices\n"
FACE_BYTES = 13  # the number of corners, which is 3, and three vertices


def write_mesh(path: Path, mesh: Mesh, comment: str) -> None:
    header = HEADER.replace(END, FACES + END).format(count=len(mesh.vertices), faces=len(mesh.faces), comment=comment)
    corners = np.ascontiguousarray(mesh.faces, "<i4").view(np.uint8).reshape(-1, FACE_BYTES - 1)
    faces = np.hstack([np.full((len(corners), 1), 3, np.uint8), corners])
    write_bytes(path, header.encode() + pack_vertices(mesh.vertices, mesh.colours) + faces.tobytes())


def read_mesh(path: Path) -> Mesh:
    """Reads what write_mesh writes. Raises InputError for any other file."""
    counts, body = split_ply(read_bytes(path, "mesh", bounded=False))
    vertices, faces = counts.get("vertex", 0), counts.get("face", 0)
    stop = vertices * VERTEX_BYTES
    if counts.keys() != {"vertex", "face"} or len(body) != stop + faces * FACE_BYTES:
        raise InputError(f"{path}: not a mesh that firstsight wrote (binary PLY with coloured vertices and triangles)")
    corners = np.frombuffer(body[stop:], np.uint8).reshape(-1, FACE_BYTES)[:, 1:].copy().view("<i4")
    return Mesh(*unpack_vertices(body[:stop]), corners)


def vertex_normals(mesh: Mesh) -> Float32[np.ndarray, "vertices 3"]:
    """Unit normals outwards: means over the faces around a vertex by their area; 0 where no face is."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    areas = np.cross(b - a, c - a)
    corner = mesh.faces.ravel()
    sums = [np.bincount(corner, np.repeat(areas[:, axis], 3), len(mesh.vertices)) for axis in range(3)]
    normals = np.stack(sums, 1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / np.where(length > 0, length, 1)).astype(np.float32)
