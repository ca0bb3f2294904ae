"""Black and white images with simple causes: bars and stripes of which all are known, and bars that cross."""

from itertools import product

import numpy as np
from jaxtyping import UInt8

from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted

Images = UInt8[np.ndarray, "count side side"]


class BinaryImages(Arrays):
    """Images of 0 and 1 as samples, black and white."""

    def __init__(self, images: Images):
        colours = np.ascontiguousarray(
            np.broadcast_to(255 * images[:, None, None], (len(images), 1, 3, *images.shape[1:]))
        )
        super().__init__(Wanted(ImageBatch, images.shape[1:]), {"images": colours}, "binary images")


def bars_and_stripes(side: int) -> Images:
    """Every image whose rows, or whose columns, are each of one colour: 2^(side + 1) - 2 of them."""
    bits = np.array(list(product([0, 1], repeat=side)), np.uint8)
    rows = np.repeat(bits[:, :, None], side, 2)
    return np.unique(np.concatenate([rows, rows.transpose(0, 2, 1)]), axis=0)


def bars(count: int, side: int = 6, seed: int = 0) -> Images:
    """Each of the 2 side rows and columns is white with a chance of 1 / side (Foeldiak, Biological Cybernetics 64, 1990)."""
    chosen = np.random.default_rng(seed).random((count, 2, side)) < 1 / side
    return (chosen[:, 0, :, None] | chosen[:, 1, None, :]).astype(np.uint8)


def bars_entropy(side: int = 6) -> float:
    """The entropy of such images, in nats: no model gives new ones a higher mean log-likelihood than minus this."""
    chosen = np.array(list(product([0, 1], repeat=2 * side)), np.int64)
    count = chosen.sum(1)
    chance = (1 / side) ** count * (1 - 1 / side) ** (2 * side - count)
    images = chosen[:, :side, None] | chosen[:, None, side:]
    names = images.reshape(len(chosen), -1) @ (1 << np.arange(side**2))
    each = np.bincount(np.unique(names, return_inverse=True)[1], chance)
    return float(-(each * np.log(each)).sum())
