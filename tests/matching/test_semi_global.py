"""Semi-global aggregation against the paper's recursion and against exact minimisation."""

from itertools import product

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.matching.semi_global import Penalties, aggregate, check_penalties, jump_penalties
from firstsight.matching.winner import take_winners

DIRECTIONS = {
    4: [(1, 0), (-1, 0), (0, 1), (0, -1)],
    8: [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (-1, 1), (1, -1)],
}


def path_costs_by_definition(cost: np.ndarray, guide: np.ndarray, penalties: Penalties, step: tuple) -> np.ndarray:
    """L_r of eq. 13, one pixel and one candidate at a time."""
    height, width, candidates = cost.shape
    dx, dy = step
    p2_of_difference = jump_penalties(penalties)
    path = np.zeros(cost.shape, int)
    for y in range(height) if dy >= 0 else range(height - 1, -1, -1):
        for x in range(width) if dx >= 0 else range(width - 1, -1, -1):
            xb, yb = x - dx, y - dy
            for d in range(candidates):
                path[y, x, d] = cost[y, x, d]
                if 0 <= xb < width and 0 <= yb < height:
                    before = path[yb, xb]
                    p2 = int(p2_of_difference[abs(int(guide[y, x]) - int(guide[yb, xb]))])
                    options = [before[d], before.min() + p2]
                    options += [before[e] + penalties.p1 for e in (d - 1, d + 1) if 0 <= e < candidates]
                    path[y, x, d] += min(options) - before.min()
    return path


def random_problem(shape: tuple, largest: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, largest + 1, shape).astype(np.uint8), rng.integers(0, 256, shape[:2]).astype(np.uint8)


@pytest.mark.parametrize("paths", [4, 8])
@pytest.mark.parametrize("shape", [(1, 7, 32), (6, 1, 32), (5, 8, 64), (4, 3, 96)])
@pytest.mark.parametrize("penalties", [Penalties(), Penalties(p1=3, p2=9, contrast=50.0), Penalties(p1=0, p2=175)])
def test_equals_the_recursion(paths, shape, penalties):
    cost, guide = random_problem(shape, 79, seed=sum(shape))
    expected = sum(path_costs_by_definition(cost, guide, penalties, step) for step in DIRECTIONS[paths])
    np.testing.assert_array_equal(aggregate(cost, guide, penalties, paths), expected)


@pytest.mark.parametrize("paths", [4, 8])
def test_a_given_buffer_is_filled_whatever_it_held(paths):
    cost, guide = random_problem((6, 9, 32), 79, seed=3)
    total = np.full(cost.shape, 12345, np.uint16)
    assert aggregate(cost, guide, Penalties(), paths, total) is total
    np.testing.assert_array_equal(total, aggregate(cost, guide, Penalties(), paths))


@pytest.mark.parametrize("seed", range(4))
def test_along_a_line_it_finds_the_exact_minima(seed):
    """In one row, left and right path together are the smallest energy through (x, d); brute force over all labelings."""
    width, labels, penalties = 6, 4, Penalties(p1=2, p2=7, contrast=1e9)
    cost, guide = random_problem((1, width, 32), 10, seed)
    cost[:, :, labels:] = 79  # out of reach
    energies = np.full((width, labels), np.inf)
    for labeling in product(range(labels), repeat=width):
        jumps = np.abs(np.diff(labeling))
        energy = sum(int(cost[0, x, d]) for x, d in enumerate(labeling))
        energy += penalties.p1 * int((jumps == 1).sum()) + penalties.p2 * int((jumps > 1).sum())
        for x, d in enumerate(labeling):
            energies[x, d] = min(energies[x, d], energy)
    # the two vertical paths of a single row are the cost itself, and the cost at (x, d) is counted in both horizontal ones
    through = (aggregate(cost, guide, penalties, 4).astype(int) - 3 * cost.astype(int))[0, :, :labels]
    np.testing.assert_array_equal(through - through.min(1, keepdims=True), energies - energies.min(1, keepdims=True))


def test_without_penalties_the_cheapest_candidate_wins():
    cost, guide = random_problem((12, 15, 64), 79, seed=5)
    total = aggregate(cost, guide, Penalties(p1=0, p2=0))
    np.testing.assert_array_equal(total, 8 * cost.astype(np.uint16))


def test_path_costs_stay_below_largest_cost_plus_p2():
    cost, guide = random_problem((40, 60, 32), 79, seed=6)
    guide[:] = 0  # P2 at its largest
    assert aggregate(cost, guide, Penalties(p1=16, p2=160)).max() <= 8 * (79 + 160)


def test_it_repairs_corrupted_costs():
    """Random dots on a slanted plane, 30 % of the pixels with meaningless costs: bad-1 falls below a fifth of winner-take-all's."""
    rng = np.random.default_rng(7)
    height, width = 60, 120
    truth = np.broadcast_to(np.linspace(5, 25, width), (height, width))
    near = np.abs(np.arange(32) - truth[..., None]) <= 0.5
    cost = np.where(near, rng.integers(0, 10, near.shape), rng.integers(20, 60, near.shape)).astype(np.uint8)
    corrupted = rng.random((height, width)) < 0.3
    cost[corrupted] = rng.integers(0, 80, (int(corrupted.sum()), 32))
    total = aggregate(cost, np.zeros((height, width), np.uint8), Penalties())
    bad_before = (np.abs(cost.argmin(2) - truth) > 1).mean()
    bad_after = (np.abs(take_winners(total).position - truth) > 1).mean()
    assert bad_before > 0.25
    assert bad_after < bad_before / 5


def test_p2_falls_with_contrast_but_not_below_p1():
    p2 = jump_penalties(Penalties(p1=16, p2=160, contrast=12.0))
    assert p2[[0, 12, 255]].tolist() == [160, 80, 16]
    assert (np.diff(p2.astype(int)) <= 0).all()


@pytest.mark.parametrize(
    "penalties", [Penalties(p1=20, p2=10), Penalties(p1=-1), Penalties(p2=200), Penalties(contrast=0.0)]
)
def test_penalties_that_cannot_work_are_named(penalties):
    with pytest.raises(InputError, match="p1="):
        check_penalties(penalties, largest_cost=77)
