"""Normal equations of cameras and points, with the points eliminated, inside compiled loops.

    [B  E ] [x]     [g_c]          S = B - E C^-1 E',   s = g_c - E C^-1 g_p,   S x = -s      -> eliminate_points()
    [E' C ] [X] = - [g_p]          X = -C^-1 (g_p + E' x)                                    -> substitute_back()

B and S consist of blocks, one for a camera or for what several cameras share (a lens); C has one block of 3 x 3 for each
point. An entry joins a point with a block: E is kept as the entries' blocks, transposed, (3, MAX_BLOCK) each, of which
a block of n unknowns uses n columns.
S is an array of numbers of which only the upper triangle counts. A block begins at `start` and its next row `stride`
numbers later, be it in a full matrix or in the panels of a sparse one.
Source: Triggs, McLauchlan, Hartley, Fitzgibbon, Bundle Adjustment - A Modern Synthesis (1999), section 6.1.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit

# in place of the number of a block that is not solved for
HELD = -1
MAX_BLOCK = 6
# what the damping is taken of where the equations say nothing of an unknown
MIN_SCALE = 1e-12


class Entries(NamedTuple):
    """Entries `start[p]:start[p + 1]` join point p with blocks `block[...]`, which differ and ascend."""

    start: Int64[np.ndarray, " points_and_1"]
    block: Int64[np.ndarray, " entries"]


def entries_of(
    point: Int64[np.ndarray, " pairs"], block: Int64[np.ndarray, " pairs"], blocks: int, points: int
) -> tuple[Entries, Int64[np.ndarray, " pairs"]]:
    """The entries of pairs of a point and a block, in any order and number; and each pair's entry, HELD as its block is."""
    free = block != HELD
    unique, back = np.unique(point[free] * blocks + block[free], return_inverse=True)
    entry = np.full(len(block), HELD)
    entry[free] = back
    of_point, of_block = np.divmod(unique, max(blocks, 1))
    return Entries(np.concatenate([[0], np.cumsum(np.bincount(of_point, minlength=points))]), of_block), entry


class Layout(NamedTuple):
    """Where the blocks lie: `offset` in a vector, `start` and `stride` in S.

    In a full matrix (`width` > 0, its row) that is all. Else the k-th pair of entries, counted point by point over
    i < j, lies where `pair[k]` says by `pair_start` and `pair_stride`, with rows and columns exchanged if `swapped`.
    """

    size: Int64[np.ndarray, " blocks"]
    offset: Int64[np.ndarray, " blocks"]
    start: Int64[np.ndarray, " blocks"]
    stride: Int64[np.ndarray, " blocks"]
    width: int
    pair: Int64[np.ndarray, " slots"]
    pair_start: Int64[np.ndarray, " pairs"]
    pair_stride: Int64[np.ndarray, " pairs"]
    swapped: Bool[np.ndarray, " pairs"]


def full_layout(size: Int64[np.ndarray, " blocks"]) -> Layout:
    """Blocks in their order in a full matrix, row by row."""
    offset, width, nothing = np.cumsum(size) - size, int(size.sum()), np.zeros(0, np.int64)
    strides = np.full(len(size), width)
    return Layout(size, offset, offset * (width + 1), strides, width, nothing, nothing, nothing, nothing.astype(bool))


class Eliminated(NamedTuple):
    """C^-1 and what is left of the gradient, for `substitute_back`."""

    point_inverse: Float64[np.ndarray, "points 3 3"]
    gradient: Float64[np.ndarray, " unknowns"]


def eliminate_points(
    values: Float64[np.ndarray, " stored"],
    gradient: Float64[np.ndarray, " unknowns"],
    layout: Layout,
    entries: Entries,
    by_both: Float64[np.ndarray, "entries 3 6"],
    by_point: Float64[np.ndarray, "points 3 3"],
    point_gradient: Float64[np.ndarray, "points 3"],
    damping: int | float,
) -> Eliminated:
    """Turns B, in `values`, into S in place. C's diagonal is taken times 1 + damping."""
    point_inverse, reduced = np.empty_like(by_point), gradient.copy()
    _damped_inverses(by_point, float(damping), point_inverse)
    _eliminate(values, reduced, layout, entries, by_both, point_inverse, point_gradient)
    return Eliminated(point_inverse, reduced)


def substitute_back(
    step: Float64[np.ndarray, " unknowns"],
    layout: Layout,
    entries: Entries,
    by_both: Float64[np.ndarray, "entries 3 6"],
    point_inverse: Float64[np.ndarray, "points 3 3"],
    point_gradient: Float64[np.ndarray, "points 3"],
) -> Float64[np.ndarray, "points 3"]:
    """The points' step that goes with the blocks' step."""
    shift = np.empty_like(point_gradient)
    _substitute_back(step, layout.size, layout.offset, entries, by_both, point_inverse, point_gradient, shift)
    return shift


@njit(cache=True)
@no_type_check
def _damped_inverses(by_point, damping, out):
    """out[p] = (C_p with its diagonal times 1 + damping)^-1, by cofactors; all (points, 3, 3)."""
    for p in range(len(by_point)):
        a01, a02, a12 = by_point[p, 0, 1], by_point[p, 0, 2], by_point[p, 1, 2]
        a00 = by_point[p, 0, 0] + damping * by_point[p, 0, 0] + MIN_SCALE
        a11 = by_point[p, 1, 1] + damping * by_point[p, 1, 1] + MIN_SCALE
        a22 = by_point[p, 2, 2] + damping * by_point[p, 2, 2] + MIN_SCALE
        c00, c01, c02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
        c11, c12, c22 = a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01
        d = 1 / (a00 * c00 + a01 * c01 + a02 * c02)
        out[p, 0, 0], out[p, 0, 1], out[p, 0, 2] = c00 * d, c01 * d, c02 * d
        out[p, 1, 0], out[p, 1, 1], out[p, 1, 2] = c01 * d, c11 * d, c12 * d
        out[p, 2, 0], out[p, 2, 1], out[p, 2, 2] = c02 * d, c12 * d, c22 * d


@njit(cache=True)
@no_type_check
def _subtract_product(values, start, stride, left, i, rows, right, j, columns):
    """The block at start -= left[i]' right[j]; the common case written so that the compiler can unroll it."""
    if rows == 6 and columns == 6:
        for r in range(6):
            a, b, c = left[i, 0, r], left[i, 1, r], left[i, 2, r]
            at = start + r * stride
            for k in range(6):
                values[at + k] -= a * right[j, 0, k] + b * right[j, 1, k] + c * right[j, 2, k]
        return
    for r in range(rows):
        a, b, c = left[i, 0, r], left[i, 1, r], left[i, 2, r]
        at = start + r * stride
        for k in range(columns):
            values[at + k] -= a * right[j, 0, k] + b * right[j, 1, k] + c * right[j, 2, k]


@njit(cache=True)
@no_type_check
def _eliminate(values, gradient, layout, entries, by_both, point_inverse, point_gradient):
    """values -= E C^-1 E' and gradient -= E C^-1 g_p, point by point over pairs of its entries."""
    size, offset, start, stride, width, pair, pair_start, pair_stride, swapped = layout
    first, block = entries
    through, slot = np.empty((1, 3, MAX_BLOCK)), 0  # through: (E_i C^-1)'
    for p in range(len(first) - 1):
        for i in range(first[p], first[p + 1]):
            a = block[i]
            for k in range(3):
                u, v, w = point_inverse[p, k, 0], point_inverse[p, k, 1], point_inverse[p, k, 2]
                for r in range(size[a]):
                    through[0, k, r] = u * by_both[i, 0, r] + v * by_both[i, 1, r] + w * by_both[i, 2, r]
            for r in range(size[a]):
                for k in range(3):
                    gradient[offset[a] + r] -= through[0, k, r] * point_gradient[p, k]
            _subtract_product(values, start[a], stride[a], through, 0, size[a], by_both, i, size[a])
            for j in range(i + 1, first[p + 1]):
                b = block[j]
                if width > 0:
                    at = offset[a] * width + offset[b]
                    _subtract_product(values, at, width, through, 0, size[a], by_both, j, size[b])
                    continue
                k = pair[slot]
                slot += 1
                if swapped[k]:
                    _subtract_product(values, pair_start[k], pair_stride[k], by_both, j, size[b], through, 0, size[a])
                else:
                    _subtract_product(values, pair_start[k], pair_stride[k], through, 0, size[a], by_both, j, size[b])


@njit(cache=True)
@no_type_check
def _substitute_back(step, size, offset, entries, by_both, point_inverse, point_gradient, out):
    """out (points, 3) = -C^-1 (g_p + E' step)."""
    first, block = entries
    for p in range(len(first) - 1):
        u, v, w = point_gradient[p, 0], point_gradient[p, 1], point_gradient[p, 2]
        for i in range(first[p], first[p + 1]):
            at = offset[block[i]]
            for r in range(size[block[i]]):
                u += by_both[i, 0, r] * step[at + r]
                v += by_both[i, 1, r] * step[at + r]
                w += by_both[i, 2, r] * step[at + r]
        for k in range(3):
            out[p, k] = -(point_inverse[p, k, 0] * u + point_inverse[p, k, 1] * v + point_inverse[p, k, 2] * w)
