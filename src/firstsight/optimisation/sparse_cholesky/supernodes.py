"""Which columns of a sparse factor are kept together: its elimination tree, the rows of its columns, and supernodes.

Source: Liu, The Role of Elimination Trees in Sparse Factorization, SIAM J. Matrix Analysis 11(1), 1990 (tree, postorder);
Ashcraft, Grimes, The Influence of Relaxed Supernode Partitions on the Multifrontal Method, ACM TOMS 15(4), 1989 (joining).
All indices are int64; a graph is given as of `elimination_order.Adjacency`.
"""

from typing import no_type_check

import numpy as np
from numba import njit

# share of zeros in a joined supernode's panel
MAX_SHARE_OF_ZEROS = 0.1
# unknowns, up to which a child joins its parent whatever the zeros
SMALL_SUPERNODE = 12
NO_PARENT = -1


@njit(cache=True)
@no_type_check
def inverted(order):
    """The position (n,) of each element of an order (n,)."""
    position = np.empty(len(order), np.int64)
    for k in range(len(order)):
        position[order[k]] = k
    return position


@njit(cache=True)
@no_type_check
def elimination_tree(start, neighbours, order):
    """parent (n,) of positions, NO_PARENT for roots. Source: Liu 1986, with path compression."""
    position = inverted(order)
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
def child_lists(parent):
    """(first child (n,), next sibling (n,)) of each node of a forest, in ascending order; -1 where there is none."""
    child, sibling = np.full(len(parent), -1), np.full(len(parent), -1)
    for j in range(len(parent) - 1, -1, -1):
        if parent[j] >= 0:
            sibling[j], child[parent[j]] = child[parent[j]], j
    return child, sibling


@njit(cache=True)
@no_type_check
def postorder(parent):
    """Children before parents and each subtree together; (n,) int64."""
    n = len(parent)
    child, sibling = child_lists(parent)
    order, stack = np.empty(n, np.int64), np.empty(n, np.int64)
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
def column_structures(start, neighbours, order, parent):
    """(column_start (n + 1,), columns): the sorted rows below the diagonal of each column, in positions."""
    n, position = len(order), inverted(order)
    column_start, columns, end = np.zeros(n + 1, np.int64), np.empty(4 * len(neighbours) + n, np.int64), 0
    child, sibling = child_lists(parent)
    mark = np.full(n, -1)
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
    return column_start, columns[:end].copy()


@njit(cache=True)
@no_type_check
def supernodes(column_start, parent):
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
def joined(first, last, column_start, columns, parent, size):
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
        if total <= SMALL_SUPERNODE or new <= MAX_SHARE_OF_ZEROS * stored:
            joined[c], zeros[p], own[p] = p, new, total
    for j in range(len(parent) - 1, -1, -1):
        g = group[j]
        while joined[g] >= 0:
            g = joined[g]
        group[j] = g
    return group


@njit(cache=True)
@no_type_check
def group_order(group, parent):
    """(order (n,) of positions with groups together and children first, first position of each group, last old one)."""
    n = len(group)
    above = np.full(n, -1)
    for g in range(n):
        if group[g] == g and parent[g] >= 0:
            above[g] = group[parent[g]]
    rank = np.full(n, -1)
    first, last, count = np.zeros(n + 1, np.int64), np.empty(n, np.int64), 0
    for g in postorder(above):
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
