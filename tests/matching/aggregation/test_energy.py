"""The energy against a plain sum over pixels and their neighbours, and that semi-global matching lowers it."""

import numpy as np
import pytest

from firstsight.matching.aggregation.energy import energy
from firstsight.matching.aggregation.penalties import Penalties
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate
from firstsight.matching.costs.census_cost import Census


@pytest.mark.parametrize("neighbours", [4, 8])
def test_equals_the_sum_over_pixels_and_neighbours(neighbours):
    rng = np.random.default_rng(0)
    cost, d = rng.integers(0, 80, (5, 6, 8)).astype(np.uint8), rng.integers(0, 8, (5, 6))
    steps = [(1, 0), (0, 1), (-1, 0), (0, -1)] + ([(1, 1), (-1, -1), (1, -1), (-1, 1)] if neighbours == 8 else [])
    data = small = large = 0.0
    for y in range(5):
        for x in range(6):
            data += float(cost[y, x, d[y, x]])
            for dx, dy in steps:
                if 0 <= x + dx < 6 and 0 <= y + dy < 5:
                    jump = abs(int(d[y, x]) - int(d[y + dy, x + dx]))
                    small += 3 * (jump == 1) / 2  # the sum over p meets each pair twice
                    large += 11 * (jump > 1) / 2
    found = energy(d, cost, 3, 11, neighbours)
    assert found == pytest.approx((data, small, large))
    assert found.total == pytest.approx(data + small + large)


@pytest.mark.parametrize("directions", [4, 8, 16])
def test_semi_global_matching_lowers_the_energy(directions):
    """Against winner-take-all on a noisy shifted pair; the more directions, the less remains (stated: below 40 %)."""
    rng = np.random.default_rng(1)
    right = rng.integers(0, 256, (60, 120)).astype(np.uint8)
    left = np.roll(right, 9, axis=1)
    left[20:40, 40:80] = np.roll(right, 15, axis=1)[20:40, 40:80]
    noisy = (image.astype(int) + rng.integers(-60, 61, image.shape) for image in (left, right))
    census = Census(block=False)
    left, right = (census.describe(image.clip(0, 255).astype(np.uint8)) for image in noisy)
    cost = census.fill(left, right, np.empty((60, 120, 32), np.uint8))
    rule = Penalties(p1=10, p2=40, adapt="constant")
    total = aggregate(cost, SemiGlobal(np.zeros((60, 120), np.uint8), rule, directions))
    before, after = (energy(volume.argmin(2), cost, rule.p1, rule.p2).total for volume in (cost, total))
    assert after < 0.4 * before
