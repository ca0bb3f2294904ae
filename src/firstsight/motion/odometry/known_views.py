"""Where a camera is that lost its way: its image recognised among the views of earlier keyframes.

Paper:  Lowe. Distinctive Image Features from Scale-Invariant Keypoints. IJCV 60(2), 2004 (descriptors, the ratio test);
        Mur-Artal, Montiel, Tardos. ORB-SLAM. T-RO 2015, section V-E (relocalisation: candidates, PnP, guided search).
Idea:   corners of the image look like landmarks of a view; the pose they agree on says where all its landmarks should
        be seen, and tracking them there makes the pose exact and takes up the tracks again.
        each the other's nearest, and nearer than the ratio times the second      -> match_corners()
        pose by PnP in RANSAC, then by the landmarks tracked from the view, where
        these are more                                                            -> recognise()
Differs: descriptors are of upright windows at the corners that are tracked anyway, the image's at several sizes: a camera
        that was lost may be nearer or farther, and rolled little. They are made when they are needed: until a camera is
        lost, a view costs no more than its image.
Units:  pixels (x, y), the top-left centre at (0, 0); lengths of the landmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64

from firstsight.geometry.points import move_points, project_points
from firstsight.motion.odometry.tracking import Grey, Pixels, TrackingConfig, detect_corners, follow
from firstsight.optimisation.pnp import robust_pnp


@dataclass(frozen=True, kw_only=True)
class RecognitionConfig:
    # diameter of the smallest described window over that of a SIFT keypoint
    size_px: float = 7.0
    # sizes of the image's windows, as multiples of a view's
    sizes: tuple[float, ...] = (0.7, 1.0, 1.4)
    ratio: float = 0.85
    matches_px: float = 3.0
    tracks_px: float = 2.0
    # matches that agree on a pose, and their share: images of other places reach 7
    min_inliers: int = 15
    min_share: float = 0.2


class KnownView(NamedTuple):
    """What a keyframe saw: rows of `measured` are (x, y, inverse depth), of `precision` 1 / sigma, one for each landmark.

    `descriptors` of the landmarks are made when they are first needed, or when the view is put aside.
    """

    keyframe: int
    grey: Grey
    ids: Int64[np.ndarray, " n"]
    points_world: Float64[np.ndarray, "n 3"]
    measured: Float64[np.ndarray, "n 3"]
    precision: Float64[np.ndarray, "n 3"]
    descriptors: Float32[np.ndarray, "n 128"] | None = None


class Recognised(NamedTuple):
    """The camera's pose by landmarks of one view, `rows` of it, and where the image has them."""

    view: int
    camera_from_world: Float64[np.ndarray, "4 4"]
    rows: Int64[np.ndarray, " n"]
    pixels: Pixels


def describe(grey: Grey, pixels: Pixels, size_px: float) -> Float32[np.ndarray, "n 128"]:
    """Returns SIFT's descriptors of upright windows, of length 1."""
    at = [cv2.KeyPoint(float(x), float(y), size_px, 0.0) for x, y in pixels]
    if not at:
        return np.zeros((0, 128), np.float32)
    _, descriptors = cv2.SIFT.create().compute(grey, at)
    return descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-9)


def descriptors_of(view: KnownView, config: RecognitionConfig) -> Float32[np.ndarray, "n 128"]:
    """Returns what the view keeps, or made anew."""
    if view.descriptors is not None:
        return view.descriptors
    return describe(view.grey, view.measured[:, :2], config.size_px)


def match_corners(similarity: Float32[np.ndarray, "a b"], ratio: float) -> Int64[np.ndarray, "matches 2"]:
    """Returns pairs (row, column), each the other's most similar; the next best must be farther by the ratio.

    Descriptors of length 1 with similarity s are sqrt(2 - 2 s) apart.
    """
    rows = np.arange(len(similarity))
    best = similarity.argmax(1)
    mutual = similarity.argmax(0)[best] == rows
    two = np.sort(similarity, 1)[:, -2:]
    far = np.sqrt(np.maximum(2 - 2 * two, 0))
    kept = mutual & (far[:, 1] < ratio * far[:, 0])
    return np.column_stack([rows, best])[kept]


def recognise(
    views: Sequence[KnownView],
    grey: Grey,
    intrinsics: Float64[np.ndarray, "3 3"],
    tracking: TrackingConfig,
    config: RecognitionConfig,
) -> Recognised | None:
    """The pose by the view that most matches agree on; None where none is recognised."""
    corners = detect_corners(grey, np.zeros((0, 2)), tracking)
    if len(corners) < config.min_inliers or not views:
        return None
    described = np.stack([describe(grey, corners, scale * config.size_px) for scale in config.sizes])
    best: Recognised | None = None
    for number, view in enumerate(views):
        found = _by_matches(number, view, corners, described, intrinsics, config)
        if found is not None and (best is None or len(found.rows) > len(best.rows)):
            best = found
    if best is None:
        return None
    tracked = _by_tracks(best, views[best.view], grey, intrinsics, tracking, config)
    return best if tracked is None else tracked


def _by_matches(
    number: int,
    view: KnownView,
    corners: Pixels,
    described: Float32[np.ndarray, "sizes corners 128"],
    intrinsics: Float64[np.ndarray, "3 3"],
    config: RecognitionConfig,
) -> Recognised | None:
    """The pose that matched corners agree on."""
    if len(view.ids) < config.min_inliers:
        return None
    landmarks = descriptors_of(view, config)
    matches = match_corners(np.einsum("nd,scd->snc", landmarks, described).max(0), config.ratio)
    points, pixels = view.points_world[matches[:, 0]], corners[matches[:, 1]]
    located = robust_pnp(points, pixels, intrinsics, config.matches_px, config.min_inliers)
    if located is None or located.inliers.mean() < config.min_share:
        return None
    return Recognised(number, located.camera_from_world, matches[located.inliers, 0], pixels[located.inliers])


def _by_tracks(
    matched: Recognised,
    view: KnownView,
    grey: Grey,
    intrinsics: Float64[np.ndarray, "3 3"],
    tracking: TrackingConfig,
    config: RecognitionConfig,
) -> Recognised | None:
    """The pose by all the view's landmarks, tracked to where a first pose expects them; None if the matches were more."""
    points = move_points(view.points_world, matched.camera_from_world)
    height, width = grey.shape
    expected = project_points(points, intrinsics)
    rows = np.flatnonzero((points[:, 2] > 0) & (expected >= 0).all(1) & (expected < [width, height]).all(1))
    followed = follow(view.grey, grey, view.measured[rows, :2], expected[rows], tracking)
    rows, pixels = rows[followed.found], followed.pixels[followed.found]
    located = robust_pnp(view.points_world[rows], pixels, intrinsics, config.tracks_px, len(matched.rows))
    if located is None:
        return None
    return Recognised(matched.view, located.camera_from_world, rows[located.inliers], pixels[located.inliers])
