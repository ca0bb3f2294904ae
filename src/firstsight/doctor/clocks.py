"""Do the clocks run forwards, evenly and without gaps?"""

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.recordings.recording import Recording
from firstsight.run_folder import Finding

LATE = 1.5  # periods between neighbours beyond which a frame was dropped
GAP = 3.0  # periods beyond which trackers lose what they followed
MANY_LATE = 0.05
UNEVEN = 0.2  # jitter relative to the period that constant-velocity prediction notices
SLOWEST_HZ, FASTEST_HZ = 0.1, 2000.0  # no robot's camera or LiDAR; a wrong unit of time is
LATEST_NS = 4_102_444_800 * 10**9  # the year 2100


def clock(recording: Recording) -> Finding:
    stamps = recording.stamps_ns
    steps_ns = np.diff(stamps)
    if len(steps_ns) == 0:
        return Finding(check="clock", verdict="ok", measured="one frame")
    back, same = int((steps_ns < 0).sum()), int((steps_ns == 0).sum())
    if back:
        return Finding(
            check="clock",
            verdict="unfit",
            measured=f"timestamps are not in order: {back} of {len(steps_ns)} steps go back in time",
            advice="fix the timestamps file, or sort frames and times together",
        )
    if same:
        return Finding(
            check="clock",
            verdict="unfit" if same > len(steps_ns) / 10 else "note",
            measured=f"{same} of {len(steps_ns)} frames have the time of the frame before",
            advice="stamp frames when they are taken, with enough digits",
        )
    return running_clock(stamps, steps_ns / 1e9)


def running_clock(stamps_ns: Int64[np.ndarray, " frames"], steps_s: Float64[np.ndarray, " steps"]) -> Finding:
    """A clock that at least runs forwards."""
    period_s = float(np.median(steps_s))
    regular = steps_s[steps_s < LATE * period_s]
    jitter_s = float(np.median(np.abs(regular - period_s))) * 1.48  # the standard deviation of a normal distribution
    late, gaps = int((steps_s > LATE * period_s).sum()), int((steps_s > GAP * period_s).sum())
    measured = (
        f"{1 / period_s:.4g} Hz, jitter {jitter_s * 1e3:.2g} ms, {late} frames late, {gaps} gaps"
        f" (longest {steps_s.max():.3g} s)"
    )
    advice = ""
    if not SLOWEST_HZ <= 1 / period_s <= FASTEST_HZ or stamps_ns[0] < 0 or stamps_ns[-1] > LATEST_NS:
        advice = "no plausible times: check the unit of the timestamps"
    elif gaps:
        worst = int(np.argmax(steps_s))
        advice = f"trackers start anew after gaps; the longest is after frame {worst} (--frames chooses a part)"
    elif late > MANY_LATE * len(steps_s):
        advice = "frames were dropped: record with less load"
    elif jitter_s > UNEVEN * period_s:
        advice = "uneven clock: stamp by the sensor's clock, not on arrival"
    return Finding(check="clock", verdict="note" if advice else "ok", measured=measured, advice=advice)
