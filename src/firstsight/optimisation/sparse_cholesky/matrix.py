"""A sparse symmetric matrix of blocks in the panels that its factor will take: assembling, diagonal, quadratic form."""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit

from firstsight.optimisation.sparse_cholesky.symbolic import Structure, block_indices


class Matrix(NamedTuple):
    """H of a structure: its upper triangle, in panels."""

    structure: Structure
    panels: Float64[np.ndarray, " stored"]

    def diagonal(self) -> Float64[np.ndarray, " unknowns"]:
        """The diagonal of H, in the permuted order."""
        out = np.empty(self.structure.unknowns)
        _diagonal(self.structure.fronts, self.panels, out)
        return out

    def add_diagonal(self, added: Float64[np.ndarray, " unknowns"]) -> None:
        """H + diag(added), in place."""
        _add_diagonal(self.structure.fronts, self.panels, added)

    def quadratic_form(self, x: Float64[np.ndarray, " unknowns"]) -> float:
        """x' H x."""
        return float(_quadratic_form(self.structure.fronts, self.panels, x))


def matrix_of(
    structure: Structure,
    diagonal: Float64[np.ndarray, "vertices size size"],
    across: Float64[np.ndarray, "pairs size size"],
) -> Matrix:
    """H of blocks of one size: of every vertex with itself, and of every pair, whose blocks add up."""
    panels, places = np.zeros(structure.stored), structure.places
    blocks = np.where(places.swapped[:, None, None], across.transpose(0, 2, 1), across)
    for start, stride, values in (
        (places.vertex, places.vertex_stride, diagonal),
        (places.pair, places.pair_stride, blocks),
    ):
        np.add.at(panels, block_indices(start, stride, diagonal.shape[1]), values)
    return Matrix(structure, panels)


@njit(cache=True)
@no_type_check
def _quadratic_form(fronts, panels, x):
    """x' H x, from panels (stored,) before they are factored; x (unknowns,)."""
    first, _, _, _, own, width, panel_start, _, _, offset = fronts
    gathered, total = np.empty(largest(width)), 0.0
    for s in range(len(own)):
        n, begin = own[s], offset[first[s]]
        gathered[:n] = x[begin : begin + n]
        gather_rows(fronts, s, x, gathered)
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


@njit(cache=True)
@no_type_check
def gather_rows(fronts, s, x, gathered):
    """Fills in gathered[own:width] from x (unknowns,): the unknowns of the rows of front s, which other fronts own."""
    row_start, rows, offset = fronts[1], fronts[2], fronts[9]
    local = fronts[4][s]
    for k in range(row_start[s], row_start[s + 1]):
        for i in range(offset[rows[k]], offset[rows[k] + 1]):
            gathered[local] = x[i]
            local += 1


@njit(cache=True)
@no_type_check
def largest(values):
    """The largest of numbers that are not negative. numpy's own takes seconds to compile."""
    found = 0
    for value in values:
        found = max(found, value)
    return found
