"""Casting rays into a world with Embree, and what they meet.

The static world is one Embree scene, built once. What moves is a second, small scene built anew for each instant, whose
triangles are copies of the shapes at their places then. A ray takes the nearer hit.
"""

from typing import NamedTuple, no_type_check

import numpy as np

# embreex is compiled and carries no stubs, so the type checker cannot see its modules.
from embreex.mesh_construction import TriangleMesh  # ty: ignore[import-not-found]
from embreex.rtcore import EmbreeDevice  # ty: ignore[import-not-found]
from embreex.rtcore_scene import EmbreeScene  # ty: ignore[import-not-found]
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numba import njit

from firstsight.recordings.simulated.scene import Actor, World
from firstsight.recordings.simulated.surface import joined
from firstsight.recordings.simulated.textures import noise_table

FAR_M = 1e4  # no surface lies beyond
SHORT_OF_POINT = 0.998  # a ray to a point stops this share of the way, so as not to meet the point itself
SHADOW_LIFT_M = 0.01  # a ray to the sun starts this far off the surface, for the same reason


class Tables(NamedTuple):
    """Every triangle of a world, the static ones first, then each shape's, as the kernels want them."""

    normals: Float32[np.ndarray, "triangles 3 3"]
    chart: Float32[np.ndarray, "triangles 2 4"]
    paint: Float32[np.ndarray, "triangles 3"]
    material: Int32[np.ndarray, " triangles"]
    noise: Float32[np.ndarray, "256 256"]


class Instant(NamedTuple):
    """The moving parts at one time. Slot 0 is the static world, slot k > 0 the k-th part; a rest frame is a part's own."""

    time_s: float
    scene: EmbreeScene
    triangle: Int64[np.ndarray, " moving"]  # row of Tables of each triangle of the scene
    slot: Int64[np.ndarray, " moving"]
    rest_from_world: Float64[np.ndarray, "slots 4 4"]
    object_ids: Int64[np.ndarray, " slots"]
    actors: tuple[Actor, ...]


class Hits(NamedTuple):
    """What rays met: `triangle` (row of Tables) is -1 for nothing; `distance` counts in lengths of the ray's direction."""

    distance: Float32[np.ndarray, " rays"]
    triangle: Int64[np.ndarray, " rays"]
    slot: Int64[np.ndarray, " rays"]
    u: Float32[np.ndarray, " rays"]
    v: Float32[np.ndarray, " rays"]


class Met(NamedTuple):
    """Hits with their places: world points, and unit normals rotated towards where the rays came from."""

    hits: Hits
    points: Float64[np.ndarray, "rays 3"]
    normals: Float32[np.ndarray, "rays 3"]


class Caster:
    """The ray caster of one world."""

    def __init__(self, world: World):
        surfaces = [world.static, *world.shapes.values()]
        everything = joined(surfaces)
        self._device = EmbreeDevice()
        self._world = world
        self._static = self._scene(world.static.corners)
        self._corners = everything.corners
        starts = np.cumsum([0, *(len(surface) for surface in surfaces)])
        self._rows = {
            name: np.arange(*bounds)
            for name, *bounds in zip(world.shapes, starts[1:-1].tolist(), starts[2:].tolist(), strict=True)
        }
        self.tables = Tables(
            everything.normals.astype(np.float32),
            everything.chart.astype(np.float32),
            everything.paint.astype(np.float32),
            everything.material.astype(np.int32),
            noise_table(),
        )

    def _scene(self, corners: Float64[np.ndarray, "n 3 3"]) -> EmbreeScene:
        scene = EmbreeScene(self._device)
        TriangleMesh(scene, np.ascontiguousarray(corners, dtype=np.float32))
        return scene

    def instant(self, time_s: float) -> Instant:
        """The world's moving parts at a time."""
        actors = tuple(self._world.actors(time_s))
        names = [name for actor in actors for name in actor.parts]
        poses = [np.asarray(pose) for actor in actors for pose in actor.world_from_parts(time_s)]
        rows = [self._rows[name] for name in names]
        corners = [self._corners[row] @ pose[:3, :3].T + pose[:3, 3] for row, pose in zip(rows, poses, strict=True)]
        return Instant(
            time_s,
            self._scene(np.concatenate([np.empty((0, 3, 3)), *corners])),
            np.concatenate([np.empty(0, np.int64), *rows]),
            np.repeat(np.arange(1, len(rows) + 1), [len(row) for row in rows]),
            np.linalg.inv(np.stack([np.eye(4), *poses])),
            np.array([0, *(actor.object_id for actor in actors for _ in actor.parts)]),
            actors,
        )

    def cast(
        self, origins: Float32[np.ndarray, "rays 3"], directions: Float32[np.ndarray, "rays 3"], instant: Instant
    ) -> Hits:
        """The nearest surface along each ray."""
        still = self._static.run(origins, directions, np.full(len(origins), FAR_M, np.float32), output=True)
        moving = instant.scene.run(origins, directions, still["tfar"], output=True)
        nearer = moving["primID"] >= 0
        of_moving = moving["primID"][nearer]
        triangle, slot = still["primID"].astype(np.int64), np.zeros(len(origins), np.int64)
        triangle[nearer], slot[nearer] = instant.triangle[of_moving], instant.slot[of_moving]
        u, v = (np.where(nearer, moving[name], still[name]) for name in ("u", "v"))
        return Hits(moving["tfar"], triangle, slot, u, v)

    def meet(
        self, origin: Float64[np.ndarray, "3"], directions: Float32[np.ndarray, "rays 3"], instant: Instant
    ) -> Met:
        """Does as `cast`, for rays from one place, with the points and normals."""
        hits = self.cast(repeated(origin, len(directions)), directions, instant)
        points, normals = places(origin, directions, hits, self.tables.normals, instant.rest_from_world)
        return Met(hits, points, normals)

    def visible(
        self, points: Float64[np.ndarray, "n 3"], origin: Float64[np.ndarray, "3"], instant: Instant
    ) -> Bool[np.ndarray, " n"]:
        """Whether nothing lies between the points and the origin."""
        return self._free(repeated(origin, len(points)), (points - origin).astype(np.float32), SHORT_OF_POINT, instant)

    def sunlit(self, met: Met, towards_sun: Float64[np.ndarray, "3"], instant: Instant) -> Bool[np.ndarray, " rays"]:
        """Whether the surfaces that rays met see the sun."""
        lit = (met.normals @ towards_sun.astype(np.float32) > 0) & (met.hits.triangle >= 0)
        origins = (met.points[lit] + SHADOW_LIFT_M * met.normals[lit]).astype(np.float32)
        lit[lit] = self._free(origins, repeated(towards_sun, len(origins)), FAR_M, instant)
        return lit

    def _free(
        self,
        origins: Float32[np.ndarray, "rays 3"],
        directions: Float32[np.ndarray, "rays 3"],
        length: float,
        instant: Instant,
    ) -> Bool[np.ndarray, " rays"]:
        """Whether rays of the given length (in lengths of their direction) meet nothing."""
        lengths = np.full(len(origins), length, np.float32)
        free = self._static.run(origins, directions, lengths, query="OCCLUDED") < 0
        return free & (instant.scene.run(origins, directions, lengths, query="OCCLUDED") < 0)


def repeated(vector: Float64[np.ndarray, "3"], count: int) -> Float32[np.ndarray, "{count} 3"]:
    return np.tile(vector.astype(np.float32), (count, 1))


@njit(cache=True, nogil=True)
@no_type_check
def rotated(vectors, rotation):
    """Vectors (n, 3) float32 rotated by a rotation (3, 3)."""
    result = np.empty_like(vectors)
    for i in range(len(vectors)):
        for k in range(3):
            result[i, k] = (
                rotation[k, 0] * vectors[i, 0] + rotation[k, 1] * vectors[i, 1] + rotation[k, 2] * vectors[i, 2]
            )
    return result


@njit(cache=True, nogil=True)
@no_type_check
def places(origin, directions, hits, corner_normals, rest_from_world):
    """World points (rays, 3) and normals (rays, 3), towards the viewer, of hits; zero where nothing was met."""
    count = len(directions)
    points, normals = np.zeros((count, 3)), np.zeros((count, 3), np.float32)
    for i in range(count):
        triangle, slot = hits.triangle[i], hits.slot[i]
        v, w = hits.u[i], hits.v[i]
        if triangle < 0:
            continue
        squared, against = 0.0, 0.0
        for k in range(3):
            points[i, k] = origin[k] + hits.distance[i] * directions[i, k]
            n = 0.0
            for m in range(3):  # rotations are orthogonal, so the transpose turns back
                a, b, c = corner_normals[triangle, 0, m], corner_normals[triangle, 1, m], corner_normals[triangle, 2, m]
                n += rest_from_world[slot, m, k] * (a + v * (b - a) + w * (c - a))
            normals[i, k] = n
            squared += n * n
            against += n * directions[i, k]
        scale = (-1.0 if against > 0 else 1.0) / np.sqrt(squared)
        for k in range(3):
            normals[i, k] *= scale
    return points, normals
