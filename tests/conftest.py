"""Shared by all tests: one thread (the machine is small and timings are not tested), the real recordings where present, and shards."""

import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STARTED = pytest.StashKey[float]()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings beside the repository; tests that want them are skipped where they are absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real recordings (../shared/data) are not on this machine")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shard",
        metavar="K/N",
        type=shard,
        help="run the K-th of N parts of the chosen tests: each test is in one part",
    )


def shard(text: str) -> tuple[int, int]:
    """(k, n) of "k/n" with 1 <= k <= n."""
    named = re.fullmatch(r"(\d+)/(\d+)", text)
    k, n = (int(part) for part in named.groups()) if named else (0, 0)
    if not 1 <= k <= n:
        raise pytest.UsageError(f"--shard {text}: write K/N with 1 <= K <= N, as 2/4")
    return k, n


def shard_of(node_id: str, n: int) -> int:
    """The shard, from 1 to n, of a test: the same on every machine and in every process."""
    return zlib.crc32(node_id.encode()) % n + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (chosen := config.getoption("--shard")) is None:
        return
    k, n = chosen
    config.hook.pytest_deselected(items=[item for item in items if shard_of(item.nodeid, n) != k])
    items[:] = [item for item in items if shard_of(item.nodeid, n) == k]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption("--shard") is not None and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        # many shards of few tests: one without any is done
        session.exitstatus = pytest.ExitCode.OK


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STARTED] = time.monotonic()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (chosen := config.getoption("--shard")) is not None:
        seconds = time.monotonic() - config.stash[STARTED]
        terminalreporter.write_line(f"shard {chosen[0]}/{chosen[1]}: {seconds:.0f} s")


@pytest.fixture
def carried_on(tmp_path: Path) -> Callable[[Any, Any], Any]:
    """Stores the state of a resumable method in files and gives it to a new instance, which is returned."""
    from firstsight.formats.storage.state import Checkpoint

    def carry(stopped: Any, fresh: Any) -> Any:
        Checkpoint(tmp_path / "state.npz").write({"method": stopped.state()})
        state = Checkpoint(tmp_path / "state.npz").read()
        assert state is not None
        fresh.restore(state["method"])
        return fresh

    return carry
