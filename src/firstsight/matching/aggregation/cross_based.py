"""Cross-based aggregation: costs are averaged over what looks like one surface in both images.

Paper:  Zhang, Lu, Lafruit. Cross-Based Local Stereo Matching Using Orthogonal Integral Images. TCSVT 19(7), 2009; as in
        Zbontar, LeCun. Computing the Stereo Matching Cost with a Convolutional Neural Network. CVPR 2015.
Idea:   neighbours of similar grey level mostly lie at one depth, so their costs may be pooled; across an edge not.
        arm of p in a direction: to the last q with |I(q) - I(p)| < threshold, |q - p| < length        -> cross_arms()
        U(p) = the horizontal arms of all q on the vertical arms of p
        U_d(p) = {q in U_L(p) : q - d in U_R(p - d)}: of the two images' arms always the shorter
        sum of C(q, d) over U_d(p) = sum along the column of sums along rows            cross_based_kernels.py
        C'(p, d) = mean of C(q, d) over U_d(p), `passes` times                 -> aggregate_cross_based()
        sum of an arm = the difference of two entries of an integral image                    cross_based_kernels.py
Differs: arms shorter than LONG are added up cell by cell instead, many candidates at a time and masked.
         The difference costs the same for every arm, but its operands lie scattered over memory; up to some forty px
         adding is faster (benchmarks/aggregation.md). Means of integers are rounded to nearest, halves up.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from firstsight.matching.aggregation import cross_based_kernels
from firstsight.matching.aggregation.cross_based_kernels import TOGETHER
from firstsight.matching.costs.volumes import Grey, Volume, no_cost

Arms = UInt8[np.ndarray, "4 height width"]  # how many px up, down, left and right

# a row's support of 2 length - 1 px is counted in 8 bits
LONGEST = 128
# px: from here on integral images, whose time does not depend on the arms
LONG = 40
# of a row, so that what is worked on stays in the cache
CELLS_AT_ONCE = 8192


def cross_arms(grey: Grey, length: int = 9, threshold: float = 20.0) -> Arms:
    """How many px each pixel's arms reach, at most `length` - 1; `threshold` in grey levels.

    The next pixel always belongs to an arm, however unlike, unless it lies outside the image. MC-CNN takes length 5 on
    KITTI 2015 and 14 on Middlebury, with thresholds of 0.03 and 0.02 standard deviations of the image, one or two
    levels: its cost has seen a wide window, and semi-global matching follows. Without either, more support is better.
    """
    assert 2 <= length <= LONGEST, f"arms grow to 2 ... {LONGEST} px"
    arms = np.empty((4, *grey.shape), np.uint8)
    cross_based_kernels.grow_arms(grey, length, threshold, arms)
    return arms


def aggregate_cross_based(volume: Volume, left_arms: Arms, right_arms: Arms, passes: int = 2) -> Volume:
    """A new volume of mean costs, where candidate d of left (x, y) is right (x - d, y).

    A cell without a cost stays without, and enters no mean. Where x - d < 0 there are no arms: a cost there is kept.
    """
    assert left_arms.shape == right_arms.shape == (4, *volume.shape[:2]), "the volume compares other images"
    assert volume.flags.c_contiguous, "a volume is contiguous"
    backwards = _backwards(right_arms, volume.shape[2])
    none = volume.dtype.type(no_cost(volume.dtype))
    strip = _strip(volume, longest=int(left_arms.max()), gaps=cross_based_kernels.has_gaps(volume, none))
    aggregated, spare = volume.copy(), np.empty_like(volume)
    for _ in range(passes):
        cross_based_kernels.aggregate(aggregated, left_arms, backwards, none, strip, spare)
        aggregated, spare = spare, aggregated
    return aggregated


class Strip(NamedTuple):
    """Memory for some neighbouring columns, all rows and candidates; flat, and with room for arms out of the image.

    `margin` is the longest arm rounded up to TOGETHER. `sums` and `counts` hold margin + height + margin rows.
    """

    width: int
    margin: int
    gaps: bool  # whether cells lack a cost though x - d >= 0: then arms alone do not tell how many cells a mean is of
    integral: bool  # whether costs, known, sums and counts are summed up from the margin on: integral images
    costs: np.ndarray  # of a row, with `margin` px on either side; 0 where there is none
    known: np.ndarray  # 1 where costs has one
    before: np.ndarray  # uint8, each cell's arm left or up ...
    after: np.ndarray  # ... and right or down
    sums: np.ndarray  # of costs along the row's arms
    counts: np.ndarray  # of cells in them
    total: np.ndarray  # sums of sums along the column's arms
    cells: np.ndarray  # uint16, sums of counts
    half: np.ndarray  # (1,) 1 to round when dividing, else 0; of the type to divide in


def _strip(volume: Volume, longest: int, gaps: bool) -> Strip:
    height, width, candidates = volume.shape
    columns = min(width, -(-CELLS_AT_ONCE // candidates))
    integral = longest >= LONG
    margin = longest + 1 if integral else -(-longest // TOGETHER) * TOGETHER
    row, wide, high = (n * candidates for n in (columns, columns + 2 * margin, columns * (height + 2 * margin)))
    types = _integral_types(volume.dtype) if integral else _number_types(volume.dtype)
    return Strip(
        width=columns,
        margin=margin,
        gaps=gaps,
        integral=integral,
        costs=np.zeros(wide, types.costs),
        known=np.zeros(wide, types.counts),
        before=np.empty(row, np.uint8),
        after=np.empty(row, np.uint8),
        sums=np.zeros(high, types.sums),
        counts=np.zeros(high, types.counts),
        total=np.empty(row, types.total),
        cells=np.empty(row, np.uint16),
        half=types.half,
    )


class _Types(NamedTuple):
    """Data types of a Strip's arrays of these names; sums of supports of up to (2 LONGEST - 1)^2 cells must be exact."""

    costs: Any
    counts: Any
    sums: Any
    total: Any
    half: np.ndarray


def _number_types(costs: np.dtype) -> _Types:
    if costs == np.uint8:  # total < 2^24, mean < 2^8: float32 rounds none up
        return _Types(costs, np.uint8, np.uint16, np.uint32, np.ones(1, np.float32))
    if costs == np.uint16:
        return _Types(costs, np.uint8, np.uint32, np.uint32, np.ones(1, np.float64))
    return _Types(costs, np.uint8, np.float32, np.float32, np.zeros(1, np.float32))


def _integral_types(costs: np.dtype) -> _Types:
    """Integers may wrap around, since differences do so again; floats need digits to spare."""
    if costs.kind == "f":
        return _Types(np.float64, np.uint32, np.float64, np.float32, np.zeros(1, np.float32))
    return _Types(np.uint32, np.uint32, np.uint32, np.uint32, _number_types(costs).half)


def _backwards(right_arms: Arms, candidates: int) -> np.ndarray:
    """(4, height, width + candidates): rows from right to left, as disparity grows, and on to no arms outside."""
    return np.pad(right_arms[:, :, ::-1], ((0, 0), (0, 0), (0, candidates)))
