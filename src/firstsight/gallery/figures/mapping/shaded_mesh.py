"""An image of a mesh as a camera in it would see it, lit from where the camera is."""

import numpy as np
from embreex.mesh_construction import TriangleMesh  # ty: ignore[import-not-found]
from embreex.rtcore import EmbreeDevice  # ty: ignore[import-not-found]
from embreex.rtcore_scene import EmbreeScene  # ty: ignore[import-not-found]
from jaxtyping import Bool

from firstsight.formats.mesh import Mesh
from firstsight.recordings.recording import Camera, Image, Transform

NOTHING = (38, 42, 50)
AMBIENT = 0.35  # brightness of a surface that is seen edge-on
TINT = np.array([235.0, 60.0, 30.0])


def draw_mesh(mesh: Mesh, camera: Camera, world_from_camera: Transform, tinted: Bool[np.ndarray, " faces"]) -> Image:
    """The mesh in its colours, the tinted faces in red."""
    scene = EmbreeScene(EmbreeDevice())
    TriangleMesh(scene, np.ascontiguousarray(mesh.vertices[mesh.faces], np.float32))
    rows, columns = np.mgrid[: camera.size[0], : camera.size[1]].reshape(2, -1).astype(np.float64)
    pixels = np.stack([columns, rows, np.ones_like(rows)], 1)
    directions = pixels @ np.linalg.inv(camera.intrinsics).T @ world_from_camera[:3, :3].T
    origins = np.tile(world_from_camera[:3, 3], (len(directions), 1))
    seen = scene.run(origins.astype(np.float32), directions.astype(np.float32))
    hit = seen >= 0
    corners = mesh.faces[seen[hit]]
    a, b, c = (mesh.vertices[corners[:, k]].astype(np.float64) for k in range(3))
    normals, directions = np.cross(b - a, c - a), directions[hit]
    lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(directions, axis=1)
    facing = np.abs((normals * directions).sum(1)) / np.maximum(lengths, 1e-12)
    colours = np.where(tinted[seen[hit]][:, None], TINT, mesh.colours[corners].mean(1))
    image = np.tile(np.array(NOTHING, np.uint8), (len(seen), 1))
    image[hit] = (colours * (AMBIENT + (1 - AMBIENT) * facing)[:, None]).astype(np.uint8)
    return image.reshape(*camera.size, 3)
