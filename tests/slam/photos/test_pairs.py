"""True matches told from false ones, scenes without parallax recognised, which photos of many are tried; the focal length from pairs."""

import cv2
import numpy as np
import pytest

from firstsight.geometry.epipolar import essential_matrix
from firstsight.slam.photos.features import Features, MatchingConfig, root_sift
from firstsight.slam.photos.lenses import PhotoLens, lens_groups
from firstsight.slam.photos.pairs import Pair, pairs_to_try, verify
from firstsight.slam.photos.self_calibration import calibrated, focal_from_pairs

CONFIG = MatchingConfig()
SIZE = (480, 640)
INTRINSICS = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])


def rotated(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    b_from_a = np.eye(4)
    b_from_a[:3, :3], b_from_a[:3, 3] = cv2.Rodrigues(np.array(angles))[0], shift
    return b_from_a


def two_views(kind: str, outliers: float, intrinsics: np.ndarray = INTRINSICS, seed: int = 0):
    """Features of two photos, their matches, and which are true. `kind`: a scene with depth, a plane, a turning camera."""
    rng = np.random.default_rng(seed)
    pixels_a = rng.uniform((0, 0), SIZE[::-1], (300, 2))
    rays = np.column_stack([pixels_a, np.ones(300)]) @ np.linalg.inv(intrinsics).T
    points = rays * (np.full((300, 1), 4.0) if kind == "plane" else rng.uniform(2, 8, (300, 1)))
    b_from_a = rotated((0.05, -0.2, 0.1), (0, 0, 0) if kind == "turning" else (1.0, 0.2, 0.1))
    seen = points @ b_from_a[:3, :3].T + b_from_a[:3, 3]
    pixels_b = seen @ intrinsics.T
    pixels_b = pixels_b[:, :2] / pixels_b[:, 2:] + rng.normal(0, 0.4, (300, 2))
    true = rng.random(300) >= outliers
    pixels_b[~true] = rng.uniform((0, 0), SIZE[::-1], ((~true).sum(), 2))
    blank = np.zeros((300, 128), np.uint8), np.zeros((300, 3), np.uint8)
    rows = np.tile(np.arange(300)[:, None], (1, 2))
    return (Features(pixels_a, *blank), Features(pixels_b, *blank)), rows, true


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", ["depth", "plane", "turning"])
def test_true_matches_are_kept_and_scenes_without_parallax_recognised(kind, known):
    features, rows, true = two_views(kind, 0.4)
    found = verify((3, 7), features, rows, (INTRINSICS, INTRINSICS) if known else None, 2.0, CONFIG)
    assert found is not None
    assert (found.a, found.b, found.general) == (3, 7, kind == "depth")
    kept = np.isin(np.arange(300), found.rows[:, 0])
    assert kept[true].mean() > 0.97
    assert kept[~true].mean() < 0.1


def test_matches_without_a_common_scene_are_no_pair():
    features, rows, _ = two_views("depth", 1.0)
    assert verify((0, 1), features, rows, None, 2.0, CONFIG) is None
    assert verify((0, 1), features, rows[:10], None, 2.0, CONFIG) is None


def test_of_many_photos_those_of_one_scene_are_tried():
    photos = []
    for scene in range(4):
        everything = root_sift(np.random.default_rng(scene).gamma(0.3, 40, (300, 128)).astype(np.float32))
        for number in range(6):
            rng = np.random.default_rng((scene, number))
            chosen = everything[rng.permutation(300)[:150]].astype(int) + rng.integers(-10, 11, (150, 128))
            descriptors = np.clip(chosen, 0, 255).astype(np.uint8)
            photos.append(
                Features(np.zeros((len(descriptors), 2)), descriptors, np.zeros((len(descriptors), 3), np.uint8))
            )
    tried = pairs_to_try(photos, MatchingConfig(exhaustive_up_to=10, candidates=5, words=16))
    same = [(a, b) for a in range(24) for b in range(a + 1, 24) if a // 6 == b // 6]
    assert len(tried) < 24 * 23 / 4
    assert len(set(same) & set(tried)) >= 0.9 * len(same)
    assert pairs_to_try(photos[:5], CONFIG) == [(a, b) for a in range(5) for b in range(a + 1, 5)]


# The focal length from pairs


def pairs_of_lens(focal_px: float, count: int, noise: float = 0.0) -> list[Pair]:
    """Fundamental matrices of random motions."""
    import torch

    rng, pairs = np.random.default_rng(0), []
    inverse = np.linalg.inv(np.array([[focal_px, 0, 319.5], [0, focal_px, 239.5], [0, 0, 1]]))
    for i in range(count):
        motion = rotated(tuple(rng.normal(0, 0.3, 3)), tuple(rng.normal(0, 1, 3)))
        essential = essential_matrix(torch.from_numpy(motion)).numpy()
        essential = essential + noise * np.abs(essential).max() * rng.normal(size=(3, 3))
        pairs.append(Pair(0, i + 1, np.zeros((50, 2), np.int64), True, inverse.T @ essential @ inverse))
    return pairs


@pytest.mark.parametrize("focal_px", [380.0, 585.0, 1100.0])
def test_the_focal_length_follows_from_pairs(focal_px):
    size = np.array(SIZE)
    assert focal_from_pairs(pairs_of_lens(focal_px, 5), size) == pytest.approx(
        focal_px, rel=0.02
    )  # between those tried
    assert focal_from_pairs(pairs_of_lens(focal_px, 40, 0.02), size) == pytest.approx(focal_px, rel=0.1)


def test_without_pairs_the_assumed_focal_length_stays():
    groups = lens_groups([PhotoLens(SIZE, None, "")] * 2)
    assert calibrated(groups, []).lenses.intrinsics[0, 0, 0] == 1.2 * 640
    known = lens_groups([PhotoLens(SIZE, 500.0, "")] * 6)
    assert calibrated(known, pairs_of_lens(900.0, 5)).lenses.intrinsics[0, 0, 0] == 500.0
    unknown = lens_groups([PhotoLens(SIZE, None, "")] * 6)
    assert calibrated(unknown, pairs_of_lens(900.0, 5)).lenses.intrinsics[0, 0, 0] == pytest.approx(900.0, rel=0.02)
