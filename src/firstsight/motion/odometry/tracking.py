"""Corners and their tracks from frame to frame.

Paper:  Shi, Tomasi. Good Features to Track. CVPR 1994.  Bouguet. Pyramidal Implementation of the Lucas Kanade Feature
        Tracker. Intel 2000.
Idea:   a corner is a place whose window pins down its own motion (both eigenvalues of the gradient matrix are large);
        it is followed by the motion under which its window in one image looks like the other.
        lambda_min(sum of grad grad') > quality * the image's greatest, spaced apart   -> detect_corners()
        brightness, as exposure or lamps change it between images: b = gain a + offset  -> same_brightness()
        A d = b, coarse to fine, and back again: a track that does not return is lost  -> follow()
Differs: tracks go from frame to frame. Matching the last keyframe's window directly drifts less in theory; measured on
        simulated drives it lost half the corners after six frames, as windows change size and shape, for no gain.
Units:  pixels (x, y), the top-left centre at (0, 0).
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

Grey = UInt8[np.ndarray, "height width"]
Pixels = Float64[np.ndarray, "points 2"]


# the quantiles of grey levels that brightness is compared at, and the levels between which they tell it
QUANTILES = np.linspace(0.05, 0.95, 19)
TELLING = (4.0, 250.0)
# levels by which a change of brightness must shift them before it is undone
MIN_CHANGE = 3.0


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    corners: int = 400
    quality: float = 0.003
    window_px: int = 15
    levels: int = 3
    return_px: float = 0.7  # how near its start a track must come back


class Followed(NamedTuple):
    """The places that the pixels went to; meaningless where not `found`."""

    pixels: Pixels
    found: Bool[np.ndarray, " points"]


class Tracks(NamedTuple):
    """The corners alive in the last frame: their ids, where they are, and where they were in the last keyframe."""

    grey: Grey
    ids: Int64[np.ndarray, " points"]
    pixels: Pixels
    at_keyframe: Pixels

    def advanced(self, grey: Grey, pixels: Pixels, keep: Int64[np.ndarray, " kept"]) -> "Tracks":
        """The kept corners in the next frame."""
        return Tracks(grey, self.ids[keep], pixels[keep], self.at_keyframe[keep])

    def shift_px(self) -> float:
        """The median distance that corners went since the last keyframe."""
        return float(np.median(np.linalg.norm(self.pixels - self.at_keyframe, axis=1)))


def detect_corners(grey: Grey, taken: Float64[np.ndarray, "taken 2"], config: TrackingConfig) -> Pixels:
    """New corners, evenly spread, at a distance from the pixels already taken; none where the image has no structure."""
    wanted = config.corners - len(taken)
    if wanted <= 0:
        return np.zeros((0, 2))
    spacing_px = 0.7 * float(np.sqrt(grey.size / config.corners))
    margin = config.window_px // 2
    free = np.zeros(grey.shape, np.uint8)
    free[margin:-margin, margin:-margin] = 255
    for x, y in np.rint(taken).astype(int).tolist():
        cv2.circle(free, (x, y), round(spacing_px), 0, -1)
    corners = cv2.goodFeaturesToTrack(grey, wanted, config.quality, spacing_px, mask=free)
    return np.zeros((0, 2)) if corners is None else corners[:, 0].astype(np.float64)


def grey_quantiles(grey: Grey) -> Float64[np.ndarray, " quantiles"]:
    """Returns the grey levels of QUANTILES, between levels where several fall on one."""
    counts = np.bincount(grey.ravel(), minlength=256)
    shares = np.cumsum(counts) / grey.size
    return np.interp(QUANTILES, np.concatenate([[0.0], shares]), np.arange(257) - 0.5)


def same_brightness(a: Grey, b: Grey) -> Grey:
    """Image a as bright as b: gain and offset that map the quantiles of its grey levels to b's, undone where they matter.

    Levels that are cut off at black or white in either image say nothing.
    """
    from_levels, to_levels = grey_quantiles(a), grey_quantiles(b)
    telling = [(levels > TELLING[0]) & (levels < TELLING[1]) for levels in (from_levels, to_levels)]
    kept = telling[0] & telling[1]
    if kept.sum() < 3 or np.abs(to_levels - from_levels)[kept].max() < MIN_CHANGE or np.ptp(from_levels[kept]) < 1:
        return a
    gain, offset = np.polyfit(from_levels[kept], to_levels[kept], 1)
    table = np.clip(np.rint(gain * np.arange(256) + offset), 0, 255).astype(np.uint8)
    return cv2.LUT(a, table)


def follow(from_grey: Grey, to_grey: Grey, pixels: Pixels, guess: Pixels, config: TrackingConfig) -> Followed:
    """Finds windows of one image in the other, searched from a guess; found where the way back ends at the start."""
    if not len(pixels):
        return Followed(pixels, np.zeros(0, bool))
    from_grey = same_brightness(from_grey, to_grey)
    start, guess_ = pixels.astype(np.float32), guess.astype(np.float32)
    window = (config.window_px, config.window_px)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01)

    def track(a: Grey, b: Grey, at: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flags = cv2.OPTFLOW_USE_INITIAL_FLOW
        there, found, _ = cv2.calcOpticalFlowPyrLK(
            a, b, at, near.copy(), winSize=window, maxLevel=config.levels, criteria=stop, flags=flags
        )
        return there, found[:, 0] > 0

    there, found = track(from_grey, to_grey, start, guess_)
    back, returned = track(to_grey, from_grey, there, there + start - guess_)
    height, width = to_grey.shape
    inside = (there >= 0).all(1) & (there[:, 0] <= width - 1) & (there[:, 1] <= height - 1)
    near = np.linalg.norm(back - start, axis=1) < config.return_px
    return Followed(there.astype(np.float64), found & returned & inside & near)


def follow_all(tracks: Tracks, grey: Grey, expected: Pixels, config: TrackingConfig, min_share: float) -> Followed:
    """The tracks in the next frame, from where they are expected; from where they were if too few are found so."""
    followed = follow(tracks.grey, grey, tracks.pixels, expected, config)
    if followed.found.sum() >= min_share * len(tracks.ids):
        return followed
    return follow(tracks.grey, grey, tracks.pixels, tracks.pixels, config)
