"""Factors a sparse matrix and solves with the factor."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit

from firstsight.optimisation.sparse_cholesky.matrix import Matrix, gather_rows, largest
from firstsight.optimisation.sparse_cholesky.numeric import factor, rank_one


class NotPositiveError(ArithmeticError):
    """The matrix is not positive definite; `vertex` is where elimination found out."""

    def __init__(self, vertex: int):
        super().__init__(f"not positive definite at vertex {vertex}")
        self.vertex = vertex


class Factor:
    """U of H = U' U, in place of the panels of H."""

    def __init__(self, matrix: Matrix, stacks: Float64[np.ndarray, "2 stack"] | None = None):
        """Factors the matrix, which is used up. Raises NotPositiveError. `stacks` is scratch, to be used again."""
        self.structure, self.panels = matrix
        stacks = np.empty((2, self.structure.stack)) if stacks is None else stacks
        failed = factor(self.structure.fronts, self.panels, stacks)
        if failed >= 0:
            raise NotPositiveError(int(np.argmax(self.structure.offset == self.structure.fronts.offset[failed])))

    def solve(self, right: Float64[np.ndarray, " unknowns"]) -> Float64[np.ndarray, " unknowns"]:
        """H^-1 right, both in the permuted order."""
        x = right.copy()
        _solve(self.structure.fronts, self.panels, x)
        return x


@njit(cache=True, fastmath=True)
@no_type_check
def _solve(fronts, panels, x):
    """x (unknowns,) becomes the solution: forward through the supernodes, then back."""
    first, row_start, rows, _, own, width, panel_start, _, _, offset = fronts
    gathered = np.empty(largest(width))
    for s in range(len(own)):
        n, begin = own[s], offset[first[s]]
        gathered[:n], gathered[n : width[s]] = x[begin : begin + n], 0
        for k in range(n):
            row = panels[panel_start[s] + k * width[s] + k : panel_start[s] + (k + 1) * width[s]]
            gathered[k] /= row[0]
            rank_one(gathered[k + 1 : width[s]], gathered[k], row[1:])
        x[begin : begin + n] = gathered[:n]
        local = n
        for k in range(row_start[s], row_start[s + 1]):
            for i in range(offset[rows[k]], offset[rows[k] + 1]):
                x[i] += gathered[local]
                local += 1
    for s in range(len(own) - 1, -1, -1):
        n, begin = own[s], offset[first[s]]
        gather_rows(fronts, s, x, gathered)
        for k in range(n - 1, -1, -1):
            row = panels[panel_start[s] + k * width[s] + k : panel_start[s] + (k + 1) * width[s]]
            known, total = gathered[k + 1 : width[s]], x[begin + k]
            for j in range(len(known)):
                total -= row[1 + j] * known[j]
            gathered[k] = total / row[0]
            x[begin + k] = gathered[k]
