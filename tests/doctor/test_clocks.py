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
    jitter = np.random.default_rng(0).uniform(-0.4, 0.4, 100) * 1e8
    finding = judged(REGULAR + jitter.astype(np.int64))
    assert finding.verdict == "note"
    assert "uneven" in finding.advice or "dropped" in finding.advice


@pytest.mark.parametrize("stamps", [REGULAR // 1_000_000_000, REGULAR * 5, -REGULAR[::-1].copy()])
def test_a_wrong_unit(stamps: np.ndarray):
    distinct = np.unique(stamps)
    assert "unit" in judged(distinct).advice


def test_clocks_from_zero_are_fine():
    recording = Recording(source="", format="", rig=Rig(), stamps_ns=REGULAR)
    assert clock(replace(recording, stamps_ns=REGULAR - REGULAR[0])).verdict == "ok"
