"""The numbers of a sparse Cholesky factor, front by front.

Idea:   front = its part of H + sum of S of the children   (extend-add)                  -> _extend_add()
        P1 = chol(P1),  P2 = P1'^-1 P2,  S = S - P2' P2                          -> _factor_panel(), _downdate()
Source: as of symbolic.py.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from firstsight.optimisation.sparse_cholesky.supernodes import child_lists
from firstsight.optimisation.sparse_cholesky.symbolic import front_columns

# rows of a panel that are finished before they are taken from the rows below
STRIP = 48
# rows, below which products are written out instead of left to BLAS
SMALL_PRODUCT = 48

# Dense matrices below lie in flat arrays: `at` is where the first row begins, `stride` the way to the next. Slices of flat
# arrays are known to be contiguous, so that loops over them are vectorised.


@njit(cache=True, fastmath=True)
@no_type_check
def rank_one(out, a, row):
    """out -= a row, over vectors of one length."""
    for j in range(len(out)):
        out[j] -= a * row[j]


@njit(cache=True, fastmath=True)
@no_type_check
def _two_rank_three(out, other, p, i, stride, length):
    """The rows of S for columns i and i + 1 of P2, less the products of three rows of it.

    p[i] is the first row's entry of column i; out and other (length,) are for the columns from i + 1 on.
    """
    second, third = i + stride, i + 2 * stride
    a0, a1, a2 = p[i], p[second], p[third]
    b0, b1, b2 = p[i + 1], p[second + 1], p[third + 1]
    row0, row1 = p[i + 1 : i + 1 + length], p[second + 1 : second + 1 + length]
    row2 = p[third + 1 : third + 1 + length]
    for j in range(length):
        x, y, z = row0[j], row1[j], row2[j]
        out[j] -= a0 * x + a1 * y + a2 * z
        other[j] -= b0 * x + b1 * y + b2 * z


@njit(cache=True, fastmath=True)
@no_type_check
def _two_rank_six(out, other, p, i, stride, length):
    """As `_two_rank_three`, with six rows of P2."""
    i1, i2, i3 = i + stride, i + 2 * stride, i + 3 * stride
    i4, i5 = i + 4 * stride, i + 5 * stride
    a0, a1, a2 = p[i], p[i1], p[i2]
    a3, a4, a5 = p[i3], p[i4], p[i5]
    b0, b1, b2 = p[i + 1], p[i1 + 1], p[i2 + 1]
    b3, b4, b5 = p[i3 + 1], p[i4 + 1], p[i5 + 1]
    row0, row1, row2 = p[i + 1 : i + 1 + length], p[i1 + 1 : i1 + 1 + length], p[i2 + 1 : i2 + 1 + length]
    row3, row4, row5 = p[i3 + 1 : i3 + 1 + length], p[i4 + 1 : i4 + 1 + length], p[i5 + 1 : i5 + 1 + length]
    for j in range(length):
        x, y, z = row0[j], row1[j], row2[j]
        u, v, w = row3[j], row4[j], row5[j]
        out[j] -= a0 * x + a1 * y + a2 * z + a3 * u + a4 * v + a5 * w
        other[j] -= b0 * x + b1 * y + b2 * z + b3 * u + b4 * v + b5 * w


@njit(cache=True)
@no_type_check
def _downdate(s, s_at, s_stride, rows, p, p_at, p_stride, own, r):
    """S -= P2' P2 on the upper triangle of its first `rows` rows; P2 has `own` rows of r columns."""
    if own < SMALL_PRODUCT or rows < SMALL_PRODUCT:
        _downdate_by_rows(s, s_at, s_stride, rows, p, p_at, p_stride, own, r)
        return
    for begin in range(0, rows, STRIP):
        high = min(STRIP, rows - begin)
        tall, wide = np.empty((own, high)), np.empty((own, r - begin))
        for k in range(own):
            at = p_at + k * p_stride + begin
            tall[k], wide[k] = p[at : at + high], p[at : at + r - begin]
        product = np.dot(tall.T, wide)
        for i in range(high):
            at = s_at + (begin + i) * s_stride + begin
            rank_one(s[at : at + r - begin], 1.0, product[i])


@njit(cache=True, fastmath=True)
@no_type_check
def _downdate_by_rows(s, s_at, s_stride, rows, p, p_at, p_stride, own, r):
    """As `_downdate`, for matrices so small that a call to BLAS costs more than it saves."""
    for i in range(0, rows - 1, 2):
        diagonal, length, k = s_at + i * s_stride + i, r - i - 1, 0
        out = s[diagonal + 1 : diagonal + 1 + length]
        other = s[diagonal + s_stride + 1 : diagonal + s_stride + 1 + length]
        for m in range(own):
            s[diagonal] -= p[p_at + m * p_stride + i] ** 2
        while k + 6 <= own:
            _two_rank_six(out, other, p, p_at + k * p_stride + i, p_stride, length)
            k += 6
        while k + 3 <= own:
            _two_rank_three(out, other, p, p_at + k * p_stride + i, p_stride, length)
            k += 3
        while k < own:
            at = p_at + k * p_stride + i
            rank_one(out, p[at], p[at + 1 : at + 1 + length])
            rank_one(other, p[at + 1], p[at + 1 : at + 1 + length])
            k += 1
    if rows % 2:
        i = rows - 1
        last = s_at + i * s_stride + i
        for m in range(own):
            at = p_at + m * p_stride + i
            rank_one(s[last : last + r - i], p[at], p[at : at + r - i])


@njit(cache=True)
@no_type_check
def _factor_panel(panels, at, own, width):
    """[P1 P2] in place; returns the row whose pivot is not positive, or -1. Parts of STRIP, then of three rows:

    each is finished, then taken from all rows below at once.
    """
    for begin in range(0, own, STRIP):
        end = min(begin + STRIP, own)
        for k in range(begin, end, 3):
            block = min(3, end - k)
            for m in range(k, k + block):
                row = panels[at + m * width + m : at + (m + 1) * width]
                for e in range(k, m):
                    before = at + e * width + m
                    rank_one(row, panels[before], panels[before : before + width - m])
                if not row[0] > 0:
                    return m
                row *= 1 / np.sqrt(row[0])
            after = k + block
            _downdate_by_rows(
                panels, at + after * width + after, width, end - after,
                panels, at + k * width + after, width, block, width - after,
            )  # fmt: skip
        _downdate(
            panels, at + end * width + end, width, own - end,
            panels, at + begin * width + end, width, end - begin, width - end,
        )  # fmt: skip
    return -1


@njit(cache=True)
@no_type_check
def _extend_add(child, child_at, rows, offset, column, panels, panel_at, width, update, update_at, own):
    """Adds a child's S to the panel and S of its parent; column (n,) is each position's first column there.

    Unknowns of one position, and of positions that follow each other in both, lie together: they are added as runs.
    """
    runs, from_column, to_column = 0, np.empty(len(rows) + 1, np.int64), np.empty(len(rows) + 1, np.int64)
    local, expected = 0, -1
    for q in rows:
        if column[q] != expected:
            from_column[runs], to_column[runs] = local, column[q]
            runs += 1
        local += offset[q + 1] - offset[q]
        expected = column[q] + offset[q + 1] - offset[q]
    from_column[runs] = local
    for a in range(runs):
        for i in range(from_column[a], from_column[a + 1]):
            row = to_column[a] + i - from_column[a]
            if row < own:
                target, row_at = panels, panel_at + row * width
            else:
                target, row_at = update, update_at + (row - own) * (width - own) - own
            for b in range(a, runs):
                begin = max(from_column[b], i)
                length, source = from_column[b + 1] - begin, child_at + i * local + begin
                to = row_at + to_column[b] + begin - from_column[b]
                rank_one(target[to : to + length], -1.0, child[source : source + length])


@njit(cache=True)
@no_type_check
def factor(fronts, panels, stacks):
    """Factors panels (stored,) in place; stacks (2, longest) float64. Returns a position that failed, or -1."""
    first, row_start, rows, parent, own, width, panel_start, update_start, parity, offset = fronts
    count, column = len(own), np.zeros(len(offset), np.int64)
    child, sibling = child_lists(parent)
    for s in range(count):
        n, r, begin = own[s], width[s] - own[s], update_start[s]
        update = stacks[parity[s]]
        update[begin : begin + r * r] = 0
        front_columns(fronts, s, column)
        c = child[s]
        while c >= 0:
            _extend_add(
                stacks[parity[c]], update_start[c], rows[row_start[c] : row_start[c + 1]], offset, column,
                panels, panel_start[s], width[s], update, begin, n,
            )  # fmt: skip
            c = sibling[c]
        failed = _factor_panel(panels, panel_start[s], n, width[s])
        if failed >= 0:
            q = first[s]
            while offset[q + 1] - offset[first[s]] <= failed:
                q += 1
            return q
        _downdate(update, begin, r, r, panels, panel_start[s] + n, width[s], n, r)
    return -1
