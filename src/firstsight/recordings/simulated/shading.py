"""From what rays met to the colours a camera records.

Lambert's law under a sun with cast shadows, light from all around that is a little brighter from above, and lamps; haze with
distance; then a square-root response curve (a plain stand-in for sRGB) and sensor noise.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from numba import njit

from firstsight.recordings.simulated.raycast import Met, Tables
from firstsight.recordings.simulated.scene import Light
from firstsight.recordings.simulated.textures import albedo, lattice_noise

NOISE_LEVELS = 1.5  # standard deviation of the sensor noise, in levels of 255


class Illumination(NamedTuple):
    """scene.Light as arrays."""

    towards_sun: Float64[np.ndarray, "3"]
    sun: Float64[np.ndarray, "3"]
    ambient: Float64[np.ndarray, "3"]
    lamp: Float64[np.ndarray, "3"]
    lamps_m: Float64[np.ndarray, "lamps 3"]
    haze_m: float


def illumination(light: Light) -> Illumination:
    sun = np.asarray(light.towards_sun, dtype=np.float64)
    return Illumination(
        sun / np.linalg.norm(sun),
        np.array(light.sun),
        np.array(light.ambient),
        np.array(light.lamp),
        np.array(light.lamps_m, dtype=np.float64).reshape(-1, 3),
        light.haze_m,
    )


def photograph(
    directions: Float32[np.ndarray, "rays 3"],
    met: Met,
    sunlit: Bool[np.ndarray, " rays"],
    rest_from_world: Float64[np.ndarray, "slots 4 4"],
    tables: Tables,
    light: Illumination,
    pixel_rad: float,
    generator: np.random.Generator,
) -> UInt8[np.ndarray, "rays 3"]:
    """The 8-bit colours of the rays; a ray is `pixel_rad` wide."""
    noise = generator.standard_normal((len(directions), 3), dtype=np.float32)
    return expose(directions, met, sunlit, rest_from_world, tables, light, pixel_rad, noise)


@njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def expose(directions, met, sunlit, rest_from_world, tables, light, pixel_rad, noise):
    """The kernel of `photograph`: radiance, response curve, noise, rounding."""
    colours = np.empty((len(directions), 3), np.uint8)
    for i in range(len(directions)):
        direction = directions[i]
        length = math.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
        sky = sky_colour(tables.noise, direction[0] / length, direction[1] / length, direction[2] / length)
        radiance = sky
        if met.hits.triangle[i] >= 0:
            paint = painted_colour(i, direction, length, met, rest_from_world, tables, pixel_rad)
            lit = irradiance(met.points[i], met.normals[i], sunlit[i], light)
            haze = 1 - math.exp(-met.hits.distance[i] * length / light.haze_m)
            radiance = (
                paint[0] * lit[0] + haze * (0.6 - paint[0] * lit[0]),
                paint[1] * lit[1] + haze * (0.66 - paint[1] * lit[1]),
                paint[2] * lit[2] + haze * (0.74 - paint[2] * lit[2]),
            )
        for k in range(3):
            level = 255 * math.sqrt(min(max(radiance[k], 0.0), 1.0)) + NOISE_LEVELS * noise[i, k] + 0.5
            colours[i, k] = np.uint8(min(max(level, 0.0), 255.0))
    return colours


@njit(cache=True, fastmath=True, error_model="numpy")
def painted_colour(i, direction, length, met, rest_from_world, tables, pixel_rad):
    """The filtered texture at hit i: the pixel's footprint is an ellipse, longer the more the surface is seen aslant."""
    triangle, rest = met.hits.triangle[i], rest_from_world[met.hits.slot[i]]
    chart, point, normal = tables.chart[triangle], met.points[i], met.normals[i]
    aslant = -(direction[0] * normal[0] + direction[1] * normal[1] + direction[2] * normal[2]) / length
    short_m = pixel_rad * met.hits.distance[i]
    half_long_m = 0.5 * short_m / max(aslant, 0.03)
    across = math.sqrt(max(1 - aslant * aslant, 1e-6))
    s, t, wide_s, wide_t = chart[0, 3], chart[1, 3], 0.0, 0.0
    for k in range(3):
        at = rest[k, 0] * point[0] + rest[k, 1] * point[1] + rest[k, 2] * point[2] + rest[k, 3]
        wide = 0.0
        for m in range(3):
            wide += rest[k, m] * (direction[m] / length + aslant * normal[m])
        wide *= half_long_m / across
        s, t = s + chart[0, k] * at, t + chart[1, k] * at
        wide_s, wide_t = wide_s + chart[0, k] * wide, wide_t + chart[1, k] * wide
    paint = (tables.paint[triangle, 0], tables.paint[triangle, 1], tables.paint[triangle, 2])
    return albedo(tables.noise, tables.material[triangle], paint, s, t, wide_s, wide_t, short_m)


@njit(cache=True, fastmath=True, error_model="numpy")
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


@njit(cache=True, fastmath=True, error_model="numpy")
def sky_colour(noise, x, y, z):
    """Blue above, pale at the horizon, with clouds."""
    height = max(z, 0.0)
    blue = height / (height + 0.35)
    cloud = 0.0
    if height > 0.02:
        scale = 1.5 / (height + 0.15)
        cloud = lattice_noise(noise, x * scale, y * scale) + 0.5 * lattice_noise(
            noise, 2.3 * x * scale, 2.3 * y * scale
        )
        cloud = min(max(0.7 * cloud, 0.0), 0.8)
    red, green = 0.66 - 0.5 * blue, 0.74 - 0.38 * blue
    return red + cloud * (0.85 - red), green + cloud * (0.87 - green), 0.84 + cloud * 0.06
