"""Blocks of the inverse against columns that the factor solves for."""

import numpy as np
import pytest

from firstsight.optimisation.selected_inverse import SelectedInverse
from firstsight.optimisation.sparse_cholesky import Factor
from firstsight.slam.pose_graphs.factors import State, factors_of, linearise
from firstsight.slam.pose_graphs.pose_graph import structure_of


@pytest.mark.parametrize("dimension", [2, 3])
def test_blocks_are_those_of_the_columns(synthetic, dimension):
    graph = synthetic.loops(60, dimension, noise=0.02)
    size, structure, factors = graph.tangent, structure_of(graph), factors_of(graph)
    state, ones = State(graph.world_from_node, graph.landmarks), np.ones(len(factors.relative.a))
    factor, again = (Factor(linearise(factors, state, structure, ones)[0]) for _ in range(2))
    columns = np.stack([factor.solve(unit) for unit in np.eye(structure.unknowns)], 1)
    inverted = SelectedInverse(again)

    def block(a, b):
        rows, across = (structure.offset[v] + np.arange(size) for v in (a, b))
        return columns[np.ix_(rows, across)]

    nodes, pairs = np.arange(60), np.arange(len(graph.between.a))
    expected = np.array([block(v, v) for v in nodes])
    np.testing.assert_allclose(inverted.of_vertices(nodes, size), expected, atol=1e-10 * np.abs(expected).max())
    expected = np.array([block(a, b) for a, b in zip(graph.between.a, graph.between.b, strict=True)])
    np.testing.assert_allclose(inverted.of_pairs(pairs, size), expected, atol=1e-10 * np.abs(expected).max())
