"""Shared by all tests: one thread (the machine is small and timings are not tested), and the real recordings where present."""

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from firstsight.formats.state import Checkpoint
from firstsight.roles.state import Resumable


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings beside the repository; tests that want them are skipped where they are absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real recordings (../shared/data) are not on this machine")
    return folder


@pytest.fixture
def carried_on(tmp_path: Path) -> Callable[[Resumable, Resumable], Resumable]:
    """Stores the state of a method in files and gives it to a new instance, which is returned."""

    def carry(stopped: Resumable, fresh: Resumable) -> Resumable:
        Checkpoint(tmp_path / "state.npz").write({"method": stopped.state()})
        state = Checkpoint(tmp_path / "state.npz").read()
        assert state is not None
        fresh.restore(state["method"])
        return fresh

    return carry
