"""One process at a time in a folder; a crash lets go of it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from firstsight.errors import InputError
from firstsight.formats.storage.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from firstsight.formats.storage.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_is_refused_in_one_line_and_a_killed_one_holds_nothing(tmp_path: Path):
    folder = tmp_path / "run"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another firstsight is writing to it") as refused, locked(folder):
            pass
        assert "\n" not in str(refused.value)
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locked(folder):
            assert list(folder.iterdir()) == []
    finally:
        other.kill()
        other.communicate()


def test_it_is_let_go_at_the_end_of_the_block_and_by_an_error(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path):
            raise KeyError
    with locked(tmp_path), pytest.raises(InputError), locked(tmp_path):
        pass
