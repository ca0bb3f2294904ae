"""Zero-mean normalised cross-correlation: windows are compared up to brightness and contrast.

Paper:  Lewis. Fast Normalized Cross-Correlation. Vision Interface 1995. As a stereo cost: Hirschmueller, Scharstein.
        Evaluation of Stereo Matching Costs on Images with Radiometric Differences. TPAMI 31(9), 2009.
Idea:   two windows of n pixels correlate by r = cov(L, R) / (sigma_L sigma_R), whatever the gain and offset of either.
        n^2 cov(L, R) = n sum(L R) - sum(L) sum(R)                                        -> _slide(), between()
        n^2 sigma^2   = n sum(L^2) - sum(L)^2                                             -> _window_statistics()
        C = 1 - r, in [0, 2]; where a window has no variance r is undefined, and C = 1    -> _costs()
Differs: sums(L R) slide down the columns and along the rows, all candidates at once, so a window's size costs nothing,
         where Lewis has one template and Fourier transforms. They are exact: 32-bit integers, of centred grey levels.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, no_type_check

import cv2
import numpy as np
from jaxtyping import Float32, Int16, Int32
from numba import njit

from firstsight.matching.costs.volumes import Grey, MatchingCost, leave_out_left_border

Volume = Float32[np.ndarray, "height width candidates"]

MIDDLE = 128  # a common offset changes no correlation, and makes products four times smaller
MAX_WINDOW = 361  # pixels: n^2 128^2 < 2^31
CELLS_AT_ONCE = 4096  # of a row, so that its sums stay in the cache


@dataclass(frozen=True, kw_only=True)
class NormalisedCorrelation(MatchingCost):
    """1 - ZNCC over (2 rows + 1) x (2 columns + 1) pixels; borders are repeated. At most MAX_WINDOW pixels."""

    radius: tuple[int, int] = (3, 3)  # rows, columns of the window on either side of its centre

    dtype: ClassVar[np.dtype] = np.dtype(np.float32)
    largest: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        assert self._pixels <= MAX_WINDOW, f"a window holds at most {MAX_WINDOW} pixels"

    @property
    def reach(self) -> int:
        return self.radius[0]

    @property
    def _pixels(self) -> int:
        return (2 * self.radius[0] + 1) * (2 * self.radius[1] + 1)

    def fill(self, left: Grey, right: Grey, volume: Volume) -> Volume:
        (rows, columns), candidates = self.radius, volume.shape[2]
        left_padded, right_padded = (
            np.pad(_centred(image), ((rows, rows), (columns, columns)), mode="edge") for image in (left, right)
        )
        of_left, of_right = (_window_statistics(image, self.radius) for image in (left, right))
        of_right = Statistics(*(_backwards(values, candidates) for values in of_right))
        _slide(left_padded, _backwards(right_padded, candidates), self.radius, of_left, of_right, volume)
        return leave_out_left_border(volume)

    def between(self, a: Grey, b: Grey) -> Float32[np.ndarray, "height width"]:
        products = _window_sums(_centred(a) * _centred(b), self.radius)
        first, second = (_window_statistics(image, self.radius) for image in (a, b))
        covariance = self._pixels * products - first.sums * second.sums
        correlation = covariance.astype(np.float32) * first.inverse_deviation * second.inverse_deviation
        return np.clip(1 - correlation, 0, 2)


class Statistics(NamedTuple):
    """Statistics of the window around each pixel: the sum of its centred grey levels, and 1 / (n sigma), 0 where sigma is."""

    sums: Int32[np.ndarray, "height width"]
    inverse_deviation: Float32[np.ndarray, "height width"]


def _window_statistics(image: Grey, radius: tuple[int, int]) -> Statistics:
    centred = _centred(image)
    sums = _window_sums(centred, radius)
    n = (2 * radius[0] + 1) * (2 * radius[1] + 1)
    variance = n * _window_sums(centred * centred, radius) - sums * sums
    deviation = np.sqrt(variance, dtype=np.float32)
    return Statistics(sums, np.divide(1, deviation, out=np.zeros_like(deviation), where=variance > 0))


def _centred(image: Grey) -> Int16[np.ndarray, "height width"]:
    return image.astype(np.int16) - np.int16(MIDDLE)


def _window_sums(
    values: Int16[np.ndarray, "height width"], radius: tuple[int, int]
) -> Int32[np.ndarray, "height width"]:
    """Sums over the window around each pixel, borders repeated."""
    size = (2 * radius[1] + 1, 2 * radius[0] + 1)
    return cv2.boxFilter(values, cv2.CV_32S, size, normalize=False, borderType=cv2.BORDER_REPLICATE)


def _backwards(values: np.ndarray, candidates: int) -> np.ndarray:
    """(height, width + candidates): rows from right to left, as disparity grows, then zeros for outside the image."""
    return np.pad(values[:, ::-1], ((0, 0), (0, candidates)))


@njit(cache=True)
@no_type_check
def _slide(left, right, radius, of_left, of_right, volume):
    """volume (height, width, candidates) float32, written; left, right int16, centred and padded by radius; Statistics.

    What is right runs backwards. Where x - d lies outside the right image the costs mean nothing.
    """
    height, width, candidates = volume.shape
    rows, columns = radius
    strip = -(-CELLS_AT_ONCE // candidates)
    column_sums = np.empty((strip + 2 * columns, candidates), np.int32)
    window = np.empty(candidates, np.int32)
    for first in range(0, width, strip):
        last = min(first + strip, width)
        padded = range(first, last + 2 * columns)
        column_sums[:] = 0
        for y in range(-2 * rows, height):
            _add_products(left[y + 2 * rows], right[y + 2 * rows], 1, padded, column_sums)
            if y > 0:
                _add_products(left[y - 1], right[y - 1], -1, padded, column_sums)
            if y >= 0:
                _slide_along(y, range(first, last), radius, column_sums, window, of_left, of_right, volume[y])


@njit(cache=True)
@no_type_check
def _add_products(left, right, sign, columns, sums):
    """sums (columns, candidates) int32 += sign left(x) right(x - d); int16 left (width,), right (width + ...,)."""
    last, candidates = left.shape[0] - 1, sums.shape[1]
    for x in columns:
        factor, others, j = np.int32(sign * left[x]), right[last - x :], x - columns.start
        for d in range(candidates):
            sums[j, d] += np.int32(factor * np.int32(others[d]))


@njit(cache=True)
@no_type_check
def _slide_along(y, columns, radius, column_sums, window, of_left, of_right, costs):
    """costs (width, candidates) float32, written at columns of row y; window (candidates,) int32: working memory."""
    last, wide = costs.shape[0] - 1, 2 * radius[1]
    n = np.int32((2 * radius[0] + 1) * (wide + 1))
    window[:] = 0
    for j in range(wide):
        window += column_sums[j]
    for x in columns:
        j = x - columns.start
        own = n, of_left.sums[y, x], of_left.inverse_deviation[y, x]
        others = of_right.sums[y, last - x :], of_right.inverse_deviation[y, last - x :]
        _costs(window, column_sums[j + wide], column_sums[j], own, others, costs[x])


@njit(cache=True)
@no_type_check
def _costs(window, entering, leaving, own, others, costs):
    """costs (candidates,) float32 once `entering` has joined the window's sums; then `leaving` leaves: int32.

    own: number of pixels, sum and inverse deviation of the left window; others: sums and those of the right ones.
    """
    n, own_sum, own_inverse = own
    sums, inverse = others
    for d in range(costs.shape[0]):
        products = np.int32(window[d] + entering[d])
        covariance = np.int32(np.int32(n * products) - np.int32(own_sum * sums[d]))
        cost = np.float32(1) - np.float32(covariance) * own_inverse * inverse[d]
        cost = cost if cost > np.float32(0) else np.float32(0)  # rounding
        costs[d] = cost if cost < np.float32(2) else np.float32(2)
        window[d] = np.int32(products - leaving[d])
