"""The sparse solver against dense numpy, and the order of elimination against the plain definition of fill."""

import numpy as np
import pytest

from firstsight.optimisation.sparse_cholesky.elimination_order import adjacency, minimum_degree
from firstsight.optimisation.sparse_cholesky.matrix import Matrix, matrix_of
from firstsight.optimisation.sparse_cholesky.solve import Factor, NotPositiveError
from firstsight.optimisation.sparse_cholesky.symbolic import Structure, analyse, fill


def random_system(seed: int) -> tuple[np.ndarray, Matrix, np.ndarray]:
    """(dense H, H, places of the vertices' unknowns in permuted order); pairs repeat, sizes differ."""
    rng = np.random.default_rng(seed)
    vertices = int(rng.integers(1, 60))
    pairs = rng.integers(0, vertices, (int(rng.integers(0, 3 * vertices)), 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    size = rng.integers(1, 7, vertices)
    structure = analyse(pairs, size)
    start = np.concatenate([[0], np.cumsum(size)])
    dense, panels, places = np.zeros((start[-1], start[-1])), np.zeros(structure.stored), structure.places

    def put(at: int, stride: int, block: np.ndarray) -> None:
        for r, row in enumerate(block):
            panels[at + r * stride : at + r * stride + len(row)] += row

    for k, (a, b) in enumerate(pairs):
        block = rng.normal(size=(size[a], size[b]))
        dense[start[a] : start[a + 1], start[b] : start[b + 1]] += block
        dense[start[b] : start[b + 1], start[a] : start[a + 1]] += block.T
        put(places.pair[k], places.pair_stride[k], block.T if places.swapped[k] else block)
    heavy = np.abs(dense).sum(1) + 1
    for v in range(vertices):
        put(places.vertex[v], places.vertex_stride[v], np.diag(heavy[start[v] : start[v + 1]]))
    dense += np.diag(heavy)
    permuted = np.concatenate([structure.offset[v] + np.arange(size[v]) for v in range(vertices)])
    return dense, Matrix(structure, panels), permuted


@pytest.mark.parametrize("seed", range(25))
def test_solution_is_that_of_numpy(seed):
    dense, matrix, places = random_system(seed)
    right = np.random.default_rng(seed).normal(size=len(dense))
    permuted = np.empty_like(right)
    permuted[places] = right
    np.testing.assert_allclose(matrix.quadratic_form(permuted), right @ dense @ right, rtol=1e-12)
    np.testing.assert_allclose(matrix.diagonal()[places], np.diag(dense), rtol=1e-14)
    added = matrix._replace(panels=matrix.panels.copy())
    added.add_diagonal(np.ones_like(right))
    damped = Factor(added).solve(permuted)[places]
    np.testing.assert_allclose(damped, np.linalg.solve(dense + np.eye(len(dense)), right), atol=1e-11)
    np.testing.assert_allclose(Factor(matrix).solve(permuted)[places], np.linalg.solve(dense, right), atol=1e-11)


def grid(side: int) -> tuple[np.ndarray, int]:
    number = np.arange(side * side).reshape(side, side)
    right = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], 1)
    down = np.stack([number[:-1].ravel(), number[1:].ravel()], 1)
    return np.concatenate([right, down]), side * side


def grid_matrix(structure: Structure, pairs: np.ndarray, vertices: int, extra: float) -> Matrix:
    degree = np.bincount(pairs.ravel(), minlength=vertices) + extra
    eye = np.eye(6)
    return matrix_of(structure, degree[:, None, None] * eye, np.tile(-eye, (len(pairs), 1, 1)))


def test_wide_fronts_which_go_through_blas():
    pairs, vertices = grid(16)
    structure = analyse(pairs, np.full(vertices, 6), np.arange(vertices))
    assert structure.fronts.own.max() > 48
    assert structure.fronts.width.max() > 96
    dense = np.zeros((vertices, vertices))
    dense[pairs[:, 0], pairs[:, 1]] = dense[pairs[:, 1], pairs[:, 0]] = -1
    dense += np.diag(0.1 - dense.sum(1))
    right = np.random.default_rng(0).normal(size=(vertices, 6))
    places = structure.offset[:, None] + np.arange(6)
    permuted = np.empty(structure.unknowns)
    permuted[places] = right
    found = Factor(grid_matrix(structure, pairs, vertices, 0.1)).solve(permuted)[places]
    np.testing.assert_allclose(found, np.linalg.solve(dense, right), atol=1e-11)


def test_a_matrix_that_is_not_positive_names_a_vertex():
    pairs, vertices = grid(4)
    structure = analyse(pairs, np.full(vertices, 6))
    with pytest.raises(NotPositiveError) as failure:
        Factor(grid_matrix(structure, pairs, vertices, -1.0))
    assert 0 <= failure.value.vertex < vertices


def test_blocks_of_pairs_lie_as_they_are_given_whichever_way_round_and_add_up():
    """Blocks without symmetry; the pair (2, 0) is given in both ways, and (3, 1) twice."""
    pairs = np.array([[2, 0], [0, 2], [3, 1], [3, 1], [1, 2]])
    rng = np.random.default_rng(8)
    across, diagonal = rng.normal(size=(5, 3, 3)), np.tile(30 * np.eye(3), (4, 1, 1))
    dense = np.kron(np.eye(4), 30 * np.eye(3))
    for (a, b), block in zip(pairs.tolist(), across, strict=True):
        dense[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] += block
        dense[3 * b : 3 * b + 3, 3 * a : 3 * a + 3] += block.T
    structure = analyse(pairs, np.full(4, 3))
    places = (structure.offset[:, None] + np.arange(3)).ravel()
    matrix, right = matrix_of(structure, diagonal, across), rng.normal(size=12)
    permuted = np.empty(12)
    permuted[places] = right
    np.testing.assert_allclose(matrix.quadratic_form(permuted), right @ dense @ right, rtol=1e-12)
    np.testing.assert_allclose(Factor(matrix).solve(permuted)[places], np.linalg.solve(dense, right), atol=1e-12)


@pytest.mark.parametrize("bad", range(5))
def test_the_vertex_that_is_not_positive_is_the_one_that_is_named(bad):
    """A chain, each alone at 4 but one at -4: eliminating its neighbours makes no other negative."""
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    structure = analyse(pairs, np.full(5, 2))
    diagonal = np.tile(4 * np.eye(2), (5, 1, 1))
    diagonal[bad] *= -1
    with pytest.raises(NotPositiveError) as failure:
        Factor(matrix_of(structure, diagonal, np.tile(-0.1 * np.eye(2), (4, 1, 1))))
    assert failure.value.vertex == bad


def fill_by_elimination(pairs: np.ndarray, order: np.ndarray) -> int:
    """Entries of U for vertices of one unknown: eliminate, and join the neighbours."""
    beside = {int(v): set() for v in order}
    for a, b in pairs.tolist():
        beside[a].add(b)
        beside[b].add(a)
    total = 0
    for v in order.tolist():
        around = beside.pop(v)
        total += 1 + len(around)
        for other in around:
            beside[other] |= around
            beside[other] -= {v, other}
    return total


@pytest.mark.parametrize("side", [3, 10, 20])
def test_minimum_degree_fills_little(side):
    pairs, vertices = grid(side)
    weight = np.ones(vertices, np.int64)
    order = minimum_degree(adjacency(pairs, vertices), weight)
    assert sorted(order.tolist()) == list(range(vertices))
    assert fill_by_elimination(pairs, order) <= 0.8 * fill_by_elimination(pairs, np.arange(vertices)) or side == 3
    stored = fill(analyse(pairs, weight))
    assert stored >= fill_by_elimination(pairs, order)  # joined supernodes store zeros
