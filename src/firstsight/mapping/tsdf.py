"""A surface from many depth images: the mean of their distances to it.

Paper:  Curless, Levoy. A Volumetric Method for Building Complex Models from Range Images. SIGGRAPH 1996 (the mean);
        Newcombe et al. KinectFusion: Real-Time Dense Surface Mapping and Tracking. ISMAR 2011 (section 3.3);
        Niessner, Zollhoefer, Izadi, Stamminger. Real-time 3D Reconstruction at Scale using Voxel Hashing. 2013 (blocks).
Idea:   a voxel at p keeps the signed distance to the surface, positive before it and cut off at the truncation mu. A depth
        image says it along the pixel's ray r = K^-1 (u, v, 1):
        d = (depth - z) |r|                                                                       -> integrate_depth()
        D <- (W D + w min(d, mu)) / (W + w),  W <- min(W + w, max_weight), where d >= -mu          -> integrate_depth()
        Where d > mu the voxel is empty: the same mean carves away what was there, so things that move vanish when their
        place is seen again; the bound on W lets the map change its mind.
        Weights: 1, or (z_0 / z)^2 beyond the typical depth z_0; falling to 0 from one voxel behind the surface to mu.
        Only blocks of 8^3 voxels within mu of a seen surface are stored, in a hash table         -> open_blocks()
        The surface is where D = 0 between known voxels                                           marching_cubes.py
Differs: depth is looked up between pixels, linear in its inverse, so that planes are exact; pixels beside a depth edge count
        for nothing. When the table is full, blocks that one frame alone saw, and not lately, are dropped; if that does not
        help, voxels double in size. It needs depth: LiDAR points alone leave it empty.
Role:   Mapper.  Vertices in the world frame, in the unit of the depth. 7.2 kB a block: 118 MB at most by default.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, final, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt16
from numba import njit
from torch import Tensor

from firstsight.formats.mesh import Mesh
from firstsight.geometry.se3 import inverse
from firstsight.mapping.depth_edges import usable_inverse_depth
from firstsight.mapping.marching_cubes import SAMPLES, SIDE, Blocks, marching_cubes
from firstsight.mapping.point_cloud import AXIS_BITS, EMPTY, GREY, HALF, RECENT_FRAMES, find_row
from firstsight.mapping.visible import median_distance_m
from firstsight.roles import Observation
from firstsight.roles.mapping import SurfaceMapper
from firstsight.roles.state import State

FIRST_BLOCKS = 512
BAND_STEPS = 5  # places within the band of a ray that open their block: half of mu apart
RAYS_APART_VOXELS = 4.0  # at most, of the rays that open blocks
TILE = 16  # px
FULL_COLOUR = 65535


@dataclass(frozen=True, kw_only=True)
class Config:
    voxel_size_m: float | None = None  # None: 1/100 of the first frame's median depth
    max_range_m: float | None = None  # None: twice the first frame's median depth
    truncation_voxels: float = 4.0
    weighting: Literal["constant", "inverse_square"] = "inverse_square"
    max_weight: float = 64.0
    min_weight: float = 1.5  # of the voxels around a triangle; more than one frame gives
    carve: bool = True
    edge: float = 0.05  # relative kink of inverse depth that makes a pixel a depth edge, as in point_cloud.py
    max_blocks: int = 16_384


class Table(NamedTuple):
    """`slots` maps a hash to a row of the other arrays, EMPTY where free. Rows fill up from 0."""

    slots: Int32[np.ndarray, " slots"]
    keys: Int64[np.ndarray, " blocks"]
    seen: Int32[np.ndarray, "blocks 3"]  # unused, frames, last frame


class Voxels(NamedTuple):
    """Of the first blocks; they grow with the blocks in use. Colour 0 0 0: none yet."""

    distance: Float32[np.ndarray, "blocks samples"]
    weight: Float32[np.ndarray, "blocks samples"]
    colour: UInt16[np.ndarray, "blocks samples 3"]


def empty_table(blocks: int) -> Table:
    """Its slots are at most half full."""
    slots = 1 << (2 * blocks - 1).bit_length()
    return Table(np.full(slots, EMPTY, np.int32), np.empty(blocks, np.int64), np.zeros((blocks, 3), np.int32))


def empty_voxels(blocks: int) -> Voxels:
    return Voxels(
        np.zeros((blocks, SAMPLES), np.float32),
        np.zeros((blocks, SAMPLES), np.float32),
        np.zeros((blocks, SAMPLES, 3), np.uint16),
    )


@njit(cache=True)
@no_type_check
def open_blocks(inverse_depth, intrinsics, world_from_camera, stride, truncation, block_size, frame, used, table):
    """Opens the blocks within the truncation of what every stride-th pixel sees. Returns the rows now used, EMPTY if full."""
    slots, keys, seen = table
    height, width = inverse_depth.shape
    point = np.empty(3)
    for y in range(0, height, stride):
        for x in range(0, width, stride):
            if inverse_depth[y, x] == 0:
                continue
            ray_y = (y - intrinsics[1, 2]) / intrinsics[1, 1]
            ray_x = (x - intrinsics[0, 2] - intrinsics[0, 1] * ray_y) / intrinsics[0, 0]
            length = np.sqrt(ray_x * ray_x + ray_y * ray_y + 1)
            for step in range(BAND_STEPS):
                z = 1 / inverse_depth[y, x] + truncation / length * (2 * step / (BAND_STEPS - 1) - 1)
                if z <= 0:
                    continue
                for axis in range(3):
                    row_of = world_from_camera[axis]
                    point[axis] = z * (row_of[0] * ray_x + row_of[1] * ray_y + row_of[2]) + row_of[3]
                if used == len(keys):
                    return EMPTY
                row = find_row(point, block_size, used, (slots, keys, seen, seen))
                if row == EMPTY:
                    continue
                used = max(used, row + 1)
                seen[row, 1] += seen[row, 2] != frame
                seen[row, 2] = frame
    return used


@njit(cache=True)
@no_type_check
def place_of(key):
    """The block's number along x, y and z."""
    mask = (1 << AXIS_BITS) - 1
    return (key >> 2 * AXIS_BITS) - HALF, (key >> AXIS_BITS & mask) - HALF, (key & mask) - HALF


@njit(cache=True)
@no_type_check
def farthest_of_tiles(inverse_depth):
    """The least inverse depth of the usable pixels in each TILE x TILE pixels; infinite where there are none."""
    height, width = inverse_depth.shape
    tiles = np.full(((height - 1) // TILE + 1, (width - 1) // TILE + 1), np.inf, np.float32)
    for y in range(height):
        for x in range(width):
            if inverse_depth[y, x] > 0:
                tiles[y // TILE, x // TILE] = min(tiles[y // TILE, x // TILE], inverse_depth[y, x])
    return tiles


@njit(cache=True)
@no_type_check
def may_change(x, y, z, radius, intrinsics, tiles, truncation):
    """Whether a part of a ball in the camera frame may lie before or just behind what the picture shows there."""
    if z + radius <= 0:
        return False
    first_column, last_column, first_row, last_row = 0, tiles.shape[1] - 1, 0, tiles.shape[0] - 1
    if z > 2 * radius:
        u, v = intrinsics[0, 0] * x / z + intrinsics[0, 1] * y / z, intrinsics[1, 1] * y / z
        wide = radius * (intrinsics[0, 0] + intrinsics[0, 1] + abs(u)) / (z - radius) + 1
        high = radius * (intrinsics[1, 1] + abs(v)) / (z - radius) + 1
        u, v = u + intrinsics[0, 2], v + intrinsics[1, 2]
        first_column = max(first_column, int(np.floor((u - wide) / TILE)))
        last_column = min(last_column, int(np.floor((u + wide) / TILE)))
        first_row = max(first_row, int(np.floor((v - high) / TILE)))
        last_row = min(last_row, int(np.floor((v + high) / TILE)))
    least = np.float32(np.inf)
    for row in range(first_row, last_row + 1):
        for column in range(first_column, last_column + 1):
            least = min(least, tiles[row, column])
    return least < np.inf and (z - radius - truncation) * least < 1


@njit(cache=True)
@no_type_check
def inverse_depth_at(inverse_depth, u, v):
    """Bilinear, or the nearest pixel's where one of the four around is unusable; 0 where that is unusable or outside."""
    x, y = int(np.floor(u)), int(np.floor(v))
    if not (0 <= x < inverse_depth.shape[1] - 1 and 0 <= y < inverse_depth.shape[0] - 1):
        return np.float32(0)
    a, b = inverse_depth[y, x], inverse_depth[y, x + 1]
    c, d = inverse_depth[y + 1, x], inverse_depth[y + 1, x + 1]
    right, down = np.float32(u - x), np.float32(v - y)
    if a == 0 or b == 0 or c == 0 or d == 0:
        return inverse_depth[int(v + 0.5), int(u + 0.5)]
    above, below = a + right * (b - a), c + right * (d - c)
    return above + down * (below - above)


@njit(cache=True)
@no_type_check
def integrate_depth(inverse_depth, image, intrinsics, camera_from_world, scales, max_weight, carve, keys, voxels):
    """Averages a frame into the blocks with these keys. image (3, h, w) float32.

    scales: voxel size, truncation, and the depth up to which a pixel's weight is 1 (infinite: always).
    """
    distance, weight, colour = voxels
    voxel_size, truncation, sure_depth = scales
    tiles = farthest_of_tiles(inverse_depth)
    fx, fy, skew = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 1]
    start, step = np.empty(3), voxel_size * camera_from_world[:3, :3]  # step[:, axis]: from voxel to voxel
    for row in range(len(keys)):
        place = place_of(keys[row])
        for axis in range(3):
            start[axis] = camera_from_world[axis, 3]  # becomes voxel (0, 0, 0) in the camera frame
            for along in range(3):
                start[axis] += step[axis, along] * (SIDE * place[along] + 0.5)
        middle = start + (SIDE - 1) / 2 * (step[:, 0] + step[:, 1] + step[:, 2])
        radius = SIDE / 2 * np.sqrt(3.0) * voxel_size
        if not may_change(middle[0], middle[1], middle[2], radius, intrinsics, tiles, truncation):
            continue
        for sample in range(SAMPLES):
            i, j, k = sample // (SIDE * SIDE), sample // SIDE % SIDE, sample % SIDE
            z = start[2] + step[2, 0] * i + step[2, 1] * j + step[2, 2] * k
            if z <= 0:
                continue
            ray_x = (start[0] + step[0, 0] * i + step[0, 1] * j + step[0, 2] * k) / z
            ray_y = (start[1] + step[1, 0] * i + step[1, 1] * j + step[1, 2] * k) / z
            u = fx * ray_x + skew * ray_y + intrinsics[0, 2]
            v = fy * ray_y + intrinsics[1, 2]
            inverse_z = inverse_depth_at(inverse_depth, u, v)
            if inverse_z == 0 or (z - truncation) * inverse_z > 1:
                continue
            seen_z = 1 / inverse_z
            d = (seen_z - z) * np.sqrt(ray_x * ray_x + ray_y * ray_y + 1)
            if d < -truncation or (d > truncation and not carve):
                continue
            w = min(1.0, (sure_depth / seen_z) ** 2)
            if d < -voxel_size:
                w *= (d + truncation) / (truncation - voxel_size)
            before = weight[row, sample]
            if before + w == 0:
                continue
            share = w / (before + w)
            distance[row, sample] += share * (min(d, truncation) - distance[row, sample])
            weight[row, sample] = min(before + w, max_weight)
            if d <= truncation:
                column, line = int(u + 0.5), int(v + 0.5)
                fresh = colour[row, sample, 0] == 0 and colour[row, sample, 1] == 0 and colour[row, sample, 2] == 0
                for channel in range(3):
                    value = 1 + (FULL_COLOUR - 1) * min(max(image[channel, line, column], 0.0), 1.0)
                    old = colour[row, sample, channel]
                    colour[row, sample, channel] = int(value if fresh else old + share * (value - old) + 0.5)


@njit(cache=True)
@no_type_check
def rows_of(points, block_size, table):
    """Opens the block around each point in an empty table that has room; returns their rows."""
    slots, keys, seen = table
    rows, used = np.empty(len(points), np.int64), 0
    for i in range(len(points)):
        rows[i] = find_row(points[i], block_size, used, (slots, keys, seen, seen))
        used = max(used, rows[i] + 1)
    return rows


def places_of(keys: Int64[np.ndarray, " blocks"]) -> Int64[np.ndarray, "blocks 3"]:
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
        depth, valid = (part[0, 0].numpy() for part in observation.depth)
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
        """Without rows that are not in use."""
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
        old, parts, places = self.table, halved(Voxels(*(part[: self.used] for part in self.voxels))), None
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
