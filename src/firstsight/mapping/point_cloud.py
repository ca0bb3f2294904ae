"""A coloured point cloud of everything seen, in bounded memory.

Paper:  Niessner, Zollhoefer, Izadi, Stamminger. Real-time 3D Reconstruction at Scale using Voxel Hashing. 2013 (section 4,
        the hash table); Curless, Levoy. A Volumetric Method for Building Complex Models from Range Images. 1996 (averaging).
Idea:   the world is cut into voxels, of which a hash table (voxel_hash.py) keeps only those that hold points; each keeps the
        running mean of the positions and colours that fell into it:
        mean <- mean + (sample - mean) / count                                                    -> accumulate()
        pixels that lie on a surface, not at a depth edge                                      depth_edges.py
Differs: points instead of a signed distance, so no surface. When the table is full, voxels that only one frame saw, and not
        lately, are dropped; if that does not help, voxels double in size (the whole map stays, coarser).
Role:   Mapper.  Points in the world frame, in the unit of the depth.
"""

from dataclasses import dataclass
from typing import NamedTuple, final, no_type_check

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64, UInt8
from numba import njit
from torch import Tensor

from firstsight.geometry.se3 import transform
from firstsight.mapping.depth_edges import usable_inverse_depth
from firstsight.mapping.visible import median_distance_m
from firstsight.mapping.voxel_hash import EMPTY, GREY, RECENT_FRAMES, find_row
from firstsight.roles import Observation
from firstsight.roles.mapping import PointMapper
from firstsight.roles.state import State


@dataclass(frozen=True, kw_only=True)
class Config:
    # None: 1/150 of the first frame's median depth
    voxel_size_m: float | None = None
    # None: 3 times the first frame's median depth
    max_range_m: float | None = None
    # 60 bytes each
    max_voxels: int = 900_000
    pixel_stride: int = 2
    # relative kink of inverse depth that makes a pixel a depth edge
    edge: float = 0.05
    # a voxel is in the output if this many frames saw it
    min_frames: int = 2


class Voxels(NamedTuple):
    """The table: `slots` maps a hash to a row of the other arrays, EMPTY where free. Rows fill up from 0."""

    slots: Int32[np.ndarray, " slots"]
    keys: Int64[np.ndarray, " rows"]
    # x y z in the world, r g b in [0, 1]
    means: Float32[np.ndarray, "rows 6"]
    # samples, frames, last frame
    seen: Int32[np.ndarray, "rows 3"]


def empty_voxels(rows: int) -> Voxels:
    """A table for a power of two of rows, its slots at most half full."""
    return Voxels(
        slots=np.full(2 * rows, EMPTY, np.int32),
        keys=np.empty(rows, np.int64),
        means=np.zeros((rows, 6), np.float32),
        seen=np.zeros((rows, 3), np.int32),
    )


@njit(cache=True)
@no_type_check
def sample_pixels(depth, valid, image, intrinsics, stride, max_range, edge):
    """Points in the camera frame with colour, (n, 6) float32, of every stride-th pixel that is valid, near and no depth edge.

    depth, valid (h, w); image (3, h, w) float32; intrinsics (3, 3).
    """
    height, width = depth.shape
    usable = usable_inverse_depth(depth, valid, max_range, edge)
    samples = np.empty((((height - 1) // stride + 1) * ((width - 1) // stride + 1), 6), np.float32)
    count = 0
    for y in range(1, height - 1, stride):
        for x in range(1, width - 1, stride):
            if not usable[y, x] > 0:
                continue
            z = depth[y, x]
            ray_y = (y - intrinsics[1, 2]) / intrinsics[1, 1]
            ray_x = (x - intrinsics[0, 2] - intrinsics[0, 1] * ray_y) / intrinsics[0, 0]
            samples[count, 0], samples[count, 1], samples[count, 2] = ray_x * z, ray_y * z, z
            for channel in range(3):
                samples[count, 3 + channel] = image[channel, y, x]
            count += 1
    return samples[:count]


@njit(cache=True)
@no_type_check
def accumulate(samples, frame, voxel_size, used, voxels):
    """Adds samples (n, 6) of a frame to the table, which must have room; returns the rows now used."""
    _, _, means, seen = voxels
    for i in range(len(samples)):
        row = find_row(samples[i], voxel_size, used, voxels)
        if row == EMPTY:
            continue
        used = max(used, row + 1)
        seen[row, 0] += 1
        means[row] += (samples[i] - means[row]) / np.float32(seen[row, 0])
        seen[row, 1] += seen[row, 2] != frame
        seen[row, 2] = frame
    return used


@njit(cache=True)
@no_type_check
def merge(source, kept, voxel_size, target):
    """Moves the `kept` rows of a table into an empty, larger or coarser one; returns the rows it uses there."""
    _, _, means, seen = target
    used = 0
    for i in kept:
        row = find_row(source.means[i], voxel_size, used, target)
        if row == EMPTY:
            continue
        used = max(used, row + 1)
        seen[row, 0] += source.seen[i, 0]
        means[row] += (source.means[i] - means[row]) * np.float32(source.seen[i, 0] / seen[row, 0])
        seen[row, 1] = max(seen[row, 1], source.seen[i, 1])
        seen[row, 2] = max(seen[row, 2], source.seen[i, 2])
    return used


@final
class PointCloudMap(PointMapper):
    """Fuses the depth of each frame, or its LiDAR points where it has no depth (the pose is then the LiDAR's)."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.voxel_size_m = self.config.voxel_size_m or 0.0  # 0: follows from the first frame
        self.max_range_m = self.config.max_range_m or 0.0
        self.frames = 0
        self.voxels = empty_voxels(1 << 16)
        self.used = 0

    def integrate(self, observation: Observation, world_from_camera: Float64[Tensor, "4 4"]) -> None:
        self.frames += 1
        distance_m = median_distance_m(observation)
        if distance_m is None:
            return
        self.voxel_size_m = self.voxel_size_m or distance_m / 150
        self.max_range_m = self.max_range_m or 3 * distance_m
        samples = self._samples(observation)
        samples[:, :3] = transform(world_from_camera, torch.from_numpy(samples[:, :3]).double()).float().numpy()
        self._make_room(len(samples))
        self.used = accumulate(samples, self.frames, self.voxel_size_m, self.used, self.voxels)
        self._keep_bound()

    def points(self) -> tuple[Float32[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"]]:
        """World points and RGB of the voxels that at least `min_frames` frames saw (all frames, where they were fewer)."""
        kept = self.voxels.seen[: self.used, 1] >= min(self.config.min_frames, self.frames)
        means = self.voxels.means[: self.used][kept]
        return means[:, :3].copy(), (means[:, 3:].clip(0, 1) * 255).round().astype(np.uint8)

    def state(self) -> State:
        """Returns the state without rows that are not in use."""
        slots, *rows = self.voxels
        return {
            "voxel_size_m": self.voxel_size_m,
            "max_range_m": self.max_range_m,
            "frames": self.frames,
            "room": len(self.voxels.keys),
            "slots": slots,
            "rows": [part[: self.used] for part in rows],
        }

    def restore(self, state: State) -> None:
        self.voxel_size_m, self.max_range_m = state["voxel_size_m"], state["max_range_m"]
        self.frames, self.used = state["frames"], len(state["rows"][0])
        self.voxels = empty_voxels(state["room"])._replace(slots=state["slots"])
        for part, rows in zip(self.voxels[1:], state["rows"], strict=True):
            part[: self.used] = rows

    def _samples(self, observation: Observation) -> Float32[np.ndarray, "samples 6"]:
        """Points in the sensor's frame with their colours."""
        if observation.depth is None:
            assert observation.points_lidar is not None
            near = observation.points_lidar.norm(dim=-1) < self.max_range_m
            points = observation.points_lidar[near].numpy()
            return np.hstack([points, np.full_like(points, GREY)])
        assert observation.intrinsics is not None
        depth = observation.depth
        image = torch.full((3, *depth.depth.shape[-2:]), GREY) if observation.image is None else observation.image[0]
        return sample_pixels(
            depth.depth[0, 0].numpy(),
            depth.valid[0, 0].numpy(),
            image.numpy(),
            observation.intrinsics.numpy(),
            self.config.pixel_stride,
            self.max_range_m,
            self.config.edge,
        )

    def _make_room(self, samples: int) -> None:
        """Grows the table so that every sample could open a voxel."""
        needed = self.used + samples
        if needed > len(self.voxels.keys):
            self._move(np.arange(self.used), empty_voxels(1 << (needed - 1).bit_length()))

    def _keep_bound(self) -> None:
        if self.used <= self.config.max_voxels:
            return
        _, frames, last = self.voxels.seen[: self.used].T
        self._move(
            np.flatnonzero((frames > 1) | (last > self.frames - RECENT_FRAMES)), empty_voxels(len(self.voxels.keys))
        )
        while self.used > 0.75 * self.config.max_voxels:  # so that the next frames find room
            self.voxel_size_m *= 2
            self._move(np.arange(self.used), empty_voxels(len(self.voxels.keys)))

    def _move(self, rows: Int64[np.ndarray, " rows"], target: Voxels) -> None:
        self.used = merge(self.voxels, rows, self.voxel_size_m, target)
        self.voxels = target
