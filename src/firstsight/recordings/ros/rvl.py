"""Depth images in RVL, as the compressed_depth_image_transport of ROS writes them.

Runs of pixels without depth and of pixels with depth follow each other; of the latter the differences are stored. All numbers are
written in groups of three bits, each in four with a bit that says whether more follow, the lowest group first:
    zeros, others, difference ...,  zeros, others, difference ...       difference d as 2 d, or -2 d - 1 where it is negative
Source: Wilson, Fast Lossless Depth Image Compression (ISS 2017).
"""

from typing import no_type_check

import numpy as np
from jaxtyping import UInt16
from numba import njit

from firstsight.errors import InputError
from firstsight.formats.png import MAX_PIXELS

# columns and rows in front of the runs
SIZE_BYTES = 8


def decode_rvl(content: bytes, source: str) -> UInt16[np.ndarray, "height width"]:
    """The depth image of a message's content behind its header. Raises InputError where it is damaged."""
    damaged = InputError(f"{source}: damaged RVL depth image; leave its frame out")
    if len(content) < SIZE_BYTES:
        raise damaged
    width, height = np.frombuffer(content[:SIZE_BYTES], "<u4").tolist()
    if not 0 < width * height <= MAX_PIXELS:
        raise damaged
    words = np.frombuffer(content[SIZE_BYTES : len(content) // 4 * 4], "<u4").astype(np.uint32)
    depth = np.zeros(width * height, np.uint16)
    if not _decode(words, depth):
        raise damaged
    return depth.reshape(height, width)


@njit(cache=True)
@no_type_check
def _number(words, at):
    """The number that starts at a group of four bits, and where the next one starts; -1 where the words end before."""
    value, shift = 0, 0
    while at < 8 * len(words) and shift < 30:
        group = np.int64(words[at // 8]) >> (28 - 4 * (at % 8)) & 15
        value |= (group & 7) << shift
        at, shift = at + 1, shift + 3
        if not group & 8:
            return value, at
    return -1, at


@njit(cache=True)
@no_type_check
def _decode(words, depth):
    """Fills in the pixels; returns whether the words give them all and no more."""
    pixel, at, previous = 0, 0, 0
    while pixel < len(depth):
        zeros, at = _number(words, at)
        others, at = _number(words, at)
        if zeros < 0 or others < 0 or zeros + others == 0 or pixel + zeros + others > len(depth):
            return False
        pixel += zeros
        for _ in range(others):
            number, at = _number(words, at)
            if number < 0:
                return False
            previous += (number >> 1) ^ -(number & 1)
            depth[pixel] = previous
            pixel += 1
    return True
