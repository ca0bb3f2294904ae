"""Features where they are, exact matching, true matches told from false ones, lenses from notes and from pairs."""

import cv2
import numpy as np
import pytest
from firstsight.slam.photos.photo_matching import (
    DIAGONAL_35MM,
    Features,
    MatchingConfig,
    Pair,
    PhotoLens,
    calibrated,
    focal_from_pairs,
    lens_groups,
    match,
    pairs_to_try,
    photo_features,
    photo_lens,
    root_sift,
    unit,
    verify,
)
from PIL import ExifTags, Image

from firstsight.geometry.epipolar import essential_matrix

CONFIG = MatchingConfig()
SIZE = (480, 640)
INTRINSICS = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])


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
    monkeypatch.setattr("firstsight.slam.photos.photo_matching.MATCH_BLOCK", 16)
    a = random_descriptors(60, 1)
    levels = np.linspace(10, 300, 40)[:, None]  # the worst are as far as any other
    noise = np.rint(np.random.default_rng(2).uniform(-1, 1, (40, 128)) * levels).astype(int)
    b = np.concatenate([np.clip(a[20:] + noise, 0, 255).astype(np.uint8), random_descriptors(30, 3), a[25:27]])
    found = match(features_of(a), features_of(b), 0.8)
    assert [tuple(row) for row in found.tolist()] == slow_match(a, b, 0.8)
    assert 10 < len(found) < 35
    assert len(match(features_of(a), features_of(b), 0.9)) > len(found)
    assert sorted(match(features_of(b), features_of(a), 0.8)[:, ::-1].tolist()) == found.tolist()


# Pairs


def turned(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    b_from_a = np.eye(4)
    b_from_a[:3, :3], b_from_a[:3, 3] = cv2.Rodrigues(np.array(angles))[0], shift
    return b_from_a


def two_views(kind: str, outliers: float, intrinsics: np.ndarray = INTRINSICS, seed: int = 0):
    """Features of two photos, their matches, and which are true. `kind`: a scene with depth, a plane, a turning camera."""
    rng = np.random.default_rng(seed)
    pixels_a = rng.uniform((0, 0), SIZE[::-1], (300, 2))
    rays = np.column_stack([pixels_a, np.ones(300)]) @ np.linalg.inv(intrinsics).T
    points = rays * (np.full((300, 1), 4.0) if kind == "plane" else rng.uniform(2, 8, (300, 1)))
    b_from_a = turned((0.05, -0.2, 0.1), (0, 0, 0) if kind == "turning" else (1.0, 0.2, 0.1))
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
        everything = random_descriptors(300, scene)
        for number in range(6):
            rng = np.random.default_rng((scene, number))
            chosen = everything[rng.permutation(300)[:150]].astype(int) + rng.integers(-10, 11, (150, 128))
            photos.append(features_of(np.clip(chosen, 0, 255).astype(np.uint8)))
    tried = pairs_to_try(photos, MatchingConfig(exhaustive_up_to=10, candidates=5, words=16))
    same = [(a, b) for a in range(24) for b in range(a + 1, 24) if a // 6 == b // 6]
    assert len(tried) < 24 * 23 / 4
    assert len(set(same) & set(tried)) >= 0.9 * len(same)
    assert pairs_to_try(photos[:5], CONFIG) == [(a, b) for a in range(5) for b in range(a + 1, 5)]


# Lenses


def test_notes_of_a_photo_give_its_focal_length(tmp_path):
    path = tmp_path / "photo.jpg"
    notes = Image.Exif()
    notes[ExifTags.Base.Make], notes[ExifTags.Base.Model] = "Maker", "One"
    notes.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.FocalLengthIn35mmFilm: 28, ExifTags.Base.FocalLength: 4.2})
    Image.new("RGB", (640, 480)).save(path, exif=notes)
    found = photo_lens(path, SIZE)
    assert found.focal_px == pytest.approx(28 * 800 / DIAGONAL_35MM)
    assert found.camera == "Maker One 4.2 mm"


def test_without_an_equivalent_the_sensor_gives_it(tmp_path):
    path = tmp_path / "photo.jpg"
    notes = Image.Exif()
    notes.get_ifd(ExifTags.IFD.Exif).update(
        {
            ExifTags.Base.FocalLength: 5.0,
            ExifTags.Base.FocalPlaneXResolution: 1000.0,
            ExifTags.Base.FocalPlaneResolutionUnit: 3,
        }
    )
    Image.new("RGB", (640, 480)).save(path, exif=notes)
    assert photo_lens(path, SIZE).focal_px == pytest.approx(500.0)  # 1000 pixels a centimetre


def test_a_photo_without_notes_says_nothing(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    assert photo_lens(tmp_path / "photo.png", (48, 64)) == PhotoLens((48, 64), None, "")


def test_photos_of_one_size_and_camera_share_a_lens():
    groups = lens_groups(
        [
            PhotoLens(SIZE, None, ""),
            PhotoLens(SIZE, 700.0, "One"),
            PhotoLens(SIZE, None, ""),
            PhotoLens((640, 480), None, ""),
        ]
    )
    assert groups.lens.tolist() == [0, 1, 0, 2]
    assert groups.assumed.tolist() == [True, False, True]
    assert groups.lenses.intrinsics[:, 0, 0].tolist() == [1.2 * 640, 700.0, 1.2 * 640]
    assert groups.lenses.intrinsics[2, :2, 2].tolist() == [239.5, 319.5]


def pairs_of_lens(focal_px: float, count: int, noise: float = 0.0) -> list[Pair]:
    """Fundamental matrices of random motions."""
    import torch

    rng, pairs = np.random.default_rng(0), []
    inverse = np.linalg.inv(np.array([[focal_px, 0, 319.5], [0, focal_px, 239.5], [0, 0, 1]]))
    for i in range(count):
        motion = turned(tuple(rng.normal(0, 0.3, 3)), tuple(rng.normal(0, 1, 3)))
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
