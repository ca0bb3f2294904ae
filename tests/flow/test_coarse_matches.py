import numpy as np

from firstsight.flow.coarse_matches import TRUNCATION, agree, best_displacements, coarse_matches


def slow_best(a: np.ndarray, b: np.ndarray, search: tuple[int, int], radius: int) -> np.ndarray:
    """For every block the displacement of least truncated difference, block by block, NaN where no block fits."""
    height, width = a.shape
    best = np.full((height, width, 2), np.nan)
    for y in range(radius, height - radius):
        for x in range(radius, width - radius):
            costs = {}
            for dy in range(-search[1], search[1] + 1):
                for dx in range(-search[0], search[0] + 1):
                    v, u = y + dy, x + dx
                    if not (radius <= v < height - radius and radius <= u < width - radius):
                        continue
                    here = a[y - radius : y + radius + 1, x - radius : x + radius + 1]
                    there = b[v - radius : v + radius + 1, u - radius : u + radius + 1]
                    costs[dx, dy] = np.minimum(np.abs(here - there), TRUNCATION).sum()
            best[y, x] = min(costs, key=lambda d: costs[d])
    return best


def test_best_displacements_equal_the_slow_search():
    generator = np.random.default_rng(0)
    a, b = (generator.uniform(0, 255, (14, 18)).astype(np.float32) for _ in range(2))
    forward, backward = best_displacements(a, b, 4, 3, 1)
    for fast, slow in ((forward, slow_best(a, b, (4, 3), 1)), (backward, slow_best(b, a, (4, 3), 1))):
        inner = ~np.isnan(slow[..., 0])
        assert np.array_equal(fast[inner], slow[inner])


def test_agreement_allows_one_pixel():
    there, back = np.zeros((2, 1, 6, 2), np.int32)
    there[0, 0, 0], back[0, 3, 0] = 3, -3
    assert agree(np.where(np.arange(6)[None, :, None] == 0, there, 0), back).tolist() == [
        [True, True, True, False, True, True]
    ]
    there[0, 0, 0] = 3
    back[0, 3, 0] = -2
    assert agree(there, back)[0, 0]
    back[0, 3, 0] = -1
    assert not agree(there, back)[0, 0]


def test_matches_follow_a_shift():
    image = np.random.default_rng(1).integers(0, 255, (100, 640)).astype(np.uint8)
    image = np.repeat(np.repeat(image[::5, ::5], 5, 0), 5, 1)  # details that survive shrinking by 5
    matches, back = coarse_matches(image, np.roll(image, 40, 1))
    assert matches.step_px == 5
    inner = (slice(30, -30), slice(60, -100))
    assert np.all(matches.flow[inner] == [40, 0])
    assert matches.consistent[inner].all()
    assert np.all(back.flow[30:-30, 100:-60] == [-40, 0])


def test_an_upright_image_is_searched_as_one_that_lies():
    lying = np.random.default_rng(1).integers(0, 255, (40, 128)).astype(np.uint8)
    moved = np.roll(lying, (3, -14), (0, 1))
    flow = coarse_matches(lying, moved)[0].flow
    assert flow[20, 64].tolist() == [-14, 3]
    turned = coarse_matches(np.ascontiguousarray(lying.T), np.ascontiguousarray(moved.T))[0].flow
    assert turned[64, 20].tolist() == [3, -14]
