"""Object masks as COCO results: uncompressed run lengths, column by column, starting with background.

Source: Lin et al., Microsoft COCO (2014); the cocoapi's mask format.
"""

from typing import TypedDict

import numpy as np
from jaxtyping import Bool


class RunLengths(TypedDict):
    size: list[int]
    counts: list[int]


def encode_mask(mask: Bool[np.ndarray, "height width"]) -> RunLengths:
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return {"size": list(mask.shape), "counts": [int(c) for c in (counts[:-1] if counts[-1] == 0 else counts)]}


def decode_mask(lengths: RunLengths) -> Bool[np.ndarray, "height width"]:
    height, width = lengths["size"]
    values = np.arange(len(lengths["counts"])) % 2 == 1
    return np.repeat(values, lengths["counts"]).reshape((height, width), order="F")


def bounding_box(mask: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    """(x, y, width, height) in px of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )
