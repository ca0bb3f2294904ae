"""Blocks of the inverse against columns that the factor solves for."""

import numpy as np
import pytest

from firstsight.optimisation.sparse_cholesky.matrix import matrix_of
from firstsight.optimisation.sparse_cholesky.selected_inverse import SelectedInverse
from firstsight.optimisation.sparse_cholesky.solve import Factor
from firstsight.optimisation.sparse_cholesky.symbolic import analyse


def chain_with_loops(vertices: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs of neighbours, then pairs from anywhere to anywhere, of which some are given as (later, earlier)."""
    chain = np.stack([np.arange(vertices - 1), np.arange(1, vertices)], 1)
    ends = np.array([rng.choice(vertices, 2, replace=False) for _ in range(vertices // 3)])
    return np.concatenate([chain, ends])


@pytest.mark.parametrize("size", [3, 6])
def test_blocks_are_those_of_the_columns(size):
    rng = np.random.default_rng(size)
    pairs = np.unique(np.sort(chain_with_loops(60, rng), 1), axis=0)[:, :: (-1 if size == 6 else 1)]
    structure = analyse(np.ascontiguousarray(pairs), np.full(60, size))
    across = rng.normal(size=(len(pairs), size, size))
    diagonal = np.tile(100.0 * np.eye(size), (60, 1, 1))
    factor, again = (Factor(matrix_of(structure, diagonal, across)) for _ in range(2))
    columns = np.stack([factor.solve(unit) for unit in np.eye(structure.unknowns)], 1)
    inverted = SelectedInverse(again)

    def block(a, b):
        rows, beside = (structure.offset[v] + np.arange(size) for v in (a, b))
        return columns[np.ix_(rows, beside)]

    nodes = np.arange(60)
    expected = np.array([block(v, v) for v in nodes])
    np.testing.assert_allclose(inverted.of_vertices(nodes, size), expected, atol=1e-10 * np.abs(expected).max())
    expected = np.array([block(a, b) for a, b in pairs])
    assert np.abs(expected - expected.transpose(0, 2, 1)).max() > 1e-4
    found = inverted.of_pairs(np.arange(len(pairs)), size)
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
