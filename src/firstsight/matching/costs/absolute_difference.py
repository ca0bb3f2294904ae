"""Truncated absolute differences of grey levels and gradients: a cost for cameras that are exposed alike.

Paper:  Hosni, Rhemann, Bleyer, Rother, Gelautz. Fast Cost-Volume Filtering for Visual Correspondence and Beyond. TPAMI
        35(2), 2013 (Rhemann et al., CVPR 2011).
Idea:   a pixel and its match look alike, and so do their gradients, which a common offset of brightness leaves alone.
        Truncated, since past what noise explains one difference says no more than another: the pixel is occluded.
        I, Ix = grey level and horizontal gradient                                      -> AbsoluteDifference.describe()
        C(p, d) = (1 - a) min(|I(p) - I'(p - d)|, t1) + a min(|Ix(p) - Ix'(p - d)|, t2) -> _cost()
Differs: grey levels instead of the mean over colours; scaled to at most MAX_COST and rounded.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from firstsight.matching.costs.volumes import MAX_COST, Grey, MatchingCost, leave_out_left_border

Volume = UInt8[np.ndarray, "height width candidates"]
Described = Float32[np.ndarray, "height width 2"]  # grey level, gradient per px


class Terms(NamedTuple):
    """The truncation of differences of grey levels and of gradients, and what one level of them costs; float32."""

    largest_grey: np.float32
    grey_weight: np.float32
    largest_gradient: np.float32
    gradient_weight: np.float32


@dataclass(frozen=True, kw_only=True)
class AbsoluteDifference(MatchingCost):
    """`gradient_share` is a, the others t1 in grey levels and t2 in grey levels per px."""

    gradient_share: float = 0.9
    largest_difference: float = 7.0
    largest_gradient_difference: float = 2.0

    dtype: ClassVar[np.dtype] = np.dtype(np.uint8)
    largest: ClassVar[int] = MAX_COST
    reach: ClassVar[int] = 0

    def describe(self, image: Grey) -> Described:
        """Central differences; the border is repeated."""
        padded = np.pad(image.astype(np.float32), ((0, 0), (1, 1)), mode="edge")
        return np.stack([padded[:, 1:-1], (padded[:, 2:] - padded[:, :-2]) / 2], axis=2)

    def fill(self, left: Described, right: Described, volume: Volume) -> Volume:
        _fill(left, right, self._terms, volume)
        return leave_out_left_border(volume)

    def between(self, a: Described, b: Described) -> UInt8[np.ndarray, "height width"]:
        costs = np.empty(a.shape[:2], np.uint8)
        _fill_map(a, b, self._terms, costs)
        return costs

    @property
    def _terms(self) -> Terms:
        share, grey, gradient = self.gradient_share, self.largest_difference, self.largest_gradient_difference
        scale = MAX_COST / ((1 - share) * grey + share * gradient)
        return Terms(*np.array([grey, (1 - share) * scale, gradient, share * scale], np.float32))


@njit(cache=True)
@no_type_check
def _fill(left, right, terms, volume):
    """left, right (height, width, 2) float32; Terms; volume (height, width, candidates) uint8, written.

    Where x - d lies outside the right image its first column stands in.
    """
    height, width, candidates = volume.shape
    # the right row backwards, so that growing disparity walks forwards through memory
    grey, gradient = np.empty(width + candidates, np.float32), np.empty(width + candidates, np.float32)
    for y in range(height):
        grey[:width], gradient[:width] = right[y, ::-1, 0], right[y, ::-1, 1]
        grey[width:], gradient[width:] = right[y, 0]
        _fill_row(left[y], grey, gradient, terms, volume[y])


@njit(cache=True)
@no_type_check
def _fill_row(left, grey, gradient, terms, costs):
    """costs (width, candidates) uint8, written; float32 left (width, 2), backwards grey, gradient (width + ...,)."""
    width, candidates = costs.shape
    for x in range(width):
        own_grey, own_gradient = left[x, 0], left[x, 1]
        others, other_gradients = grey[width - 1 - x :], gradient[width - 1 - x :]
        for d in range(candidates):
            costs[x, d] = _cost(own_grey, own_gradient, others[d], other_gradients[d], terms)


@njit(cache=True)
@no_type_check
def _fill_map(a, b, terms, costs):
    """a, b (height, width, 2) float32; Terms; costs (height, width) uint8, written."""
    for y in range(costs.shape[0]):
        for x in range(costs.shape[1]):
            costs[y, x] = _cost(a[y, x, 0], a[y, x, 1], b[y, x, 0], b[y, x, 1], terms)


@njit(cache=True)
@no_type_check
def _cost(grey, gradient, other_grey, other_gradient, terms):
    """uint8, from float32 grey levels and gradients."""
    of_grey = _truncated(grey - other_grey, terms.largest_grey) * terms.grey_weight
    of_gradient = _truncated(gradient - other_gradient, terms.largest_gradient) * terms.gradient_weight
    return np.uint8(of_grey + of_gradient + np.float32(0.5))


@njit(cache=True)
@no_type_check
def _truncated(difference, largest):
    absolute = abs(difference)
    return absolute if absolute < largest else largest
