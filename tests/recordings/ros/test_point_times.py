"""The unit and the origin of a point's time, for a LiDAR of ten sweeps a second."""

import numpy as np
import pytest

from firstsight.recordings.ros.point_times import clock_of, remark_on

STAMP_NS = 1_700_000_000_123_456_789
# Seconds from the stamp of three points of a sweep.
SECONDS = np.array([0.0, 0.031, 0.0998])


def seconds_of(times: np.ndarray, period_s: float | None = 0.1) -> np.ndarray | None:
    clock = clock_of([(times, STAMP_NS)], period_s)
    return None if clock is None else clock.seconds(times, STAMP_NS)


DATES_NS = STAMP_NS + (SECONDS * 1e9).astype(np.int64)
WRITTEN = {
    "s float32": SECONDS.astype("f4"),
    "ns uint32": (SECONDS * 1e9).astype("u4"),
    "us uint32": (SECONDS * 1e6).astype("u4"),
    "us float32": (SECONDS * 1e6).astype("f4"),
    "ns float32": (SECONDS * 1e9).astype("f4"),
    "ms float64": SECONDS * 1e3,
    "dates s": DATES_NS / 1e9,
    "dates ms": DATES_NS / 1e6,
    "dates us": DATES_NS / 1e3,
    "dates ns": DATES_NS.astype("f8"),
    "dates ns uint64": DATES_NS.astype("u8"),
    "share of the sweep": SECONDS / 0.0998,
    "s before the stamp": SECONDS - 0.0998,
}


@pytest.mark.parametrize("written", WRITTEN)
def test_units_are_told_by_how_long_a_sweep_takes(written):
    expected = {"share of the sweep": SECONDS / 0.998, "s before the stamp": SECONDS - 0.0998}.get(written, SECONDS)
    np.testing.assert_allclose(seconds_of(WRITTEN[written]), expected, atol=2e-6)


@pytest.mark.parametrize(
    "times",
    [SECONDS + 5321.0, DATES_NS / 1e9 + 37, (SECONDS * 1e9).astype("u8") + 5_321_000_000_000],
    ids=["since the sensor's start", "atomic time", "ns since the sensor's start"],
)
def test_a_clock_of_its_own_counts_from_the_first_point(times):
    np.testing.assert_allclose(seconds_of(times), SECONDS, atol=2e-6)
    assert "their clock is not the stamps'" in remark_on(clock_of([(times, STAMP_NS)], 0.1))


@pytest.mark.parametrize(
    "times", [np.array([3.0, 3.0, 3.0]), np.array([0.0, 0.5, 1.5]), np.array([0.0, np.nan, 0.1]), np.zeros(0)]
)
def test_times_that_tell_nothing_are_left_out(times):
    assert seconds_of(times) is None


def test_integer_dates_are_exact():
    dates = STAMP_NS + np.array([1, 40_000_001], np.uint64)
    np.testing.assert_array_equal(np.rint(seconds_of(dates) * 1e9), [1, 40_000_001])
