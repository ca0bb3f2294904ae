"""Which cells of the ground plan hold a static surface at obstacle height: the truth for occupancy maps."""

from typing import no_type_check

import numpy as np
from numba import njit

from firstsight.recordings.recording import OccupancyTruth
from firstsight.recordings.simulated.scene import World

SAMPLES_PER_CELL = 3  # along each direction of a triangle


def rasterised(world: World) -> OccupancyTruth:
    """Every static triangle is sampled densely; samples in the height band mark their cell."""
    low, high = world.obstacle_height_m
    corners = world.static.corners
    heights = corners[:, :, 2]
    corners = corners[(heights.max(1) >= low) & (heights.min(1) <= high)]
    size = world.cell_size_m
    first = np.floor(corners[:, :, :2].min((0, 1)) / size).astype(np.int64)
    last = np.floor(corners[:, :, :2].max((0, 1)) / size).astype(np.int64)
    occupied = np.zeros((last - first + 1)[::-1], bool)
    mark_cells(occupied, corners, first * size, size, low, high)
    return OccupancyTruth(occupied, (float(first[0] * size), float(first[1] * size)), size)


@njit(cache=True)
@no_type_check
def mark_cells(occupied, corners, origin, cell_size, low, high):
    """Marks the cells of `occupied` (rows, columns) under samples of corners (n, 3, 3) with low <= z <= high."""
    spacing = cell_size / SAMPLES_PER_CELL
    for triangle in corners:
        a, ab, ac = triangle[0], triangle[1] - triangle[0], triangle[2] - triangle[0]
        steps_b = int(np.sqrt((ab * ab).sum()) / spacing) + 1
        steps_c = int(np.sqrt((ac * ac).sum()) / spacing) + 1
        for i in range(steps_b + 1):
            for j in range(steps_c + 1):
                b, c = i / steps_b, j / steps_c
                z = a[2] + b * ab[2] + c * ac[2]
                if b + c <= 1 and low <= z <= high:
                    x, y = a[0] + b * ab[0] + c * ac[0], a[1] + b * ab[1] + c * ac[1]
                    occupied[int((y - origin[1]) / cell_size), int((x - origin[0]) / cell_size)] = True
