"""The left-right check, its reasons and the speckle filter against plain loops and on a scene whose answer is known."""

import numpy as np
import pytest

from firstsight.matching.selection.consistency import MatchClass, classify, drop_speckles, left_right_consistent

BACKGROUND, FOREGROUND = 10, 23  # disparities of a square that stands before a wall
SQUARE = slice(20, 40), slice(60, 90)  # rows, columns in the left image


def square_before_wall() -> tuple[np.ndarray, np.ndarray]:
    """True disparity of both images."""
    left, right = np.full((60, 120), BACKGROUND, np.float32), np.full((60, 120), BACKGROUND, np.uint16)
    left[SQUARE] = FOREGROUND
    right[SQUARE[0], SQUARE[1].start - FOREGROUND : SQUARE[1].stop - FOREGROUND] = FOREGROUND
    return left, right


def random_disparities(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (generator.random((30, 40)) * 15).astype(np.float32), generator.integers(0, 16, (30, 40)).astype(np.uint16)


def plain_class(position: np.ndarray, of_right: np.ndarray, x: int, tolerance: float, candidates: int) -> MatchClass:
    """Of the pixel in column x of one row."""
    matched = x - int(np.rint(position[x]))
    if matched < 0:
        return MatchClass.OCCLUSION
    if abs(position[x] - of_right[matched]) <= tolerance:
        return MatchClass.CORRECT
    for d in range(candidates):
        if x - d >= 0 and abs(d - float(of_right[x - d])) <= tolerance:
            return MatchClass.MISMATCH
    return MatchClass.OCCLUSION


@pytest.mark.parametrize("right_type", [np.uint16, np.float32])
@pytest.mark.parametrize(("tolerance", "candidates"), [(1.0, 16), (0.5, 16), (2.5, 9), (0.0, 1)])
def test_classes_equal_a_plain_loop(right_type, tolerance, candidates):
    position, of_right = random_disparities(0)
    of_right = (of_right + (0.3 if right_type == np.float32 else 0)).astype(right_type)
    expected = [
        [plain_class(row, of_right[y], x, tolerance, candidates) for x in range(row.size)]
        for y, row in enumerate(position)
    ]
    classes = classify(position, of_right, tolerance, candidates)
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_array_equal(classes == MatchClass.CORRECT, left_right_consistent(position, of_right, tolerance))


def test_random_answers_have_every_class():
    classes = classify(*random_disparities(0), 1.0, 16)
    assert np.bincount(classes.ravel(), minlength=3).min() > 100


def test_left_right_check():
    position = np.array([[0.0, 1.4, 2.0, 3.6, 9.0]], np.float32)
    of_right = np.array([[2, 0, 0, 0, 0]], np.uint16)
    # pixel 0 -> 0, which says 2; 1 -> 0, says 2; 2 -> 0, says 2; 3 -> -1, outside; 4 -> outside
    np.testing.assert_array_equal(left_right_consistent(position, of_right, 1.0), [[False, True, True, False, False]])


STRIP = slice(SQUARE[1].start - (FOREGROUND - BACKGROUND), SQUARE[1].start)


def test_the_half_occluded_strip_is_as_wide_as_the_disparity_differs():
    left, right = square_before_wall()
    expected = np.full(left.shape, MatchClass.CORRECT, np.uint8)
    expected[SQUARE[0], STRIP] = MatchClass.OCCLUSION
    expected[:, :BACKGROUND] = MatchClass.OCCLUSION  # outside the right image
    np.testing.assert_array_equal(classify(left, right, 0.5, 32), expected)


def test_a_tolerance_of_a_pixel_makes_the_strip_a_pixel_narrower_on_either_side():
    """There 11 and 22 are within it of the surfaces beside, 10 and 23, which is a mismatch by the papers' rule."""
    classes = classify(*square_before_wall(), 1.0, 32)[SQUARE[0], STRIP]
    assert (classes[:, 1:-1] == MatchClass.OCCLUSION).all()
    assert (classes[:, [0, -1]] == MatchClass.MISMATCH).all()


def test_the_strip_is_occluded_whatever_was_matched_there():
    left, right = square_before_wall()
    left[SQUARE[0], STRIP] = np.random.default_rng(1).integers(0, 32, left[SQUARE[0], STRIP].shape)
    assert (classify(left, right, 0.5, 32)[SQUARE[0], STRIP] == MatchClass.OCCLUSION).all()


def test_a_wrong_answer_on_a_surface_that_both_see_is_a_mismatch():
    left, right = square_before_wall()
    left[5:8, 70:80] = 17
    left[25:30, 65:70] = 3
    classes = classify(left, right, 1.0, 32)
    assert (classes[5:8, 70:80] == MatchClass.MISMATCH).all()
    assert (classes[25:30, 65:70] == MatchClass.MISMATCH).all()


def test_speckles_go_and_surfaces_stay():
    position = np.full((40, 40), 5, np.float32)
    position[5:9, 5:9] = 20
    valid = np.ones((40, 40), bool)
    valid[30:] = False
    kept = drop_speckles(position, valid, area_px=20)
    assert not kept[5:9, 5:9].any()
    assert kept.sum() == 30 * 40 - 16


def plain_patch(position: np.ndarray, valid: np.ndarray, start: tuple[int, int]) -> set[tuple[int, int]]:
    """Pixels that valid steps of at most one candidate reach from `start`."""
    patch, ahead = {start}, [start]
    while ahead:
        y, x = ahead.pop()
        for to in (y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1):
            inside = 0 <= to[0] < valid.shape[0] and 0 <= to[1] < valid.shape[1]
            if inside and valid[to] and to not in patch and abs(position[to] - position[y, x]) <= 1:
                patch.add(to)
                ahead.append(to)
    return patch


def test_speckles_equal_a_flood_fill():
    generator = np.random.default_rng(2)
    position = (generator.integers(0, 64, (25, 30)) / 8).astype(np.float32)
    valid = generator.random((25, 30)) < 0.9
    expected = [
        [bool(valid[y, x]) and len(plain_patch(position, valid, (y, x))) > 4 for x in range(30)] for y in range(25)
    ]
    assert 0.2 < np.mean(expected) < 0.8
    np.testing.assert_array_equal(drop_speckles(position, valid, area_px=4), expected)


def test_nothing_valid_stays_nothing():
    assert not drop_speckles(np.ones((5, 6), np.float32), np.zeros((5, 6), bool), area_px=2).any()
