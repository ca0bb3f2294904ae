"""Clocks that stop, jump back, stutter or count in the wrong unit."""

from dataclasses import replace

import numpy as np
import pytest

from firstsight.doctor.clocks import clock
from firstsight.recordings.recording import Recording, Rig

REGULAR = np.arange(100, dtype=np.int64) * 100_000_000 + 1_700_000_000_000_000_000


def judged(stamps_ns: np.ndarray):
    return clock(Recording(source="", format="", rig=Rig(), stamps_ns=stamps_ns))


def test_a_regular_clock():
    finding = judged(REGULAR)
    assert finding.verdict == "ok"
    assert finding.measured.startswith("10 Hz, jitter 0 ms, 0 frames late, 0 gaps")


def test_one_frame_has_no_clock():
    assert judged(REGULAR[:1]).verdict == "ok"


@pytest.mark.parametrize("stamps", [REGULAR[::-1].copy(), np.random.default_rng(0).permutation(REGULAR)])
def test_times_out_of_order(stamps: np.ndarray):
    finding = judged(stamps)
    assert finding.verdict == "unfit"
    assert "timestamps are not in order" in finding.measured


def test_repeated_times_are_a_note_and_many_are_unfit():
    few, many = REGULAR.copy(), REGULAR.copy()
    few[10] = few[9]
    many[1::2] = many[::2]
    assert judged(few).verdict == "note"
    assert judged(many).verdict == "unfit"


def test_a_gap_is_named_with_its_frame():
    late = REGULAR.copy()
    late[41:] += 900_000_000
    finding = judged(late)
    assert finding.verdict == "note"
    assert "1 gaps (longest 1 s)" in finding.measured
    assert "after frame 40" in finding.advice


def test_dropped_frames():
    finding = judged(np.delete(REGULAR, np.arange(5, 95, 9)))
    assert finding.verdict == "note"
    assert "10 frames late, 0 gaps" in finding.measured


def test_an_uneven_clock():
    """Steps of 70 and 130 ms in turn: none is late, and half of them are 30 ms off either way, 1.48 times which is said."""
    steps = np.tile([70, 130], 50) * 1_000_000
    finding = judged(REGULAR[0] + np.concatenate([[0], np.cumsum(steps)]))
    assert finding.verdict == "note"
    assert finding.measured == "10 Hz, jitter 44 ms, 0 frames late, 0 gaps (longest 0.13 s)"
    assert finding.advice == "uneven clock: stamp by the sensor's clock, not on arrival"


def test_a_clock_that_is_a_little_uneven_is_fine():
    """13 ms of 100: under a fifth."""
    steps = np.tile([91, 109], 50) * 1_000_000
    finding = judged(REGULAR[0] + np.concatenate([[0], np.cumsum(steps)]))
    assert (finding.verdict, finding.measured.split(",")[1]) == ("ok", " jitter 13 ms")


@pytest.mark.parametrize("stamps", [
    REGULAR // 1_000_000_000, REGULAR * 5, -REGULAR[::-1].copy(),
    REGULAR[0] + np.arange(20) * 20_000_000_000,  # a frame in 20 s
    REGULAR[0] + np.arange(20) * 400_000,  # 2500 Hz
])  # fmt: skip
def test_a_wrong_unit(stamps: np.ndarray):
    distinct = np.unique(stamps)
    assert "unit" in judged(distinct).advice


def test_clocks_from_zero_are_fine():
    recording = Recording(source="", format="", rig=Rig(), stamps_ns=REGULAR)
    assert clock(replace(recording, stamps_ns=REGULAR - REGULAR[0])).verdict == "ok"
