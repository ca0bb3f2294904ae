"""Points followed from image to image: corners over a small motion, described blobs over a large one."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

Grey = UInt8[np.ndarray, "height width"]
Points = Float64[np.ndarray, "points 2"]

MAX_CORNERS = 400
CORNER_QUALITY = 0.01  # of the best corner's response
CORNER_DISTANCE_PX = 8
WINDOW_PX, LEVELS = (21, 21), 4  # follow motions of some 60 px
RETURN_PX = 0.5  # a point followed there and back that ends further away than this is lost

MAX_BLOBS = 800
RATIO = 0.8  # Lowe 2004, section 7.1
EPIPOLAR_PX = 1.5


class Matches(NamedTuple):
    """Points of one image and where they are in another, px; `sought` is how many were looked for."""

    points_a: Points
    points_b: Points
    sought: int

    @property
    def motion_px(self) -> float:
        """Median distance moved, NaN where nothing was found again."""
        return float(np.median(np.linalg.norm(self.points_b - self.points_a, axis=1))) if len(self.points_a) else np.nan


def corners(grey: Grey) -> Float32[np.ndarray, "points 2"]:
    """The strongest corners (Shi and Tomasi 1994), some distance apart."""
    found = cv2.goodFeaturesToTrack(grey, MAX_CORNERS, CORNER_QUALITY, CORNER_DISTANCE_PX)
    return np.empty((0, 2), np.float32) if found is None else found[:, 0]


def follow(
    a: Grey, b: Grey, points: Float32[np.ndarray, "points 2"]
) -> tuple[Float64[np.ndarray, "points 2"], Bool[np.ndarray, " points"]]:
    """Returns where points of a are in b (pyramidal Lucas-Kanade) and which of them return to their start on the way back."""
    if len(points) == 0:
        return np.empty((0, 2)), np.empty(0, bool)
    no_guess = np.empty(0, np.float32)
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, points[:, None], no_guess, None, None, WINDOW_PX, LEVELS)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(b, a, there, no_guess, None, None, WINDOW_PX, LEVELS)
    returned = np.linalg.norm(back[:, 0] - points, axis=1) < RETURN_PX
    return there[:, 0].astype(np.float64), (found[:, 0] > 0) & (found_back[:, 0] > 0) & returned


def track(a: Grey, b: Grey) -> Matches:
    """Corners of a followed into b."""
    points = corners(a)
    there, found = follow(a, b, points)
    return Matches(points[found].astype(np.float64), there[found], len(points))


def match(a: Grey, b: Grey) -> Matches:
    """SIFT blobs of a found in b wherever they are, kept where they agree with one epipolar geometry."""
    detector = cv2.SIFT.create(MAX_BLOBS)
    (blobs_a, described_a), (blobs_b, described_b) = (detector.detectAndCompute(grey, None) for grey in (a, b))
    nothing = Matches(np.empty((0, 2)), np.empty((0, 2)), len(blobs_a))
    if min(len(blobs_a), len(blobs_b)) < 2:
        return nothing
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(described_a, described_b, k=2)
    clear = [first for first, second in pairs if first.distance < RATIO * second.distance]
    if len(clear) < 8:  # as many as a fundamental matrix needs
        return nothing
    points_a = np.array([blobs_a[found.queryIdx].pt for found in clear], np.float64)
    points_b = np.array([blobs_b[found.trainIdx].pt for found in clear], np.float64)
    _, agree = cv2.findFundamentalMat(points_a, points_b, cv2.FM_RANSAC, EPIPOLAR_PX, 0.999, 1000)
    if agree is None:
        return nothing
    agree = agree[:, 0] > 0
    return Matches(points_a[agree], points_b[agree], len(blobs_a))
