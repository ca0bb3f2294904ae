"""Solves H x = b for a symmetric positive matrix of small dense blocks, most of which are zero.

Paper:  Duff, Reid. The Multifrontal Solution of Indefinite Sparse Symmetric Linear Equations. ACM TOMS 9(3), 1983;
        Liu. The Multifrontal Method for Sparse Matrix Solution. SIAM Review 34(1), 1992.
Idea:   H = U' U with U upper triangular, P H P' for an order P with little fill            -> elimination_order.py
        parent(j) = first row below the diagonal of column j of U'                          -> _elimination_tree()
        struct(j) = (A_j and the struct of all children of j) without j                      -> _column_structures()
        neighbouring columns of equal struct form a supernode, and a child joins its parent where that stores few zeros
                                                                                             -> _supernodes(), _joined()
        each supernode has a dense front [P1 P2; . S] over its own columns and its rows:
            front = its part of H + sum of S of the children   (extend-add)                  -> _extend_add()
            P1 = chol(P1),  P2 = P1'^-1 P2,  S = S - P2' P2                                   -> _factor_panel(), _downdate()
        U' y = b, then U x = y, one panel at a time                                          -> _solve()
        What depends only on where the blocks are is computed once                           -> analyse()
Differs: vertices of different sizes (poses, landmarks) are blocks of different sizes. H is assembled straight into the
        panels that are factored in place. S of a front lies on one of two stacks, by the depth of the supernode being
        even or odd: then all that is read was written last, and nothing moves.
Units:  whatever H has. All float64.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from firstsight.optimisation.elimination_order import adjacency, minimum_degree

LARGEST_SHARE_OF_ZEROS = 0.1  # of a joined supernode's panel
SMALL_SUPERNODE = 12  # unknowns, up to which a child joins whatever the zeros
NO_PARENT = -1
STRIP = 48  # rows of a panel that are finished before they are taken from the rows below
SMALL_PRODUCT = 48  # rows, below which products are written out instead of left to BLAS


class Fronts(NamedTuple):
    """The supernodes, children before parents, in the order of elimination; positions count vertices in that order.

    Supernode s owns positions `first[s]:first[s + 1]`; its rows are positions `rows[row_start[s]:row_start[s + 1]]`.
    Its panel is `panels[panel_start[s]:panel_start[s + 1]]`, `own[s]` rows of `width[s]` unknowns, row by row.
    `update_start[s]` is where its S begins on the stack of its depth's parity, `parity[s]`.
    """

    first: Int64[np.ndarray, " supernodes_and_1"]
    row_start: Int64[np.ndarray, " supernodes_and_1"]
    rows: Int64[np.ndarray, " rows"]
    parent: Int64[np.ndarray, " supernodes"]
    own: Int64[np.ndarray, " supernodes"]
    width: Int64[np.ndarray, " supernodes"]
    panel_start: Int64[np.ndarray, " supernodes_and_1"]
    update_start: Int64[np.ndarray, " supernodes"]
    parity: Int64[np.ndarray, " supernodes"]
    offset: Int64[np.ndarray, " positions_and_1"]


class Places(NamedTuple):
    """Where the block of a vertex with itself, or of a pair, begins in the panels, and the length of a panel row.

    A pair's block has the rows of the vertex that is eliminated first; `swapped` says that this is the second one.
    """

    vertex: Int64[np.ndarray, " vertices"]
    vertex_stride: Int64[np.ndarray, " vertices"]
    pair: Int64[np.ndarray, " pairs"]
    pair_stride: Int64[np.ndarray, " pairs"]
    swapped: np.ndarray


class Structure(NamedTuple):
    """All of a sparse matrix but its values. `offset[v]` is where vertex v's unknowns begin in a permuted vector."""

    fronts: Fronts
    places: Places
    offset: Int64[np.ndarray, " vertices"]
    unknowns: int
    stored: int
    stack: int


class NotPositiveError(ArithmeticError):
    """The matrix is not positive definite; `vertex` is where elimination found out."""

    def __init__(self, vertex: int):
        super().__init__(f"not positive definite at vertex {vertex}")
        self.vertex = vertex


def analyse(
    pairs: Int64[np.ndarray, "pairs 2"],
    size: Int64[np.ndarray, " vertices"],
    order: Int64[np.ndarray, " vertices"] | None = None,
) -> Structure:
    """The structure of a matrix with a block for every vertex and every pair; without `order`, minimum degree."""
    graph = adjacency(pairs, len(size))
    order = minimum_degree(graph, size) if order is None else order
    parent = _elimination_tree(*graph, order)
    order = order[_postorder(parent)]
    parent = _elimination_tree(*graph, order)
    column_start, columns = _column_structures(*graph, order, parent)
    group = _joined(*_supernodes(column_start, parent), column_start, columns, parent, size[order])
    renumbered, first, last = _group_order(group, parent)
    fronts, stored, stack = _fronts(renumbered, first, last, column_start, columns, parent, size[order])
    order = order[renumbered]
    position = np.empty(len(size), np.int64)
    position[order] = np.arange(len(size))
    places = Places(*_places(fronts, position, pairs))
    return Structure(fronts, places, fronts.offset[:-1][position], int(size.sum()), stored, stack)


class Matrix(NamedTuple):
    """H of a structure: its upper triangle, in panels."""

    structure: Structure
    panels: Float64[np.ndarray, " stored"]

    def diagonal(self) -> Float64[np.ndarray, " unknowns"]:
        out = np.empty(self.structure.unknowns)
        _diagonal(self.structure.fronts, self.panels, out)
        return out

    def plus_diagonal(
        self, added: Float64[np.ndarray, " unknowns"], panels: Float64[np.ndarray, " stored"] | None = None
    ) -> "Matrix":
        """H + diag(added), in the given array or a new one."""
        panels = np.empty_like(self.panels) if panels is None else panels
        panels[:] = self.panels
        _add_diagonal(self.structure.fronts, panels, added)
        return Matrix(self.structure, panels)

    def quadratic_form(self, x: Float64[np.ndarray, " unknowns"]) -> float:
        """x' H x."""
        return float(_quadratic_form(self.structure.fronts, self.panels, x))


def matrix_of(
    structure: Structure,
    diagonal: Float64[np.ndarray, "vertices size size"],
    across: Float64[np.ndarray, "pairs size size"],
) -> Matrix:
    """H of blocks of one size: of every vertex with itself, and of every pair, whose blocks add up."""
    panels, places, size = np.zeros(structure.stored), structure.places, np.arange(diagonal.shape[1])
    blocks = np.where(places.swapped[:, None, None], across.transpose(0, 2, 1), across)
    for start, stride, values in (
        (places.vertex, places.vertex_stride, diagonal),
        (places.pair, places.pair_stride, blocks),
    ):
        np.add.at(panels, start[:, None, None] + stride[:, None, None] * size[:, None] + size, values)
    return Matrix(structure, panels)


class Factor:
    """U of H = U' U, in place of the panels of H."""

    def __init__(self, matrix: Matrix, stacks: Float64[np.ndarray, "2 stack"] | None = None):
        """Factors the matrix, which is used up. Raises NotPositiveError. `stacks` is scratch, to be used again."""
        self.structure, self.panels = matrix
        stacks = np.empty((2, self.structure.stack)) if stacks is None else stacks
        failed = _factor(self.structure.fronts, self.panels, stacks)
        if failed >= 0:
            raise NotPositiveError(int(np.argmax(self.structure.offset == self.structure.fronts.offset[failed])))

    def solve(self, right: Float64[np.ndarray, " unknowns"]) -> Float64[np.ndarray, " unknowns"]:
        """H^-1 right, both in the permuted order."""
        x = right.copy()
        _solve(self.structure.fronts, self.panels, x)
        return x


def fill(structure: Structure) -> int:
    """Numbers of U that may differ from zero, stored zeros of joined supernodes included."""
    own, width = structure.fronts.own, structure.fronts.width
    return int((own * width - own * (own - 1) // 2).sum())


@njit(cache=True)
@no_type_check
def _largest(values):
    """Of numbers that are not negative. numpy's own takes seconds to compile."""
    largest = 0
    for value in values:
        largest = max(largest, value)
    return largest


@njit(cache=True)
@no_type_check
def _inverted(order):
    position = np.empty(len(order), np.int64)
    for k in range(len(order)):
        position[order[k]] = k
    return position


@njit(cache=True)
@no_type_check
def _elimination_tree(start, neighbours, order):
    """parent (n,) of positions, NO_PARENT for roots. Source: Liu 1986, with path compression."""
    position = _inverted(order)
    parent, ancestor = np.full(len(order), -1), np.full(len(order), -1)
    for j in range(len(order)):
        for k in range(start[order[j]], start[order[j] + 1]):
            i = position[neighbours[k]]
            while i < j and i != -1:
                above = ancestor[i]
                ancestor[i] = j
                if above == -1:
                    parent[i] = j
                i = above if above != j else -1
    return parent


@njit(cache=True)
@no_type_check
def _postorder(parent):
    """Children before parents and each subtree together; (n,) int64."""
    n = len(parent)
    child, sibling = np.full(n, -1), np.full(n, -1)
    order, stack = np.empty(n, np.int64), np.empty(n, np.int64)
    for j in range(n - 1, -1, -1):
        if parent[j] >= 0:
            sibling[j], child[parent[j]] = child[parent[j]], j
    count = 0
    for root in range(n):
        if parent[root] >= 0:
            continue
        stack[0], top = root, 1
        while top > 0:
            j = stack[top - 1]
            if child[j] >= 0:
                stack[top], child[j] = child[j], sibling[child[j]]
                top += 1
            else:
                order[count] = j
                count, top = count + 1, top - 1
    return order


@njit(cache=True)
@no_type_check
def _column_structures(start, neighbours, order, parent):
    """(column_start (n + 1,), columns): the sorted rows below the diagonal of each column, in positions."""
    n, position = len(order), _inverted(order)
    column_start, columns, end = np.zeros(n + 1, np.int64), np.empty(4 * len(neighbours) + n, np.int64), 0
    child, sibling, mark = np.full(n, -1), np.full(n, -1), np.full(n, -1)
    for j in range(n):
        if end + n > len(columns):
            grown = np.empty(2 * len(columns) + n, np.int64)
            grown[:end] = columns[:end]
            columns = grown
        begin, mark[j] = end, j
        for k in range(start[order[j]], start[order[j] + 1]):
            i = position[neighbours[k]]
            if i > j:
                mark[i], columns[end] = j, i
                end += 1
        c = child[j]
        while c >= 0:
            for k in range(column_start[c], column_start[c + 1]):
                i = columns[k]
                if mark[i] != j:
                    mark[i], columns[end] = j, i
                    end += 1
            c = sibling[c]
        columns[begin:end].sort()
        column_start[j + 1] = end
        if parent[j] >= 0:
            sibling[j], child[parent[j]] = child[parent[j]], j
    return column_start, columns[:end].copy()


@njit(cache=True)
@no_type_check
def _supernodes(column_start, parent):
    """(first (s,), last (s,)): runs of positions where each column's rows are the next position and its rows."""
    n = len(parent)
    length = column_start[1:] - column_start[:-1]
    first, last, count = np.empty(n, np.int64), np.empty(n, np.int64), 0
    for j in range(n):
        if j == 0 or parent[j - 1] != j or length[j - 1] != length[j] + 1:
            first[count] = j
            count += 1
        last[count - 1] = j
    return first[:count].copy(), last[:count].copy()


@njit(cache=True)
@no_type_check
def _joined(first, last, column_start, columns, parent, size):
    """group (n,) of each position: the last position of its supernode, after children have joined their parents."""
    group = np.empty(len(parent), np.int64)
    own, rows, zeros = np.zeros_like(group), np.zeros_like(group), np.zeros_like(group)  # by last position
    joined = np.full(len(parent), -1)
    for s in range(len(first)):
        for j in range(first[s], last[s] + 1):
            group[j] = last[s]
            own[last[s]] += size[j]
        for k in range(column_start[last[s]], column_start[last[s] + 1]):
            rows[last[s]] += size[columns[k]]
    for s in range(len(first)):  # children come first, so what joins a child has joined it before the child joins
        c = last[s]
        if parent[c] < 0:
            continue
        p = group[parent[c]]
        new = zeros[c] + zeros[p] + own[c] * (own[p] + rows[p] - rows[c])
        total = own[c] + own[p]
        stored = total * (total + 1) // 2 + total * rows[p]
        if total <= SMALL_SUPERNODE or new <= LARGEST_SHARE_OF_ZEROS * stored:
            joined[c], zeros[p], own[p] = p, new, total
    for j in range(len(parent) - 1, -1, -1):
        g = group[j]
        while joined[g] >= 0:
            g = joined[g]
        group[j] = g
    return group


@njit(cache=True)
@no_type_check
def _group_order(group, parent):
    """(order (n,) of positions with groups together and children first, first position of each group, last old one)."""
    n = len(group)
    above = np.full(n, -1)
    for g in range(n):
        if group[g] == g and parent[g] >= 0:
            above[g] = group[parent[g]]
    rank = np.full(n, -1)
    first, last, count = np.zeros(n + 1, np.int64), np.empty(n, np.int64), 0
    for g in _postorder(above):
        if group[g] == g:
            rank[g], last[count] = count, g
            count += 1
    for j in range(n):
        first[rank[group[j]] + 1] += 1
    first[: count + 1] = np.cumsum(first[: count + 1])
    fill, order = first[:count].copy(), np.empty(n, np.int64)
    for j in range(n):
        order[fill[rank[group[j]]]] = j
        fill[rank[group[j]]] += 1
    return order, first[: count + 1].copy(), last[:count].copy()


@no_type_check
def _fronts(renumbered, first, last, column_start, columns, parent, size):
    """(Fronts, numbers stored, length of a stack)."""
    position = _inverted(renumbered)
    row_start = np.concatenate([[0], np.cumsum(column_start[last + 1] - column_start[last])])
    rows = _renumbered_rows(position, last, column_start, columns, row_start)
    offset = np.concatenate([[0], np.cumsum(size[renumbered])])
    member = np.repeat(np.arange(len(last)), np.diff(first))
    above = np.where(parent[last] >= 0, member[position[parent[last]]], NO_PARENT)
    own = offset[first[1:]] - offset[first[:-1]]
    row_sizes = np.concatenate([[0], np.cumsum(size[renumbered][rows])])
    width = own + row_sizes[row_start[1:]] - row_sizes[row_start[:-1]]
    panel_start = np.concatenate([[0], np.cumsum(own * width)])
    update_start, parity, stack = _stacks(above, width - own)
    fronts = Fronts(first, row_start, rows, above, own, width, panel_start, update_start, parity, offset)
    return fronts, int(panel_start[-1]), int(stack)


@njit(cache=True)
@no_type_check
def _renumbered_rows(position, last, column_start, columns, row_start):
    rows = np.empty(row_start[-1], np.int64)
    for s in range(len(last)):
        here = rows[row_start[s] : row_start[s + 1]]
        for k in range(len(here)):
            here[k] = position[columns[column_start[last[s]] + k]]
        here.sort()
    return rows


@njit(cache=True)
@no_type_check
def _stacks(parent, update):
    """(update_start (s,), parity (s,), longest stack) for updates of `update` (s,) rows each."""
    n = len(parent)
    parity, start, children = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for s in range(n - 1, -1, -1):
        parity[s] = 1 - parity[parent[s]] if parent[s] >= 0 else 0
    tops, longest = np.zeros(2, np.int64), 0
    for s in range(n):
        tops[1 - parity[s]] -= children[s]
        start[s] = tops[parity[s]]
        tops[parity[s]] += update[s] ** 2
        longest = max(longest, tops[parity[s]])
        if parent[s] >= 0:
            children[parent[s]] += update[s] ** 2
    return start, parity, longest


@njit(cache=True)
@no_type_check
def _places(fronts, position, pairs):
    """The fields of Places, for each vertex and each pair (m, 2)."""
    first, row_start, rows, _, own, width, panel_start, _, _, offset = fronts
    n = len(position)
    supernode = np.empty(n, np.int64)
    for s in range(len(own)):
        supernode[first[s] : first[s + 1]] = s
    vertex, vertex_stride = np.empty(n, np.int64), np.empty(n, np.int64)
    for v in range(n):
        s = supernode[position[v]]
        local = offset[position[v]] - offset[first[s]]
        vertex_stride[v] = width[s]
        vertex[v] = panel_start[s] + local * width[s] + local
    row_column = np.empty(len(rows), np.int64)  # where each row of a supernode begins among its columns
    for s in range(len(own)):
        column = own[s]
        for k in range(row_start[s], row_start[s + 1]):
            row_column[k] = column
            column += offset[rows[k] + 1] - offset[rows[k]]
    pair, pair_stride, swapped = np.empty(len(pairs), np.int64), np.empty(len(pairs), np.int64), pairs[:, 0] < 0
    for m in range(len(pairs)):
        a, b = position[pairs[m, 0]], position[pairs[m, 1]]
        swapped[m] = a > b
        a, b = min(a, b), max(a, b)
        s = supernode[a]
        if supernode[b] == s:
            column = offset[b] - offset[first[s]]
        else:
            column = row_column[row_start[s] + np.searchsorted(rows[row_start[s] : row_start[s + 1]], b)]
        pair_stride[m] = width[s]
        pair[m] = panel_start[s] + (offset[a] - offset[first[s]]) * width[s] + column
    return vertex, vertex_stride, pair, pair_stride, swapped


# Dense matrices below lie in flat arrays: `at` is where the first row begins, `stride` the way to the next. Slices of flat
# arrays are known to be contiguous, so that loops over them are vectorised.


@njit(cache=True, fastmath=True)
@no_type_check
def _rank_one(out, a, row):
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
    a0, a1, a2, b0, b1, b2 = p[i], p[second], p[third], p[i + 1], p[second + 1], p[third + 1]
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
    i1, i2, i3, i4, i5 = i + stride, i + 2 * stride, i + 3 * stride, i + 4 * stride, i + 5 * stride
    a0, a1, a2, a3, a4, a5 = p[i], p[i1], p[i2], p[i3], p[i4], p[i5]
    b0, b1, b2, b3, b4, b5 = p[i + 1], p[i1 + 1], p[i2 + 1], p[i3 + 1], p[i4 + 1], p[i5 + 1]
    row0, row1, row2 = p[i + 1 : i + 1 + length], p[i1 + 1 : i1 + 1 + length], p[i2 + 1 : i2 + 1 + length]
    row3, row4, row5 = p[i3 + 1 : i3 + 1 + length], p[i4 + 1 : i4 + 1 + length], p[i5 + 1 : i5 + 1 + length]
    for j in range(length):
        x, y, z, u, v, w = row0[j], row1[j], row2[j], row3[j], row4[j], row5[j]
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
            _rank_one(s[at : at + r - begin], 1.0, product[i])


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
            _rank_one(out, p[at], p[at + 1 : at + 1 + length])
            _rank_one(other, p[at + 1], p[at + 1 : at + 1 + length])
            k += 1
    if rows % 2:
        i = rows - 1
        last = s_at + i * s_stride + i
        for m in range(own):
            at = p_at + m * p_stride + i
            _rank_one(s[last : last + r - i], p[at], p[at : at + r - i])


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
                    _rank_one(row, panels[before], panels[before : before + width - m])
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
                _rank_one(target[to : to + length], -1.0, child[source : source + length])


@njit(cache=True)
@no_type_check
def _factor(fronts, panels, stacks):
    """Factors panels (stored,) in place; stacks (2, longest) float64. Returns a position that failed, or -1."""
    first, row_start, rows, parent, own, width, panel_start, update_start, parity, offset = fronts
    count = len(own)
    child, sibling = np.full(count, -1), np.full(count, -1)
    column = np.zeros(len(offset), np.int64)
    for s in range(count):
        n, r, begin = own[s], width[s] - own[s], update_start[s]
        update = stacks[parity[s]]
        update[begin : begin + r * r] = 0
        for q in range(first[s], first[s + 1]):
            column[q] = offset[q] - offset[first[s]]
        local = n
        for k in range(row_start[s], row_start[s + 1]):
            column[rows[k]] = local
            local += offset[rows[k] + 1] - offset[rows[k]]
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
        if parent[s] >= 0:
            sibling[s], child[parent[s]] = child[parent[s]], s
    return -1


@njit(cache=True, fastmath=True)
@no_type_check
def _solve(fronts, panels, x):
    """x (unknowns,) becomes the solution: forward through the supernodes, then back."""
    first, row_start, rows, _, own, width, panel_start, _, _, offset = fronts
    gathered = np.empty(_largest(width))
    for s in range(len(own)):
        n, begin = own[s], offset[first[s]]
        gathered[:n], gathered[n : width[s]] = x[begin : begin + n], 0
        for k in range(n):
            row = panels[panel_start[s] + k * width[s] + k : panel_start[s] + (k + 1) * width[s]]
            gathered[k] /= row[0]
            _rank_one(gathered[k + 1 : width[s]], gathered[k], row[1:])
        x[begin : begin + n] = gathered[:n]
        local = n
        for k in range(row_start[s], row_start[s + 1]):
            for i in range(offset[rows[k]], offset[rows[k] + 1]):
                x[i] += gathered[local]
                local += 1
    for s in range(len(own) - 1, -1, -1):
        n, begin, local = own[s], offset[first[s]], own[s]
        for k in range(row_start[s], row_start[s + 1]):
            for i in range(offset[rows[k]], offset[rows[k] + 1]):
                gathered[local] = x[i]
                local += 1
        for k in range(n - 1, -1, -1):
            row = panels[panel_start[s] + k * width[s] + k : panel_start[s] + (k + 1) * width[s]]
            known, total = gathered[k + 1 : width[s]], x[begin + k]
            for j in range(len(known)):
                total -= row[1 + j] * known[j]
            gathered[k] = total / row[0]
            x[begin + k] = gathered[k]


@njit(cache=True)
@no_type_check
def _quadratic_form(fronts, panels, x):
    """x' H x, from panels (stored,) before they are factored; x (unknowns,)."""
    first, row_start, rows, _, own, width, panel_start, _, _, offset = fronts
    gathered, total = np.empty(_largest(width)), 0.0
    for s in range(len(own)):
        n, begin, local = own[s], offset[first[s]], own[s]
        gathered[:n] = x[begin : begin + n]
        for k in range(row_start[s], row_start[s + 1]):
            for i in range(offset[rows[k]], offset[rows[k] + 1]):
                gathered[local] = x[i]
                local += 1
        for k in range(n):
            at = panel_start[s] + k * width[s]
            along = panels[at + k] * gathered[k] / 2
            for j in range(k + 1, width[s]):
                along += panels[at + j] * gathered[j]
            total += 2 * gathered[k] * along
    return total


@njit(cache=True)
@no_type_check
def _diagonal(fronts, panels, out):
    """out (unknowns,) = the diagonal of H."""
    first, _, _, _, own, width, panel_start, _, _, offset = fronts
    for s in range(len(own)):
        for k in range(own[s]):
            out[offset[first[s]] + k] = panels[panel_start[s] + k * width[s] + k]


@njit(cache=True)
@no_type_check
def _add_diagonal(fronts, panels, added):
    """H + diag(added), in place; added (unknowns,)."""
    first, _, _, _, own, width, panel_start, _, _, offset = fronts
    for s in range(len(own)):
        for k in range(own[s]):
            panels[panel_start[s] + k * width[s] + k] += added[offset[first[s]] + k]
