"""Many recordings: what one cannot do does not stop the others; Ray gives the same and survives a worker's death."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from firstsight.errors import InputError
from firstsight.perceive.fleet import perceive_all
from firstsight.perceive.run import Settings

SOURCES = ("sim:street:frames=3,height=48,width=160", "sim:rooms:frames=3,height=48,width=64")


def products(folder: Path) -> dict[str, bytes | str]:
    """What a run folder holds, without how long it took."""
    untimed = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".rrd", ".html")]
    held: dict[str, bytes | str] = {str(path.relative_to(folder)): path.read_bytes() for path in untimed}
    record = json.loads(held["run.json"])
    for stage in record["stages"]:
        del stage["seconds"]
    held["run.json"] = json.dumps(record)
    return held


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    out = tmp_path_factory.mktemp("serial")
    return out, perceive_all((*SOURCES, "/nowhere"), out)


def test_what_cannot_be_used_does_not_stop_the_others(serial):
    out, outcomes = serial
    assert [outcome.reason == "" for outcome in outcomes] == [True, True, False]
    assert "no such file" in outcomes[2].reason
    assert [outcome.folder.parent for outcome in outcomes] == [out] * 3
    assert all((outcome.folder / "report.html").exists() for outcome in outcomes[:2])


def test_two_sources_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="several sources would write to it"):
        perceive_all(("/a/drive", "/b/drive"), tmp_path)


def kill_a_worker_at_work(folder: Path, killed: list[int]) -> None:
    """As soon as a run folder was begun."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not killed:
        for command in Path("/proc").glob("[0-9]*/cmdline") if list(folder.glob("*/run.json")) else ():
            try:
                working = command.read_bytes().startswith(b"ray::one")
            except OSError:
                continue
            if working and not killed:
                killed.append(int(command.parent.name))
                os.kill(killed[0], signal.SIGKILL)
        time.sleep(0.05)


@pytest.mark.slow  # Ray takes half a minute to start its workers
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_ray_gives_the_same_even_if_a_worker_dies(serial, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'firstsight[fleet]'")
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker_at_work, args=(tmp_path, killed))
    killer.start()
    outcomes = perceive_all(SOURCES, tmp_path, Settings(), engine="ray")
    killer.join()
    assert killed
    assert [outcome.reason for outcome in outcomes] == ["", ""]
    for there, here in zip(serial[1], outcomes, strict=False):
        assert products(there.folder) == products(here.folder)
