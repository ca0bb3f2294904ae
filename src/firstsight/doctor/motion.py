"""Does the camera move, by how much from frame to frame, and does it travel or only turn?"""

import numpy as np
from jaxtyping import Float64

from firstsight.doctor.samples import MIN_MATCHES, WIDTH_PX, Samples, Verdict, WidePair
from firstsight.doctor.tracking import Points
from firstsight.run_folder import Finding

# All motions are px of an image WIDTH_PX = 640 wide.
STATIC_PX = 0.3  # tracking noise of a camera that stands still stays below it
STILL_PX = 3.0  # a camera that moves at all moves the image by more over half of a recording
MANY_STATIC = 0.3
TOO_SMALL_PX = 1.0  # depth and motion drown in tracking noise
TOO_LARGE_PX = 0.12 * WIDTH_PX  # neighbouring images share too little; flow and trackers search about this far
GOOD_PX = 6.0
PARALLAX_PX = 1.0  # motion that turning alone does not explain
TURNS_ONLY = 0.5


def is_still(samples: Samples) -> bool:
    """Nothing moves, neither between neighbours nor over large parts of the recording."""
    near, far = samples.motions_px(samples.pairs), samples.motions_px(samples.wide)
    if len(near) == 0 or np.median(near) >= TOO_SMALL_PX:
        return False
    return len(far) > 0 and bool(np.median(far) < STILL_PX)


def proposed_step(samples: Samples) -> int:
    """Which frames to take, every k-th, so that the image moves by about GOOD_PX between them."""
    motions = samples.motions_px(samples.pairs)
    if len(motions) == 0 or np.median(motions) >= TOO_SMALL_PX or is_still(samples):
        return 1
    longest = max(len(samples.recording) // 4, 1)  # leaves some frames
    return int(np.clip(round(GOOD_PX / max(np.median(motions), STATIC_PX / 2)), 1, longest))


def image_motion(samples: Samples) -> Finding:
    motions = samples.motions_px(samples.pairs)
    if len(motions) == 0:
        return Finding(
            check="image motion",
            verdict="unfit",
            measured="no corner of an image is found again in the next one",
            advice="too little light or texture, too much blur, or the frames are not in order",
        )
    typical, static = float(np.median(motions)), float((motions < STATIC_PX).mean())
    measured = f"{typical * samples.unit_px:.1f} px per frame ({typical / WIDTH_PX:.1%} of the width), {static:.0%} of frames static"
    if is_still(samples):
        apart = samples.wide[0].b - samples.wide[0].a
        moved = float(np.median(samples.motions_px(samples.wide)))
        return Finding(
            check="image motion",
            verdict="unfit",
            measured=f"still recording: the camera does not move ({moved * samples.unit_px:.1f} px over {apart} frames)",
            advice="motion, mapping and one camera's depth need a moving camera; stereo and sensor depth work",
        )
    verdict, advice = judged(typical, static, proposed_step(samples))
    return Finding(check="image motion", verdict=verdict, measured=measured, advice=advice)


def judged(typical_px: float, static: float, step: int) -> tuple[Verdict, str]:
    """Verdict and advice for a camera that moves."""
    if typical_px > TOO_LARGE_PX:
        return "note", "neighbouring frames share little: record more frames per second, or leave out fewer (--frames)"
    if step > 1:
        return "note", f"hardly moves between frames: --frames ::{step}"
    if static > MANY_STATIC:
        return "note", "stands still for long: choose the moving part with --frames START:STOP"
    return "ok", ""


def parallax(samples: Samples) -> Finding:
    """One camera learns depth and travel only from motion that turning does not explain."""
    left = np.array([motion_beyond_rotation_px(pair, samples.camera.intrinsics) for pair in samples.wide])
    left = left[np.isfinite(left)] / samples.unit_px
    if len(left) == 0:
        return Finding(
            check="parallax", verdict="note", measured="no pair of distant frames shares enough points", advice=""
        )
    turning = float((left < PARALLAX_PX).mean())
    apart = samples.wide[0].b - samples.wide[0].a
    measured = (
        f"{np.median(left) * samples.unit_px:.1f} px beyond turning, {apart} frames apart; {turning:.0%} only turn"
    )
    if turning <= TURNS_ONLY:
        return Finding(check="parallax", verdict="ok", measured=measured)
    return Finding(
        check="parallax",
        verdict="note",
        measured=measured,
        advice="the camera turns more than it travels: one camera alone will not find depth here",
    )


def motion_beyond_rotation_px(pair: WidePair, intrinsics: Float64[np.ndarray, "3 3"]) -> float:
    """Median distance (px) between where points are and where the best rotation alone would put them, NaN if too few.

    The rotation is found on bearing vectors (Kabsch 1976) with weights 1 / distance, which makes it one of least absolute
    distances: points that also travel do not bend it.
    """
    points_a, points_b, _ = pair.matches
    if len(points_a) < MIN_MATCHES:
        return float("nan")
    a, b = bearings(points_a, intrinsics), bearings(points_b, intrinsics)
    weights, distance = np.ones(len(a)), np.zeros(len(a))
    for _ in range(10):
        u, _, vt = np.linalg.svd((b * weights[:, None]).T @ a)
        b_from_a = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        rotated = a @ b_from_a.T @ intrinsics.T
        distance = np.linalg.norm(rotated[:, :2] / rotated[:, 2:] - points_b, axis=1)
        weights = 1 / np.maximum(distance, STATIC_PX)
    return float(np.median(distance))


def bearings(points: Points, intrinsics: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "points 3"]:
    """Unit vectors towards pixels."""
    rays = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(intrinsics).T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)
