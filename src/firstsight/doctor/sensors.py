"""How much there is of the recording: frames, what can be read, depth, odometry."""

import numpy as np

from firstsight.doctor.samples import MAX_PAIRS, Samples
from firstsight.run_folder import Finding

DEPTH = "depth"
FEW_FRAMES = 10
MANY_UNREADABLE = 0.5
LITTLE_DEPTH, NO_DEPTH = 0.3, 0.02  # share of pixels with a value
DEPTH_M = (0.1, 200.0)  # typical depth that a sensor measures, in metres
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
