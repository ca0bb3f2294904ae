"""Against slow counts over pairs of pixels, values of scikit-learn, and what each measure must and must not see."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from firstsight.evaluation.object_masks import (
    ObjectMaskErrors,
    ari,
    best_overlap,
    clustered_ids,
    foreground_ari,
    ids_of,
    matched_overlap,
    overlaps,
)

# sklearn.metrics.adjusted_rand_score 1.9.1 of `images(seed)`: all pixels, and those whose truth is not 0
SKLEARN = {
    0: (0.31950264638222314, 0.32026822160518625),
    1: (0.4216232701744119, 0.43726799113195025),
    2: (0.4038737589135473, 0.4156518329886897),
    3: (0.33655455159158343, 0.3887600209872571),
}


def images(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, (12, 17))
    return np.where(rng.random((12, 17)) < 0.6, true, rng.integers(0, 5, (12, 17))), true


def two_squares() -> np.ndarray:
    true = np.zeros((10, 10), np.int64)
    true[1:4, 1:4], true[6:9, 5:9] = 1, 2
    return true


@pytest.mark.parametrize("seed", SKLEARN)
def test_rand_indices_are_scikit_learns(seed):
    estimated, true = images(seed)
    assert (ari(estimated, true), foreground_ari(estimated, true)) == pytest.approx(SKLEARN[seed], abs=1e-12)


def test_the_rand_index_counts_pairs_of_pixels():
    """(pairs that both put together - chance) / (mean of both's pairs - chance), pair by pair."""
    estimated, true = (image[:5, :6].ravel() for image in images(7))
    pairs = list(combinations(range(len(true)), 2))
    in_estimated = np.array([estimated[i] == estimated[j] for i, j in pairs])
    in_true = np.array([true[i] == true[j] for i, j in pairs])
    chance = in_estimated.sum() * in_true.sum() / len(pairs)
    expected = ((in_estimated & in_true).sum() - chance) / ((in_estimated.sum() + in_true.sum()) / 2 - chance)
    assert ari(estimated[None], true[None]) == pytest.approx(expected, abs=1e-12)


def test_overlaps_are_intersection_over_union():
    estimated, true = images(5)
    slow = [
        [((estimated == e) & (true == t)).sum() / ((estimated == e) | (true == t)).sum() for t in (1, 2, 3)]
        for e in range(5)
    ]
    assert overlaps(estimated, true) == pytest.approx(np.array(slow))
    assert best_overlap(estimated, true) == pytest.approx(np.max(slow, axis=0).mean())
    assignments = [np.mean([slow[e][t] for t, e in enumerate(order)]) for order in permutations(range(5), 3)]
    assert matched_overlap(estimated, true) == pytest.approx(max(assignments))


def test_names_of_masks_do_not_matter_and_truth_is_best():
    true = two_squares()
    renamed = np.array([7, 3, 5])[true]
    worse = renamed.copy()
    worse[1, 1:3] = 5
    for measure in (ari, foreground_ari, best_overlap, matched_overlap):
        assert measure(renamed, true) == pytest.approx(1)
        assert measure(worse, true) < 1


def test_fg_ari_is_blind_to_background_where_the_others_are_not():
    true = two_squares()
    halves = np.where(np.arange(10) < 5, 1, 2)[:, None].repeat(10, 1)
    assert foreground_ari(halves, true) == 1
    assert best_overlap(halves, true) == pytest.approx((9 / 50 + 12 / 50) / 2)
    assert ari(halves, true) < 0.2


def test_one_mask_for_two_objects_serves_one_of_them_when_matched():
    true = two_squares()
    together = (true > 0).astype(np.int64)
    assert best_overlap(together, true) == pytest.approx((9 / 21 + 12 / 21) / 2)
    assert matched_overlap(together, true) == pytest.approx(12 / 21 / 2)


def test_random_masks_are_worth_nothing():
    true, rng = two_squares(), np.random.default_rng(0)
    assert np.mean([foreground_ari(rng.integers(0, 5, true.shape), true) for _ in range(100)]) == pytest.approx(
        0, abs=0.03
    )


def test_ids_are_of_the_largest_weight_and_0_where_none_is_sure():
    weights = torch.tensor([[0.6, 0.1, 0.2, 0.5], [0.4, 0.9, 0.1, 0.0]]).view(1, 2, 2, 2)
    assert ids_of(weights).flatten().tolist() == [1, 2, 0, 0]
    assert ids_of(torch.rand(1, 3, 4, 4).softmax(1)).min() == 1


def test_metrics_are_means_over_images_with_objects():
    errors = ObjectMaskErrors()
    assert errors.metrics() == ()
    for seed in range(3):
        errors.add(*images(seed))
    errors.add(np.zeros((4, 4), np.int64), np.zeros((4, 4), np.int64))
    values = {metric.name: metric.value for metric in errors.metrics()}
    assert list(values) == ["FG-ARI", "ARI", "mBO", "mIoU"]
    assert values["FG-ARI"] == pytest.approx(np.mean([SKLEARN[seed][1] for seed in range(3)]))
    assert "3 images" in errors.metrics()[0].protocol
    assert np.isnan(foreground_ari(np.ones((2, 2), np.int64), np.zeros((2, 2), np.int64)))


def test_one_object_in_one_mask_is_right():
    assert foreground_ari(np.full((3, 3), 4), np.ones((3, 3), np.int64)) == 1


def test_the_four_measures_of_one_mask_over_two_objects():
    """Objects of 9 and 12 of 100 pixels in one mask of 21. Pairs of pixels by hand: 3183 together in both, 3291 and 3183."""
    errors = ObjectMaskErrors()
    true = two_squares()
    errors.add((true > 0).astype(np.int64), true)
    values = {metric.name: metric.value for metric in errors.metrics()}
    chance = 3291 * 3183 / 4950
    assert values["FG-ARI"] == pytest.approx(0, abs=1e-12)
    assert values["ARI"] == pytest.approx((3183 - chance) / ((3291 + 3183) / 2 - chance))
    assert values["mBO"] == pytest.approx((9 / 21 + 12 / 21) / 2)
    assert values["mIoU"] == pytest.approx(12 / 21 / 2)


def test_fewer_masks_than_objects_leave_objects_unmatched():
    """One mask over all: 12 of 100 for the larger object, nothing for the other."""
    true = two_squares()
    assert matched_overlap(np.ones((10, 10), np.int64), true) == pytest.approx(0.12 / 2)
    assert best_overlap(np.ones((10, 10), np.int64), true) == pytest.approx((0.09 + 0.12) / 2)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("greys", "first"), [((0, 0, 60, 60, 60, 60), 2), ((0, 20, 20, 20, 20, 20), 3)])
def test_clusters_weigh_colours_and_places_of_0_to_1(upright, greys, first):
    """Six pixels in a row. 2 + 4 of them cost 0.15 and 3 + 3 cost 0.22 where greys differ by 60; 1 + 5 cost 0.28 and 3 + 3 cost
    0.12 where they differ by 20."""
    image = np.array(greys, np.uint8)[None, :, None].repeat(3, 2)
    ids = clustered_ids(image.transpose(1, 0, 2) if upright else image, 2)
    assert ids.shape == ((6, 1) if upright else (1, 6))
    one, other = sorted({*ids.ravel().tolist()}, key=lambda found: found != ids[0, 0])
    assert ids.ravel().tolist() == [one] * first + [other] * (6 - first)
    assert {one, other} == {1, 2}
