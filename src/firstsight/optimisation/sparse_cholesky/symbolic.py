"""What of a sparse Cholesky factor depends only on where the blocks are: fronts, panels, and places in them.

Solves H x = b for a symmetric positive matrix of small dense blocks, most of which are zero.

Paper:  Duff, Reid. The Multifrontal Solution of Indefinite Sparse Symmetric Linear Equations. ACM TOMS 9(3), 1983;
        Liu. The Multifrontal Method for Sparse Matrix Solution. SIAM Review 34(1), 1992.
Idea:   H = U' U with U upper triangular, P H P' for an order P with little fill            -> elimination_order.py
        parent(j) = first row below the diagonal of column j of U'                          -> elimination_tree()
        struct(j) = (A_j and the struct of all children of j) without j                     -> column_structures()
        neighbouring columns of equal struct form a supernode, and a child joins its parent where that stores few zeros
                                                                              -> supernodes.py, supernodes(), joined()
        each supernode has a dense front [P1 P2; . S] over its own columns and its rows               -> numeric.py
        U' y = b, then U x = y, one panel at a time                                                   -> solve.py
Differs: vertices of different sizes (poses, landmarks) are blocks of different sizes. H is assembled straight into the
        panels that are factored in place. S of a front lies on one of two stacks, by the depth of the supernode being
        even or odd: then all that is read was written last, and nothing moves.
Units:  whatever H has. All float64.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Int64
from numba import njit

from firstsight.optimisation.sparse_cholesky.elimination_order import adjacency, minimum_degree
from firstsight.optimisation.sparse_cholesky.supernodes import (
    NO_PARENT,
    column_structures,
    elimination_tree,
    group_order,
    inverted,
    joined,
    postorder,
    supernodes,
)


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
    swapped: Bool[np.ndarray, " pairs"]


class Structure(NamedTuple):
    """All of a sparse matrix but its values. `offset[v]` is where vertex v's unknowns begin in a permuted vector."""

    fronts: Fronts
    places: Places
    offset: Int64[np.ndarray, " vertices"]
    unknowns: int
    stored: int
    stack: int


def analyse(
    pairs: Int64[np.ndarray, "pairs 2"],
    size: Int64[np.ndarray, " vertices"],
    order: Int64[np.ndarray, " vertices"] | None = None,
) -> Structure:
    """The structure of a matrix with a block for every vertex and every pair; without `order`, minimum degree."""
    graph = adjacency(pairs, len(size))
    order = minimum_degree(graph, size) if order is None else order
    parent = elimination_tree(*graph, order)
    order = order[postorder(parent)]
    parent = elimination_tree(*graph, order)
    column_start, columns = column_structures(*graph, order, parent)
    group = joined(*supernodes(column_start, parent), column_start, columns, parent, size[order])
    renumbered, first, last = group_order(group, parent)
    fronts, stored, stack = _fronts(renumbered, first, last, column_start, columns, parent, size[order])
    order = order[renumbered]
    position = np.empty(len(size), np.int64)
    position[order] = np.arange(len(size))
    places = Places(*_places(fronts, position, pairs))
    return Structure(fronts, places, fronts.offset[:-1][position], int(size.sum()), stored, stack)


def block_indices(
    start: Int64[np.ndarray, " blocks"], stride: Int64[np.ndarray, " blocks"], size: int
) -> Int64[np.ndarray, "blocks size size"]:
    """Where the numbers of square blocks lie in the panels."""
    k = np.arange(size)
    return start[:, None, None] + stride[:, None, None] * k[:, None] + k


def fill(structure: Structure) -> int:
    """Numbers of U that may differ from zero, stored zeros of joined supernodes included."""
    own, width = structure.fronts.own, structure.fronts.width
    return int((own * width - own * (own - 1) // 2).sum())


@no_type_check
def _fronts(renumbered, first, last, column_start, columns, parent, size):
    """(Fronts, numbers stored, length of a stack)."""
    position = inverted(renumbered)
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


@njit(cache=True)
@no_type_check
def front_columns(fronts, s, column):
    """Fills in column (positions,): where each position of front s begins among the front's columns."""
    first, row_start = fronts[0], fronts[1]
    rows, offset = fronts[2], fronts[9]
    for q in range(first[s], first[s + 1]):
        column[q] = offset[q] - offset[first[s]]
    local = fronts[4][s]
    for k in range(row_start[s], row_start[s + 1]):
        column[rows[k]] = local
        local += offset[rows[k] + 1] - offset[rows[k]]
