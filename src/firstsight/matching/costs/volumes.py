"""Cost volumes, the currency of matching: what each candidate of each pixel would cost.

A volume is a C-contiguous array (height, width, candidates), so that a pixel's candidates lie side by side in memory; uint8, uint16
or float32. A cell that has no cost, because the candidate lies outside the other image or was never measured, holds `no_cost(dtype)`:
the largest value of an integer type, infinity of float32. Such a cell is never chosen.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8, UInt16, UInt32

Grey = UInt8[np.ndarray, "height width"]
Volume = (
    UInt8[np.ndarray, "height width candidates"]
    | UInt16[np.ndarray, "height width candidates"]
    | Float32[np.ndarray, "height width candidates"]
)
PaddedVolume = (
    UInt8[np.ndarray, "height width multiple_of_lanes"]
    | UInt16[np.ndarray, "height width multiple_of_lanes"]
    | Float32[np.ndarray, "height width multiple_of_lanes"]
)
Total = (
    UInt16[np.ndarray, "height width candidates"]
    | UInt32[np.ndarray, "height width candidates"]
    | Float32[np.ndarray, "height width candidates"]
)
"""Sums of costs along paths."""
CostMap = UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"] | Float32[np.ndarray, "height width"]

MAX_COST = 80  # of costs that are scaled to 8 bits: it leaves room for the penalties there


class MatchingCost(ABC):
    """How unlike pixels of two images are: each image is described once, then descriptions are compared.

    Implementations are frozen dataclasses of their settings. A description is an array (height, width, ...) whose rows can be cut:
    a cost looks `reach` rows up and down, no farther. `dtype` is that of the costs, `largest` bounds them from above.
    """

    @property
    @abstractmethod
    def dtype(self) -> np.dtype: ...

    @property
    @abstractmethod
    def largest(self) -> int | float: ...

    @property
    @abstractmethod
    def reach(self) -> int: ...

    def describe(self, image: Grey) -> np.ndarray:
        """What is compared; the image itself where nothing can be prepared."""
        return image

    @abstractmethod
    def fill(self, left: np.ndarray, right: np.ndarray, volume: Volume) -> Volume:
        """Fills `volume` with C(y, x, d) between left (x, y) and right (max(x - d, 0), y): the border is repeated. Returns it."""

    @property
    def single(self) -> "MatchingCost":
        """The cost of single pixels; `smoothed` of a volume of it is a volume of this cost."""
        return self

    def smoothed(self, volume: Volume) -> Volume:
        """Does, in place, what this cost does with a volume of single pixels' costs. Cheaper once than for every slice."""
        return volume

    @abstractmethod
    def between(self, a: np.ndarray, b: np.ndarray) -> CostMap:
        """C(y, x) between images on the same grid, such as a neighbour warped by the homography of a plane."""


def no_cost(dtype: Any) -> int | float:
    """What a cell without a cost holds."""
    return float("inf") if np.dtype(dtype).kind == "f" else int(np.iinfo(dtype).max)


def of_right(volume: Volume) -> Volume:
    """The volume of the right image: C_R(y, x, d) = C(y, x + d, d), no cost where x + d lies outside the left image."""
    _, width, candidates = volume.shape
    mirrored = np.full(volume.shape, no_cost(volume.dtype), volume.dtype)
    for d in range(min(candidates, width)):
        mirrored[:, : width - d, d] = volume[:, d:, d]
    return mirrored


def leave_out_left_border(volume: Volume) -> Volume:
    """Removes the cost, in place, where x - d < 0, outside the right image."""
    for x in range(min(volume.shape[2] - 1, volume.shape[1])):
        volume[:, x, x + 1 :] = no_cost(volume.dtype)
    return volume
