"""A value for every pixel whose match cannot be trusted, from the trusted ones around it.

Paper:  Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008.
        Zbontar, LeCun. Stereo Matching by Training a Convolutional Neural Network to Compare Image Patches.
        JMLR 17(65), 2016.
Idea:   what one camera cannot see lies behind what it sees beside it; what was only matched wrongly lies among
        what is around it.
        without a reason: the lower of both sides       TPAMI section II-E  -> fill_from_background()
        occlusion: the first correct value to the left  JMLR section 4.3    -> fill_classified(), first
        mismatch: the median of the nearest known       JMLR section 4.3    -> fill_classified(), second
                  values in 16 directions
Differs: as in the released code, not the paper, a mismatch also sees occlusions, with the values just given to them,
         and an occlusion with nothing correct to its left takes the first to its right. In rows without a correct pixel
         the code leaves occlusions as they are; here, their own value being wrong, they are filled as mismatches are.
"""

from typing import no_type_check

import cv2
import numpy as np
from numba import njit

from firstsight.matching.selection.consistency import Classes, MatchClass, Position, Valid

# Steps (y, x) in half pixels, which reach the edge of a square: towards the 8 neighbours and half-way between them.
DIRECTIONS = np.array([(y, x) for y in range(-2, 3) for x in range(-2, 3) if max(abs(y), abs(x)) == 2])


def fill_from_background(position: Position, valid: Valid) -> Position:
    """`position`, where not valid the lower of the nearest valid values left and right in the row; 0 if there is none.

    What one camera cannot see lies behind what it sees beside it, and most failed matches lie at such places too.
    """
    filled = position.copy()
    _fill_from_background(filled, valid)
    return filled


def fill_classified(position: Position, classes: Classes) -> Position:
    """`position` with occlusions filled from the background to the left, then mismatches from all around.

    The median of an even number of values is the upper of both middle ones, as in the released code; of none it is 0.
    """
    filled, known = position.copy(), classes == MatchClass.CORRECT
    _fill_occlusions(filled, known, classes == MatchClass.OCCLUSION)
    _fill_from_around(filled, _steps(known))
    return filled


def _steps(known):
    """How far the nearest known pixel is, diagonals counting one, int16 (height, width); 0 if known itself."""
    distance = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_C, 3)
    limit = np.iinfo(np.int16).max  # without any known pixel the distance is the largest float
    return np.minimum(distance, limit).astype(np.int16)


@njit(cache=True)
@no_type_check
def _fill_from_background(position, valid):
    """position (height, width) float32, changed in place; valid (height, width) bool."""
    height, width = valid.shape
    for y in range(height):
        nearest = np.float32(np.inf)
        for x in range(width):
            nearest = position[y, x] if valid[y, x] else nearest
            position[y, x] = nearest
        nearest = np.float32(np.inf)
        for x in range(width - 1, -1, -1):
            nearest = position[y, x] if valid[y, x] else nearest
            lower = min(position[y, x], nearest)
            position[y, x] = lower if lower < np.inf else np.float32(0)


@njit(cache=True)
@no_type_check
def _fill_occlusions(position, known, occluded):
    """position (height, width) float32, filled where occluded; known and occluded (height, width) bool.

    Pixels that got a value become known. In a row without a known pixel none does.
    """
    height, width = known.shape
    for y in range(height):
        source = 0  # column of the first known pixel, then of the last one passed
        while source < width and not known[y, source]:
            source += 1
        for x in range(width if source < width else 0):
            if occluded[y, x]:
                position[y, x], known[y, x] = position[y, source], True
            elif known[y, x]:
                source = x


@njit(cache=True)
@no_type_check
def _fill_from_around(position, steps):
    """position (height, width) float32, changed in place where steps (height, width) int16 > 0: where not known."""
    height, width = steps.shape
    values = np.empty(DIRECTIONS.shape[0], np.float32)
    for y in range(height):
        for x in range(width):
            if steps[y, x] == 0:
                continue
            count = 0
            for i in range(DIRECTIONS.shape[0]):
                seen_y, seen_x = _first_known(steps, y, x, DIRECTIONS[i, 0], DIRECTIONS[i, 1])
                if seen_y >= 0:
                    _insert(values, count, position[seen_y, seen_x])
                    count += 1
            position[y, x] = values[count // 2] if count > 0 else np.float32(0)


@njit(cache=True)
@no_type_check
def _first_known(steps, y, x, halves_down, halves_right):
    """(y, x) of the first known pixel from there in a direction, (-1, -1) if none; halves are rounded up.

    Skips as many pixels at once as are unknown in every direction, so that wide holes do not cost in proportion.
    """
    height, width = steps.shape
    halves_y, halves_x = 2 * y, 2 * x
    while 0 <= halves_y < 2 * height - 1 and 0 <= halves_x < 2 * width - 1:
        y, x = (halves_y + 1) >> 1, (halves_x + 1) >> 1
        leap = np.int64(steps[y, x])
        if leap == 0:
            return y, x
        halves_y, halves_x = halves_y + leap * halves_down, halves_x + leap * halves_right
    return -1, -1


@njit(cache=True)
@no_type_check
def _insert(ascending, count, value):
    """Puts a value among the first `count` of ascending (n,) float32."""
    while count > 0 and ascending[count - 1] > value:
        ascending[count] = ascending[count - 1]
        count -= 1
    ascending[count] = value
