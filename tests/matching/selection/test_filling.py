"""Both ways of filling against plain loops and on a step whose background is known."""

import numpy as np
import pytest

from firstsight.matching.selection.consistency import MatchClass
from firstsight.matching.selection.filling import fill_classified, fill_from_background

CORRECT, MISMATCH, OCCLUSION = MatchClass


def random_position(shape: tuple[int, int], seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) * 60).astype(np.float32)


def random_classes(shape: tuple[int, int], shares: list[float], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([CORRECT, MISMATCH, OCCLUSION], shape, p=shares).astype(np.uint8)


def test_fill_takes_the_background_beside():
    position = np.array([[9, 5, 9, 9, 2, 9], [9, 9, 9, 9, 9, 9]], np.float32)
    valid = np.array([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool)
    expected = np.array([[5, 5, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_array_equal(fill_from_background(position, valid), expected)


def test_background_equals_a_plain_loop():
    position, valid = random_position((20, 30), 0), np.random.default_rng(1).random((20, 30)) < 0.2
    filled = fill_from_background(position, valid)
    for y, x in np.ndindex(20, 30):
        beside = [position[y, i] for i in range(x, -1, -1) if valid[y, i]][:1]
        beside += [position[y, i] for i in range(x, 30) if valid[y, i]][:1]
        assert filled[y, x] == (position[y, x] if valid[y, x] else min(beside, default=0))


def plain_fill(position: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The paper's sentences, one pixel at a time."""
    filled, known = position.copy(), classes == CORRECT
    for y, x in np.argwhere(classes == OCCLUSION):
        correct = np.flatnonzero(classes[y] == CORRECT)
        if correct.size:
            left = correct[correct < x]
            filled[y, x] = position[y, left[-1] if left.size else correct[0]]
            known[y, x] = True
    seen = filled.copy()
    for y, x in np.argwhere(~known):
        values = sorted(plain_values(seen, known, y, x))
        filled[y, x] = values[len(values) // 2] if values else 0
    return filled


def plain_values(position: np.ndarray, known: np.ndarray, y: int, x: int) -> list[float]:
    steps = [(0, 1), (0.5, 1), (1, 1), (1, 0.5), (1, 0), (1, -0.5), (1, -1), (0.5, -1)]
    values = []
    for down, right in [*steps, *((-down, -right) for down, right in steps)]:
        at_y, at_x = y + down, x + right
        while 0 <= at_y < known.shape[0] - 0.5 and 0 <= at_x < known.shape[1] - 0.5:
            pixel = int(np.floor(at_y + 0.5)), int(np.floor(at_x + 0.5))
            if known[pixel]:
                values.append(position[pixel])
                break
            at_y, at_x = at_y + down, at_x + right
    return values


@pytest.mark.parametrize("shares", [[0.6, 0.2, 0.2], [0.05, 0.9, 0.05], [0.02, 0.49, 0.49], [0.01, 0.99, 0.0]])
def test_filling_by_class_equals_a_plain_loop(shares):
    position, classes = random_position((15, 21), 2), random_classes((15, 21), shares, 3)
    np.testing.assert_array_equal(fill_classified(position, classes), plain_fill(position, classes))


def test_a_wide_hole_equals_a_plain_loop():
    position, classes = random_position((30, 36), 4), np.full((30, 36), CORRECT, np.uint8)
    classes[3:27, 5:31] = MISMATCH
    classes[8:10, 12:17] = CORRECT
    np.testing.assert_array_equal(fill_classified(position, classes), plain_fill(position, classes))


def test_an_occlusion_beside_a_step_takes_the_background():
    truth = np.full((10, 30), 4, np.float32)
    truth[:, 18:] = 20
    position, classes = truth.copy(), np.full(truth.shape, CORRECT, np.uint8)
    position[:, 10:18], classes[:, 10:18] = 13, OCCLUSION
    position[:, :3], classes[:, :3] = 9, OCCLUSION  # nothing to the left: the first to the right
    np.testing.assert_array_equal(fill_classified(position, classes), truth)


def test_a_mismatch_on_a_surface_takes_the_surface():
    truth = np.full((20, 30), 4, np.float32)
    truth[:, 15:] = 20
    position, classes = truth.copy(), np.full(truth.shape, CORRECT, np.uint8)
    position[6:9, 20:25], classes[6:9, 20:25] = 55, MISMATCH
    np.testing.assert_array_equal(fill_classified(position, classes), truth)


def test_a_mismatch_sees_the_value_given_to_an_occlusion():
    position = np.array([[7, 50, 60]], np.float32)
    classes = np.array([[CORRECT, OCCLUSION, MISMATCH]], np.uint8)
    np.testing.assert_array_equal(fill_classified(position, classes), [[7, 7, 7]])


def test_of_an_even_number_of_values_the_upper_middle_one_is_taken():
    position, classes = np.array([[3, 90, 8]], np.float32), np.array([[CORRECT, MISMATCH, CORRECT]], np.uint8)
    np.testing.assert_array_equal(fill_classified(position, classes), [[3, 8, 8]])


def test_an_occlusion_in_a_row_without_correct_pixels_is_filled_from_other_rows():
    position, classes = np.full((3, 5), 6, np.float32), np.full((3, 5), CORRECT, np.uint8)
    position[1], classes[1] = 30, OCCLUSION
    np.testing.assert_array_equal(fill_classified(position, classes), np.full((3, 5), 6))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 8)])
@pytest.mark.parametrize("label", [MISMATCH, OCCLUSION])
def test_without_anything_correct_the_result_is_zero(shape, label):
    position = random_position(shape, 5)
    assert not fill_classified(position, np.full(shape, label, np.uint8)).any()
    assert not fill_from_background(position, np.zeros(shape, bool)).any()


def test_correct_pixels_and_the_input_stay():
    position, classes = random_position((12, 13), 6), random_classes((12, 13), [0.5, 0.25, 0.25], 7)
    before = position.copy()
    filled = fill_classified(position, classes)
    np.testing.assert_array_equal(position, before)
    np.testing.assert_array_equal(filled[classes == CORRECT], position[classes == CORRECT])
