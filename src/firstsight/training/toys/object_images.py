"""Images of coloured shapes that cover each other, with their true masks: enough to see if objects are found."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int64, UInt8

from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted
from firstsight.training.random_numbers import combine_seeds

SHAPES = ("square", "disc", "triangle")
RADIUS = (0.13, 0.17)  # of a disc, share of the image
RADII = {"square": 1.25, "disc": 1.0, "triangle": 1.5}  # to the corners, for areas that are nearly the same
COLOURS = np.array(
    [(230, 50, 45), (60, 180, 75), (50, 90, 230), (240, 220, 50), (200, 60, 200), (60, 210, 220), (245, 150, 40)],
    np.uint8,
)
GROUND = np.array([20, 21, 24], np.uint8)
TEXTURED = 0.45  # of the brightness: the darker end of a textured shape's stripes
MIN_SEEN = 0.9  # of an object that others cover: share of its pixels


class DrawnImage(NamedTuple):
    """`ids`: 0 is background; objects from 1, later ones lie in front."""

    image: UInt8[np.ndarray, "height width 3"]
    ids: Int64[np.ndarray, "height width"]


class ObjectImages(Arrays):
    """`count` images, functions of (seed, number). `striped` shapes have two tones, so that colour alone misleads."""

    def __init__(
        self,
        count: int,
        size_px: int = 32,
        objects: tuple[int, int] = (3, 4),
        *,
        striped: bool = False,
        distinct: bool = True,
        seed: int = 0,
    ):
        self.size_px, self.objects = size_px, objects
        self.striped, self.distinct = striped, distinct
        self.drawn = [self._drawn(np.random.default_rng(combine_seeds(seed, number))) for number in range(count)]
        images = np.stack([drawn.image.transpose(2, 0, 1)[None] for drawn in self.drawn])
        super().__init__(Wanted(ImageBatch, (size_px, size_px)), {"images": images}, "drawn objects")

    def _drawn(self, rng: np.random.Generator) -> DrawnImage:
        """Drawn anew until an arrangement is found in which enough of every object is seen."""
        while True:
            count = int(rng.integers(self.objects[0], self.objects[1] + 1))
            insides = [shape_mask(rng, self.size_px) for _ in range(count)]
            ids = np.zeros((self.size_px, self.size_px), np.int64)
            for number, inside in enumerate(insides, 1):
                ids[inside] = number
            if all((ids == i).sum() >= MIN_SEEN * inside.sum() for i, inside in enumerate(insides, 1)):
                return DrawnImage(self._coloured(rng, ids), ids)

    def _coloured(
        self, rng: np.random.Generator, ids: Int64[np.ndarray, "height width"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        tints = COLOURS[rng.choice(len(COLOURS), ids.max(), replace=not self.distinct)]
        image = np.concatenate([GROUND[None], tints])[ids]
        for number, tint in enumerate(tints, 1):
            if self.striped:
                image[(ids == number) & stripes(rng, self.size_px)] = (TEXTURED * tint).astype(np.uint8)
        return image


def shape_mask(rng: np.random.Generator, size_px: int) -> Bool[np.ndarray, "height width"]:
    """A square, disc or triangle, whole in the image."""
    kind = SHAPES[rng.integers(len(SHAPES))]
    radius = rng.uniform(*RADIUS) * size_px * RADII[kind]
    x, y = rng.uniform(radius, size_px - 1 - radius, 2)
    canvas = np.zeros((size_px, size_px), np.uint8)
    if kind == "disc":
        cv2.circle(canvas, (round(x), round(y)), round(radius), 1, -1)
    else:
        corners = 4 if kind == "square" else 3
        turns = 2 * np.pi * (np.arange(corners) / corners + rng.uniform())
        outline = np.stack([x + radius * np.cos(turns), y + radius * np.sin(turns)], 1)
        cv2.fillPoly(canvas, [outline.round().astype(np.int32)], 1)
    return canvas > 0


def stripes(rng: np.random.Generator, size_px: int) -> Bool[np.ndarray, "height width"]:
    """Straight stripes, a few pixels wide, in any direction."""
    angle, phase = rng.uniform(0, np.pi), rng.uniform()
    y, x = np.mgrid[:size_px, :size_px]
    return ((x * np.cos(angle) + y * np.sin(angle)) * 10 / size_px + phase) % 1 < 0.5
