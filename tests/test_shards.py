"""`make test-slow SHARD=k/n`: every test in exactly one shard, and a shard without tests is no failure."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFTEST = Path(__file__).parent / "conftest.py"
TESTS = """
import pytest
@pytest.mark.slow
@pytest.mark.parametrize("case", range(6))
def test_slow(case): pass
def test_fast(): pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Six slow tests and a fast one under this repository's conftest.py."""
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["slow"]\n')
    (tmp_path / "test_toys.py").write_text(TESTS)
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    """pytest that only collects, without the plugins that this repository has installed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", *arguments]
    return subprocess.run(
        command,
        cwd=project,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def collected(output: str) -> list[str]:
    return [line for line in output.splitlines() if "::" in line]


def test_every_slow_test_is_in_exactly_one_shard(project: Path):
    shards = [run(project, "-m", "slow", "--shard", f"{k}/2") for k in (1, 2)]
    # by hand: crc32("test_toys.py::test_slow[0]") % 2 + 1, and so on
    assert [[name[-2] for name in collected(ended.stdout)] for ended in shards] == [["0", "2", "4"], ["1", "3", "5"]]
    assert [ended.returncode for ended in shards] == [0, 0]
    assert any(line.startswith("shard 2/2: ") for line in shards[1].stdout.splitlines())


def test_a_shard_without_tests_is_no_failure_but_no_tests_at_all_are_one(project: Path):
    (project / "test_toys.py").write_text("def test_fast(): pass\n")
    assert run(project, "-m", "slow", "--shard", "1/2").returncode == 0
    assert run(project, "-m", "slow").returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_k_and_n_of_a_shard():
    conftest = runpy.run_path(str(CONFTEST))
    assert conftest["shard"]("2/4") == (2, 4)
    for text in ("0/4", "5/4", "2", "a/b", "-1/4", "0/0"):
        with pytest.raises(pytest.UsageError, match=f"--shard {text}: write K/N with 1 <= K <= N"):
            conftest["shard"](text)
