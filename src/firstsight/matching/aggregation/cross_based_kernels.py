"""Loops of cross-based aggregation: growing arms, and means over the crosses that they span.

Idea:   the support of a cell is that of the shorter of both images' arms                                -> _shorter()
        its sum is along the column of sums along rows                             -> _row_sums(), _column_means()
        a long arm's sum is the difference of two entries of an integral image      -> _subtract_integrals()
        a short arm is added up cell by cell, many candidates at a time and masked                       -> _add_arms()
"""

from typing import no_type_check

import numpy as np
from numba import njit

# neighbours that are added in one go
TOGETHER = 4


@njit(cache=True)
@no_type_check
def grow_arms(grey, length, threshold, arms):
    """grey (height, width) uint8; arms (4, height, width) uint8, written."""
    for direction, (dy, dx) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
        for y in range(grey.shape[0]):
            for x in range(grey.shape[1]):
                arms[direction, y, x] = _arm(grey, y, x, dy, dx, length, threshold)


@njit(cache=True)
@no_type_check
def _arm(grey, y, x, dy, dx, length, threshold):
    """How many px from (x, y) in one direction; grey (height, width) uint8."""
    height, width = grey.shape
    for reach in range(1, length):
        yq, xq = y + reach * dy, x + reach * dx
        if yq < 0 or yq >= height or xq < 0 or xq >= width:
            return reach - 1
        if reach > 1 and abs(np.int64(grey[yq, xq]) - np.int64(grey[y, x])) >= threshold:
            return reach - 1
    return length - 1


@njit(cache=True)
@no_type_check
def has_gaps(volume, none):
    """Whether a cell (y, x, d) with x - d >= 0 holds `none`; volume (height, width, candidates) of any dtype."""
    height, width, candidates = volume.shape
    for y in range(height):
        for x in range(width):
            if _holds(volume[y, x, : min(x + 1, candidates)], none):
                return True
    return False


@njit(cache=True)
@no_type_check
def _holds(costs, none):
    """Whether any of costs (n,) is `none`; looks at all of them, so that LLVM vectorises it."""
    found = False
    for i in range(costs.shape[0]):
        found |= not costs[i] < none
    return found


@njit(cache=True)
@no_type_check
def aggregate(volume, left, right, none, strip, means):
    """One pass: means, written, of volume (height, width, candidates); arms left (4, height, width), right backwards."""
    height, width, candidates = volume.shape
    for first in range(0, width, strip.width):
        columns = range(first, min(first + strip.width, width))
        if strip.integral:
            strip.sums[:], strip.counts[:] = 0, 0
        for y in range(height):
            _take_costs(volume[y], columns, none, strip)
            _shorter(left[2, y], right[2, y], columns, candidates, strip.before)
            _shorter(left[3, y], right[3, y], columns, candidates, strip.after)
            _row_sums(y, len(columns) * candidates, candidates, strip)
        if strip.integral:
            _integrate(strip.sums, strip.before.shape[0])
            _integrate(strip.counts, strip.before.shape[0])
        for y in range(height):
            _shorter(left[0, y], right[0, y], columns, candidates, strip.before)
            _shorter(left[1, y], right[1, y], columns, candidates, strip.after)
            cells = slice(first * candidates, (first + len(columns)) * candidates)
            _column_means(y, volume[y].reshape(-1)[cells], none, strip, means[y].reshape(-1)[cells])


@njit(cache=True)
@no_type_check
def _take_costs(row, columns, none, strip):
    """strip.costs and .known from row (width, candidates) of some columns and, inside the image, the margin beside."""
    width, candidates = row.shape
    if strip.integral:
        strip.costs[:], strip.known[:] = 0, 0
    first, last = max(0, columns.start - strip.margin), min(width, columns.stop + strip.margin)
    at = (first - columns.start + strip.margin) * candidates
    costs = row[first:last].reshape(-1)
    _split_known(costs, none, strip.costs[at : at + costs.shape[0]], strip.known[at : at + costs.shape[0]])
    if strip.integral:
        _integrate(strip.costs, candidates)
        _integrate(strip.known, candidates)


@njit(cache=True)
@no_type_check
def _integrate(values, stride):
    """values[i] += values[i - stride], from the second line of `stride` elements on."""
    for first in range(stride, values.shape[0], stride):
        _accumulate(values[first - stride : first], values[first : first + stride])


@njit(cache=True)
@no_type_check
def _accumulate(before, values):
    """values (n,) += before (n,)."""
    for i in range(values.shape[0]):
        values[i] += before[i]


@njit(cache=True)
@no_type_check
def _split_known(costs, none, values, known):
    """values (n,): costs with 0 for `none`, which NaN means too; known (n,): 1 where there is a cost."""
    for i in range(costs.shape[0]):
        known[i] = known.dtype.type(costs[i] < none)
        values[i] = values.dtype.type(costs[i]) if costs[i] < none else values.dtype.type(0)


@njit(cache=True)
@no_type_check
def _shorter(left, right, columns, candidates, arms):
    """arms (columns * candidates,): the shorter of left (width,) at x and right (width + candidates,) at x - d."""
    last = left.shape[0] - 1
    for x in columns:
        at = (x - columns.start) * candidates
        _minimum(left[x], right[last - x : last - x + candidates], arms[at : at + candidates])


@njit(cache=True)
@no_type_check
def _minimum(arm, others, arms):
    """arms (n,) = the smaller of arm and others (n,); uint8."""
    for i in range(arms.shape[0]):
        arms[i] = others[i] if others[i] < arm else arm


@njit(cache=True)
@no_type_check
def _row_sums(y, n, candidates, strip):
    """Row y of strip.sums and .counts, n cells of it, over the arms strip.before and .after."""
    row = strip.before.shape[0]
    at, centre = (strip.margin + y) * row, strip.margin * candidates
    before, after = strip.before[:n], strip.after[:n]
    counts = strip.counts[at : at + n]
    _sum_arms(strip.integral, strip.costs, centre, candidates, (before, after), strip.sums[at : at + n])
    if strip.gaps:
        _sum_arms(strip.integral, strip.known, centre, candidates, (before, after), counts)
    else:
        for i in range(n):
            counts[i] = counts.dtype.type(before[i] + after[i] + np.uint8(1))


@njit(cache=True)
@no_type_check
def _column_means(y, costs, none, strip, means):
    """means (n,) of row y over the arms strip.before and .after; costs (n,) are the row's before the pass."""
    n, row = costs.shape[0], strip.before.shape[0]
    centre = (strip.margin + y) * row
    before, after = strip.before[:n], strip.after[:n]
    total, cells = strip.total[:n], strip.cells[:n]
    _sum_arms(strip.integral, strip.sums, centre, row, (before, after), total)
    _sum_arms(strip.integral, strip.counts, centre, row, (before, after), cells)
    _divide(total, cells, strip.half, costs, none, means)


@njit(cache=True)
@no_type_check
def _sum_arms(integral, values, centre, stride, arms, sums):
    """sums[i] = sum of values[centre + i + k stride] over k from -before[i] to after[i]; arms = (before, after) uint8 (n,)."""
    before, after = arms
    if integral:
        _subtract_integrals(values, centre, stride, before, after, sums)
    else:
        _add_arms(values, centre, stride, before, after, sums)


@njit(cache=True)
@no_type_check
def _subtract_integrals(values, centre, stride, before, after, sums):
    """Does the same as _sum_arms, from values that are summed up along the stride."""
    number = sums.dtype.type
    for i in range(sums.shape[0]):
        at = centre + i
        sums[i] = number(values[at + np.int64(after[i]) * stride] - values[at - (np.int64(before[i]) + 1) * stride])


@njit(cache=True)
@no_type_check
def _add_arms(values, centre, stride, before, after, sums):
    """Does the same as _sum_arms, cell by cell."""
    own = values[centre:]
    for i in range(sums.shape[0]):
        sums[i] = own[i]
    _add_side(values, centre, -stride, before, sums)
    _add_side(values, centre, stride, after, sums)


@njit(cache=True)
@no_type_check
def _add_side(values, centre, stride, arms, sums):
    """Adds values[centre + i + k stride] to sums[i], k = 1 ... arms[i]; masks are factors, which LLVM vectorises."""
    number = sums.dtype.type
    for k in range(1, _largest(arms) + 1, TOGETHER):
        at = centre + k * stride
        v0, v1 = values[at:], values[at + stride :]
        v2, v3 = values[at + 2 * stride :], values[at + 3 * stride :]
        k0, k1 = np.uint8(k), np.uint8(k + 1)
        k2, k3 = np.uint8(k + 2), np.uint8(k + 3)
        for i in range(sums.shape[0]):
            near = number(arms[i] >= k0) * number(v0[i]) + number(arms[i] >= k1) * number(v1[i])
            sums[i] += near + number(arms[i] >= k2) * number(v2[i]) + number(arms[i] >= k3) * number(v3[i])


@njit(cache=True)
@no_type_check
def _largest(arms):
    """max() of uint8 (n,) in the form that LLVM vectorises."""
    largest = np.uint8(0)
    for i in range(arms.shape[0]):
        largest = arms[i] if arms[i] > largest else largest
    return np.int64(largest)


@njit(cache=True, error_model="numpy")
@no_type_check
def _divide(total, cells, half, costs, none, means):
    """means (n,) = total / cells, none where costs is; a division by 0 that need not raise an error is vectorised."""
    number, cost = half.dtype.type, means.dtype.type
    for i in range(means.shape[0]):
        mean = cost((number(total[i]) + half[0] * number(cells[i] >> np.uint16(1))) / number(cells[i]))
        means[i] = mean if costs[i] < none else none
