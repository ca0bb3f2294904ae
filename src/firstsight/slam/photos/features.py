"""Features of photos, and which of two photos are the same.

Paper:  Lowe. Distinctive Image Features from Scale-Invariant Keypoints. IJCV 60(2), 2004 (SIFT, the ratio test);
        Arandjelovic, Zisserman. Three things everyone should know to improve object retrieval. CVPR 2012 (RootSIFT).
Idea:   descriptor  d = sqrt(s / |s|_1) of SIFT's s, so that d . d' is Hellinger's kernel             -> root_sift()
        match       each the other's nearest, and nearer than ratio times the second, both ways       -> match()
Differs: matching is exact, not by trees.
Units:  pixels of the photo as it is stored; the top-left centre is (0, 0).
"""

from dataclasses import dataclass
from typing import NamedTuple, no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numba import njit

# numbers of a descriptor
LENGTH = 128
# rows of similarities at a time, to bound memory
MATCH_BLOCK = 2048


@dataclass(frozen=True, kw_only=True)
class MatchingConfig:
    max_features: int = 4096
    # SIFT's contrast threshold; half of Lowe's 0.04, for indoor photos
    contrast: float = 0.02
    # larger photos are reduced before features are sought
    longest_side_px: int = 1600
    ratio: float = 0.8
    # distance to the epipolar line, at up to `longest_side_px`
    threshold_px: float = 2.0
    min_inliers: int = 20
    # share of the inliers; a homography that explains more makes a pair planar or turning
    planar_share: float = 0.8
    # photos; of more, each is tried with `candidates` others
    exhaustive_up_to: int = 60
    candidates: int = 20
    # of the vocabulary by which those others are found
    words: int = 64


class Features(NamedTuple):
    pixels: Float64[np.ndarray, "n 2"]
    descriptors: UInt8[np.ndarray, "n 128"]
    colours: UInt8[np.ndarray, "n 3"]


def photo_features(photo: UInt8[np.ndarray, "height width 3"], config: MatchingConfig) -> Features:
    """The strongest SIFT features, with the colours under them."""
    scale = min(1.0, config.longest_side_px / max(photo.shape[:2]))
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    # without the precise upscale all positions are off by a quarter of a pixel
    sift = cv2.SIFT.create(config.max_features, contrastThreshold=config.contrast, enable_precise_upscale=True)
    found, descriptors = sift.detectAndCompute(grey, None)
    if not found:
        return Features(np.zeros((0, 2)), np.zeros((0, LENGTH), np.uint8), np.zeros((0, 3), np.uint8))
    reduced = np.array([feature.pt for feature in found], np.float64)
    by = np.array(photo.shape[1::-1]) / np.array(grey.shape[1::-1])
    pixels = (reduced + 0.5) * by - 0.5
    column, row = np.clip(np.rint(pixels).astype(int), 0, np.array(photo.shape[1::-1]) - 1).T
    return Features(pixels, root_sift(descriptors), photo[row, column])


def root_sift(descriptors: Float32[np.ndarray, "n 128"]) -> UInt8[np.ndarray, "n 128"]:
    """512 times the root of each descriptor's shares: of length 512, in bytes."""
    shares = descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-12)
    return np.clip(np.rint(512 * np.sqrt(shares)), 0, 255).astype(np.uint8)


def unit(descriptors: UInt8[np.ndarray, "n 128"]) -> Float32[np.ndarray, "n 128"]:
    """Returns the descriptors scaled to length 1."""
    values = descriptors.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def match(a: Features, b: Features, ratio: float) -> Int64[np.ndarray, "matches 2"]:
    """Rows of a and b that are each other's nearest, and clearly nearer than their second nearest."""
    in_a, in_b = len(a.descriptors), len(b.descriptors)
    if min(in_a, in_b) < 2:
        return np.zeros((0, 2), np.int64)
    of_rows, of_columns = Best.none(in_a), Best.none(in_b)
    vectors_a, vectors_b = unit(a.descriptors), unit(b.descriptors)
    for start in range(0, in_a, MATCH_BLOCK):
        similarity = vectors_a[start : start + MATCH_BLOCK] @ vectors_b.T
        _two_best(similarity, start, *of_rows, *of_columns)
    good_a, good_b = of_rows.clear(ratio), of_columns.clear(ratio)
    rows = np.flatnonzero(good_a)
    rows = rows[good_b[of_rows.index[rows]] & (of_columns.index[of_rows.index[rows]] == rows)]
    return np.stack([rows, of_rows.index[rows]], 1)


class Best(NamedTuple):
    """The most similar of the other photo's features, and the two highest similarities."""

    index: Int64[np.ndarray, " n"]
    first: Float32[np.ndarray, " n"]
    second: Float32[np.ndarray, " n"]

    @classmethod
    def none(cls, count: int) -> "Best":
        """Nothing seen yet."""
        return cls(np.zeros(count, np.int64), *np.full((2, count), -2.0, np.float32))

    def clear(self, ratio: float) -> Bool[np.ndarray, " n"]:
        """Whose distances |d - d'|^2 = 2 - 2 d . d' pass the ratio test."""
        return (1 - self.first) < ratio**2 * (1 - self.second)


@njit(cache=True)
@no_type_check
def _two_best(similarity, start, row_index, row_first, row_second, column_index, column_first, column_second):
    """Takes a block (rows, columns) of similarities, whose first row is `start`, into what is best so far."""
    rows, columns = similarity.shape
    for i in range(rows):
        at = start + i
        first, second, index = row_first[at], row_second[at], row_index[at]
        for j in range(columns):
            s = similarity[i, j]
            if s > second:
                if s > first:
                    first, second, index = s, first, j
                else:
                    second = s
            if s > column_second[j]:
                if s > column_first[j]:
                    column_second[j], column_first[j], column_index[j] = column_first[j], s, at
                else:
                    column_second[j] = s
        row_first[at], row_second[at], row_index[at] = first, second, index
