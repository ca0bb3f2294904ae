"""How the cameras' equations are solved: full where they are few or most share points, else sparse."""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit
from scipy.linalg import get_lapack_funcs

from firstsight.optimisation.bundle.schur import MIN_SCALE, Entries, Layout, full_layout
from firstsight.optimisation.sparse_cholesky.matrix import Matrix
from firstsight.optimisation.sparse_cholesky.solve import Factor, NotPositiveError
from firstsight.optimisation.sparse_cholesky.symbolic import Structure, analyse, fill

# unknowns, up to which the cameras' equations are always solved full
SMALL_SYSTEM = 400
# of the full triangle, up to which the sparse factor pays
SPARSE_SHARE = 0.5
POSV = get_lapack_funcs("posv", dtype=np.float64)


class Across(NamedTuple):
    """Where blocks between two others lie in S: those of cameras with their lenses, and of cameras that are tied.

    Block k has the rows of `first[k]` and the columns of `second[k]`, exchanged if `swapped`.
    """

    first: Int64[np.ndarray, " across"]
    second: Int64[np.ndarray, " across"]
    start: Int64[np.ndarray, " across"]
    stride: Int64[np.ndarray, " across"]
    swapped: Bool[np.ndarray, " across"]


class System(NamedTuple):
    """Where all blocks lie. `structure` is None where the equations are solved full."""

    layout: Layout
    across: Across
    structure: Structure | None


def system_of(
    entries: Entries,
    size: Int64[np.ndarray, " blocks"],
    across: Int64[np.ndarray, "across 2"],
    small_system: int = SMALL_SYSTEM,
) -> System:
    """Chooses how blocks of these sizes are solved; `across` are the pairs that meet in more than points."""
    first, second = np.ascontiguousarray(across.T)
    if size.sum() > small_system:
        slots = np.diff(entries.start)
        pair = np.empty(int((slots * (slots - 1) // 2).sum()), np.int64)
        pairs = _pairs(*entries, len(size), np.argsort(entries.block, kind="stable"), pair)
        structure = analyse(np.concatenate([pairs, across]), size)
        if small_system == 0 or fill(structure) <= SPARSE_SHARE * size.sum() ** 2 / 2:
            places, count = structure.places, len(pairs)
            of_pairs = (places.pair, places.pair_stride, places.swapped)
            layout = Layout(size, structure.offset, *places[:2], 0, pair, *(values[:count] for values in of_pairs))
            return System(layout, Across(first, second, *(values[count:] for values in of_pairs)), structure)
    layout = full_layout(size)
    start = layout.offset[np.minimum(first, second)] * layout.width + layout.offset[np.maximum(first, second)]
    return System(layout, Across(first, second, start, np.full(len(first), layout.width), first > second), None)


def damped_matrix(
    system: System,
    by_block: Float64[np.ndarray, "blocks 6 6"],
    by_across: Float64[np.ndarray, "across 6 6"],
    damping: float,
) -> tuple[Float64[np.ndarray, " stored"], Float64[np.ndarray, " unknowns"]]:
    """The numbers of B + damping D, and D, the diagonal of B."""
    layout, structure = system.layout, system.structure
    values = np.zeros(structure.stored if structure else layout.width**2)
    scale = np.empty(int(layout.size.sum()))
    _assemble(values, scale, layout, system.across, by_block, by_across, float(damping))
    return values, scale


def solve(
    system: System, values: Float64[np.ndarray, " stored"], right: Float64[np.ndarray, " unknowns"]
) -> Float64[np.ndarray, " unknowns"] | None:
    """S^-1 right, S being used up; None where S is not positive definite."""
    if system.structure:
        try:
            return Factor(Matrix(system.structure, values)).solve(right)
        except NotPositiveError:
            return None
    width = system.layout.width
    if not width:
        return right
    # the upper triangle, as LAPACK stores a lower one
    _, solution, failed = POSV(values.reshape(width, width).T, right, lower=1, overwrite_a=1)
    return None if failed else solution


@njit(cache=True)
@no_type_check
def _pairs(start, block, blocks, by_block, pair):
    """(pairs, 2) of blocks a < b that share a point; fills in `pair` (slots), as of schur.Layout.

    `by_block` are the entries in the order of their blocks.
    """
    point, slot = np.empty(len(block), np.int64), np.empty(len(block), np.int64)  # slot: of entry i with i + 1
    count = 0
    for p in range(len(start) - 1):
        for i in range(start[p], start[p + 1]):
            point[i], slot[i] = p, count
            count += start[p + 1] - i - 1
    first, second = np.empty(1024, np.int64), np.empty(1024, np.int64)
    mark, known, count = np.full(blocks, -1), np.empty(blocks, np.int64), 0
    for i in by_block:
        a = block[i]
        for j in range(i + 1, start[point[i] + 1]):
            b = block[j]
            if mark[b] != a:
                if count == len(first):
                    first, second = _doubled(first), _doubled(second)
                mark[b], known[b] = a, count
                first[count], second[count] = a, b
                count += 1
            pair[slot[i] + j - i - 1] = known[b]
    pairs = np.empty((count, 2), np.int64)
    for k in range(count):
        pairs[k, 0], pairs[k, 1] = first[k], second[k]
    return pairs


@njit(cache=True)
@no_type_check
def _doubled(values):
    out = np.empty(2 * len(values), np.int64)
    for k in range(len(values)):
        out[k] = values[k]
    return out


@njit(cache=True)
@no_type_check
def _assemble(values, scale, layout, across, by_block, by_across, damping):
    """values = B + damping D, scale (unknowns,) = D."""
    size, offset = layout[0], layout[1]
    start, stride = layout[2], layout[3]
    for b in range(len(size)):
        for r in range(size[b]):
            for c in range(size[b]):
                values[start[b] + r * stride[b] + c] += by_block[b, r, c]
            scale[offset[b] + r] = by_block[b, r, r] + MIN_SCALE
            values[start[b] + r * (stride[b] + 1)] += damping * scale[offset[b] + r]
    first, second, start, stride, swapped = across
    for k in range(len(start)):
        for r in range(size[first[k]]):
            for c in range(size[second[k]]):
                column, row = (r, c) if swapped[k] else (c, r)
                values[start[k] + row * stride[k] + column] += by_across[k, r, c]
