"""Which answers of a matcher to trust: those that the other image gives too.

Paper:  Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008.
        Zbontar, LeCun. Stereo Matching by Training a Convolutional Neural Network to Compare Image Patches.
        JMLR 17(65), 2016.
Idea:   a pixel and its match must point at each other; why they do not tells how to fill the hole (matching.selection.filling).
        correct:   |D(p) - D_R(p - D(p))| <= tolerance           TPAMI eq. 16         -> left_right_consistent()
        mismatch:  otherwise, if |d - D_R(p - d)| <= tolerance   JMLR section 4.3
                   for some other candidate d: p is seen by both
        occlusion: otherwise; nothing in the right image is p                         -> classify()
        small patches that stand alone are wrong                 TPAMI section II-E   -> drop_speckles()
Differs: D may lie between candidates and is rounded to find its match; the papers classify whole candidates, for which
         the released MC-CNN code's "< 1.1" is "<= 1". As in that code, a match outside the right image is an occlusion.
"""

from enum import IntEnum
from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16
from numba import njit

Position = Float32[np.ndarray, "height width"]
OfRight = UInt16[np.ndarray, "height width"] | Float32[np.ndarray, "height width"]
Valid = Bool[np.ndarray, "height width"]
Classes = UInt8[np.ndarray, "height width"]

SUBPIXELS = 16  # resolution at which OpenCV compares neighbouring positions


class MatchClass(IntEnum):
    """What classify() says of a pixel."""

    CORRECT = 0
    MISMATCH = 1
    OCCLUSION = 2


def left_right_consistent(position: Position, of_right: OfRight, tolerance: float) -> Valid:
    """Returns where a left pixel's match is inside and points back, |D(p) - D_R(p - D(p))| <= tolerance."""
    matched = _matched(position)
    back = np.take_along_axis(of_right, np.maximum(matched, 0), 1)
    return (matched >= 0) & (np.abs(position - back) <= tolerance)


def classify(position: Position, of_right: OfRight, tolerance: float, candidates: int) -> Classes:
    """The MatchClass of every pixel; `candidates` 0, 1, ... were tried. MC-CNN's tolerance is 1."""
    classes = np.empty(position.shape, np.uint8)
    _classify(position, of_right, tolerance, candidates, classes)
    return classes


def drop_speckles(position: Position, valid: Valid, area_px: int) -> Valid:
    """`valid` without connected patches, of steps of at most one candidate, that are no larger than area_px."""
    none = -SUBPIXELS
    fixed = np.where(valid, np.rint(position * SUBPIXELS), none).astype(np.int16)
    cv2.filterSpeckles(fixed, none, area_px, SUBPIXELS)
    return fixed != none


def _matched(position):
    """Columns p - D(p) of the right image, int64 (height, width); negative outside it."""
    return np.arange(position.shape[1]) - np.rint(position).astype(np.int64)


@njit(cache=True)
@no_type_check
def _classify(position, of_right, tolerance, candidates, classes):
    """classes (height, width) uint8, written; position and of_right as classify's."""
    height, width = position.shape
    seen = np.empty(width, np.bool_)
    for y in range(height):
        _mark_seen(of_right[y], tolerance, candidates, seen)
        for x in range(width):
            matched = x - np.int64(np.rint(position[y, x]))
            if matched >= 0 and abs(position[y, x] - np.float32(of_right[y, matched])) <= tolerance:
                classes[y, x] = MatchClass.CORRECT
            else:
                classes[y, x] = MatchClass.MISMATCH if seen[x] and matched >= 0 else MatchClass.OCCLUSION


@njit(cache=True)
@no_type_check
def _mark_seen(of_right, tolerance, candidates, seen):
    """seen (width,) bool: where |d - D_R(p - d)| <= tolerance for some candidate d; of_right (width,).

    From the right pixel's side: q = p - d is matched by the few p = q + d with d near D_R(q), so there is no search.
    """
    width = seen.shape[0]
    seen[:] = False
    for q in range(width):
        smallest = max(np.int64(np.ceil(of_right[q] - tolerance)), 0)
        largest = min(np.int64(np.floor(of_right[q] + tolerance)), candidates - 1, width - 1 - q)
        for d in range(smallest, largest + 1):
            seen[q + d] = True
