"""The blocks of H^-1 where H has blocks, from its factor, without the rest of the inverse.

Paper:  Takahashi, Fagan, Chin. Formation of a Sparse Bus Impedance Matrix. PICA 1973;
        Erisman, Tinney. On Computing Certain Elements of the Inverse of a Sparse Matrix. CACM 18(3), 1975.
Idea:   with Sigma = H^-1 and H = U' U, U Sigma = U'^-1 is lower triangular. For a supernode with its own columns J, its
        rows R above and its panel [U1 U2]:
            G = U1^-1 U2,  Sigma_JR = -G Sigma_RR,  Sigma_JJ = U1^-1 U1'^-1 - G Sigma_RJ        -> _own_rows()
        R lies within the parent's columns and rows, so going from the root down Sigma_RR is known   -> _hand_down()
Differs: a front of Sigma goes down the tree on the two stacks on which S of the factorisation came up, in reverse.
Role:   covariances of nodes, and of the motion between two nodes that a measurement joins: for all at about the price of
        two factorisations.
Units:  those of H^-1.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit

from firstsight.optimisation.sparse_cholesky.solve import Factor
from firstsight.optimisation.sparse_cholesky.supernodes import child_lists
from firstsight.optimisation.sparse_cholesky.symbolic import Structure, block_indices, front_columns


class SelectedInverse:
    """Blocks of H^-1, in place of the factor, which is used up."""

    def __init__(self, factor: Factor, stacks: Float64[np.ndarray, "2 stack"] | None = None):
        self.structure: Structure = factor.structure
        self.panels = factor.panels
        _invert(self.structure.fronts, self.panels, np.empty((2, self.structure.stack)) if stacks is None else stacks)

    def of_vertices(self, vertices: np.ndarray, size: int) -> Float64[np.ndarray, "chosen size size"]:
        """Sigma_vv of vertices with `size` unknowns each."""
        places = self.structure.places
        blocks = self._blocks(places.vertex[vertices], places.vertex_stride[vertices], size)
        upper = np.triu(blocks)
        return upper + np.triu(blocks, 1).transpose(0, 2, 1)

    def of_pairs(self, pairs: np.ndarray, size: int) -> Float64[np.ndarray, "chosen size size"]:
        """Sigma_ab of these numbers of pairs (a, b) of the structure."""
        places = self.structure.places
        blocks = self._blocks(places.pair[pairs], places.pair_stride[pairs], size)
        return np.where(places.swapped[pairs][:, None, None], blocks.transpose(0, 2, 1), blocks)

    def _blocks(self, start: np.ndarray, stride: np.ndarray, size: int) -> np.ndarray:
        return self.panels[block_indices(start, stride, size)]


@njit(cache=True)
@no_type_check
def _own_rows(panels, at, own, width, above, full):
    """full (width, width) = Sigma of a front, from its panel [U1 U2] and above (rows, rows) = Sigma_RR."""
    rows = width - own
    for k in range(own):  # G and U1^-1, by back substitution, in full's first rows: [U1^-1 | G]
        for j in range(width):
            full[k, j] = 0.0
        full[k, k] = 1.0
        for j in range(rows):
            full[k, own + j] = panels[at + k * width + own + j]
    for k in range(own - 1, -1, -1):
        pivot = 1 / panels[at + k * width + k]
        for m in range(k + 1, own):
            share = panels[at + k * width + m]
            for j in range(m, width):
                full[k, j] -= share * full[m, j]
        for j in range(k, width):
            full[k, j] *= pivot
    inverse, g = full[:own, :own].copy(), full[:own, own:].copy()
    if rows:
        across = g @ above
        block = across @ g.T
        for k in range(own):
            for j in range(rows):
                full[k, own + j] = -across[k, j]
                full[own + j, k] = -across[k, j]
        for i in range(rows):
            for j in range(rows):
                full[own + i, own + j] = above[i, j]
    else:
        block = np.zeros((own, own))
    square = inverse @ inverse.T
    for k in range(own):
        for j in range(own):
            full[k, j] = square[k, j] + block[k, j]


@njit(cache=True)
@no_type_check
def _hand_down(full, column, rows, offset, stack, at):
    """Sigma_RR of a child, (n, n) on the stack, out of its parent's front; column is each position's first column there."""
    n = 0
    for q in rows:
        n += offset[q + 1] - offset[q]
    places, k = np.empty(n, np.int64), 0
    for q in rows:
        for i in range(offset[q + 1] - offset[q]):
            places[k] = column[q] + i
            k += 1
    for i in range(n):
        for j in range(n):
            stack[at + i * n + j] = full[places[i], places[j]]


@njit(cache=True)
@no_type_check
def _invert(fronts, panels, stacks):
    """panels (stored,), of U, become those of Sigma; stacks (2, longest) is scratch."""
    _, row_start, rows, parent, own, width, panel_start, update_start, parity, offset = fronts
    count, column = len(own), np.zeros(len(offset), np.int64)
    child, sibling = child_lists(parent)
    for s in range(count - 1, -1, -1):
        n, r = own[s], width[s] - own[s]
        begin, at = update_start[s], panel_start[s]
        full = np.empty((width[s], width[s]))
        _own_rows(panels, at, n, width[s], stacks[parity[s]][begin : begin + r * r].reshape(r, r), full)
        for k in range(n):
            for j in range(width[s]):
                panels[at + k * width[s] + j] = full[k, j]
        front_columns(fronts, s, column)
        c = child[s]
        while c >= 0:
            _hand_down(full, column, rows[row_start[c] : row_start[c + 1]], offset, stacks[parity[c]], update_start[c])
            c = sibling[c]
