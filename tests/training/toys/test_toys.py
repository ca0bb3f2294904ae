"""Toy images: what they are by their description, and that those of a seed stay."""

import numpy as np
import pytest

from firstsight.training.toys.binary_images import BinaryImages, bars, bars_and_stripes, bars_entropy
from firstsight.training.toys.drawn_patterns import KINDS, Patterns, step
from firstsight.training.toys.object_images import COLOURS, GROUND, ObjectImages


def test_bars_and_stripes_of_two_pixels():
    found = {tuple(image.ravel().tolist()) for image in bars_and_stripes(2)}
    assert found == {(0, 0, 0, 0), (1, 1, 0, 0), (0, 0, 1, 1), (1, 0, 1, 0), (0, 1, 0, 1), (1, 1, 1, 1)}
    assert len(bars_and_stripes(2)) == 6
    assert len(bars_and_stripes(4)) == 30


def test_bars_are_whole_rows_and_columns():
    """A pixel of 4 x 4 is black with a chance of (3/4)^2."""
    images = bars(4000, side=4, seed=1)
    assert images.shape == (4000, 4, 4)
    assert images.mean() == pytest.approx(1 - 9 / 16, abs=0.01)
    rows, columns = images.all(2), images.all(1)
    assert (images == (rows[:, :, None] | columns[:, None, :])).all()
    assert rows.mean() == pytest.approx(0.25 + 0.75 * 0.25**4, abs=0.01)
    assert bars(3).shape == (3, 6, 6)


def test_the_entropy_of_bars():
    """Of two: white in 7 of 16 cases, nine other images once each. Of three, counted over all 64 cases in another way."""
    assert bars_entropy(2) == pytest.approx(7 / 16 * np.log(16 / 7) + 9 / 16 * np.log(16))
    chances: dict[bytes, float] = {}
    for case in range(64):
        lines = [(case >> k) & 1 for k in range(6)]
        image = np.array([[lines[i] or lines[3 + j] for j in range(3)] for i in range(3)], np.uint8).tobytes()
        chances[image] = chances.get(image, 0.0) + (1 / 3) ** sum(lines) * (2 / 3) ** (6 - sum(lines))
    assert bars_entropy(3) == pytest.approx(-sum(p * np.log(p) for p in chances.values()))


def test_binary_images_are_black_and_white_samples():
    images = np.array([[[0, 1], [1, 1]]], np.uint8)
    assert BinaryImages(images).sample(0)["images"].tolist() == [[[[0, 255], [255, 255]]] * 3]


def test_patterns_are_of_eight_kinds_and_of_one_mean_and_spread():
    patterns = Patterns(16, size_px=24, seed=5)
    assert patterns.labels.tolist() == [*range(8), *range(8)]
    assert patterns.images.shape == (16, 3, 24, 24)
    assert patterns.images.mean((1, 2, 3)) == pytest.approx(np.full(16, 127.5), abs=1.5)
    assert patterns.images.std((1, 2, 3)) == pytest.approx(np.full(16, 255 * (0.2**2 + 0.05**2) ** 0.5), abs=1.5)
    assert step(np.array([[-1, -0.2, 0, 0.1, 1]]))[0].tolist() == pytest.approx([0, 0.2, 0.5, 0.65, 1])
    rows = {kind: np.diff(image.mean(0), axis=1).std() for kind, image in zip(KINDS, patterns.images, strict=False)}
    columns = {kind: np.diff(image.mean(0), axis=0).std() for kind, image in zip(KINDS, patterns.images, strict=False)}
    assert 3 * rows["across"] < columns["across"]
    assert 3 * columns["upright"] < rows["upright"]
    assert rows["blobs"] < 0.7 * rows["grain"]


def test_the_patterns_of_a_seed_stay():
    weights = np.arange(3 * 16 * 16).reshape(3, 16, 16) % 7
    found = [int((image * weights).sum()) for image in Patterns(8, size_px=16, seed=0).images]
    assert found == pytest.approx([292058, 293505, 293269, 291316, 295324, 294224, 292122, 292177], abs=20)


def test_objects_have_distinct_colours_on_a_dark_ground_and_are_seen():
    images = ObjectImages(30, size_px=48, objects=(2, 4), seed=1)
    counts = [int(drawn.ids.max()) for drawn in images.drawn]
    assert sorted(set(counts)) == [2, 3, 4]
    for image, ids in images.drawn:
        assert (image[ids == 0] == GROUND).all()
        tints = [np.unique(image[ids == number], axis=0) for number in range(1, ids.max() + 1)]
        assert all(len(tint) == 1 and (tint == COLOURS).all(1).any() for tint in tints)
        assert len(np.unique(np.concatenate(tints), axis=0)) == ids.max()
        # a disc of 0.13 to 0.17 of the side, and others of nearly its area; a tenth may be covered
        sizes = np.bincount(ids.ravel())[1:] / ids.size
        assert 0.9 * 0.035 < sizes.min() <= sizes.max() < 0.105
    assert images.sample(4)["images"][0].tolist() == images.drawn[4].image.transpose(2, 0, 1).tolist()


def test_stripes_have_two_tones_in_equal_parts():
    striped = ObjectImages(20, size_px=64, objects=(1, 1), striped=True, seed=2)
    shares = []
    for image, ids in striped.drawn:
        tones, counts = np.unique(image[ids == 1], axis=0, return_counts=True)
        assert len(tones) == 2
        dark, light = sorted(tones.tolist(), key=sum)
        assert dark == (0.45 * np.array(light, np.uint8)).astype(np.uint8).tolist()
        shares.append(counts.min() / counts.sum())
    assert np.mean(shares) > 0.4


def test_the_objects_of_a_seed_stay():
    found = [(int(drawn.ids.max()), int(drawn.image.astype(int).sum())) for drawn in ObjectImages(3, seed=0).drawn]
    assert [count for count, _ in found] == [3, 3, 3]
    assert [total for _, total in found] == pytest.approx([137375, 115430, 173450], rel=0.01)
