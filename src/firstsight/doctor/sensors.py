"""How much there is of the recording: frames, what can be read, depth and its scale, odometry."""

from typing import NamedTuple

import numpy as np

from firstsight.doctor.focal_length import limited, motion_by_depth
from firstsight.doctor.samples import MAX_PAIRS, Samples, Verdict
from firstsight.run_folder import Finding

DEPTH, DEPTH_SCALE = "depth", "depth scale"
FEW_FRAMES = 10
MANY_UNREADABLE = 0.5
LITTLE_DEPTH, NO_DEPTH = 0.3, 0.02  # share of pixels with a value
DEPTH_M = (0.1, 200.0)  # typical depth that a sensor measures, in metres
SCALE_NOTED, SCALE_UNFIT = 1.25, 2.0  # times too long or too short
MIN_TRAVEL = 0.01  # of the depth: what the camera must travel between two frames for its length to be known
MIN_SCALED_PAIRS = 3
SCATTER = 1.5  # times: half of the pairs must agree to this, else their motion was not found
ROUND_PER_METRE, ROUND_TO = (256.0, 1000.0, 4000.0, 5000.0, 10000.0), 1.15  # what depth files hold for a metre
JUMP = 10.0  # times the typical step
JUMP_M = 0.5
FASTEST_M_S = 80.0


def length(samples: Samples) -> Finding:
    recording = samples.recording
    frames, rig = len(recording), recording.rig
    span_s = float(np.ptp(recording.stamps_ns)) / 1e9 if frames else 0.0
    parts = [camera.name for camera in rig.cameras]
    parts += [name for name in ("depth", "scans", "odometry") if getattr(recording, name) is not None]
    measured = f"{frames} frames, {span_s:.1f} s: {', '.join(parts) or 'no sensor'}"
    if frames >= FEW_FRAMES:
        return Finding(check="length", verdict="ok", measured=measured)
    return Finding(
        check="length",
        verdict="note" if frames > 1 else "unfit",
        measured=measured,
        advice="motion and map need more frames" if frames > 1 else "no motion in a single frame",
    )


def readability(samples: Samples) -> Finding | None:
    """What could not be loaded, if anything."""
    unreadable = samples.unreadable
    if not unreadable:
        return None
    asked = len(samples.images) + len(unreadable)
    first = next(iter(unreadable))
    return Finding(
        check="readable frames",
        verdict="unfit" if len(unreadable) > MANY_UNREADABLE * min(asked, MAX_PAIRS) else "note",
        measured=f"{len(unreadable)} sampled frames cannot be read, the first: {first}",
        advice=unreadable[first],
    )


def depth_coverage(samples: Samples) -> Finding:
    loaded = list(samples.depths.values())
    values = np.concatenate([image.depth[image.valid] for image in loaded]) if loaded else np.empty(0)
    coverage = float(np.mean([image.valid.mean() for image in loaded])) if loaded else 0.0
    lost = samples.why_unreadable(DEPTH)
    if not loaded and lost:
        return Finding(check=DEPTH, verdict="unfit", measured="none of the sampled depth can be read", advice=lost)
    if len(values) == 0 or coverage < NO_DEPTH:
        return Finding(
            check=DEPTH,
            verdict="unfit",
            measured=f"{coverage:.1%} of pixels have depth",
            advice="check the depth files",
        )
    near, middle, far = np.percentile(values, [2, 50, 98])
    measured = f"{coverage:.0%} of pixels have depth, {near:.2f} to {far:.2f} m, typically {middle:.2f} m"
    advice = ""
    if not DEPTH_M[0] <= middle <= DEPTH_M[1]:
        advice = "no plausible distances: check the unit of the depth files"
    elif coverage < LITTLE_DEPTH:
        advice = "little depth: parts of the map stay empty"
    return Finding(check=DEPTH, verdict="note" if advice else "ok", measured=measured, advice=advice)


class DepthScale(NamedTuple):
    """The camera's travel by depth over the true one, and the true one in m: medians over pairs of distant frames."""

    ratio: float
    true_m: float

    @property
    def off(self) -> float:
        """How many times depth is too near or too far, at least 1."""
        return max(self.ratio, 1 / self.ratio)


def depth_scale(samples: Samples) -> Finding | None:
    """Whether depth and the true trajectory are in one unit; None where the trajectory is unknown or the camera hardly travels."""
    found = measured_scale(samples)
    if found is None:
        return None
    reference = samples.recording.truth.trajectory_reference
    measured = f"by depth the camera travels {found.ratio:.2f} times as far as by {reference} ({found.true_m:.2g} m)"
    verdict: Verdict = "ok"
    if found.off > SCALE_NOTED:
        verdict = "unfit" if found.off > SCALE_UNFIT else "note"
    advice = ""
    if verdict != "ok":
        stated = fitting_depth_per_metre(found, samples.recording.depth_per_metre)
        cure = f": --depth-per-metre {stated:g}" if stated is not None else "; check the units of both"
        advice = f"depth is {found.off:.2g} times too {'far' if found.ratio > 1 else 'near'}{cure}"
    return Finding(check=DEPTH_SCALE, verdict=verdict, measured=measured, advice=advice)


def measured_scale(samples: Samples) -> DepthScale | None:
    """Travel that explains how points of known depth move, beside the true one; None where too few pairs tell it."""
    poses = samples.recording.truth.world_from_camera
    if poses is None or samples.recording.depth is None:
        return None
    travelled = []
    for pair in limited(samples.wide, lambda pair: pair.depth_m):
        motion = motion_by_depth(pair.matches, pair.depth_m, samples.camera.intrinsics)
        true_m = float(np.linalg.norm(poses[pair.b, :3, 3] - poses[pair.a, :3, 3]))
        by_depth_m = 0.0 if motion is None else float(np.linalg.norm(motion[3:]))
        if by_depth_m > MIN_TRAVEL * np.median(pair.depth_m) and true_m > 0:
            travelled.append((by_depth_m, true_m))
    if len(travelled) < MIN_SCALED_PAIRS:
        return None
    by_depth, true = np.array(travelled).T
    low, ratio, high = np.quantile(by_depth / true, (0.25, 0.5, 0.75))
    if high / low > SCATTER:
        return None
    return DepthScale(float(ratio), float(np.median(true)))


def fitting_depth_per_metre(found: DepthScale | None, taken: float | None) -> float | None:
    """The value of a metre with which depth, of which `taken` was a metre, fits the true trajectory; None if unknown.

    It is a usual one where one is near.
    """
    if found is None or taken is None or found.off <= SCALE_NOTED:
        return None
    fitting = taken * found.ratio
    usual = min(ROUND_PER_METRE, key=lambda value: abs(np.log(value / fitting)))
    near = max(usual / fitting, fitting / usual) < ROUND_TO
    return usual if near else float(f"{fitting:.2g}")


def odometry(samples: Samples) -> Finding:
    recording = samples.recording
    assert recording.odometry is not None, "asked about odometry that is not there"
    positions = recording.odometry[:, :3, 3]
    known = np.isfinite(positions).all(1)
    steps_m = np.linalg.norm(np.diff(positions[known], axis=0), axis=1)
    steps_s = np.diff(recording.stamps_ns[known]) / 1e9
    if len(steps_m) == 0:
        return Finding(check="odometry", verdict="note", measured="no two poses", advice="the odometry is of no use")
    jumps = int((steps_m > np.maximum(JUMP * np.median(steps_m), JUMP_M)).sum())
    timed = steps_s > 0
    speed_m_s = float(np.median(steps_m[timed] / steps_s[timed])) if timed.any() else 0.0
    measured = (
        f"{steps_m.sum():.1f} m, typically {speed_m_s:.2g} m/s, {jumps} jumps, {(~known).mean():.0%} of poses missing"
    )
    advice = ""
    if jumps:
        advice = "the odometry jumps: it serves as a hint only"
    elif speed_m_s > FASTEST_M_S:
        advice = "no plausible speed: check the units of positions and timestamps"
    return Finding(check="odometry", verdict="note" if advice else "ok", measured=measured, advice=advice)
