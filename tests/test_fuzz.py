"""The fuzzer itself: by seed the same cases on every machine, and some of them over the quick readers without a finding."""

import os
import signal
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

QUICK = ["tum", "seven_scenes", "euroc", "bal", "colmap", "models", "state", "arrays"]


def test_fifty_cases_are_values_or_one_line(capsys):
    import fuzz

    assert fuzz.main(["--seed", "3", "--cases", "50", "--targets", *QUICK]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out.startswith("50 cases: ")


def test_a_fault_is_found_and_grouped(capsys, monkeypatch):
    import fuzz
    from fuzzing import targets

    def divide(root, random):
        path = root / "graph.txt"
        yield from [1 / 0] if path.is_file() and path.read_bytes() != b"1 2" else []

    faulty = targets.Target(lambda root: (root / "graph.txt").write_text("1 2"), divide)
    monkeypatch.setitem(targets.TARGETS, "state", faulty)
    assert fuzz.main(["--cases", "10", "--targets", "state"]) == 1
    assert "ZeroDivisionError outside: division by zero" in capsys.readouterr().out


def test_a_case_that_ends_its_process_is_one_finding_and_the_others_go_on(capsys, monkeypatch):
    """A crash in a library's own code is no process that hangs, even where the system is slow to clear it away."""
    import fuzz
    from fuzzing import targets

    def crash(root, random):
        path = root / "graph.txt"
        if path.is_file() and path.read_bytes() != b"1 2":
            os.kill(os.getpid(), signal.SIGSEGV)
        yield from []

    crashing = targets.Target(lambda root: (root / "graph.txt").write_text("1 2"), crash)
    monkeypatch.setitem(targets.TARGETS, "state", crashing)
    assert fuzz.main(["--cases", "12", "--targets", "state"]) == 1
    printed = capsys.readouterr().out
    assert "the process died (-11)" in printed
    assert "hung" not in printed
    assert "\n12 cases: " in printed


@pytest.mark.parametrize("seed", range(20))
def test_mutations_are_the_same_for_a_seed(tmp_path, seed):
    from fuzzing.folders import mutate

    for copy in ("a", "b"):
        (tmp_path / copy).mkdir()
        (tmp_path / copy / "run.json").write_text('{"frames": 3, "stages": [{"name": "depth"}]}')
        (tmp_path / copy / "tum.txt").write_text("1.5 0 0 0 0 0 0 1\n")
    assert mutate(tmp_path / "a", Random(seed)) == mutate(tmp_path / "b", Random(seed))
