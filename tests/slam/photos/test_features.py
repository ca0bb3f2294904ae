"""Features where they are, and exact matching."""

import numpy as np
import pytest

from firstsight.slam.photos.features import Features, MatchingConfig, match, photo_features, root_sift, unit

CONFIG = MatchingConfig()


def features_of(descriptors: np.ndarray) -> Features:
    count = len(descriptors)
    return Features(np.zeros((count, 2)), descriptors, np.zeros((count, 3), np.uint8))


def random_descriptors(count: int, seed: int) -> np.ndarray:
    return root_sift(np.random.default_rng(seed).gamma(0.3, 40, (count, 128)).astype(np.float32))


@pytest.mark.parametrize("enlarged", [1, 4])
def test_features_are_where_the_blobs_are(enlarged):
    """In large photos too, which are reduced first. The centre of the top-left pixel is (0, 0)."""
    centres = np.array([[40.0, 40.0], [80.25, 60.75], [120.5, 80.5]]) * enlarged
    y, x = np.mgrid[: 120 * enlarged, : 160 * enlarged]
    photo = np.full(x.shape, 60.0)
    for centre, sigma in zip(centres, (3, 5, 4), strict=True):
        photo += 150 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 2 / (enlarged * sigma) ** 2)
    coloured = np.dstack([photo, photo, 0.5 * photo]).astype(np.uint8)
    found = photo_features(coloured, MatchingConfig(longest_side_px=160, contrast=0.01))
    gaps = np.linalg.norm(found.pixels[:, None] - centres, axis=-1).min(0)
    assert (gaps < 0.1 * enlarged).all()
    assert (found.colours[:, 0] > found.colours[:, 2]).all()


def test_an_empty_photo_has_no_features_and_matches_nothing():
    nothing = photo_features(np.zeros((50, 60, 3), np.uint8), CONFIG)
    assert len(nothing.pixels) == 0
    assert match(nothing, nothing, 0.8).shape == (0, 2)


def test_root_sift_makes_the_scalar_product_hellingers_kernel():
    raw = np.random.default_rng(0).gamma(0.3, 40, (2, 128)).astype(np.float32)
    shares = raw / raw.sum(1, keepdims=True)
    kernel = sum(np.sqrt(a * b) for a, b in zip(*shares, strict=True))
    first, second = unit(root_sift(raw))
    assert float(first @ second) == pytest.approx(kernel, abs=5e-3)  # of bytes


def slow_match(a: np.ndarray, b: np.ndarray, ratio: float) -> list[tuple[int, int]]:
    """Both ways the nearest, both ways clearly, from all distances."""
    distances = [[float(np.sum((p - q) ** 2)) for q in unit(b)] for p in unit(a)]

    def nearest(row: list[float]) -> int | None:
        order = np.argsort(row)
        return int(order[0]) if row[order[0]] < ratio**2 * row[order[1]] else None

    of_a, of_b = [nearest(row) for row in distances], [nearest(list(column)) for column in zip(*distances, strict=True)]
    return [(i, j) for i, j in enumerate(of_a) if j is not None and of_b[j] == i]


def test_matching_equals_the_slow_way_and_is_symmetric(monkeypatch):
    monkeypatch.setattr("firstsight.slam.photos.features.MATCH_BLOCK", 16)
    a = random_descriptors(60, 1)
    levels = np.linspace(10, 300, 40)[:, None]  # the worst are as far as any other
    noise = np.rint(np.random.default_rng(2).uniform(-1, 1, (40, 128)) * levels).astype(int)
    b = np.concatenate([np.clip(a[20:] + noise, 0, 255).astype(np.uint8), random_descriptors(30, 3), a[25:27]])
    found = match(features_of(a), features_of(b), 0.8)
    assert [tuple(row) for row in found.tolist()] == slow_match(a, b, 0.8)
    assert 10 < len(found) < 35
    assert len(match(features_of(a), features_of(b), 0.9)) > len(found)
    assert sorted(match(features_of(b), features_of(a), 0.8)[:, ::-1].tolist()) == found.tolist()
