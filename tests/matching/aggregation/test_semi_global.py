"""Semi-global aggregation against the paper's recursion and against exact minimisation."""

from itertools import product

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.matching.aggregation.penalties import JumpRule, Penalties, TwoImagePenalties
from firstsight.matching.aggregation.semi_global import STEPS, SemiGlobal, aggregate, aggregate_strips, path_types
from firstsight.matching.costs.volumes import no_cost
from firstsight.matching.selection.winner import take_winners

RULES = [
    Penalties(),
    Penalties(p1=3, p2=9, contrast=50.0),
    Penalties(p1=0, p2=170, adapt="inverse"),
    Penalties(p1=7, p2=33, adapt="constant"),
    TwoImagePenalties(edge=40),
    TwoImagePenalties(p1=12, p2=60, edge=90, as_released=True),
]


def jump_penalties(rule: JumpRule, images: np.ndarray, pixel: tuple, step: tuple, d: int) -> tuple:
    """P1 of the jumps from below and from above and P2 at (x, y), written from the papers."""
    (x, y), (dx, dy), (left, right) = pixel, step, images.astype(int)
    left_difference = abs(left[y, x] - left[y - dy, x - dx])
    if isinstance(rule, Penalties):
        p2 = {"constant": rule.p2, "smooth": rule.p2 / (1 + left_difference / rule.contrast)}
        p2["inverse"] = rule.p2 / max(left_difference, 1)
        return rule.p1, rule.p1, max(p2[rule.adapt], rule.p1)
    xr, width = x - d, left.shape[1]
    seen = 0 <= xr < width and 0 <= xr - dx < width
    edges = int(left_difference >= rule.edge)
    edges += int(not seen or abs(right[y, xr] - right[y - dy, xr - dx]) >= rule.edge)
    divisor = [1, rule.one_edge, rule.two_edges][edges]
    below = above = rule.p1 / divisor
    if dx == 0 and (not rule.as_released or dy > 0):
        below /= rule.vertical
    if dx == 0 and (not rule.as_released or dy < 0):
        above /= rule.vertical
    return below, above, rule.p2 / divisor


def path_costs_by_definition(cost: np.ndarray, images: np.ndarray, rule: JumpRule, step: tuple) -> np.ndarray:
    """L_r of eq. 13, one pixel and one candidate at a time; infinite where there is no cost."""
    height, width, candidates = cost.shape
    dx, dy = step
    integers = cost.dtype.kind == "u"
    cost = np.where(cost == no_cost(cost.dtype), np.inf, cost.astype(float))
    path = np.empty(cost.shape)
    order = [(y, x) for y in range(height) for x in range(width)]
    for y, x in order if (dy, dx) > (0, 0) else reversed(order):
        path[y, x] = cost[y, x]
        inside = 0 <= x - dx < width and 0 <= y - dy < height
        if not inside or np.isinf(path[y - dy, x - dx]).all():
            continue
        before = path[y - dy, x - dx]
        for d in range(candidates):
            penalties = jump_penalties(rule, images, (x, y), step, d)
            below, above, p2 = np.rint(penalties) if integers else penalties
            options = [before[d], before.min() + p2]
            options += [before[d - 1] + below] if d > 0 else []
            options += [before[d + 1] + above] if d + 1 < candidates else []
            path[y, x, d] += min(options) - before.min()
    return path


def sum_by_definition(cost: np.ndarray, images: np.ndarray, rule: JumpRule, directions: int) -> np.ndarray:
    steps = STEPS[: directions // 2]
    return sum(
        path_costs_by_definition(cost, images, rule, (sign * dx, sign * dy)) for dx, dy in steps for sign in (1, -1)
    )


def random_problem(shape: tuple, dtype: type, seed: int, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Costs up to 79, some missing, and two images with edges and even regions."""
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, 80, shape).astype(dtype)
    if np.dtype(dtype).kind == "f":
        cost += rng.normal(size=shape).astype(dtype)
    cost[rng.random(shape) < missing] = no_cost(dtype)
    return cost, rng.integers(0, 256, (2, *shape[:2])).astype(np.uint8) // rng.integers(
        1, 60, (2, *shape[:2]), np.uint8
    )


def settings(images: np.ndarray, rule: JumpRule, directions: int, largest: float | None = None) -> SemiGlobal:
    return SemiGlobal(images[0], rule, directions, images[1], largest)


def assert_same_sums(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal where both have a sum; no cost where the definition says infinite."""
    nothing = found == no_cost(found.dtype)
    np.testing.assert_array_equal(nothing, np.isinf(expected))
    np.testing.assert_allclose(found[~nothing], expected[~nothing], rtol=2e-6 if found.dtype.kind == "f" else 0)


@pytest.mark.parametrize("directions", [4, 8, 16])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_equals_the_recursion(directions, dtype, rule):
    for shape in ((5, 8, 32), (1, 7, 32), (6, 1, 64)):
        cost, images = random_problem(shape, dtype, seed=sum(shape))
        expected = sum_by_definition(cost, images, rule, directions)
        assert_same_sums(aggregate(cost, settings(images, rule, directions)), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("missing", [0.3, 0.97])
def test_cells_without_a_cost_are_no_candidates(dtype, missing):
    """At 97 % most pixels have no candidate at all, and paths begin anew behind them."""
    cost, images = random_problem((6, 9, 32), dtype, 5, missing)
    expected = sum_by_definition(cost, images, Penalties(), 8)
    assert np.isinf(expected).all(2).any() == (missing > 0.5)
    assert_same_sums(aggregate(cost, settings(images, Penalties(), 8)), expected)


def test_nan_is_no_cost():
    cost, images = random_problem((6, 9, 32), np.float32, 6, 0.2)
    with_nan = np.where(np.isinf(cost), np.float32(np.nan), cost)
    expected, found = (aggregate(volume, settings(images, Penalties(), 8)) for volume in (cost, with_nan))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("candidates", [1, 20, 70])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_number_of_candidates(candidates, dtype):
    cost, images = random_problem((5, 6, candidates), dtype, 7)
    found = aggregate(cost, settings(images, TwoImagePenalties(edge=40), 8))
    assert_same_sums(found, sum_by_definition(cost, images, TwoImagePenalties(edge=40), 8))


@pytest.mark.parametrize(
    ("scale", "dtype", "expected"),
    [(1, np.uint8, np.uint16), (3, np.uint8, np.uint16), (20, np.uint16, np.uint16), (250, np.uint16, np.uint32)],
)
def test_sums_are_exact_whatever_width_they_need(scale, dtype, expected):
    cost, images = random_problem((4, 7, 32), dtype, 8)
    cost, rule = cost * dtype(scale), Penalties(p1=16 * scale, p2=160 * scale)
    found = aggregate(cost, settings(images, rule, 8))
    assert found.dtype == expected
    assert_same_sums(found, sum_by_definition(cost, images, rule, 8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("directions", [8, 16])
def test_without_penalties_it_is_winner_take_all(dtype, directions):
    """With P1 = P2 = 0 every path costs C alone."""
    cost, images = random_problem((6, 9, 32), dtype, 9)
    total = aggregate(cost, settings(images, Penalties(p1=0, p2=0), directions))
    np.testing.assert_allclose(total, directions * cost.astype(float), rtol=1e-6 if total.dtype.kind == "f" else 0)
    np.testing.assert_array_equal(total.argmin(2), cost.argmin(2))


@pytest.mark.parametrize("directions", [4, 16])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("rule", [Penalties(), TwoImagePenalties(edge=40)], ids=str)
def test_strips_give_the_sums_of_the_whole(directions, dtype, rule):
    cost, images = random_problem((11, 9, 40), dtype, 10, 0.2)
    whole = aggregate(cost, settings(images, rule, directions))
    strips = [slice(0, 4), slice(4, 5), slice(5, 9), slice(9, 11)]
    asked = []

    def costs_of(rows: slice) -> np.ndarray:
        asked.append(rows)
        return cost[rows]

    for rows, total in aggregate_strips(costs_of, strips, settings(images, rule, directions, 90.0)):
        np.testing.assert_array_equal(total, whole[rows])
    assert len(asked) == 2 * len(strips) - 1


def test_a_given_buffer_is_filled_whatever_it_held():
    cost, images = random_problem((6, 9, 32), np.uint8, 3)
    total = np.full(cost.shape, 12345, np.uint16)
    found = aggregate(cost, settings(images, Penalties(), 8), total)
    assert np.shares_memory(found, total)
    np.testing.assert_array_equal(found, aggregate(cost, settings(images, Penalties(), 8)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("vertical", [False, True])
def test_along_a_line_it_finds_the_exact_minima(seed, vertical):
    """On a chain, the two paths along it are together the smallest energy through (x, d); brute force over all labelings."""
    width, labels, rule = 6, 4, Penalties(p1=2, p2=7, adapt="constant")
    cost = np.random.default_rng(seed).integers(0, 11, (1, width, labels)).astype(np.uint8)
    energies = np.full((width, labels), np.inf)
    for labeling in product(range(labels), repeat=width):
        jumps = np.abs(np.diff(labeling))
        energy = sum(int(cost[0, x, d]) for x, d in enumerate(labeling))
        energy += rule.p1 * int((jumps == 1).sum()) + rule.p2 * int((jumps > 1).sum())
        for x, d in enumerate(labeling):
            energies[x, d] = min(energies[x, d], energy)
    chain = cost.transpose(1, 0, 2).copy() if vertical else cost
    total = aggregate(chain, SemiGlobal(np.zeros(chain.shape[:2], np.uint8), rule, 4)).reshape(width, labels)
    # the two paths across the chain are the cost itself, and the cost at (x, d) is counted in both along it
    through = total.astype(int) - 3 * cost[0].astype(int)
    np.testing.assert_array_equal(through - through.min(1, keepdims=True), energies - energies.min(1, keepdims=True))


def test_paths_never_exceed_the_largest_cost_and_penalty():
    cost, images = random_problem((9, 9, 32), np.uint16, 11)
    total = aggregate(cost, settings(images, Penalties(), 8))
    assert total.max() <= 8 * (79 + 160)


def test_it_repairs_corrupted_costs():
    """Random dots on a slanted plane, 30 % of the pixels with meaningless costs: bad-1 falls below a fifth of winner-take-all's."""
    rng = np.random.default_rng(7)
    height, width = 60, 120
    truth = np.broadcast_to(np.linspace(5, 25, width), (height, width))
    near = np.abs(np.arange(32) - truth[..., None]) <= 0.5
    cost = np.where(near, rng.integers(0, 10, near.shape), rng.integers(20, 60, near.shape)).astype(np.uint8)
    corrupted = rng.random((height, width)) < 0.3
    cost[corrupted] = rng.integers(0, 80, (int(corrupted.sum()), 32))
    total = aggregate(cost, SemiGlobal(np.zeros((height, width), np.uint8), Penalties()))
    bad_before = (np.abs(cost.argmin(2) - truth) > 1).mean()
    bad_after = (np.abs(take_winners(total).position - truth) > 1).mean()
    assert bad_before > 0.25
    assert bad_after < bad_before / 5


def test_integers_too_large_for_16_bits_are_refused():
    with pytest.raises(InputError, match="65534"):
        path_types(np.dtype(np.uint16), 70_000, Penalties(), 8)
    cost, images = random_problem((4, 5, 32), np.uint16, 12)
    with pytest.raises(InputError, match="65534"):
        aggregate(cost, settings(images, Penalties(p1=100, p2=65_500), 8))


def test_paths_come_from_every_direction_once():
    """Along rows and columns, then diagonals, then the moves of a knight, each way."""
    straight = {(1, 0), (-1, 0), (0, 1), (0, -1)}
    diagonal = {(1, 1), (-1, -1), (-1, 1), (1, -1)}
    knight = {(2, 1), (-2, -1), (-2, 1), (2, -1), (1, 2), (-1, -2), (-1, 2), (1, -2)}
    for count, expected in ((4, straight), (8, straight | diagonal), (16, straight | diagonal | knight)):
        found = [(sign * dx, sign * dy) for dx, dy in STEPS[: count // 2] for sign in (1, -1)]
        assert len(found) == count
        assert set(found) == expected
    assert SemiGlobal(np.zeros((1, 1), np.uint8), Penalties()).directions == 8


@pytest.mark.parametrize(
    ("dtype", "highest", "directions", "types"),
    [
        (np.uint8, 144, 8, (np.uint8, np.uint16)),
        (np.uint8, 145, 8, (np.uint16, np.uint16)),
        (np.uint16, 144, 8, (np.uint16, np.uint16)),
        (np.uint16, 8081, 8, (np.uint16, np.uint16)),
        (np.uint16, 8082, 8, (np.uint16, np.uint32)),
        (np.uint16, 3985, 16, (np.uint16, np.uint16)),
        (np.uint16, 3986, 16, (np.uint16, np.uint32)),
        (np.uint16, 65424, 4, (np.uint16, np.uint32)),
        (np.float32, 1e9, 16, (np.float32, np.float32)),
    ],
)
def test_the_smallest_types_that_hold_paths_and_sums(dtype, highest, directions, types):
    """With penalties of 110 together: 254 fits into 8 bits, 8 x 8191 and 16 x 4095 into 16, 65534 is the largest path."""
    assert path_types(np.dtype(dtype), highest, Penalties(p1=10, p2=100), directions) == types


def test_a_path_that_16_bits_do_not_hold_is_refused():
    with pytest.raises(InputError, match="costs and penalties add up to 65535"):
        path_types(np.dtype(np.uint16), 65425, Penalties(p1=10, p2=100), 4)
