"""From what rays met to the colours a camera records.

Lambert's law under a sun with cast shadows, light from all around that is a little brighter from above, and lamps; haze with
distance; then a square-root response curve (a plain stand-in for sRGB) and sensor noise.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Float64
from numba import njit

from firstsight.recordings.simulated.scene import Light

HAZE = (0.6, 0.66, 0.74)  # the sky's colour at the horizon, a little darker
NOISE_STARTS = 2**20  # places where an image's noise can start
NOISE_LEVELS = 1.5  # standard deviation of the sensor noise, in levels of 255


class Illumination(NamedTuple):
    """scene.Light as arrays."""

    towards_sun: Float64[np.ndarray, "3"]
    sun: Float64[np.ndarray, "3"]
    ambient: Float64[np.ndarray, "3"]
    lamp: Float64[np.ndarray, "3"]
    lamps_m: Float64[np.ndarray, "lamps 3"]
    haze: Float64[np.ndarray, "3"]
    haze_m: float


def illumination(light: Light) -> Illumination:
    sun = np.asarray(light.towards_sun, dtype=np.float64)
    return Illumination(
        sun / np.linalg.norm(sun),
        np.array(light.sun),
        np.array(light.ambient),
        np.array(light.lamp),
        np.array(light.lamps_m, dtype=np.float64).reshape(-1, 3),
        np.array(HAZE),
        light.haze_m,
    )


class SensorNoise:
    """White noise for images of up to `pixels` pixels.

    An image's noise is a window on one long strip: drawing it anew for each image would take as long as the shading.
    """

    def __init__(self, pixels: int, seed: int):
        self._strip = np.random.default_rng(seed).standard_normal(3 * pixels + NOISE_STARTS, dtype=np.float32)

    def window(self, pixels: int, generator: np.random.Generator) -> Float32[np.ndarray, "{pixels} 3"]:
        start = int(generator.integers(NOISE_STARTS))
        return self._strip[start : start + 3 * pixels].reshape(pixels, 3)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
@no_type_check
def expose(paint, met, sunlit, light, noise):
    """The 8-bit colours (n, 3) of rays that met surfaces of the given linear paint (n, 3), or sky.

    `sunlit` (n,) bool, `noise` (n, 3) of unit variance. In order: radiance, response curve, noise, rounding.
    """
    colours = np.empty((len(paint), 3), np.uint8)
    for i in range(len(paint)):
        sun, lamps = 0.0, 0.0
        above, clear = 1.0, 1.0
        surface = met.hits.triangle[i] >= 0
        if surface:
            sun = towards_sun(i, met.normals, light) if sunlit[i] else 0.0
            lamps = lamplight(i, met.points, met.normals, light.lamps_m)
            above = 0.8 + 0.2 * met.normals[i, 2] - 0.08 * abs(met.normals[i, 0])  # walls turned elsewhere differ a bit
            clear = light.haze_m / (light.haze_m + met.hits.distance[i])
        for k in range(3):
            radiance = paint[i, k]
            if surface:
                radiance *= above * light.ambient[k] + sun * light.sun[k] + lamps * light.lamp[k]
                radiance = light.haze[k] + clear * (radiance - light.haze[k])
            level = 255 * math.sqrt(min(max(radiance, 0.0), 1.0)) + NOISE_LEVELS * noise[i, k] + 0.5
            colours[i, k] = np.uint8(min(max(level, 0.0), 255.0))
    return colours


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def towards_sun(i, normals, light):
    """Lambert's cosine for the sun."""
    sun = light.towards_sun
    return max(normals[i, 0] * sun[0] + normals[i, 1] * sun[1] + normals[i, 2] * sun[2], 0.0)


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def lamplight(i, points, normals, lamps_m):
    """Light of all lamps at hit i; as they are broad and walls reflect, some reaches surfaces that face away."""
    total = 0.0
    for k in range(len(lamps_m)):
        squared, facing = 1e-6, 0.0
        for axis in range(3):
            apart = lamps_m[k, axis] - points[i, axis]
            squared += apart * apart
            facing += apart * normals[i, axis]
        total += (0.3 + 0.7 * max(facing / math.sqrt(squared), 0.0)) / (1 + 0.35 * squared)
    return total
