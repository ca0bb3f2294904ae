"""Loops of the truncated signed distance: opening the blocks that a depth image sees, and averaging it into them.

A table is (slots, keys, seen), voxels are (distance, weight, colour), as in tsdf.py.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from firstsight.mapping.marching_cubes import SAMPLES, SIDE
from firstsight.mapping.voxel_hash import EMPTY, find_row, place_of

# places within the band of a ray that open their block: half of the truncation apart
BAND_STEPS = 5
# px
TILE = 16
FULL_COLOUR = 65535


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
def rows_of(points, block_size, table):
    """Opens the block around each point in an empty table that has room; returns their rows."""
    slots, keys, seen = table
    rows, used = np.empty(len(points), np.int64), 0
    for i in range(len(points)):
        rows[i] = find_row(points[i], block_size, used, (slots, keys, seen, seen))
        used = max(used, rows[i] + 1)
    return rows


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
    """Whether a part of a ball in the camera frame may lie before or just behind what the image shows there."""
    if z + radius <= 0:
        return False
    first_column, last_column = 0, tiles.shape[1] - 1
    first_row, last_row = 0, tiles.shape[0] - 1
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
