"""An image of stripes, corners, texture and blank wall that moves as one."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from firstsight.flow.lucas_kanade import Kind

Grid = Float[np.ndarray, "height width"]
Pattern = Callable[[Grid, Grid], Grid]
"""Brightness from -1 to 1, of x to the right and y downwards from a patch's middle, in px."""

MOTION_PX = (0.8, 0.5)  # of everything, right and down
GAP_PX = 4  # blank margin of each patch
STRIPE_PX, CHECK_PX, WAVES_PX = 16.0, 12.0, (10.0, 24.0)  # long against the motion: brightness is nearly linear over it
GREY, CONTRAST = 0.5, 0.3
NOISE = 0.5 / 255  # half a grey level


def stripes(angle_deg: float) -> Pattern:
    """Waves whose gradient points there, from x towards y."""
    along_x, along_y = direction(angle_deg) * 2 * np.pi / STRIPE_PX
    return lambda x, y: np.sin(along_x * x + along_y * y)


def direction(angle_deg: float) -> Float[np.ndarray, "2"]:
    return np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])


def corners(x: Grid, y: Grid) -> Grid:
    """A soft chessboard."""
    return np.tanh(3 * np.sin(np.pi * x / CHECK_PX) * np.sin(np.pi * y / CHECK_PX))


def texture(x: Grid, y: Grid) -> Grid:
    """Ten waves of chance direction and length."""
    rng = np.random.default_rng(0)
    total = np.zeros_like(x)
    for angle_deg, length, phase in zip(rng.uniform(0, 360, 10), rng.uniform(*WAVES_PX, 10), range(10), strict=True):
        along_x, along_y = direction(angle_deg) * 2 * np.pi / length
        total += np.sin(along_x * x + along_y * y + phase)
    return total / 5


def blank(x: Grid, y: Grid) -> Grid:
    return np.zeros_like(x)


class Patch(NamedTuple):
    """A part of the image and what its windows can know; `gradient_deg` is the direction of the stripes' gradient."""

    name: str
    pattern: Pattern
    expected: Kind
    gradient_deg: float = 0.0

    @property
    def knowable_px(self) -> Float[np.ndarray, "2"]:
        """The true motion, as far as a window inside can know it."""
        across = direction(self.gradient_deg)
        parts = {Kind.FULL: np.array(MOTION_PX), Kind.NORMAL: across @ MOTION_PX * across, Kind.NONE: np.zeros(2)}
        return parts[self.expected]


def striped(name: str, gradient_deg: float) -> Patch:
    return Patch(name, stripes(gradient_deg), Kind.NORMAL, gradient_deg)


SLANTED = striped("slanted stripes", 60.0)
CORNERS, TEXTURE = Patch("corners", corners, Kind.FULL), Patch("texture", texture, Kind.FULL)
BLANK = Patch("blank wall", blank, Kind.NONE)
PATCHES = ((striped("vertical stripes", 0.0), SLANTED, striped("horizontal stripes", 90.0)), (CORNERS, TEXTURE, BLANK))


def painted(size: int, motion: tuple[float, float], rng: np.random.Generator) -> Float32[np.ndarray, "height width"]:
    """The patches, moved, with a camera's noise; computed, not resampled, so that the motion is exact."""
    rows, columns = len(PATCHES) * size, len(PATCHES[0]) * size
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    image = rng.normal(GREY, NOISE, (rows, columns))
    for patch, row, column in placed():
        from_x, from_y = (position * size + (size - 1) / 2 for position in (column, row))
        own_x, own_y = x - motion[0] - from_x, y - motion[1] - from_y
        edge = np.clip(size / 2 - GAP_PX - np.maximum(abs(own_x), abs(own_y)), 0, 1)
        image += CONTRAST * edge * patch.pattern(own_x, own_y)
    return image.clip(0, 1).astype(np.float32)


def placed() -> Iterator[tuple[Patch, int, int]]:
    """(patch, row, column) of each."""
    return ((patch, i, j) for i, row in enumerate(PATCHES) for j, patch in enumerate(row))
