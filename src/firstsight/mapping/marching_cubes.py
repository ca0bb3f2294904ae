"""Triangles where a sampled function crosses zero.

Paper:  Lorensen, Cline. Marching Cubes: A High Resolution 3D Surface Construction Algorithm. SIGGRAPH 1987.
Idea:   eight neighbouring samples are the corners of a cube, each inside (value < 0) or outside: 256 cases. An edge whose
        ends differ holds a vertex, where the value is linear between them:
        fraction = value_a / (value_a - value_b)                                                  -> crossings()
        Each case has a list of triangles between the cube's edges                                -> case_triangles()
Differs: the paper's 15 drawn cases, turned and inverted, leave holes where neighbours disagree about a face whose corners
        alternate. Here the list is derived: on each face every inside corner is cut off from the other (so both cubes of a
        face draw the same lines), the lines join to loops, and a loop is cut into a fan that has no chord within a face.
        A cube with an unknown corner has no triangles.
Units:  positions count samples. Triangles turn counter-clockwise seen from outside.
"""

from functools import cache
from itertools import pairwise
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numba import njit

SIDE = 8  # samples along each edge of a block
SAMPLES = SIDE**3
NONE = -1
CORNERS = np.array([[corner & 1, corner >> 1 & 1, corner >> 2 & 1] for corner in range(8)], np.int64)
"""Corner c lies at its bits (x, y, z)."""
EDGES = np.array([(a, a | 1 << axis) for axis in range(3) for a in range(8) if not a >> axis & 1], np.int64)
"""The corners that an edge joins: the lower one, then its neighbour along x (edges 0-3), y (4-7) or z (8-11)."""
MAX_TRIANGLES = 5  # of any case


class Blocks(NamedTuple):
    """A sparse grid: block b holds the samples `SIDE` * place[b] + (i, j, k), in the order of i, then j, then k."""

    place: Int64[np.ndarray, "blocks 3"]
    values: Float32[np.ndarray, "blocks samples"]
    known: Bool[np.ndarray, "blocks samples"]


class Surface(NamedTuple):
    """Vertex v lies between the samples `ends[v]` (counted over all blocks), `fraction[v]` of the way to the second."""

    vertices: Float64[np.ndarray, "vertices 3"]
    faces: Int32[np.ndarray, "faces 3"]
    ends: Int64[np.ndarray, "vertices 2"]
    fraction: Float64[np.ndarray, " vertices"]


def marching_cubes(blocks: Blocks) -> Surface:
    neighbours = block_neighbours(blocks.place)
    cases = find_cases(blocks.values.ravel(), blocks.known.ravel(), neighbours)
    crossed, faces = np.unique(crossed_edges(cases, neighbours, *case_triangles()), return_inverse=True)
    vertices, ends, fraction = crossings(crossed, blocks, neighbours)
    return Surface(vertices, faces.reshape(-1, 3).astype(np.int32), ends, fraction)


@cache
def case_triangles() -> tuple[Int64[np.ndarray, "cases triangles 3"], Int64[np.ndarray, " cases"]]:
    """(the edges that each triangle of a case joins, how many triangles it has); bit c of a case: corner c is inside."""
    triangles, counts = np.full((256, MAX_TRIANGLES, 3), NONE), np.zeros(256, np.int64)
    for case in range(256):
        found = [triangle for loop in case_loops(case) for triangle in fan(loop)]
        counts[case] = len(found)
        triangles[case, : len(found)] = np.array(found).reshape(-1, 3)
    return triangles, counts


def case_loops(case: int) -> list[list[int]]:
    """The closed lines along which the surface meets the cube's faces, as the edges that they cross."""
    follows = {}
    for face in cube_faces():
        inside = [bool(case >> corner & 1) for corner in face]
        for k in range(4):
            if inside[k] and not inside[k - 1]:  # cut off the inside corners that follow one another from here
                last = next(n for n in range(k, k + 4) if not inside[(n + 1) % 4])
                follows[edge_of(face[k - 1], face[k])] = edge_of(face[last % 4], face[(last + 1) % 4])
    loops = []
    while follows:
        edge = min(follows)
        loop = []
        while edge in follows:
            loop.append(edge)
            edge = follows.pop(edge)
        loops.append(loop)
    return loops


def cube_faces() -> list[list[int]]:
    """The corners of each face, counter-clockwise seen from outside the cube."""
    faces = []
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        low = [0, v, u | v, u]
        faces += [low, [corner | 1 << axis for corner in reversed(low)]]
    return faces


def edge_of(a: int, b: int) -> int:
    return EDGES.tolist().index(sorted((a, b)))


def fan(loop: list[int]) -> list[tuple[int, int, int]]:
    """The loop in triangles that share a vertex, chosen so that no line between two of them lies within a face."""
    for start in range(len(loop)):
        first, *others = loop[start:] + loop[:start]
        if not any(share_face(first, other) for other in others[1:-1]):
            return [(first, a, b) for a, b in pairwise(others)]
    raise AssertionError(loop)


def share_face(a: int, b: int) -> bool:
    corners = {*EDGES[a].tolist(), *EDGES[b].tolist()}
    return any(corners <= set(face) for face in cube_faces())


def block_neighbours(place: Int64[np.ndarray, "blocks 3"]) -> Int64[np.ndarray, "blocks 8"]:
    """Number of the block one further along the axes of each corner's bits, NONE where there is none."""
    low = place.min(0, initial=0)
    extent = place.max(0, initial=0) - low + 2
    keys = np.ravel_multi_index(tuple((place - low).T), tuple(extent))
    order = np.argsort(keys)
    ordered = keys[order]
    neighbours = np.full((len(place), 8), NONE)
    for corner, step in enumerate(CORNERS):
        wanted = np.ravel_multi_index(tuple((place - low + step).T), tuple(extent))
        at = np.searchsorted(ordered, wanted).clip(max=len(place) - 1)
        neighbours[:, corner] = np.where(ordered[at] == wanted, order[at], NONE)
    return neighbours


@njit(cache=True)
@no_type_check
def sample_at(block, i, j, k, neighbours):
    """Number of the sample (i, j, k) of a block, each up to 8: one beyond the block. NONE where that is not stored."""
    block = neighbours[block, (i >> 3) | (j >> 3) << 1 | (k >> 3) << 2]
    return NONE if block == NONE else block * SAMPLES + ((i & 7) * SIDE + (j & 7)) * SIDE + (k & 7)


@njit(cache=True)
@no_type_check
def find_cases(values, known, neighbours):
    """The case of the cube above each sample; 0, the empty case, if a corner is unknown. values, known (samples,)."""
    cases = np.zeros(len(values), np.uint8)
    for block in range(len(neighbours)):
        for i in range(SIDE):
            for j in range(SIDE):
                for k in range(SIDE):
                    case = 0
                    for corner in range(8):
                        x, y, z = i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2)
                        sample = sample_at(block, x, y, z, neighbours)
                        if sample == NONE or not known[sample]:
                            case = 0
                            break
                        case |= (values[sample] < 0) << corner
                    cases[sample_at(block, i, j, k, neighbours)] = case
    return cases


@njit(cache=True)
@no_type_check
def crossed_edges(cases, neighbours, triangles, counts):
    """(triangles, 3): the edge of the grid on which each corner lies, 3 x its lower sample + axis."""
    total = 0
    for case in cases:
        total += counts[case]
    edges = np.empty((total, 3), np.int64)
    filled = 0
    for sample in range(len(cases)):
        case = cases[sample]
        block, i = sample // SAMPLES, sample // (SIDE * SIDE) % SIDE
        j, k = sample // SIDE % SIDE, sample % SIDE
        for n in range(counts[case]):
            for m in range(3):
                edge = triangles[case, n, m]
                corner = EDGES[edge, 0]
                x, y, z = i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2)
                edges[filled, m] = 3 * sample_at(block, x, y, z, neighbours) + edge // 4
            filled += 1
    return edges


def crossings(
    edges: Int64[np.ndarray, " edges"], blocks: Blocks, neighbours: Int64[np.ndarray, "blocks 8"]
) -> tuple[Float64[np.ndarray, "edges 3"], Int64[np.ndarray, "edges 2"], Float64[np.ndarray, " edges"]]:
    """Positions of the vertices on edges of the grid, between which samples they lie, and how far from the first."""
    lower, axis = edges // 3, edges % 3
    block, within = lower // SAMPLES, np.stack(np.unravel_index(lower % SAMPLES, (SIDE,) * 3), 1)
    step = np.eye(3, dtype=np.int64)[axis]
    beyond, rest = np.divmod(within + step, SIDE)
    upper = neighbours[block, beyond @ [1, 2, 4]] * SAMPLES + rest @ [SIDE * SIDE, SIDE, 1]
    a, b = (blocks.values.ravel()[ends].astype(np.float64) for ends in (lower, upper))
    fraction = a / (a - b)
    vertices = SIDE * blocks.place[block] + within + fraction[:, None] * step
    return vertices, np.stack([lower, upper], 1), fraction
