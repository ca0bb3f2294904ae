"""Times as files have them, and as what they are mistaken for."""

from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.trajectory import read_segments, read_tum, require_times, time_ns, write_kitti


def test_seconds_are_exact_nanoseconds():
    assert time_ns("1305031102.175304123", "s", Path("rgb.txt")) == 1305031102175304123
    assert time_ns("1.5e-1", "s", Path("times.txt")) == 150_000_000


def test_times_of_other_units_are_exact_nanoseconds():
    assert time_ns("1403715273262142976", "ns", "data.csv") == 1403715273262142976
    assert time_ns("2011-09-26 13:02:25.964389445", "date", "timestamps.txt") == 1317042145964389445
    assert time_ns("1969-12-31 23:59:59.75", "date", "timestamps.txt") == -250_000_000


@pytest.mark.parametrize(
    ("text", "unit", "cure"),
    [
        ("1305031102175304", "s", "it looks like microseconds: divide the column by 1000000"),
        ("1403715273.5", "ns", "it looks like seconds: multiply it by 1000000000"),
        ("1305031102175", "s", "it looks like milliseconds: divide the column by 1000"),
        ("1305031102175304123", "s", "it looks like nanoseconds: divide the column by 1000000000"),
        ("1403715273262.5", "ns", "it looks like milliseconds: multiply it by 1000000"),
        ("7000000000000", "s", "fix or remove the row"),
        ("2317-09-26 13:02:25", "date", "fix or remove the row"),
        ("today", "date", "fix or remove the row"),
        ("2011-09-26 13:02:25.1e3", "date", "fix or remove the row"),
    ],
)
def test_what_a_time_looks_like_is_said(text, unit, cure):
    with pytest.raises(InputError, match=f"list: '{text}' is not a time in .*; {cure}"):
        time_ns(text, unit, "list")


@pytest.mark.parametrize("text", ["yesterday", "nan", "inf", "", "1e30", "-1e10", "1e999999", "1e999999999999999999"])
def test_what_is_no_time_is_an_error(text):
    with pytest.raises(InputError, match="is not a time in seconds"):
        time_ns(text, "s", Path("rgb.txt"))


def test_times_reach_146_years_from_1970_on_either_side():
    """2^62 ns are 4611686018.427387904 s."""
    assert time_ns("4611686018.427387904", "s", "list") == 4611686018427387904
    assert time_ns("-4611686018427387904", "ns", "list") == -4611686018427387904
    for text in ("4611686018.427387905", "-4611686018.427387905"):
        with pytest.raises(InputError, match="is not a time in seconds"):
            time_ns(text, "s", "list")
    assert require_times([3, -4611686018427387904], "list").tolist() == [3, -4611686018427387904]
    with pytest.raises(InputError, match="list: -4611686018427387905 is not a time in nanoseconds"):
        require_times([3, -4611686018427387905], "list")


def test_what_is_no_time_is_quoted_in_part():
    with pytest.raises(InputError, match=f"list: '{'x' * 40}' is"):
        time_ns("x" * 41, "s", "list")


def test_a_table_may_have_commas_comments_and_more_columns(tmp_path: Path):
    (tmp_path / "t.txt").write_text("# time and pose\n\n 1.25,1,2,3,0,0,0,1,99 # good\n2 4 inf 6 0 0 0 2\n")
    stamps, poses = read_tum(tmp_path / "t.txt")
    assert stamps.tolist() == [1_250_000_000, 2_000_000_000]
    assert poses[0].tolist() == [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    assert poses[1, [0, 2], 3].tolist() == [4, 6]
    assert np.isnan(poses[1, 1, 3])
    assert read_segments(tmp_path / "t.txt").tolist() == [0, 0]


def test_kitti_rows_are_three_rows_of_the_matrix(tmp_path: Path):
    pose = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7.5], [0, 0, 0, 1]])
    write_kitti(tmp_path / "k.txt", pose[None])
    assert [float(word) for word in (tmp_path / "k.txt").read_text().split()] == [0, -1, 0, 5, 1, 0, 0, 6, 0, 0, 1, 7.5]
