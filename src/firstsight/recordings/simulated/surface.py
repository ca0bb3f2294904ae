"""Painted triangles and the shapes that worlds are built of.

A shape is built around its own origin (z up, standing on z = 0 where that makes sense) and `placed` in the world.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import trimesh
from jaxtyping import Float64, Int64

Colour = tuple[float, float, float]  # linear RGB in [0, 1]
Transform = Float64[np.ndarray, "4 4"]


class Material(IntEnum):
    """Which pattern textures.py paints; what (s, t) mean on the surface is said there."""

    PLAIN = 0
    ROAD = 1
    FACADE = 2
    TILES = 3
    PLANKS = 4
    LEAVES = 5
    PICTURE = 6
    CHECKS = 7
    STRIPES = 8
    BRICKS = 9
    BOOKS = 10


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Triangles. `chart` maps a point (x, y, z, 1) to the texture's (s, t) in metres, triangle by triangle."""

    corners: Float64[np.ndarray, "triangles 3 3"]
    normals: Float64[np.ndarray, "triangles 3 3"]  # per corner, unit length, outward
    chart: Float64[np.ndarray, "triangles 2 4"]
    paint: Float64[np.ndarray, "triangles 3"]
    material: Int64[np.ndarray, " triangles"]

    def __len__(self) -> int:
        return len(self.corners)

    def placed(self, a_from_b: Float64[np.ndarray, "4 4"]) -> "Surface":
        """The surface, given in b, in the frame a; its texture moves with it."""
        rotation, translation = a_from_b[:3, :3], a_from_b[:3, 3]
        return replace(
            self,
            corners=self.corners @ rotation.T + translation,
            normals=self.normals @ rotation.T,
            chart=self.chart @ np.linalg.inv(a_from_b),
        )

    def scaled(self, factor: float) -> "Surface":
        """A model of it: smaller or larger, with a texture as fine as before."""
        chart = self.chart * np.array([1, 1, 1, factor])
        return replace(self, corners=self.corners * factor, chart=chart)


def joined(surfaces: Sequence[Surface]) -> Surface:
    names = ("corners", "normals", "chart", "paint", "material")
    return Surface(**{name: np.concatenate([getattr(surface, name) for surface in surfaces]) for name in names})


def painted(
    mesh: trimesh.Trimesh,
    colour: Colour,
    material: Material = Material.PLAIN,
    *,
    smooth: bool = False,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Surface:
    """The mesh with a texture laid flat on it from the axis each face looks along most; `shift` moves the texture (m)."""
    corners = np.asarray(mesh.triangles, dtype=np.float64)
    return surface_of(corners, dominant_plane(corners, mesh.face_normals) + shift, colour, material, mesh, smooth)


def surface_of(
    corners: Float64[np.ndarray, "n 3 3"],
    texture: Float64[np.ndarray, "n 3 2"],
    colour: Colour,
    material: Material,
    mesh: trimesh.Trimesh | None = None,
    smooth: bool = False,
) -> Surface:
    """Triangles whose corners have the texture coordinates (s, t); `smooth` takes the mesh's vertex normals."""
    count = len(corners)
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    normals = np.repeat(flat[:, None], 3, 1)
    if smooth and mesh is not None:
        normals = np.asarray(mesh.vertex_normals)[mesh.faces]
    return Surface(
        corners=corners,
        normals=normals,
        chart=affine_chart(corners, texture),
        paint=np.tile(np.asarray(colour, dtype=np.float64), (count, 1)),
        material=np.full(count, int(material)),
    )


def dominant_plane(
    corners: Float64[np.ndarray, "n 3 3"], face_normals: Float64[np.ndarray, "n 3"]
) -> Float64[np.ndarray, "n 3 2"]:
    """(s, t) = (y, z), (x, z) or (x, y), whichever plane the face lies in most nearly."""
    axes = np.array([[1, 2], [0, 2], [0, 1]])[np.abs(face_normals).argmax(1)]
    return np.take_along_axis(corners, np.repeat(axes[:, None], 3, 1), axis=2)


def affine_chart(
    corners: Float64[np.ndarray, "n 3 3"], texture: Float64[np.ndarray, "n 3 2"]
) -> Float64[np.ndarray, "n 2 4"]:
    """The map (x, y, z, 1) -> (s, t) that meets the corners and is constant along the normal."""
    edges = corners[:, 1:] - corners[:, :1]
    gradient = np.swapaxes(np.linalg.pinv(edges) @ (texture[:, 1:] - texture[:, :1]), 1, 2)
    offset = texture[:, 0] - np.einsum("nij,nj->ni", gradient, corners[:, 0])
    return np.concatenate([gradient, offset[:, :, None]], 2)


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw_rad: float = 0.0) -> Float64[np.ndarray, "4 4"]:
    """a_from_b of something at (x, y, z), turned about the vertical."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


def tilted(axis: int, angle_rad: float) -> Float64[np.ndarray, "4 4"]:
    """A turn about the x (0), y (1) or z (2) axis."""
    turn, c, s = np.eye(4), np.cos(angle_rad), np.sin(angle_rad)
    j, k = (axis + 1) % 3, (axis + 2) % 3
    turn[j, j], turn[j, k] = c, -s
    turn[k, j], turn[k, k] = s, c
    return turn


def box(size_m: tuple[float, float, float], colour: Colour, material: Material = Material.PLAIN, **options) -> Surface:
    """A box standing on z = 0, centred in x and y."""
    mesh = trimesh.creation.box(size_m)
    mesh.apply_translation([0, 0, size_m[2] / 2])
    return painted(mesh, colour, material, **options)


def cylinder(
    radius_m: float, height_m: float, colour: Colour, material: Material = Material.PLAIN, sections: int = 16, **options
) -> Surface:
    """An upright cylinder standing on z = 0."""
    mesh = trimesh.creation.cylinder(radius_m, height_m, sections=sections)
    mesh.apply_translation([0, 0, height_m / 2])
    return painted(mesh, colour, material, **options)


def disc(radius_m: float, colour: Colour, sections: int) -> Surface:
    """A flat disc about the origin that looks up."""
    angle = np.linspace(0, 2 * np.pi, sections, endpoint=False)
    rim = radius_m * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    corners = np.stack([np.zeros_like(rim), rim, np.roll(rim, -1, axis=0)], 1)
    return surface_of(corners, corners[:, :, :2], colour, Material.PLAIN)


def ellipsoid(
    radii_m: tuple[float, float, float], colour: Colour, material: Material = Material.PLAIN, subdivisions: int = 2
) -> Surface:
    """An ellipsoid about the origin, shaded smoothly."""
    mesh = trimesh.creation.icosphere(subdivisions)
    mesh.apply_scale(radii_m)
    return painted(mesh, colour, material, smooth=True)


def prism(
    outline: Float64[np.ndarray, "corners 2"], width_m: float, colour: Colour, material: Material = Material.PLAIN
) -> Surface:
    """A convex outline in x and z, extruded along y, centred in y."""
    count = len(outline)
    left, right = (np.insert(outline, 1, y, axis=1) for y in (width_m / 2, -width_m / 2))
    following = np.roll(np.arange(count), -1)
    around = [
        triangle
        for i, j in enumerate(following)
        for triangle in ([right[i], right[j], left[j]], [right[i], left[j], left[i]])
    ]
    caps = [[right[0], right[i + 1], right[i]] for i in range(1, count - 1)]
    caps += [[left[0], left[i], left[i + 1]] for i in range(1, count - 1)]
    mesh = trimesh.Trimesh(**trimesh.triangles.to_kwargs(np.array(around + caps)))
    mesh.fix_normals()
    return painted(mesh, colour, material)


def strip(
    left: Float64[np.ndarray, "n 3"],
    right: Float64[np.ndarray, "n 3"],
    along_m: Float64[np.ndarray, " n"],
    across_m: tuple[float, float],
    colour: Colour,
    material: Material,
) -> Surface:
    """A ribbon between two lines; s runs along it, t from across_m[0] at the left line to across_m[1] at the right."""
    s_t = [np.stack([along_m, np.full_like(along_m, across)], 1) for across in across_m]
    quads = [(left[:-1], right[:-1], right[1:]), (left[:-1], right[1:], left[1:])]
    texture = [(s_t[0][:-1], s_t[1][:-1], s_t[1][1:]), (s_t[0][:-1], s_t[1][1:], s_t[0][1:])]
    return surface_of(
        np.concatenate([np.stack(corners, 1) for corners in quads]),
        np.concatenate([np.stack(corners, 1) for corners in texture]),
        colour,
        material,
    )
