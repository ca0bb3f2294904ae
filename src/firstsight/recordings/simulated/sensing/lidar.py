"""A spinning LiDAR of 64 beams, modelled on the Velodyne HDL-64E: range noise, lost returns, reflectance.

The sweep is taken in one instant, like a scan that was de-skewed, so the points carry no times of their own.
"""

from functools import cache

import numpy as np
from jaxtyping import Float32, Float64

from firstsight.recordings.recording import Scan
from firstsight.recordings.simulated.sensing.raycast import Caster, Instant, Met, rotated

BEAMS, COLUMNS = 64, 1875
HIGHEST_DEG, LOWEST_DEG = 2.0, -24.8
RANGE_NOISE_M = 0.02
DROP = 0.03  # share of returns lost for no visible reason
MIN_RANGE_M = 0.9


@cache
def beam_directions() -> Float32[np.ndarray, "rays 3"]:
    """Unit directions in the LiDAR frame, beam by beam from the top, each turning left from straight ahead."""
    elevation = np.deg2rad(np.linspace(HIGHEST_DEG, LOWEST_DEG, BEAMS))[:, None]
    azimuth = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)[None]
    level = np.cos(elevation)
    rays = [level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation) + 0 * azimuth]
    return np.stack(rays, -1).reshape(-1, 3).astype(np.float32)


def sweep(
    caster: Caster,
    instant: Instant,
    world_from_lidar: Float64[np.ndarray, "4 4"],
    max_range_m: float,
    generator: np.random.Generator,
) -> Scan:
    """One sweep at an instant, in the LiDAR frame."""
    rays = beam_directions()
    directions = rotated(rays, world_from_lidar[:3, :3])
    met = caster.meet(world_from_lidar[:3, 3], directions, instant)
    intensity = reflectance(caster, met, directions)
    returned = (met.hits.triangle >= 0) & (met.hits.distance > MIN_RANGE_M) & (met.hits.distance < max_range_m)
    returned &= generator.random(len(rays)) > chance_of_loss(met, intensity, max_range_m)
    ranges = met.hits.distance + RANGE_NOISE_M * generator.standard_normal(len(rays), dtype=np.float32)
    return Scan(rays[returned] * ranges[returned, None], intensity[returned])


def reflectance(caster: Caster, met: Met, directions: Float32[np.ndarray, "rays 3"]) -> Float32[np.ndarray, " rays"]:
    """Brightness of the paint seen along the beam, in [0, 1]."""
    facing = np.abs(np.einsum("ni,ni->n", met.normals, directions))
    return (caster.tables.paint[met.hits.triangle].mean(1) * (0.3 + 0.7 * facing)).clip(0, 1).astype(np.float32)


def chance_of_loss(
    met: Met, intensity: Float32[np.ndarray, " rays"], max_range_m: float
) -> Float32[np.ndarray, " rays"]:
    """Returns are lost at random, and more often the farther and darker the surface."""
    faint = (met.hits.distance / max_range_m) ** 2 * (1 - intensity)
    return np.clip(DROP + 0.7 * faint, 0, 1)
