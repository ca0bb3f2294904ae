"""Maps of one simulated walk or drive: with its moving objects, with them left out, and of the same world without any.

Depth, poses and masks are the true ones, so that the maps differ by what moves alone. What hangs where the world without
moving objects has nothing is a ghost.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from scipy.ndimage import binary_dilation
from scipy.spatial import KDTree

from firstsight.formats.mesh import Mesh
from firstsight.geometry.images import to_tensor
from firstsight.mapping.occupancy import OccupancyGrid, OccupancyMap
from firstsight.mapping.tsdf import Config, Tsdf
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated.scene import World
from firstsight.recordings.simulated.simulate import WORLDS, image_size, recorded, rig_of
from firstsight.roles import Depth, Mapper, Observation

KEPT, LEFT_OUT, STATIC = "moving objects kept", "moving objects left out", "nothing moves"
ALL = (KEPT, LEFT_OUT, STATIC)
GHOST_VOXELS = 4.0  # a triangle so far from any surface of the static world is a ghost


class Walk(NamedTuple):
    """A recording, the same one in a world where nothing moves, and the frames that are mapped."""

    with_moving: Recording
    static: Recording
    frames: range


def walk_through(
    name: str, frames: range, height: int | None = None, change: Callable[[World], World] | None = None
) -> Walk:
    world = WORLDS[name](0)
    world = world if change is None else change(world)
    rig = rig_of(world.viewpoint, image_size(world.viewpoint.size, height, None))
    worlds = (world, replace(world, actors=lambda _: []))
    return Walk(*(recorded(each, rig, frames.stop, 0) for each in worlds), frames)


def observations(walk: Walk, kind: str) -> Iterator[tuple[Observation, torch.Tensor]]:
    """Each mapped frame with its true depth, as far as the kind of map has it, and world_from_camera."""
    recording = walk.static if kind == STATIC else walk.with_moving
    truth, camera = recording.truth, recording.rig.cameras[0]
    assert truth.depth is not None
    assert truth.moving is not None
    assert truth.world_from_camera is not None
    for frame in walk.frames:
        depth, valid = truth.depth[frame]
        if kind == LEFT_OUT:
            valid = valid & (truth.moving[frame] == 0)
        yield (
            Observation(
                int(recording.stamps_ns[frame]),
                to_tensor(recording.images[camera.name][frame]),
                torch.from_numpy(camera.intrinsics),
                Depth(torch.from_numpy(depth)[None, None], torch.from_numpy(valid)[None, None]),
            ),
            torch.from_numpy(truth.world_from_camera[frame]),
        )


class Maps(NamedTuple):
    grid: OccupancyGrid
    tsdf: Tsdf


def maps_of(walk: Walk, kind: str, config: Config) -> Maps:
    """Returns the maps of a walk. Of the static world even what is hardly known counts, since all else is a ghost."""
    made = Maps(OccupancyGrid(), Tsdf(replace(config, min_weight=0.01) if kind == STATIC else config))
    mappers: tuple[Mapper, ...] = made
    for observation, pose in observations(walk, kind):
        for mapper in mappers:
            mapper.integrate(observation, pose)
    return made


def ghost_cells(grid: OccupancyMap, static: OccupancyMap) -> Bool[np.ndarray, "rows columns"]:
    """Occupied cells with none that is occupied in the static map within one cell (8 neighbours)."""
    assert grid.cell_size_m == static.cell_size_m
    near = binary_dilation(np.pad(static.occupied, 1), np.ones((3, 3)))
    shift = np.rint((np.array(grid.origin_m) - static.origin_m) / grid.cell_size_m).astype(int) + 1
    rows, columns = np.nonzero(grid.occupied)
    at_rows, at_columns = rows + shift[1], columns + shift[0]
    inside = (at_rows >= 0) & (at_rows < near.shape[0]) & (at_columns >= 0) & (at_columns < near.shape[1])
    ghosts = np.zeros_like(grid.occupied)
    ghosts[rows, columns] = ~inside | ~near[at_rows.clip(0, near.shape[0] - 1), at_columns.clip(0, near.shape[1] - 1)]
    return ghosts


def ghost_faces(mesh: Mesh, static: Mesh, voxel_size_m: float) -> Bool[np.ndarray, " faces"]:
    """Triangles whose middle is farther than GHOST_VOXELS from every vertex of the static mesh."""
    middles = mesh.vertices[mesh.faces].mean(1)
    distances, _ = KDTree(static.vertices).query(middles, distance_upper_bound=GHOST_VOXELS * voxel_size_m)
    return ~np.isfinite(distances)


def area_m2(mesh: Mesh, faces: Bool[np.ndarray, " faces"]) -> float:
    """Returns the area of the chosen triangles."""
    a, b, c = (mesh.vertices[mesh.faces[faces, k]].astype(np.float64) for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
