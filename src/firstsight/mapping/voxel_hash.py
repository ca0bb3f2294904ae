"""A hash table of the voxels, or blocks of voxels, that hold something.

Source: Niessner, Zollhoefer, Izadi, Stamminger. Real-time 3D Reconstruction at Scale using Voxel Hashing. 2013, section 4.
"""

from typing import no_type_check

import numpy as np
from numba import njit

# three voxel coordinates share one int64
AXIS_BITS = 21
HALF = 1 << (AXIS_BITS - 1)
# a slot that is free, a voxel that no frame saw, a point that has no voxel
EMPTY = -1
# a voxel this young may still be seen again
RECENT_FRAMES = 10
# colour of what no camera saw
GREY = 0.7


@njit(cache=True)
@no_type_check
def find_row(point, voxel_size, used, voxels):
    """The row of the point's voxel; a new one takes row `used`. EMPTY for a point beyond what a key can hold.

    `voxels` is (slots, keys, means, seen): slots maps a hash to a row of the others; means are not touched.
    Linear probing from a multiplicative hash (Knuth, The Art of Computer Programming 3, section 6.4).
    """
    slots, keys, seen = voxels[0], voxels[1], voxels[3]
    key = np.int64(0)
    for axis in range(3):
        cell = np.floor(np.float64(point[axis]) / voxel_size) + HALF
        if not 0 <= cell < 2 * HALF:
            return EMPTY
        key = (key << AXIS_BITS) | np.int64(cell)
    last_slot = len(slots) - 1
    slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(24)) & last_slot
    while slots[slot] != EMPTY:
        if keys[slots[slot]] == key:
            return np.int64(slots[slot])
        slot = (slot + 1) & last_slot
    slots[slot], keys[used] = used, key
    seen[used, 2] = EMPTY
    return used


@njit(cache=True)
@no_type_check
def place_of(key):
    """The block's number along x, y and z."""
    mask = (1 << AXIS_BITS) - 1
    return (key >> 2 * AXIS_BITS) - HALF, (key >> AXIS_BITS & mask) - HALF, (key & mask) - HALF
