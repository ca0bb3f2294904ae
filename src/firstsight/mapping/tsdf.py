"""A surface from many depth images: the mean of their distances to it.

Paper:  Curless, Levoy. A Volumetric Method for Building Complex Models from Range Images. SIGGRAPH 1996 (the mean);
        Newcombe et al. KinectFusion: Real-Time Dense Surface Mapping and Tracking. ISMAR 2011 (section 3.3);
        Niessner, Zollhoefer, Izadi, Stamminger. Real-time 3D Reconstruction at Scale using Voxel Hashing. 2013 (blocks).
Idea:   a voxel at p keeps the signed distance to the surface, positive before it and cut off at the truncation mu. A depth
        image says it along the pixel's ray r = K^-1 (u, v, 1):
        d = (depth - z) |r|                                                                       tsdf_kernels.py
        D <- (W D + w min(d, mu)) / (W + w),  W <- min(W + w, max_weight), where d >= -mu          tsdf_kernels.py
        Where d > mu the voxel is empty: the same mean carves away what was there, so things that move vanish when their
        place is seen again; the bound on W lets the map change its mind.
        Weights: 1, or (z_0 / z)^2 beyond the typical depth z_0; falling to 0 from one voxel behind the surface to mu.
        Only blocks of 8^3 voxels within mu of a seen surface are stored, in a hash table (voxel_hash.py)   tsdf_kernels.py
        The surface is where D = 0 between known voxels                                           marching_cubes.py
Differs: depth is looked up between pixels, linear in its inverse, so that planes are exact; pixels beside a depth edge count
        for nothing. When the table is full, blocks that one frame alone saw, and not lately, are dropped; if that does not
        help, voxels double in size. It needs depth: LiDAR points alone leave it empty.
Role:   Mapper.  Vertices in the world frame, in the unit of the depth. 7.2 kB a block: 118 MB at most by default.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt16
from torch import Tensor

from firstsight.formats.mesh import Mesh
from firstsight.geometry.se3 import inverse
from firstsight.mapping.depth_edges import usable_inverse_depth
from firstsight.mapping.marching_cubes import SAMPLES, SIDE, Blocks, marching_cubes
from firstsight.mapping.tsdf_kernels import FULL_COLOUR, integrate_depth, open_blocks, rows_of
from firstsight.mapping.visible import median_distance_m
from firstsight.mapping.voxel_hash import EMPTY, GREY, RECENT_FRAMES, place_of
from firstsight.roles import Observation
from firstsight.roles.mapping import SurfaceMapper
from firstsight.roles.state import State

FIRST_BLOCKS = 512
# at most, of the rays that open blocks
RAYS_APART_VOXELS = 4.0


@dataclass(frozen=True, kw_only=True)
class Config:
    # None: 1/100 of the first frame's median depth
    voxel_size_m: float | None = None
    # None: twice the first frame's median depth
    max_range_m: float | None = None
    truncation_voxels: float = 4.0
    weighting: Literal["constant", "inverse_square"] = "inverse_square"
    max_weight: float = 64.0
    # of the voxels around a triangle; more than one frame gives
    min_weight: float = 1.5
    carve: bool = True
    # relative kink of inverse depth that makes a pixel a depth edge, as in point_cloud.py
    edge: float = 0.05
    max_blocks: int = 16_384


class Table(NamedTuple):
    """`slots` maps a hash to a row of the other arrays, EMPTY where free. Rows fill up from 0."""

    slots: Int32[np.ndarray, " slots"]
    keys: Int64[np.ndarray, " blocks"]
    # unused, frames, last frame
    seen: Int32[np.ndarray, "blocks 3"]


class Voxels(NamedTuple):
    """The voxels of the first blocks; they grow with the blocks in use. Colour 0 0 0: none yet."""

    distance: Float32[np.ndarray, "blocks samples"]
    weight: Float32[np.ndarray, "blocks samples"]
    colour: UInt16[np.ndarray, "blocks samples 3"]


def empty_table(blocks: int) -> Table:
    """Its slots are at most half full."""
    slots = 1 << (2 * blocks - 1).bit_length()
    return Table(np.full(slots, EMPTY, np.int32), np.empty(blocks, np.int64), np.zeros((blocks, 3), np.int32))


def empty_voxels(blocks: int) -> Voxels:
    """Voxels that no frame saw."""
    return Voxels(
        np.zeros((blocks, SAMPLES), np.float32),
        np.zeros((blocks, SAMPLES), np.float32),
        np.zeros((blocks, SAMPLES, 3), np.uint16),
    )


def places_of(keys: Int64[np.ndarray, " blocks"]) -> Int64[np.ndarray, "blocks 3"]:
    """The numbers of blocks along x, y and z."""
    return np.stack(place_of(keys), 1)


def halved(voxels: Voxels) -> tuple[Float32[np.ndarray, "blocks 4 4 4 channels"], ...]:
    """Each eight voxels as one: the weighted means of those that are known, as sure as the surest."""
    distance, weight, colour = (
        part.reshape(-1, *(SIDE // 2, 2) * 3, *part.shape[2:]).astype(np.float32, copy=False) for part in voxels
    )
    eight = (2, 4, 6)
    total = weight.sum(eight)
    coloured = weight[..., None] * (colour.max(-1, keepdims=True) > 0)
    mean = (weight * distance).sum(eight) / np.where(total > 0, total, 1)
    hue_total = coloured.sum(eight)
    hue = (coloured * colour).sum(eight) / np.where(hue_total > 0, hue_total, 1)
    return mean[..., None], weight.max(eight)[..., None], hue.round()


@final
class Tsdf(SurfaceMapper):
    """Fuses the depth and colour of each frame; `mesh` is the surface so far."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.voxel_size_m = self.config.voxel_size_m or 0.0  # 0: follows from the first frame, as the next two
        self.max_range_m = self.config.max_range_m or 0.0
        self.typical_m = 0.0
        self.frames = 0
        self.table = empty_table(self.config.max_blocks)
        self.voxels = empty_voxels(FIRST_BLOCKS)
        self.used = 0

    def integrate(self, observation: Observation, world_from_camera: Float64[Tensor, "4 4"]) -> None:
        self.frames += 1
        distance_m = median_distance_m(observation) if observation.depth is not None else None
        if distance_m is None:
            return
        self.typical_m = self.typical_m or distance_m
        self.voxel_size_m = self.voxel_size_m or distance_m / 100
        self.max_range_m = self.max_range_m or 2 * distance_m
        assert observation.depth is not None
        assert observation.intrinsics is not None
        depth, valid = (part[0, 0].numpy() for part in observation.depth[:2])
        inverse_depth = usable_inverse_depth(depth, valid, self.max_range_m, self.config.edge)
        if not inverse_depth.any():
            return
        intrinsics = observation.intrinsics.numpy()
        self._open(inverse_depth, intrinsics, world_from_camera.numpy())
        image = torch.full((3, *depth.shape), GREY) if observation.image is None else observation.image[0]
        config = self.config
        sure_depth = self.typical_m if config.weighting == "inverse_square" else np.inf
        scales = (self.voxel_size_m, self.truncation_m, sure_depth)
        camera_from_world = inverse(world_from_camera).numpy()
        keys = self.table.keys[: self.used]
        integrate_depth(
            inverse_depth, image.numpy(), intrinsics, camera_from_world, scales, config.max_weight, config.carve, keys,
            self.voxels,
        )  # fmt: skip

    @property
    def truncation_m(self) -> float:
        """mu: how far from the surface distances are kept."""
        return self.config.truncation_voxels * self.voxel_size_m

    def blocks(self) -> Blocks:
        """The distances so far, known where the weight is at least `min_weight` (any, where one frame is all there is)."""
        distance, weight, _ = (part[: self.used] for part in self.voxels)
        known = weight >= self.config.min_weight if self.frames > 1 else weight > 0
        return Blocks(places_of(self.table.keys[: self.used]), distance, known)

    def mesh(self) -> Mesh:
        """The surface so far, in the world. Triangles turn counter-clockwise seen from where the camera could be."""
        vertices, faces, ends, fraction = marching_cubes(self.blocks())
        colours = self.voxels.colour.reshape(-1, 3)[ends].astype(np.float64)
        share = np.stack([1 - fraction, fraction], 1)[:, :, None] * (colours.max(2, keepdims=True) > 0)
        mixed = (share * colours).sum(1) / np.maximum(share.sum(1), 1e-9)
        return Mesh(
            ((vertices + 0.5) * self.voxel_size_m).astype(np.float32),
            (mixed * (255 / FULL_COLOUR)).round().astype(np.uint8),
            faces,
        )

    def state(self) -> State:
        """Returns the state without rows that are not in use."""
        return {
            "voxel_size_m": self.voxel_size_m,
            "max_range_m": self.max_range_m,
            "typical_m": self.typical_m,
            "frames": self.frames,
            "table": list(self.table),
            "voxels": [part[: self.used] for part in self.voxels],
        }

    def restore(self, state: State) -> None:
        self.voxel_size_m, self.max_range_m = state["voxel_size_m"], state["max_range_m"]
        self.typical_m, self.frames = state["typical_m"], state["frames"]
        self.table, self.voxels = Table(*state["table"]), Voxels(*state["voxels"])
        self.used = len(self.voxels.weight)

    def _open(
        self,
        inverse_depth: Float32[np.ndarray, "height width"],
        intrinsics: Float64[np.ndarray, "3 3"],
        world_from_camera: Float64[np.ndarray, "4 4"],
    ) -> None:
        """Opens the frame's blocks, making room where the table is full."""
        while True:
            apart = RAYS_APART_VOXELS * self.voxel_size_m * intrinsics[0, 0] / self.max_range_m
            used = open_blocks(
                inverse_depth, intrinsics, world_from_camera, max(1, int(apart)), self.truncation_m,
                SIDE * self.voxel_size_m, self.frames, self.used, self.table,
            )  # fmt: skip
            if used != EMPTY:
                break
            self._make_room()
        self.used = used
        rows = len(self.voxels.weight)
        if used > rows:
            grown = min(max(2 * rows, used), self.config.max_blocks)
            self.voxels = Voxels(*map(np.concatenate, zip(self.voxels, empty_voxels(grown - rows), strict=True)))

    def _make_room(self) -> None:
        """Drops what one frame alone saw some time ago, or else doubles the voxels. Blocks of this frame open again."""
        _, frames, last = self.table.seen[: self.used].T
        lasting = (frames > 1) | (last > self.frames - RECENT_FRAMES)
        if lasting.sum() < min(0.75 * self.config.max_blocks, self.used):
            self._keep(lasting)
        else:
            self._halve()

    def _keep(self, kept: Bool[np.ndarray, " blocks"]) -> None:
        old, self.table = self.table, empty_table(self.config.max_blocks)
        rows = self._insert(places_of(old.keys[: self.used][kept]), old.seen[: self.used][kept])
        self.voxels = Voxels(*(part[: self.used][kept] for part in self.voxels))
        self.used = len(rows)

    def _halve(self) -> None:
        old, parts = self.table, halved(Voxels(*(part[: self.used] for part in self.voxels)))
        places = places_of(old.keys[: self.used])
        self.voxel_size_m *= 2
        self.table = empty_table(self.config.max_blocks)
        rows = self._insert(places >> 1, old.seen[: self.used])
        self.used = int(rows.max()) + 1
        self.voxels = empty_voxels(self.used)
        x, y, z = (places & 1).T
        for target, part in zip(self.voxels, parts, strict=True):
            octants = target.reshape(-1, 2, SIDE // 2, 2, SIDE // 2, 2, SIDE // 2, part.shape[-1])
            octants[rows, x, :, y, :, z] = part

    def _insert(
        self, places: Int64[np.ndarray, "blocks 3"], seen: Int32[np.ndarray, "blocks 3"]
    ) -> Int64[np.ndarray, " blocks"]:
        """Opens blocks in the empty table. Returns their rows, which take over what was seen."""
        size = SIDE * self.voxel_size_m
        rows = rows_of((places + 0.5) * size, size, self.table)
        np.maximum.at(self.table.seen, rows, seen)
        return rows
