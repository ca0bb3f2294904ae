"""Small images of eight kinds of pattern, at random places and of random periods.

All are grey, and of the same mean and spread: where images differ in these, features that are the same in two crops of one
need tell nothing else.
"""

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.ndimage import gaussian_filter

from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted

KINDS = ("across", "upright", "slanted", "checks", "dots", "rings", "blobs", "grain")
PERIODS_PX = (5.0, 8.0)
SPREAD, NOISE = 0.2, 0.05

Shades = Float64[np.ndarray, "height width"]


class Patterns(Arrays):
    """Sample i is of kind i modulo their number; `labels` are the kinds."""

    def __init__(self, count: int, size_px: int = 32, seed: int = 0):
        generator = np.random.default_rng(seed)
        self.labels = np.arange(count) % len(KINDS)
        self.images = np.stack([image(KINDS[label], size_px, generator) for label in self.labels])
        super().__init__(Wanted(ImageBatch, (size_px, size_px)), {"images": self.images[:, None]}, "drawn patterns")


def image(kind: str, size_px: int, generator: np.random.Generator) -> UInt8[np.ndarray, "3 height width"]:
    """A pattern, dark on light or light on dark, of the same mean and spread for all, and noise."""
    pattern = shades(kind, size_px, generator) * generator.choice([-1, 1])
    grey = 0.5 + SPREAD * (pattern - pattern.mean()) / pattern.std()
    noisy = grey + generator.normal(0, NOISE, (3, size_px, size_px))
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)


def shades(kind: str, size_px: int, generator: np.random.Generator) -> Shades:
    """Returns shades from 0 to 1."""
    y, x = np.mgrid[:size_px, :size_px] + generator.uniform(0, size_px, (2, 1, 1))
    turn = 2 * np.pi / generator.uniform(*PERIODS_PX)
    if kind in ("across", "upright", "slanted"):
        lean = np.pi / 4 * generator.choice([-1, 1]) if kind == "slanted" else 0.0 if kind == "across" else np.pi / 2
        return step(np.sin(turn * (np.cos(lean) * y + np.sin(lean) * x)))
    if kind == "checks":
        return step(np.sin(turn * y) * np.sin(turn * x))
    if kind == "dots":
        return step(np.cos(turn * y) + np.cos(turn * x) - 0.9)
    if kind == "rings":
        middle = generator.uniform(0.25, 0.75, 2) * size_px
        return step(np.sin(turn * np.hypot(y - y[0, 0] - middle[0], x - x[0, 0] - middle[1])))
    noise = gaussian_filter(generator.normal(size=(size_px, size_px)), 2.5 if kind == "blobs" else 0.6, mode="wrap")
    return step(noise / noise.std())


def step(values: Shades) -> Shades:
    """0 below, 1 above, a soft edge between."""
    return np.clip(0.5 + 1.5 * values, 0, 1)
