"""Corners and their tracks.

Paper:  Shi, Tomasi. Good Features to Track. CVPR 1994.  Bouguet. Pyramidal Implementation of the Lucas Kanade Feature
        Tracker. Intel 2000.
Idea:   a corner is a place whose window pins down its own motion (both eigenvalues of the gradient matrix are large);
        it is followed by the motion under which its window in one image looks like the other.
        lambda_min(sum of grad grad') > quality * the image's greatest, spaced apart   -> detect_corners()
        A d = b, coarse to fine, and back again: a track that does not return is lost  -> follow()
Differs: windows are matched against the last keyframe instead of the last frame, from a predicted place, so that
        errors add up once per keyframe and not once per frame.
Units:  pixels (x, y), the top-left centre at (0, 0).
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

Grey = UInt8[np.ndarray, "height width"]
Pixels = Float64[np.ndarray, "points 2"]


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    corners: int = 500
    quality: float = 0.003
    window_px: int = 21
    levels: int = 3
    return_px: float = 0.7  # how near its start a track must come back


class Followed(NamedTuple):
    """Where the pixels went; meaningless where not `found`."""

    pixels: Pixels
    found: Bool[np.ndarray, " points"]


def spacing_px(shape: tuple[int, ...], corners: int) -> float:
    """The distance between corners at which about that many fill the image."""
    return 0.7 * float(np.sqrt(shape[0] * shape[1] / corners))


def detect_corners(grey: Grey, taken: Float64[np.ndarray, "taken 2"], config: TrackingConfig) -> Pixels:
    """New corners, evenly spread, at a distance from the pixels already taken; none where the image has no structure."""
    spacing = spacing_px(grey.shape, config.corners)
    free = np.full(grey.shape, 255, np.uint8)
    margin = config.window_px // 2
    free[:margin], free[-margin:], free[:, :margin], free[:, -margin:] = 0, 0, 0, 0
    for x, y in np.rint(taken).astype(int).tolist():
        cv2.circle(free, (x, y), round(spacing), 0, -1)
    wanted = config.corners - len(taken)
    if wanted <= 0:
        return np.zeros((0, 2))
    corners = cv2.goodFeaturesToTrack(grey, wanted, config.quality, spacing, mask=free)
    return np.zeros((0, 2)) if corners is None else corners[:, 0].astype(np.float64)


def follow(from_grey: Grey, to_grey: Grey, pixels: Pixels, guess: Pixels, config: TrackingConfig) -> Followed:
    """Where windows of one image are in the other, searched from a guess; found where the way back ends at the start."""
    if not len(pixels):
        return Followed(pixels, np.zeros(0, bool))
    start, there = pixels.astype(np.float32), guess.astype(np.float32)
    settings = {
        "winSize": (config.window_px, config.window_px),
        "maxLevel": config.levels,
        "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01),
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    there, found, _ = cv2.calcOpticalFlowPyrLK(from_grey, to_grey, start, there, **settings)
    back = there + start - guess.astype(np.float32)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(to_grey, from_grey, there, back, **settings)
    height, width = to_grey.shape
    inside = (there >= 0).all(1) & (there[:, 0] <= width - 1) & (there[:, 1] <= height - 1)
    near = np.linalg.norm(back - start, axis=1) < config.return_px
    return Followed(there.astype(np.float64), (found[:, 0] > 0) & (returned[:, 0] > 0) & inside & near)
