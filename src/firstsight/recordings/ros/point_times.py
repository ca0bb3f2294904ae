"""What the time of a point in a PointCloud2 counts: drivers write seconds to nanoseconds, from the sweep's start, its stamp or 1970.

The unit is the one in which a sweep takes about as long as the time between sweeps: message types do not tell it. Times are
then meant from the cloud's stamp, or from that stamp's zero (dates), whichever is near the stamp; else from a clock of the
sensor's own, which only tells the points of a sweep apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

# Of the time between sweeps, how long a sweep may take. Units are a factor of 1000 apart, so that at most one fits.
SHORTEST, LONGEST = 0.02, 1.5
UNITS_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
USUAL_SWEEP_S = 0.1  # where one cloud alone tells no period
# Of a fraction's end: some drivers write the share of the sweep from 0 to 1.
WHOLE = (0.9, 1.001)


class Clock(NamedTuple):
    """`unit_ns` is what one unit of the field is in ns; `origin` what the times count from."""

    unit_ns: float
    origin: str  # "stamp", "1970" or "own"

    def seconds(self, times: np.ndarray, stamp_ns: int) -> Float64[np.ndarray, " points"] | None:
        """Seconds of the points from the cloud's stamp; None where all are equal: such a sweep cannot be de-skewed."""
        if not varied(times):
            return None
        if self.origin == "stamp":
            return times.astype(np.float64) * (self.unit_ns / 1e9)
        if self.origin == "own":
            return from_zero(times, times.min().item()) * (self.unit_ns / 1e9)
        # in the field's own unit, so that nothing is lost of integer dates
        stamp = stamp_ns // int(self.unit_ns)
        left_ns = stamp_ns - stamp * int(self.unit_ns)
        return (from_zero(times, stamp) * self.unit_ns - left_ns) / 1e9


def varied(times: np.ndarray) -> bool:
    """Whether the times tell the points apart."""
    return len(times) > 0 and bool(np.isfinite(times).all()) and bool(times.min() < times.max())


def from_zero(times: np.ndarray, zero: int | float) -> Float64[np.ndarray, " points"]:
    """The times less `zero`, exact for integers."""
    if np.issubdtype(times.dtype, np.integer):
        return (times.astype(np.int64) - np.int64(zero)).astype(np.float64)
    return times.astype(np.float64) - zero


def clock_of(clouds: Sequence[tuple[np.ndarray, int]], period_s: float | None) -> Clock | None:
    """The clock of a few clouds' (times, stamp in ns), None where no unit makes sense; `period_s` lies between sweeps."""
    told = [(times, stamp) for times, stamp in clouds if varied(times)]
    if not told:
        return None
    period_ns = 1e9 * (period_s or USUAL_SWEEP_S)
    extent = float(np.median([from_zero(times, times.min().item()).max() for times, _ in told]))
    fitting = [unit for unit in UNITS_NS.values() if SHORTEST * period_ns <= extent * unit <= LONGEST * period_ns]
    if UNITS_NS["s"] not in fitting and WHOLE[0] <= extent <= WHOLE[1] and all(times.min() >= 0 for times, _ in told):
        return Clock(period_ns, "stamp")
    if not fitting:
        return None
    unit_ns = fitting[0]
    near_ns = 2 * LONGEST * period_ns
    times, stamp_ns = told[0]
    for origin in ("stamp", "1970"):
        clock = Clock(unit_ns, origin)
        seconds = clock.seconds(times, stamp_ns)
        if seconds is not None and np.abs(seconds).max() * 1e9 <= near_ns:
            return clock
    return Clock(unit_ns, "own")


def remark_on(clock: Clock | None) -> str:
    """What the user should know of it, "" where it is as usual."""
    if clock is None:
        return "times of the LiDAR's points left out: in no unit do they fit the time between sweeps"
    unit = next((name for name, unit_ns in UNITS_NS.items() if unit_ns == clock.unit_ns), "shares of the sweep")
    if clock.origin == "own":
        return (
            f"times of the LiDAR's points taken as {unit} from each sweep's first point: their clock is not the stamps'"
        )
    return "" if unit in ("s", "ns") else f"times of the LiDAR's points taken as {unit}"
