"""Which features of unordered photos show the same points: the first half of structure from motion.

Paper:  Snavely, Seitz, Szeliski. Photo Tourism. SIGGRAPH 2006, section 4.1; Lowe 2004 (SIFT); Arandjelovic, Zisserman.
        Three things everyone should know to improve object retrieval. CVPR 2012 (RootSIFT);
        Jegou, Douze, Schmid, Perez. Aggregating local descriptors (VLAD). CVPR 2010; Schoenberger, Frahm. CVPR 2016, 4.1.
Idea:   descriptor  d = sqrt(s / |s|_1) of SIFT's s, so that d . d' is Hellinger's kernel             -> root_sift()
        match       each the other's nearest, and nearer than ratio times the second, both ways       -> match()
        pairs       all of few photos; of many those with the most similar sums of residuals to words -> pairs_to_try()
        true        inliers of x_b' F x_a = 0, of E = K_b' F K_a where the focal lengths are known,
                    or of x_b ~ H x_a where that explains as many (planar scene or turning camera)    -> verify()
        focal       the f for which K' F K has two equal singular values, as an E has, over all pairs -> focal_from_pairs()
Differs: matching is exact, not by trees. The homography decides only whether a pair may start a model.
Units:  pixels of the photo as it is stored; the top-left centre is (0, 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numba import njit
from PIL import ExifTags
from PIL import Image as PillowImage
from scipy.cluster.vq import kmeans2

from firstsight.roles.reconstruction import Lenses

LENGTH = 128  # of a descriptor
DIAGONAL_35MM = 43.2666  # of 35 mm film, to which equivalent focal lengths refer
ASSUMED_FOCAL = 1.2  # of the longer side, where nothing is known
FOCALS = np.geomspace(0.4, 3.0, 80)  # that are tried, in longer sides
MATCH_BLOCK = 2048  # rows of similarities at a time, to bound memory
SEED, WORD_SAMPLES = 0, 20_000
CONFIDENCE = 0.9999
UNLIKE = 0.05  # share by which singular values may differ before it counts little whether by more
TELLING = 0.8  # of the highest cost, which the lowest must stay below; else the pairs cannot tell the focal length

Pixels = Float64[np.ndarray, "points 2"]


@dataclass(frozen=True, kw_only=True)
class MatchingConfig:
    max_features: int = 4096
    contrast: float = 0.02  # SIFT's; half of Lowe's 0.04, for indoor photos
    longest_side_px: int = 1600  # larger photos are reduced before features are sought
    ratio: float = 0.8
    threshold_px: float = 2.0  # distance to the epipolar line, at up to `longest_side_px`
    min_inliers: int = 20
    planar_share: float = 0.8  # of the inliers; a homography that explains more makes a pair planar or turning
    exhaustive_up_to: int = 60  # photos; of more, each is tried with `candidates` others
    candidates: int = 20
    words: int = 64


class Features(NamedTuple):
    pixels: Float64[np.ndarray, "n 2"]
    descriptors: UInt8[np.ndarray, "n 128"]
    colours: UInt8[np.ndarray, "n 3"]


class PhotoLens(NamedTuple):
    """`focal_px` as the photo's own notes have it, None where they say nothing; `camera` is the maker's name for it."""

    size: tuple[int, int]
    focal_px: float | None
    camera: str


class Pair(NamedTuple):
    """Photos a < b and the rows of their features that show the same points. `general` means parallax and depth."""

    a: int
    b: int
    rows: Int64[np.ndarray, "matches 2"]
    general: bool
    fundamental: Float64[np.ndarray, "3 3"]


# A photo


def photo_lens(path: Path, size: tuple[int, int]) -> PhotoLens:
    """What the photo's EXIF notes say; `size` is (height, width) of the decoded photo."""
    try:
        with PillowImage.open(path) as image:
            notes = image.getexif()
            camera = " ".join(str(notes.get(tag, "")).strip() for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
            details = notes.get_ifd(ExifTags.IFD.Exif)
    except (OSError, SyntaxError, ValueError):
        return PhotoLens(size, None, "")
    equivalent_mm = _number(details.get(ExifTags.Base.FocalLengthIn35mmFilm))
    focal_mm = _number(details.get(ExifTags.Base.FocalLength))
    camera = (
        f"{camera.strip()} {focal_mm or equivalent_mm:g} mm".strip() if focal_mm or equivalent_mm else camera.strip()
    )
    if equivalent_mm > 0:
        return PhotoLens(size, equivalent_mm * float(np.hypot(*size)) / DIAGONAL_35MM, camera)
    per_unit = _number(details.get(ExifTags.Base.FocalPlaneXResolution))
    unit_mm = {2: 25.4, 3: 10.0}.get(int(_number(details.get(ExifTags.Base.FocalPlaneResolutionUnit)) or 2), 25.4)
    focal_px = focal_mm * per_unit / unit_mm
    return PhotoLens(size, focal_px if focal_px > 0 else None, camera)


def _number(value: object) -> float:
    """A number of EXIF notes; 0 where there is none, or one that cannot be (0 / 0)."""
    try:
        number = float(value)  # ty: ignore[invalid-argument-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if np.isfinite(number) else 0.0


class LensGroups(NamedTuple):
    """Photos of one size and camera share a lens; where its focal length is `assumed`, nothing was known of it."""

    lens: Int64[np.ndarray, " photos"]
    lenses: Lenses
    assumed: Bool[np.ndarray, " lenses"]


def lens_groups(photos: Sequence[PhotoLens]) -> LensGroups:
    keys = {key: i for i, key in enumerate(dict.fromkeys((photo.size, photo.camera) for photo in photos))}
    lens = np.array([keys[photo.size, photo.camera] for photo in photos], np.int64)
    focal = [next(photo.focal_px for photo in photos if (photo.size, photo.camera) == key) for key in keys]
    sizes = np.array([size for size, _ in keys], np.int64).reshape(-1, 2)
    assumed = np.array([f is None for f in focal])
    focal_px = [f or ASSUMED_FOCAL * max(size) for f, size in zip(focal, sizes, strict=True)]
    intrinsics = np.stack([centred_intrinsics(f, size) for f, size in zip(focal_px, sizes, strict=True)])
    return LensGroups(lens, Lenses(sizes, intrinsics, np.zeros((len(sizes), 2))), assumed)


def centred_intrinsics(focal_px: float, size: Int64[np.ndarray, "2"]) -> Float64[np.ndarray, "3 3"]:
    """Square pixels, and the axis through the middle of the photo."""
    height, width = size
    return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1.0]])


def photo_features(photo: UInt8[np.ndarray, "height width 3"], config: MatchingConfig) -> Features:
    """The strongest SIFT features, with the colours under them."""
    scale = min(1.0, config.longest_side_px / max(photo.shape[:2]))
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    # without the precise upscale all positions are off by a quarter of a pixel
    sift = cv2.SIFT.create(config.max_features, contrastThreshold=config.contrast, enable_precise_upscale=True)
    found, descriptors = sift.detectAndCompute(grey, None)
    if not found:
        return Features(np.zeros((0, 2)), np.zeros((0, LENGTH), np.uint8), np.zeros((0, 3), np.uint8))
    reduced = np.array([feature.pt for feature in found], np.float64)
    by = np.array(photo.shape[1::-1]) / np.array(grey.shape[1::-1])
    pixels = (reduced + 0.5) * by - 0.5
    column, row = np.clip(np.rint(pixels).astype(int), 0, np.array(photo.shape[1::-1]) - 1).T
    return Features(pixels, root_sift(descriptors), photo[row, column])


def root_sift(descriptors: Float32[np.ndarray, "n 128"]) -> UInt8[np.ndarray, "n 128"]:
    """512 times the root of each descriptor's shares: of length 512, in bytes."""
    shares = descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-12)
    return np.clip(np.rint(512 * np.sqrt(shares)), 0, 255).astype(np.uint8)


def unit(descriptors: UInt8[np.ndarray, "n 128"]) -> Float32[np.ndarray, "n 128"]:
    """Of length 1."""
    values = descriptors.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


# Pairs of photos that may overlap


def pairs_to_try(features: Sequence[Features], config: MatchingConfig) -> list[tuple[int, int]]:
    """All pairs of few photos; of many, each photo with those that look most alike as a whole."""
    count = len(features)
    if count <= config.exhaustive_up_to:
        return [(a, b) for a in range(count) for b in range(a + 1, count)]
    similarity = (summary := photo_summaries(features, config.words)) @ summary.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : config.candidates]
    return sorted({(min(a, b), max(a, b)) for a, row in enumerate(nearest.tolist()) for b in row})


def photo_summaries(features: Sequence[Features], words: int) -> Float32[np.ndarray, "photos length"]:
    """VLAD: for each of a few words, the sum of what its descriptors differ from it by; roots, of length 1."""
    rng = np.random.default_rng(SEED)
    everything = np.concatenate([unit(photo.descriptors) for photo in features])
    sample = everything[rng.permutation(len(everything))[:WORD_SAMPLES]]
    centres, _ = kmeans2(sample, min(words, len(sample)), iter=10, minit="++", rng=rng)
    rows = np.stack([_residual_sums(unit(photo.descriptors), centres.astype(np.float32)) for photo in features])
    rooted = np.sign(rows) * np.sqrt(np.abs(rows))
    return rooted / np.maximum(np.linalg.norm(rooted, axis=1, keepdims=True), 1e-12)


def _residual_sums(
    descriptors: Float32[np.ndarray, "n 128"], centres: Float32[np.ndarray, "words 128"]
) -> Float32[np.ndarray, " length"]:
    word = (descriptors @ centres.T - (centres**2).sum(1) / 2).argmax(1) if len(descriptors) else np.zeros(0, int)
    sums = np.zeros_like(centres)
    np.add.at(sums, word, descriptors - centres[word])
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).ravel()


# A pair of photos


def match(a: Features, b: Features, ratio: float) -> Int64[np.ndarray, "matches 2"]:
    """Rows of a and b that are each other's nearest, and clearly nearer than their second nearest."""
    in_a, in_b = len(a.descriptors), len(b.descriptors)
    if min(in_a, in_b) < 2:
        return np.zeros((0, 2), np.int64)
    of_rows, of_columns = Best.none(in_a), Best.none(in_b)
    vectors_a, vectors_b = unit(a.descriptors), unit(b.descriptors)
    for start in range(0, in_a, MATCH_BLOCK):
        similarity = vectors_a[start : start + MATCH_BLOCK] @ vectors_b.T
        _two_best(similarity, start, *of_rows, *of_columns)
    good_a, good_b = of_rows.clear(ratio), of_columns.clear(ratio)
    rows = np.flatnonzero(good_a)
    rows = rows[good_b[of_rows.index[rows]] & (of_columns.index[of_rows.index[rows]] == rows)]
    return np.stack([rows, of_rows.index[rows]], 1)


class Best(NamedTuple):
    """The most similar of the other photo's features, and the two highest similarities."""

    index: Int64[np.ndarray, " n"]
    first: Float32[np.ndarray, " n"]
    second: Float32[np.ndarray, " n"]

    @classmethod
    def none(cls, count: int) -> "Best":
        return cls(np.zeros(count, np.int64), *np.full((2, count), -2.0, np.float32))

    def clear(self, ratio: float) -> Bool[np.ndarray, " n"]:
        """Whose distances |d - d'|^2 = 2 - 2 d . d' pass the ratio test."""
        return (1 - self.first) < ratio**2 * (1 - self.second)


@njit(cache=True)
@no_type_check
def _two_best(similarity, start, row_index, row_first, row_second, column_index, column_first, column_second):
    """Takes a block (rows, columns) of similarities, whose first row is `start`, into what is best so far."""
    rows, columns = similarity.shape
    for i in range(rows):
        at = start + i
        first, second, index = row_first[at], row_second[at], row_index[at]
        for j in range(columns):
            s = similarity[i, j]
            if s > second:
                if s > first:
                    first, second, index = s, first, j
                else:
                    second = s
            if s > column_second[j]:
                if s > column_first[j]:
                    column_second[j], column_first[j], column_index[j] = column_first[j], s, at
                else:
                    column_second[j] = s
        row_first[at], row_second[at], row_index[at] = first, second, index


def pair_of(a: int, b: int, features: Sequence[Features], groups: LensGroups, config: MatchingConfig) -> Pair | None:
    """Photos a and b matched and verified; None where they have too little in common."""
    of_pair, lens = (features[a], features[b]), groups.lens[[a, b]]
    intrinsics = None if groups.assumed[lens].any() else tuple(groups.lenses.intrinsics[lens])
    threshold_px = config.threshold_px * max(unit_px(size, config) for size in groups.lenses.size[lens])
    return verify((a, b), of_pair, match(*of_pair, config.ratio), intrinsics, threshold_px, config)


def unit_px(size: Int64[np.ndarray, "2"], config: MatchingConfig) -> float:
    """What a pixel of the reduced photo is in the photo: positions are as uncertain as that."""
    return max(1.0, float(size.max()) / config.longest_side_px)


def verify(
    photos: tuple[int, int],
    features: tuple[Features, Features],
    rows: Int64[np.ndarray, "matches 2"],
    intrinsics: tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"]] | None,
    threshold_px: float,
    config: MatchingConfig,
) -> Pair | None:
    """The matches that one rigid scene explains; None where too few do. Without intrinsics a fundamental matrix decides."""
    if len(rows) < config.min_inliers:
        return None
    pixels_a, pixels_b = features[0].pixels[rows[:, 0]], features[1].pixels[rows[:, 1]]
    _, planar = cv2.findHomography(
        pixels_a, pixels_b, cv2.USAC_MAGSAC, threshold_px, maxIters=2000, confidence=CONFIDENCE
    )
    on_plane = planar[:, 0] > 0 if planar is not None else np.zeros(len(rows), bool)
    fundamental, inliers = epipolar_geometry(pixels_a, pixels_b, intrinsics, threshold_px)
    general = on_plane.sum() < config.planar_share * inliers.sum()
    kept = inliers if general else on_plane | inliers
    if kept.sum() < config.min_inliers:
        return None
    return Pair(*photos, rows[kept], bool(general), fundamental)


def epipolar_geometry(
    pixels_a: Pixels,
    pixels_b: Pixels,
    intrinsics: tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"]] | None,
    threshold_px: float,
) -> tuple[Float64[np.ndarray, "3 3"], Bool[np.ndarray, " points"]]:
    """The fundamental matrix and its inliers, from an essential one where the intrinsics are known; zeros where there is none."""
    if intrinsics is None:
        matrix, mask = cv2.findFundamentalMat(pixels_a, pixels_b, cv2.USAC_MAGSAC, threshold_px, CONFIDENCE, 2000)
        inverse_a = inverse_b = np.eye(3)
    else:
        matrix, mask = essential_matrix(pixels_a, pixels_b, intrinsics, threshold_px)
        inverse_a, inverse_b = (np.linalg.inv(k) for k in intrinsics)
    if matrix is None or mask is None or matrix.shape != (3, 3):
        return np.zeros((3, 3)), np.zeros(len(pixels_a), bool)
    return inverse_b.T @ matrix @ inverse_a, mask[:, 0] > 0


def essential_matrix(
    pixels_a: Pixels,
    pixels_b: Pixels,
    intrinsics: tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"]],
    threshold_px: float,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """OpenCV's five-point matrix and mask. Both photos are brought to one focal length, so that pixels mean the same."""
    focal_px = float(np.mean([k[0, 0] for k in intrinsics]))
    alike = np.diag([focal_px, focal_px, 1.0])
    brought = [rays(pixels, k) * focal_px for pixels, k in zip((pixels_a, pixels_b), intrinsics, strict=True)]
    return cv2.findEssentialMat(
        *brought, alike, method=cv2.USAC_MAGSAC, prob=CONFIDENCE, threshold=threshold_px, maxIters=2000
    )


def rays(pixels: Pixels, intrinsics: Float64[np.ndarray, "3 3"]) -> Pixels:
    """Points on the plane z = 1 of a lens without distortion."""
    return (pixels - intrinsics[:2, 2]) / intrinsics.diagonal()[:2]


# The focal length, where nothing is known of it


def calibrated(groups: LensGroups, pairs: Sequence[Pair]) -> LensGroups:
    """The groups, with a guess from the pairs for every focal length that was assumed."""
    intrinsics = groups.lenses.intrinsics.copy()
    for lens in np.flatnonzero(groups.assumed):
        of_lens = [pair for pair in pairs if (groups.lens[[pair.a, pair.b]] == lens).all()]
        focal_px = focal_from_pairs(of_lens, groups.lenses.size[lens])
        if focal_px is not None:
            intrinsics[lens] = centred_intrinsics(focal_px, groups.lenses.size[lens])
    return groups._replace(lenses=groups.lenses._replace(intrinsics=intrinsics))


def focal_from_pairs(pairs: Sequence[Pair], size: Int64[np.ndarray, "2"]) -> float | None:
    """The focal length that most pairs of one lens agree on, in pixels; None where they cannot tell.

    Of E(f) = diag(f, f, 1) F diag(f, f, 1), with F about the middle of the photo, (s1 - s2) / (s1 + s2) is 0 at the true f.
    Source: Mendonca, Cipolla. A simple technique for self-calibration. CVPR 1999.
    """
    matrices = np.array([pair.fundamental for pair in pairs if pair.general and pair.fundamental.any()])
    if not len(matrices):
        return None
    middle = centred_intrinsics(1.0, size)
    about_middle = middle.T @ matrices @ middle
    tried = np.zeros((len(FOCALS), 3, 3))
    tried[:, 0, 0] = tried[:, 1, 1] = FOCALS * size.max()
    tried[:, 2, 2] = 1.0
    singular = np.linalg.svd(tried @ about_middle[:, None] @ tried, compute_uv=False)
    unlike = (singular[..., 0] - singular[..., 1]) / (singular[..., 0] + singular[..., 1])
    weight = np.array([len(pair.rows) for pair in pairs if pair.general and pair.fundamental.any()])
    total = np.average(np.log1p((unlike / UNLIKE) ** 2), axis=0, weights=weight)
    best = int(total.argmin())
    if best in (0, len(FOCALS) - 1) or total[best] > TELLING * total.max():
        return None
    return float(FOCALS[best] * size.max())
