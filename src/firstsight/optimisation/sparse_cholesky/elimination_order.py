"""An order in which to eliminate the vertices of a graph so that few new edges arise (fill).

Paper:  Amestoy, Davis, Duff. An Approximate Minimum Degree Ordering Algorithm. SIAM J. Matrix Analysis 17(4), 1996.
Idea:   eliminating a vertex joins its neighbours to a clique. The clique is kept as an element with its list of vertices,
        so the graph never grows (quotient graph). The vertex with the fewest neighbours goes next, where
        d_i <= |A_i| + |L_p| + sum_e |L_e \\ L_p|: neighbours left, the newest element p, the other elements e of i
        elements of the vertex that was eliminated become part of its element (absorption)            -> _new_element()
        all |L_e \\ L_p| are found in one pass over the elements of the vertices of L_p               -> _outside_counts()
        vertices without neighbours outside L_p go with the pivot (mass elimination)                      -> _update()
        vertices with the same neighbours become one (found by a hash)                                 -> _merge_twins()
Differs: lists of elements are appended to a growing pool, without garbage collection; no special case for dense rows.
        A vertex counts by its number of unknowns.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Int64
from numba import njit


class Adjacency(NamedTuple):
    """Neighbours of vertex i are `neighbours[start[i]:start[i + 1]]`: every edge twice, no vertex beside itself."""

    start: Int64[np.ndarray, " vertices_and_1"]
    neighbours: Int64[np.ndarray, " ends"]


class Quotient(NamedTuple):
    """The graph during elimination, arrays (vertices,) but for `adjacent` (ends,).

    Vertex i lists `length[i]` numbers from `adjacent[start[i]]` on: first its elements, `elements[i]` of them, then
    vertices. Its weight is negative while it lies in the newest element, and 0 when it is eliminated or part of another.
    Element e lists its vertices from `list_start[e]` to `list_end[e]` in the pool; its weight is -1 when absorbed.
    """

    start: np.ndarray
    length: np.ndarray
    elements: np.ndarray
    adjacent: np.ndarray
    weight: np.ndarray
    degree: np.ndarray
    list_start: np.ndarray
    list_end: np.ndarray
    list_weight: np.ndarray


def adjacency(pairs: Int64[np.ndarray, "pairs 2"], vertices: int) -> Adjacency:
    """Of an undirected graph; pairs may repeat."""
    return Adjacency(*_adjacency(np.ascontiguousarray(pairs), vertices))


def minimum_degree(graph: Adjacency, weight: Int64[np.ndarray, " vertices"]) -> Int64[np.ndarray, " vertices"]:
    """The vertices in their order of elimination; `weight` is the number of unknowns of each."""
    return _minimum_degree(graph.start, graph.neighbours.copy(), weight.copy())


@njit(cache=True)
@no_type_check
def _adjacency(pairs, vertices):
    """The fields of Adjacency; pairs (m, 2) int64."""
    start = np.zeros(vertices + 1, np.int64)
    for a, b in pairs:
        if a != b:
            start[a + 1] += 1
            start[b + 1] += 1
    start = np.cumsum(start)
    end, neighbours = start[:-1].copy(), np.empty(start[-1], np.int64)
    for a, b in pairs:
        if a != b:
            neighbours[end[a]], neighbours[end[b]] = b, a
            end[a] += 1
            end[b] += 1
    mark, write = np.full(vertices, -1), 0
    for i in range(vertices):
        begin = start[i]
        start[i] = write
        for k in range(begin, end[i]):
            if mark[neighbours[k]] != i:
                mark[neighbours[k]] = i
                neighbours[write] = neighbours[k]
                write += 1
    start[vertices] = write
    return start, neighbours[:write].copy()


@njit(cache=True)
@no_type_check
def _insert(lists, i, degree):
    """Puts vertex i at the head of its degree's list; lists (3, n + 1) int64 = first of a degree, next, previous."""
    first, after, before = lists[0], lists[1], lists[2]
    head = first[degree]
    after[i], before[i], first[degree] = head, -1, i
    if head >= 0:
        before[head] = i


@njit(cache=True)
@no_type_check
def _remove(lists, i, degree):
    first, after, before = lists[0], lists[1], lists[2]
    if before[i] >= 0:
        after[before[i]] = after[i]
    else:
        first[degree] = after[i]
    if after[i] >= 0:
        before[after[i]] = before[i]


@njit(cache=True)
@no_type_check
def _new_element(p, quotient, pool, end, lists):
    """Writes L_p to pool[end:], takes its vertices off the degree lists and marks them by negative weights.

    Returns (new end, its weight). The elements of p are absorbed: their weight of L becomes -1.
    """
    elements, adjacent, weight = quotient.elements, quotient.adjacent, quotient.weight
    list_start, list_end, list_weight = quotient.list_start, quotient.list_end, quotient.list_weight
    total, first = 0, quotient.start[p]
    for k in range(first, first + quotient.length[p]):
        is_element = k < first + elements[p]
        e = adjacent[k]
        low, high = (list_start[e], list_end[e]) if is_element else (k, k + 1)
        for m in range(low, high):
            i = pool[m] if is_element else adjacent[m]
            if weight[i] > 0:
                total += weight[i]
                weight[i] = -weight[i]
                pool[end] = i
                end += 1
                _remove(lists, i, quotient.degree[i])
        if is_element:
            list_weight[e] = -1
    return end, total


@njit(cache=True)
@no_type_check
def _outside_counts(members, quotient, outside, stamp):
    """outside[e] - stamp = weight of L_e without L_p, for every element e of the vertices of L_p."""
    start, adjacent, list_weight = quotient.start, quotient.adjacent, quotient.list_weight
    for i in members:
        for k in range(start[i], start[i] + quotient.elements[i]):
            e = adjacent[k]
            if list_weight[e] >= 0:
                if outside[e] < stamp:
                    outside[e] = list_weight[e] + stamp
                outside[e] += quotient.weight[i]  # which is negative


@njit(cache=True)
@no_type_check
def _update(i, p, quotient, outside, stamp):
    """Drops from the lists of vertex i what L_p covers and adds p; returns (its neighbours outside L_p, hash)."""
    adjacent, length, elements = quotient.adjacent, quotient.length, quotient.elements
    weight, list_weight = quotient.weight, quotient.list_weight
    first, write = quotient.start[i], quotient.start[i]
    count, key = 0, 0
    for k in range(first, first + elements[i]):
        e = adjacent[k]
        if list_weight[e] >= 0:
            if outside[e] > stamp:
                count += outside[e] - stamp
                key += e
                adjacent[write] = e
                write += 1
            else:
                list_weight[e] = -1  # lies within L_p
    kept, read = write - first, first + elements[i]
    for k in range(read, first + length[i]):
        j = adjacent[k]
        if weight[j] > 0:
            count += weight[j]
            key += j
            adjacent[write] = j
            write += 1
    adjacent[write] = adjacent[first + kept]
    adjacent[first + kept] = adjacent[first]
    adjacent[first] = p
    elements[i], length[i] = kept + 1, write - first + 1
    return count, key + p


@njit(cache=True)
@no_type_check
def _same(i, j, quotient, mark, stamp):
    start, length = quotient.start, quotient.length
    elements, adjacent = quotient.elements, quotient.adjacent
    if length[i] != length[j] or elements[i] != elements[j]:
        return False
    for k in range(start[i], start[i] + length[i]):
        mark[adjacent[k]] = stamp
    same = True
    for k in range(start[j], start[j] + length[j]):
        same = same and mark[adjacent[k]] == stamp
    return same


@njit(cache=True)
@no_type_check
def _merge_twins(members, keys, quotient, within, chains, mark, stamp):
    """Vertices of L_p that cannot be told from another become part of it; returns the new stamp.

    chains (2, n) = the first vertex of each hash, -1 between calls, and the next vertex of the same hash.
    """
    weight, first, after = quotient.weight, chains[0], chains[1]
    for m in range(len(members)):
        i, slot = members[m], keys[m] % len(first)
        j = first[slot] if weight[i] != 0 else -1
        while j >= 0:
            stamp += 1
            if _same(i, j, quotient, mark, stamp):
                weight[j] += weight[i]
                weight[i], within[i] = 0, j
                break
            j = after[j]
        if weight[i] != 0:
            after[i], first[slot] = first[slot], i
    for key in keys:
        first[key % len(first)] = -1
    return stamp


@njit(cache=True)
@no_type_check
def _by_pivot(pivots, within):
    """The order of all vertices: each pivot, then those that became part of it; within (n,) -1 for pivots."""
    first, after = np.full(len(within), -1), np.full(len(within), -1)
    for i in range(len(within)):
        root = i
        while within[root] >= 0:
            root = within[root]
        if root != i:
            after[i], first[root] = first[root], i
    order, count = np.empty(len(within), np.int64), 0
    for p in pivots:
        order[count] = p
        count += 1
        i = first[p]
        while i >= 0:
            order[count] = i
            count, i = count + 1, after[i]
    return order


@njit(cache=True)
@no_type_check
def _minimum_degree(start, adjacent, weight):
    """(n + 1,), (ends,), (n,) int64 -> order (n,) int64; adjacent and weight are used up."""
    vertices, total = len(weight), weight.sum()
    length, elements = start[1:] - start[:-1], np.zeros(vertices, np.int64)
    list_start, list_end = np.zeros(vertices, np.int64), np.zeros(vertices, np.int64)
    list_weight, degree = np.zeros(vertices, np.int64), np.zeros(vertices, np.int64)
    quotient = Quotient(start, length, elements, adjacent, weight, degree, list_start, list_end, list_weight)
    lists = np.full((3, max(total, vertices) + 1), -1)
    for i in range(vertices):
        for k in range(start[i], start[i + 1]):
            degree[i] += weight[adjacent[k]]
        _insert(lists, i, degree[i])
    outside, mark, within = np.zeros(vertices, np.int64), np.zeros(vertices, np.int64), np.full(vertices, -1)
    pool, end = np.empty(4 * len(adjacent) + vertices, np.int64), np.int64(0)
    pivots, count = np.empty(vertices, np.int64), 0
    eliminated, lowest = 0, 0
    stamp, mark_stamp = np.int64(1), np.int64(0)  # literals would compile everything twice
    keys, chains = np.empty(vertices, np.int64), np.full((2, vertices), -1)
    while eliminated < total:
        while lists[0, lowest] < 0:
            lowest += 1
        p = lists[0, lowest]
        _remove(lists, p, degree[p])
        pivots[count] = p
        count += 1
        eliminated += weight[p]
        weight[p] = -weight[p]
        if end + vertices > len(pool):
            grown = np.empty(2 * len(pool) + vertices, np.int64)
            grown[:end] = pool[:end]
            pool = grown
        begin = end
        end, element_weight = _new_element(p, quotient, pool, end, lists)
        weight[p] = 0
        members = pool[begin:end]
        _outside_counts(members, quotient, outside, stamp)
        for m in range(len(members)):
            i = members[m]
            beyond, keys[m] = _update(i, p, quotient, outside, stamp)
            if beyond == 0:
                eliminated -= weight[i]
                element_weight += weight[i]
                weight[i], within[i] = 0, p
            else:
                degree[i] = min(degree[i], beyond)
        mark_stamp = _merge_twins(members, keys[: len(members)], quotient, within, chains, mark, mark_stamp)
        stamp += total + 1
        end = begin
        for i in members:
            if weight[i] < 0:
                weight[i] = -weight[i]
                degree[i] = max(min(degree[i] + element_weight - weight[i], total - eliminated - weight[i]), 0)
                _insert(lists, i, degree[i])
                lowest = min(lowest, degree[i])
                pool[end] = i
                end += 1
        list_start[p], list_end[p], list_weight[p] = begin, end, element_weight
    return _by_pivot(pivots[:count], within)
