"""Which photos of many overlap, and which of their matches one rigid scene explains.

Paper:  Snavely, Seitz, Szeliski. Photo Tourism. SIGGRAPH 2006, section 4.1;
        Jegou, Douze, Schmid, Perez. Aggregating local descriptors into a compact image representation. CVPR 2010 (VLAD);
        Schoenberger, Frahm. Structure-from-Motion Revisited. CVPR 2016, 4.1.
Idea:   pairs       all of few photos; of many those with the most similar sums of residuals to words -> pairs_to_try()
        true        inliers of x_b' F x_a = 0, of E = K_b' F K_a where the focal lengths are known,
                    or of x_b ~ H x_a where that explains as many (planar scene or turning camera)    -> verify()
Differs: the homography decides only whether a pair may start a model.
Units:  pixels of the photo as it is stored; the top-left centre is (0, 0).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.cluster.vq import kmeans2

from firstsight.geometry.points import Intrinsics, Pixels, normalise_pixels
from firstsight.slam.photos.features import Features, MatchingConfig, match, unit
from firstsight.slam.photos.lenses import LensGroups

SEED, WORD_SAMPLES = 0, 20_000
CONFIDENCE = 0.9999


class Pair(NamedTuple):
    """Photos a < b and the rows of their features that show the same points. `general` means parallax and depth."""

    a: int
    b: int
    rows: Int64[np.ndarray, "matches 2"]
    general: bool
    fundamental: Float64[np.ndarray, "3 3"]


def pairs_to_try(features: Sequence[Features], config: MatchingConfig) -> list[tuple[int, int]]:
    """All pairs of few photos; of many, each photo with those that look most alike as a whole."""
    count = len(features)
    if count <= config.exhaustive_up_to:
        return [(a, b) for a in range(count) for b in range(a + 1, count)]
    summaries = photo_summaries(features, config.words)
    similarity = summaries @ summaries.T
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
    intrinsics: tuple[Intrinsics, Intrinsics] | None,
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
    intrinsics: tuple[Intrinsics, Intrinsics] | None,
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
    intrinsics: tuple[Intrinsics, Intrinsics],
    threshold_px: float,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """OpenCV's five-point matrix and mask. Both photos are brought to one focal length, so that pixels mean the same."""
    focal_px = float(np.mean([k[0, 0] for k in intrinsics]))
    alike = np.diag([focal_px, focal_px, 1.0])
    brought = [
        normalise_pixels(pixels, k) * focal_px for pixels, k in zip((pixels_a, pixels_b), intrinsics, strict=True)
    ]
    return cv2.findEssentialMat(
        *brought, alike, method=cv2.USAC_MAGSAC, prob=CONFIDENCE, threshold=threshold_px, maxIters=2000
    )
