"""Cross-based aggregation against the paper's definition, and the properties it exists for."""

import cv2
import numpy as np
import pytest

from firstsight.matching.aggregation.cross_based import LONG, LONGEST, aggregate_cross_based, cross_arms
from firstsight.matching.costs.absolute_difference import AbsoluteDifference
from firstsight.matching.costs.volumes import leave_out_left_border, no_cost

DTYPES = ["uint8", "uint16", "float32"]
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def arm_by_definition(grey: np.ndarray, y: int, x: int, step: tuple, length: int, threshold: float) -> int:
    """Stops at the first q, two px away or farther, that is unlike p or `length` away, and ends one before it."""
    inside, reach = lambda y, x: 0 <= y < grey.shape[0] and 0 <= x < grey.shape[1], 0
    while True:
        distance = reach + 1
        yq, xq = y + distance * step[0], x + distance * step[1]
        if not inside(yq, xq):
            return reach
        if distance >= 2 and (abs(int(grey[yq, xq]) - int(grey[y, x])) >= threshold or distance >= length):
            return reach
        reach = distance


def support_by_definition(arms: np.ndarray, y: int, x: int) -> set:
    """U(p): the horizontal arms of all pixels on the vertical arms of p."""
    up, down = arms[:2, y, x].astype(int)
    return {
        (yq, xq)
        for yq in range(y - up, y + down + 1)
        for xq in range(x - int(arms[2, yq, x]), x + int(arms[3, yq, x]) + 1)
    }


def aggregate_by_definition(volume: np.ndarray, left_arms: np.ndarray, right_arms: np.ndarray) -> np.ndarray:
    """Mean over {q in U_L(p) : q - d in U_R(p - d)} of the costs that are known, one cell at a time."""
    means, none = volume.copy(), no_cost(volume.dtype)
    for y, x, d in np.ndindex(volume.shape):
        if x - d < 0 or volume[y, x, d] == none:
            continue
        of_right = support_by_definition(right_arms, y, x - d)
        both = {(yq, xq) for yq, xq in support_by_definition(left_arms, y, x) if (yq, xq - d) in of_right}
        costs = [volume[yq, xq, d] for yq, xq in both if volume[yq, xq, d] != none]
        if volume.dtype.kind == "f":
            means[y, x, d] = np.mean(np.array(costs, np.float64))
        else:  # halves up
            total = sum(int(cost) for cost in costs)
            means[y, x, d] = (2 * total + len(costs)) // (2 * len(costs))
    return means


def random_images(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches of nearly even grey, so that arms have all lengths."""
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.integers(0, 5, (shape[0] // 3 + 1, shape[1] // 4 + 1)) * 50, np.ones((3, 4), int))
    images = patches[: shape[0], : shape[1]] + rng.integers(0, 9, (2, *shape))
    return images[0].astype(np.uint8), images[1].astype(np.uint8)


def random_volume(shape: tuple, dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        volume = rng.random(shape, np.float32) * np.float32(1e4)
    else:
        volume = rng.integers(0, no_cost(dtype), shape).astype(dtype)  # all but the last value
    return leave_out_left_border(volume)


def arms_everywhere(shape: tuple[int, int], length: int) -> np.ndarray:
    return cross_arms(np.zeros(shape, np.uint8), length, 1.0)


def assert_same_costs(actual: np.ndarray, expected: np.ndarray) -> None:
    if actual.dtype.kind == "f":
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("length", [2, 3, 6, 30])
@pytest.mark.parametrize("threshold", [1.0, 5.5, 60.0])
def test_arms_equal_the_definition(length, threshold):
    grey, _ = random_images((9, 14), seed=length)
    arms = cross_arms(grey, length, threshold)
    for i, step in enumerate(STEPS.values()):
        for y, x in np.ndindex(grey.shape):
            assert arms[i, y, x] == arm_by_definition(grey, y, x, step, length, threshold)


def test_arms_by_hand():
    """Of the first pixel: the next always belongs; 14 is unlike 10, but the fourth pixel itself is 14."""
    grey = np.array([[10, 90, 12, 14, 13, 14]], np.uint8)
    up, down, left, right = cross_arms(grey, length=4, threshold=4.0)[:, 0]
    assert right.tolist() == [2, 1, 3, 2, 1, 0]
    assert left.tolist() == [0, 1, 2, 1, 2, 3]
    assert not up.any()
    assert not down.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "length"), [((8, 13, 6), 4), ((6, 9, 20), 6), ((12, 5, 3), 12), ((1, 1, 2), 3)])
def test_equals_the_definition(dtype, shape, length):
    left, right = (cross_arms(image, length, 20.0) for image in random_images(shape[:2], seed=sum(shape)))
    volume = random_volume(shape, dtype, seed=1)
    assert_same_costs(aggregate_cross_based(volume, left, right, 1), aggregate_by_definition(volume, left, right))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(7, 90, 5), (60, 4, 3), (50, 50, 200)])
def test_integral_images_give_the_same_sums(dtype, missing, shape, monkeypatch):
    """Long arms are summed by differences: exactly where costs are integers, and to the last digits of float32."""
    rng = np.random.default_rng(13)
    images = (cv2.blur(rng.integers(0, 256, shape[:2]).astype(np.uint8), (9, 9)) for _ in range(2))
    left, right = (cross_arms(image, LONGEST, 30.0) for image in images)
    volume = random_volume(shape, dtype, seed=14)
    volume[rng.random(shape) < missing] = no_cost(dtype)
    assert left.max() >= LONG
    integrals = aggregate_cross_based(volume, left, right, 2)
    monkeypatch.setattr("firstsight.matching.aggregation.cross_based.LONG", LONGEST)
    assert_same_costs(integrals, aggregate_cross_based(volume, left, right, 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_strips_of_columns_join_without_a_seam(dtype):
    """As many candidates as make the strips narrow; candidates do not mix."""
    left, right = (cross_arms(image, 7, 20.0) for image in random_images((9, 40), seed=11))
    volume = random_volume((9, 40, 700), dtype, seed=12)
    few = np.ascontiguousarray(volume[:, :, :9])
    few, many = (aggregate_cross_based(costs, left, right, 2) for costs in (few, volume))
    np.testing.assert_array_equal(many[:, :, :9], few)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cells_without_a_cost_enter_no_mean_and_stay(dtype):
    left, right = (cross_arms(image, 5, 20.0) for image in random_images((9, 14), seed=2))
    volume = random_volume((9, 14, 6), dtype, seed=3)
    volume[np.random.default_rng(4).random(volume.shape) < 0.3] = no_cost(dtype)
    aggregated = aggregate_cross_based(volume, left, right, 1)
    assert_same_costs(aggregated, aggregate_by_definition(volume, left, right))
    np.testing.assert_array_equal(aggregated == no_cost(dtype), volume == no_cost(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_the_right_image_ends_costs_stay(dtype):
    left, right = (cross_arms(image, 5, 20.0) for image in random_images((9, 14), seed=5))
    volume = random_volume((9, 14, 6), dtype, seed=6)
    outside = np.arange(14)[:, None] < np.arange(6)
    volume[:, outside] = 7
    assert (aggregate_cross_based(volume, left, right, 3)[:, outside] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [3, 9, LONGEST])
def test_of_even_images_it_is_the_box_mean(dtype, length):
    """Boxes of length - 1 px on either side, clipped at the borders; in the largest, sums might overflow."""
    shape = (300, 290, 1) if length == LONGEST else (20, 25, 4)
    volume = np.full(shape, no_cost(dtype) - 1 if dtype != "float32" else 1e30, dtype)
    volume[::7, ::5] = 0
    volume = leave_out_left_border(volume)
    arms = arms_everywhere(shape[:2], length)
    aggregated = aggregate_cross_based(volume, arms, arms, 1)
    for y, x, d in [
        (0, 3, 0),
        (10, 12, shape[2] - 1),
        (shape[0] - 1, shape[1] - 2, 0),
        (shape[0] // 2, shape[1] // 2, 0),
    ]:
        reach = length - 1
        box = volume[max(y - reach, 0) : y + reach + 1, max(x - reach, d) : x + reach + 1, d].astype(np.float64)
        expected = box.mean() if dtype == "float32" else np.floor(box.mean() + 0.5)
        assert aggregated[y, x, d] == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_mixed_across_an_edge(dtype):
    """Even but for an edge, at x = 12 in the left image and 12 - d in the right one; only px beside it reach over."""
    left, right = np.zeros((2, 15, 24), np.uint8)
    left[:, 12:], right[:, 9:] = 200, 200
    volume = np.zeros((15, 24, 4), dtype)
    volume[:, 12:] = 100
    aggregated = aggregate_cross_based(volume, cross_arms(left, 6, 20.0), cross_arms(right, 6, 20.0), 1)
    assert (aggregated[:, 3:11, 3] == 0).all()
    assert (aggregated[:, 13:, 3] == 100).all()
    assert (aggregated[:, 11, 3] > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_passes_compose(dtype):
    left, right = (cross_arms(image, 5, 20.0) for image in random_images((11, 20), seed=7))
    volume = random_volume((11, 20, 7), dtype, seed=8)
    before, expected = volume.copy(), volume
    for passes in range(4):
        np.testing.assert_array_equal(aggregate_cross_based(volume, left, right, passes), expected)
        expected = aggregate_cross_based(expected, left, right, 1)
    np.testing.assert_array_equal(volume, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cost_that_is_the_same_everywhere_stays(dtype):
    left, right = (cross_arms(image, 9, 20.0) for image in random_images((12, 30), seed=9))
    costs = (np.arange(1, 17) * 15).astype(dtype)
    volume = leave_out_left_border(np.tile(costs, (12, 30, 1)))
    np.testing.assert_array_equal(aggregate_cross_based(volume, left, right, 3), volume)


def random_dots(noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bright square before a dark wall, dots of 0 to 39 levels on both: left, right, true disparity."""
    rng = np.random.default_rng(10)
    height, width, wall, square = 80, 140, 4, 13
    truth = np.full((height, width), wall)
    truth[20:60, 50:100] = square
    right = 40 + rng.integers(0, 40, (height, width))
    right[20:60, 50 - square : 100 - square] += 100
    left = np.take_along_axis(right, np.maximum(np.arange(width) - truth, 0), 1)
    left, right = (
        np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8) for image in (left, right)
    )
    return left, right, truth


def test_it_lowers_the_error_on_noisy_random_dots():
    """Of the winners of single pixels more than 60 % are off by more than 1, of aggregated ones less than 1 %."""
    left, right, truth = random_dots(noise=5.0)
    cost = AbsoluteDifference(largest_difference=40.0, largest_gradient_difference=20.0)
    volume = cost.fill(cost.describe(left), cost.describe(right), np.empty((*left.shape, 24), np.uint8))
    aggregated = aggregate_cross_based(volume, cross_arms(left, 9, 60.0), cross_arms(right, 9, 60.0), 2)
    bad_before, bad_after = ((np.abs(costs.argmin(2) - truth)[:, 24:-4] > 1).mean() for costs in (volume, aggregated))
    assert bad_before > 0.6
    assert bad_after < 0.01


def test_what_cannot_be_aggregated_is_refused():
    volume, arms = np.zeros((4, 5, 6), np.uint8), arms_everywhere((4, 5), 3)
    with pytest.raises(AssertionError, match="contiguous"):
        aggregate_cross_based(volume[:, :, ::2], arms, arms)
    with pytest.raises(AssertionError, match="arms grow"):
        cross_arms(np.zeros((4, 5), np.uint8), LONGEST + 1)
