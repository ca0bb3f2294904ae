"""Cameras and points recovered from photos: what structure from motion makes, and what readers and writers exchange."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8


class Lenses(NamedTuple):
    """A ray (x, y, 1) is seen at K (d x, d y, 1), d = 1 + k1 r^2 + k2 r^4, r^2 = x^2 + y^2.

    `size` is (height, width) in pixels, 0 where unknown; `intrinsics` K is without skew; `radial` is (k1, k2).
    """

    size: Int64[np.ndarray, "lenses 2"]
    intrinsics: Float64[np.ndarray, "lenses 3 3"]
    radial: Float64[np.ndarray, "lenses 2"]


class Observations(NamedTuple):
    """Pixel `pixels[i]` = (x, y) of camera `camera[i]` shows point `point[i]`; the top-left centre is (0, 0)."""

    camera: Int64[np.ndarray, " seen"]
    point: Int64[np.ndarray, " seen"]
    pixels: Float64[np.ndarray, "seen 2"]


class Reconstruction(NamedTuple):
    """Camera i is photo `names[i]`, taken through lens `lens[i]`. The unit of length is arbitrary unless the maker says more."""

    names: tuple[str, ...]
    world_from_camera: Float64[np.ndarray, "cameras 4 4"]
    lens: Int64[np.ndarray, " cameras"]
    lenses: Lenses
    points_world: Float64[np.ndarray, "points 3"]
    colours: UInt8[np.ndarray, "points 3"]
    observations: Observations
