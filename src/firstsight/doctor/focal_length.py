"""Which focal length explains how points move? The given one is tested, not believed.

Idea: a wrong focal length bends what a turning camera sees: turning by an angle w shifts a pixel at distance x from the centre by
f w + w x^2 / f, so the matches of every pair are explained best, by whatever motion, with the true f. For each f of a sweep the
motion of every pair is found anew, and what it leaves unexplained is added up as log(1 + (error / tolerance)^2):
    error with depth     distance between seen and projected point          -> reprojection_errors_px()
    error without        Sampson distance to the epipolar geometry          -> sampson_errors_px()
A camera that does not turn fits any f equally well (travel and depth absorb it); that is reported, not guessed.

Source: Hartley and Zisserman, Multiple View Geometry (2004), equation 11.9 (Sampson distance), section 19.1 (self-calibration).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, Int64

from firstsight.doctor.samples import MIN_MATCHES, Samples, WidePair
from firstsight.doctor.tracking import Matches
from firstsight.recordings.recording import Camera
from firstsight.run_folder import Finding

Intrinsics = Float64[np.ndarray, "3 3"]
Errors = Float64[np.ndarray, " points"]

CHECK = "focal length"
SCALES = (0.5, 0.6, 0.7, 0.77, 0.85, 0.92, 1.0, 1.08, 1.17, 1.3, 1.45, 1.7, 2.0)  # of the given focal length
OFF = 0.16  # no calibration of the right camera is off by this much
MAX_POINTS = 150  # of a pair
TOLERANCE_PX = {"depth": 1.0, "epipolar": 0.5}  # at samples.WIDTH_PX
CLEAR = {"depth": 0.08, "epipolar": 0.07}
"""Unexplained per point beyond the best focal length. Right calibrations stay below half of it; a focal length 30 % off makes
0.19 and more with depth where the camera turns, but without depth sometimes less than this: see docs/doctor.md."""
CERTAIN = 2.0  # standard errors over the pairs, of which those that hardly turn gain nothing
EXPLAINED = 1.5  # per point; where even the best focal length leaves more, the matches are wrong
MIN_POINTS = 150  # of all pairs together: fewer leave the sum to chance
UNSOLVED_PX = 10.0  # the error where no motion is found at all


class Evidence(NamedTuple):
    """The pairs that can tell, and how far their points are from being explained with given intrinsics."""

    kind: str
    pairs: list[WidePair]
    errors_px: Callable[[WidePair, Intrinsics], Errors]


class Sweep(NamedTuple):
    """What stays unexplained per point of each pair at each of SCALES, and by how much a focal length must be worse to be wrong."""

    unexplained: Float64[np.ndarray, "pairs scales"]
    points: Int64[np.ndarray, " pairs"]
    clear: float

    @property
    def total(self) -> Float64[np.ndarray, " scales"]:
        return np.average(self.unexplained, axis=0, weights=self.points)

    @property
    def best_scale(self) -> float:
        return SCALES[int(np.argmin(self.total))]

    @property
    def contradicts(self) -> bool:
        """Whether the best focal length is far from the given one and clearly better, in most pairs."""
        given, best = SCALES.index(1.0), int(np.argmin(self.total))
        gains = self.unexplained[:, given] - self.unexplained[:, best]
        certain = gains.mean() > CERTAIN * gains.std() / np.sqrt(len(gains))
        clear = self.total[given] - self.total[best] > self.clear
        return bool(certain and clear and abs(self.best_scale - 1) > OFF)


def focal_length(samples: Samples) -> Finding:
    """Whether the given focal length explains the matches; "unfit" where another one clearly does better."""
    camera, result = samples.camera, sweep(samples)
    check, given = CHECK, float(camera.intrinsics[0, 0])
    if camera.assumed:
        return assumed(camera, given, result)
    if result is None:
        return Finding(
            check=check, verdict="ok", measured=f"{given:.0f} px given; the motion cannot tell (too little turning)"
        )
    better = given * result.best_scale
    if not result.contradicts:
        measured = f"{given:.0f} px given; {better:.0f} px fits the motion best, not clearly better"
        if abs(result.best_scale - 1) <= OFF:
            measured = f"{given:.0f} px given; the motion agrees (best {better:.0f} px)"
        return Finding(check=check, verdict="ok", measured=measured)
    return Finding(
        check=check,
        verdict="unfit",
        measured=f"intrinsics do not fit the images: {given:.0f} px given, about {better:.0f} px fits the motion better",
        advice="wrong calibration or --fov-deg, or images resized or cropped after calibration",
    )


def assumed(camera: Camera, given: float, result: Sweep | None) -> Finding:
    """A focal length that nobody measured is a note, whatever the motion says of it."""
    measured, advice = f"{given:.0f} px assumed", "state it with --fov-deg, or calibrate"
    if result is None:
        measured += "; the motion cannot tell (too little turning)"
    elif result.contradicts:
        better = given * result.best_scale
        fov_deg = np.degrees(2 * np.arctan(camera.size[1] / 2 / better))
        measured += f"; about {better:.0f} px fits the motion better"
        advice = f"try --fov-deg {fov_deg:.0f}, or calibrate"
    else:
        measured += f"; the motion does not contradict (best {given * result.best_scale:.0f} px)"
    return Finding(check=CHECK, verdict="note", measured=measured, advice=advice)


def sweep(samples: Samples) -> Sweep | None:
    """What stays unexplained over SCALES; None where this motion cannot tell: few points, hardly a turn, nothing that fits."""
    found = evidence(samples)
    if sum(len(pair.depth_m) for pair in found.pairs) < MIN_POINTS:
        return None
    clear, tolerance_px = CLEAR[found.kind], TOLERANCE_PX[found.kind] * samples.unit_px

    def unexplained(scale: float) -> list[float]:
        intrinsics = samples.camera.intrinsics * np.array([[scale, scale, 1.0], [scale, scale, 1.0], [1.0, 1.0, 1.0]])
        errors = [found.errors_px(pair, intrinsics) for pair in found.pairs]
        return [float(np.log1p((error / tolerance_px) ** 2).mean()) for error in errors]

    known = {scale: unexplained(scale) for scale in (SCALES[0], 1.0, SCALES[-1])}
    points = np.array([len(pair.depth_m) for pair in found.pairs])
    if np.ptp([np.average(values, weights=points) for values in known.values()]) < clear:
        return None  # even the extremes are no worse
    table = np.array([known.get(scale) or unexplained(scale) for scale in SCALES]).T
    result = Sweep(table, points, clear)
    return result if result.total.min() < EXPLAINED else None


def evidence(samples: Samples) -> Evidence:
    """A depth sensor tells most, a stereo pair as much; without either the epipolar geometry has to do."""
    with_depth = limited(samples.wide, lambda pair: pair.depth_m)
    if sum(len(pair.depth_m) for pair in with_depth) >= MIN_POINTS:
        return Evidence("depth", with_depth, lambda pair, k: reprojection_errors_px(pair.matches, pair.depth_m, k))
    rig = samples.recording.rig
    with_disparity = limited(samples.wide, lambda pair: pair.disparity_px)
    if rig.stereo is None or sum(len(pair.depth_m) for pair in with_disparity) < MIN_POINTS:
        everything = limited(samples.wide, lambda pair: np.zeros(len(pair.depth_m)))
        return Evidence("epipolar", everything, lambda pair, k: sampson_errors_px(pair.matches, k))
    baseline_m = rig.baseline_m
    centres = [rig.camera(name).intrinsics[0, 2] for name in rig.stereo]

    def by_stereo(pair: WidePair, intrinsics: Intrinsics) -> Errors:
        parallax_px = np.maximum(pair.disparity_px - (centres[0] - centres[1]), 0.5)
        return reprojection_errors_px(pair.matches, intrinsics[0, 0] * baseline_m / parallax_px, intrinsics)

    return Evidence("depth", with_disparity, by_stereo)


def limited(pairs: Sequence[WidePair], needed: Callable[[WidePair], Errors]) -> list[WidePair]:
    """The pairs with at most MAX_POINTS of the points for which `needed` is known, without pairs that have too few."""
    kept = []
    for pair in pairs:
        rows = np.flatnonzero(np.isfinite(needed(pair)))
        rows = rows[:: max(len(rows) // MAX_POINTS, 1)][:MAX_POINTS]
        if len(rows) >= MIN_MATCHES:
            points_a, points_b, sought = pair.matches
            matches = Matches(points_a[rows], points_b[rows], sought)
            kept.append(WidePair(pair.a, pair.b, matches, pair.depth_m[rows], pair.disparity_px[rows]))
    return kept


def reprojection_errors_px(matches: Matches, depth_m: Errors, intrinsics: Intrinsics) -> Errors:
    """Distance between where points with depth in a are seen in b and where the best motion puts them."""
    motion = motion_by_depth(matches, depth_m, intrinsics)
    if motion is None:
        return np.full(len(depth_m), UNSOLVED_PX)
    points = points_of(matches, depth_m, intrinsics)
    return np.linalg.norm(projected_px(points, motion, intrinsics) - matches.points_b, axis=1)


def motion_by_depth(matches: Matches, depth_m: Errors, intrinsics: Intrinsics) -> Float64[np.ndarray, "6"] | None:
    """b_from_a as (rotation vector, translation in m) that best explains where points with depth in a are seen in b."""
    from scipy.optimize import least_squares

    points = points_of(matches, depth_m, intrinsics)
    found, rotation, translation, _ = cv2.solvePnPRansac(
        points, matches.points_b, intrinsics, None, iterationsCount=100, reprojectionError=4.0, flags=cv2.SOLVEPNP_AP3P
    )
    if not found:
        return None

    def distances(motion: Float64[np.ndarray, "6"]) -> Errors:
        return (projected_px(points, motion, intrinsics) - matches.points_b).ravel()

    start = np.concatenate([rotation[:, 0], translation[:, 0]])
    return least_squares(distances, start, loss="cauchy", max_nfev=15).x


def points_of(matches: Matches, depth_m: Errors, intrinsics: Intrinsics) -> Float64[np.ndarray, "points 3"]:
    """The points of a with depth, in its camera's frame, m."""
    rays = np.column_stack([matches.points_a, np.ones(len(depth_m))]) @ np.linalg.inv(intrinsics).T
    return rays * depth_m[:, None]


def projected_px(
    points: Float64[np.ndarray, "points 3"], motion: Float64[np.ndarray, "6"], intrinsics: Intrinsics
) -> Float64[np.ndarray, "points 2"]:
    """Where moved points are seen."""
    return cv2.projectPoints(points, motion[:3], motion[3:], intrinsics, None)[0][:, 0]


def sampson_errors_px(matches: Matches, intrinsics: Intrinsics) -> Errors:
    """Sampson distance of matches to the epipolar geometry of the best motion (equation 11.9)."""
    from scipy.optimize import least_squares

    essential, _ = cv2.findEssentialMat(matches.points_a, matches.points_b, intrinsics, cv2.RANSAC, 0.999, 1.0, 300)
    if essential is None or essential.shape != (3, 3):
        return np.full(len(matches.points_a), UNSOLVED_PX)
    _, rotation, direction, _ = cv2.recoverPose(essential, matches.points_a, matches.points_b, intrinsics)
    ones = np.ones(len(matches.points_a))
    a, b = (np.column_stack([points, ones]) for points in matches[:2])
    inverse = np.linalg.inv(intrinsics)

    def distances(motion: Float64[np.ndarray, "6"]) -> Errors:
        x, y, z = motion[3:] / max(np.linalg.norm(motion[3:]), 1e-9)
        across = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        fundamental = inverse.T @ across @ cv2.Rodrigues(motion[:3])[0] @ inverse
        lines_b, lines_a = a @ fundamental.T, b @ fundamental
        slope = np.sqrt((lines_b[:, :2] ** 2).sum(1) + (lines_a[:, :2] ** 2).sum(1))
        return (b * lines_b).sum(1) / np.maximum(slope, 1e-12)

    start = np.concatenate([cv2.Rodrigues(rotation)[0][:, 0], direction[:, 0]])
    motion = least_squares(distances, start, loss="cauchy", f_scale=TOLERANCE_PX["epipolar"], max_nfev=15).x
    return np.abs(distances(motion))
