"""Mask overlap against sets of pixels, and id consistency on stories told frame by frame."""

import numpy as np
import pytest

from firstsight.evaluation.segmentation import MaskErrors


def measured(errors: MaskErrors) -> dict[str, float]:
    return {metric.name: metric.value for metric in errors.metrics()}


def image(**blocks: tuple[int, int]) -> np.ndarray:
    """Ids on a 20 x 40 image: block `idN=(first column, last column)`, all rows."""
    ids = np.zeros((20, 40), np.uint16)
    for name, (first, last) in blocks.items():
        ids[:, first:last] = int(name[2:])
    return ids


def test_overlap_equals_sets_of_pixels() -> None:
    rng = np.random.default_rng(0)
    errors, estimated_set, true_set = MaskErrors(), set(), set()
    for frame in range(4):
        estimated, true = rng.integers(0, 3, (9, 11)), rng.integers(0, 2, (9, 11))
        judged = rng.random((9, 11)) < 0.8
        errors.add(estimated, true, judged)
        for y, x in np.argwhere(judged):
            if estimated[y, x]:
                estimated_set.add((frame, y, x))
            if true[y, x]:
                true_set.add((frame, y, x))
    values = measured(errors)
    overlap = len(estimated_set & true_set)
    assert values["moving mask IoU"] == pytest.approx(overlap / len(estimated_set | true_set))
    assert values["moving mask precision"] == pytest.approx(overlap / len(estimated_set))
    assert values["moving mask recall"] == pytest.approx(overlap / len(true_set))


def test_perfect_masks_under_other_ids_are_perfect() -> None:
    errors = MaskErrors()
    for frame in range(3):
        errors.add(image(id7=(frame, frame + 5), id3=(20, 30)), image(id1=(frame, frame + 5), id2=(20, 30)))
    values = measured(errors)
    assert values["moving mask IoU"] == values["moving mask precision"] == values["moving mask recall"] == 1
    assert values["moving objects found"] == 100
    assert values["id switches per object"] == 0
    words = {metric.name: metric.protocol for metric in errors.metrics()}
    assert "over 3 frames" in words["moving mask IoU"]
    assert "of 6 appearances" in words["moving objects found"]


def test_a_lost_id_is_one_switch_even_after_frames_without_it() -> None:
    errors = MaskErrors()
    for estimated_id in ("id4", "id4", None, "id9", "id9"):
        estimated = image(**({estimated_id: (0, 10)} if estimated_id else {}))
        errors.add(estimated, image(id1=(0, 10), id2=(20, 30)))
    values = measured(errors)
    assert values["id switches per object"] == pytest.approx(1 / 2)
    assert values["moving objects found"] == pytest.approx(100 * 4 / 10)


def test_an_object_covered_by_less_than_half_is_not_found() -> None:
    errors = MaskErrors()
    errors.add(image(id4=(0, 4)), image(id1=(0, 10)))
    assert measured(errors)["moving objects found"] == 0


def test_an_object_shared_by_two_ids_is_found_only_where_one_has_half() -> None:
    shared, led = MaskErrors(), MaskErrors()
    shared.add(image(id4=(0, 4), id5=(4, 7)), image(id1=(0, 10)))
    led.add(image(id4=(0, 5), id5=(5, 9)), image(id1=(0, 10)))
    assert measured(shared)["moving objects found"] == 0
    assert measured(led)["moving objects found"] == 100


def test_nothing_moving_anywhere_gives_no_metrics() -> None:
    errors = MaskErrors()
    errors.add(image(), image())
    assert errors.metrics() == ()
