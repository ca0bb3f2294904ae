"""Scan context: places of a LiDAR told apart by how high things are, by range and direction.

Paper:  Kim, Kim. Scan Context: Egocentric Spatial Descriptor for Place Recognition within 3D Point Cloud Map. IROS 2018.
Idea:   rings x sectors about the upright axis, in each bin the greatest height                            -> described()
        a sensor that turned sees the same columns shifted. Similar: the mean cosine of the columns that neither scan
        lacks, at the shift where that is largest, which is the turn                                        -> aligned()
        the share of each ring that is filled stays as it is under turns, and is quick to compare           -> ring_keys()
Differs: all shifts are compared at once, as a correlation by Fourier transform, where the paper tries those about the
        best shift of a coarser key. Ring keys are compared to all others in place of a tree: what the sensor saw a
        moment ago is the most alike and would fill the tree's answers. Heights are over `floor_m`, not over the sensor.
Role:   proposes; whether a place is the same is for scan_places.py to verify.
Units:  metres, radians. The sensor's z axis points up; angles turn left from its x axis.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

# share of the sectors that both scans must fill to be compared
MIN_COLUMNS = 0.3

Points = Float64[np.ndarray, "_ 3"]
Context = Float64[np.ndarray, "rings sectors"]
Contexts = Float64[np.ndarray, "scans rings sectors"]


@dataclass(frozen=True, kw_only=True)
class Config:
    rings: int = 20
    sectors: int = 60
    max_range_m: float = 80.0


class Alignment(NamedTuple):
    """Each scan a's similarity to one b, in [0, 1], and by how many sectors b's columns lie further left in a."""

    similarity: Float64[np.ndarray, " scans"]
    shift: Int64[np.ndarray, " scans"]


def described(points: Points, floor_m: float, config: Config) -> Context:
    """The greatest height over the floor in each bin, 0 where nothing is."""
    distance = np.hypot(points[:, 0], points[:, 1])
    near = (distance > 0) & (distance < config.max_range_m)
    ring = (distance[near] * (config.rings / config.max_range_m)).astype(np.int64)
    turn = np.arctan2(points[near, 1], points[near, 0]) / (2 * np.pi) % 1.0
    sector = (turn * config.sectors).astype(np.int64) % config.sectors
    context = np.zeros(config.rings * config.sectors)
    ring = np.minimum(ring, config.rings - 1)
    np.maximum.at(context, ring * config.sectors + sector, points[near, 2] - floor_m)
    return context.reshape(config.rings, config.sectors)


def ring_keys(contexts: Contexts) -> Float64[np.ndarray, "scans rings"]:
    """The share of each ring that is filled."""
    return (contexts > 0).mean(2)


def aligned(contexts: Contexts, to: Context) -> Alignment:
    """Every scan with the one `to`; similarity 0 where too few columns can be compared."""
    sectors = to.shape[1]
    columns, filled = unit_columns(contexts)
    columns_to, filled_to = unit_columns(to[None])
    cosines = circular(columns, columns_to[0]).sum(1)
    common = circular(filled[:, None].astype(float), filled_to.astype(float))[:, 0]
    enough = common > MIN_COLUMNS * sectors
    mean = np.where(enough, cosines / np.where(enough, common, 1.0), 0.0)
    shift = mean.argmax(1)
    return Alignment(np.clip(mean[np.arange(len(mean)), shift], 0.0, 1.0), shift)


def unit_columns(contexts: Contexts) -> tuple[Contexts, Bool[np.ndarray, "scans sectors"]]:
    """Columns of length 1, and which there are."""
    length = np.linalg.norm(contexts, axis=1)
    return contexts / np.where(length > 0, length, 1.0)[:, None], length > 0


def circular(a: Float64[np.ndarray, "*a sectors"], b: Float64[np.ndarray, "rows sectors"]) -> np.ndarray:
    """Correlation around the circle: sum_j a[j + shift] b[j] for every shift."""
    spectrum = np.fft.rfft(a) * np.conj(np.fft.rfft(b))
    return np.fft.irfft(spectrum, b.shape[-1])


def yaw_rad(shift: int, sectors: int) -> float:
    """The turn of a_from_b that a shift stands for, from -pi to pi."""
    return float((shift * (2 * np.pi / sectors) + np.pi) % (2 * np.pi) - np.pi)
