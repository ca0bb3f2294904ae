"""From what rays met to the colours a camera records.

Lambert's law under a sun with cast shadows, light from all around that is a little brighter from above, and lamps; haze with
distance; then a square-root response curve (a plain stand-in for sRGB) and sensor noise.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from numba import njit

from firstsight.recordings.simulated.raycast import Met
from firstsight.recordings.simulated.scene import Light

HAZE = (0.6, 0.66, 0.74)  # the sky's colour at the horizon, a little darker
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


def photograph(
    paint: Float32[np.ndarray, "rays 3"],
    met: Met,
    sunlit: Bool[np.ndarray, " rays"],
    light: Illumination,
    generator: np.random.Generator,
) -> UInt8[np.ndarray, "rays 3"]:
    """The 8-bit colours of rays that met surfaces of the given paint (or sky)."""
    noise = generator.standard_normal((len(paint), 3), dtype=np.float32)
    return expose(paint, met, sunlit, light, noise)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
@no_type_check
def expose(paint, met, sunlit, light, noise):
    """The kernel of `photograph`: radiance, response curve, noise, rounding."""
    colours = np.empty((len(paint), 3), np.uint8)
    for i in range(len(paint)):
        red, green, blue = paint[i]
        if met.hits.triangle[i] >= 0:
            lit_red, lit_green, lit_blue = irradiance(met.points[i], met.normals[i], sunlit[i], light)
            clear = light.haze_m / (light.haze_m + met.hits.distance[i])
            red = light.haze[0] + clear * (red * lit_red - light.haze[0])
            green = light.haze[1] + clear * (green * lit_green - light.haze[1])
            blue = light.haze[2] + clear * (blue * lit_blue - light.haze[2])
        colours[i, 0] = response(red, noise[i, 0])
        colours[i, 1] = response(green, noise[i, 1])
        colours[i, 2] = response(blue, noise[i, 2])
    return colours


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def response(radiance, noise):
    """The camera's level of a radiance in [0, 1]."""
    level = np.float32(255) * math.sqrt(np.float32(min(max(radiance, 0.0), 1.0))) + np.float32(NOISE_LEVELS) * noise
    return np.uint8(min(max(level + np.float32(0.5), np.float32(0)), np.float32(255)))


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def irradiance(point, normal, sunlit, light):
    """Light that arrives at a surface, per colour."""
    above = 0.8 + 0.2 * normal[2] - 0.08 * abs(normal[0])  # walls that face different ways differ a little
    sun = 0.0
    if sunlit:
        towards = light.towards_sun
        sun = max(normal[0] * towards[0] + normal[1] * towards[1] + normal[2] * towards[2], 0.0)
    lamps = 0.0
    for k in range(len(light.lamps_m)):
        x, y, z = light.lamps_m[k] - point
        squared = x * x + y * y + z * z
        facing = (x * normal[0] + y * normal[1] + z * normal[2]) / math.sqrt(squared)
        lamps += (0.3 + 0.7 * max(facing, 0.0)) / (1 + 0.35 * squared)
    return (
        above * light.ambient[0] + sun * light.sun[0] + lamps * light.lamp[0],
        above * light.ambient[1] + sun * light.sun[1] + lamps * light.lamp[1],
        above * light.ambient[2] + sun * light.sun[2] + lamps * light.lamp[2],
    )
