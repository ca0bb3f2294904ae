"""Many recordings: what one cannot do does not stop the others; Ray gives the same and survives a worker's death."""

import gc
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from firstsight.errors import InputError
from firstsight.perceive import fleet
from firstsight.perceive.fleet import Outcome, import_ray, local_settings, perceive_all
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
    too_busy = ""
    try:
        outcomes = perceive_all(SOURCES, tmp_path, Settings(), engine="ray")
    except InputError as error:
        if "Ray did not start" not in str(error):
            raise
        too_busy = str(error)
    gc.collect()  # while warnings of Ray's are ignored: it leaves processes behind that it does not wait for
    if too_busy:
        pytest.skip(f"{too_busy}: the machine is too busy")
    killer.join()
    assert killed
    assert [outcome.reason for outcome in outcomes] == ["", ""]
    for there, here in zip(serial[1], outcomes, strict=False):
        assert products(there.folder) == products(here.folder)


SOCKETS = """
import os, subprocess
from firstsight.perceive import fleet
ray = fleet.import_ray()
ray.init(num_cpus=1, log_to_driver=False, logging_level="ERROR", **fleet.local_settings())
ray.get(ray.remote(lambda: 1).remote())
processes = {os.getpid()}
for _ in range(5):
    children = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = (map(int, line.split()) for line in children.splitlines())
    processes |= {pid for pid, parent in pairs if parent in processes}
inodes = set()
for pid in processes:
    for entry in os.scandir(f"/proc/{pid}/fd") if os.path.isdir(f"/proc/{pid}/fd") else ():
        inodes.add(os.path.basename(os.path.realpath(entry.path)))
for table in ("tcp", "tcp6"):
    for row in open(f"/proc/net/{table}").read().splitlines()[1:]:
        words = row.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
            print("listens", words[1].split(":")[0])
print("token", len(os.environ["RAY_AUTH_TOKEN"]), os.environ["RAY_AUTH_MODE"])
ray.shutdown()
"""
LOOPBACK_HEX = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.slow  # Ray takes half a minute to start its workers
def test_a_ray_that_is_started_here_listens_on_this_machine_alone(tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'firstsight[fleet]'")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SOCKETS],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "timed out during startup" in ended.stderr or "Failed to start GCS" in ended.stderr:
        pytest.skip("Ray gives up where its processes take more than 30 s to start: the machine is too busy")
    assert ended.returncode == 0, ended.stderr
    listening = [line.split()[1] for line in ended.stdout.splitlines() if line.startswith("listens")]
    assert len(listening) >= 4
    assert set(listening) <= LOOPBACK_HEX
    assert "token 64 token" in ended.stdout
    assert not list(tmp_path.rglob("auth_token"))


def test_a_cluster_that_is_joined_is_left_as_it_is(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    import_ray()
    assert local_settings() == {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert (os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"])) == ("token", 64)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    import_ray()
    assert local_settings() == {}
    assert "RAY_AUTH_TOKEN" not in os.environ


class LostError(Exception):
    """What a Ray made by hand raises for a worker that has died."""


class HandMadeRay(ModuleType):
    """Does a task when it is waited for, the last one first; of the source that is called "dies" the worker dies."""

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(self, running: bool):
        super().__init__("ray")
        self.running, self.calls = running, []

    def is_initialized(self) -> bool:
        return self.running

    def init(self, **settings: object) -> None:
        self.calls.append(("init", settings))

    def shutdown(self) -> None:
        self.calls.append(("shutdown", {}))

    def remote(self, **options: object):
        self.calls.append(("remote", options))
        return lambda _: SimpleNamespace(remote=lambda *task, **more: (task, tuple(more.items())))

    def wait(self, waiting: list, num_returns: int):
        return waiting[-1:], waiting[:-1]

    def get(self, ready: tuple) -> Outcome:
        (source, folder, _, _), more = ready
        assert more == (("workers", 1),)
        if source.endswith("dies"):
            raise LostError
        return Outcome(source, folder, "dark" if source.endswith("night") else "")


@pytest.mark.parametrize("running", [False, True])
def test_what_workers_answer_is_told_as_it_comes_and_a_lost_one_by_its_source(monkeypatch, tmp_path, running: bool):
    ray = HandMadeRay(running)
    monkeypatch.setattr(fleet, "import_ray", lambda: ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    tasks = [(source, Path(f"out/{source}"), Settings(), False) for source in ("day", "night", "dies")]
    found = list(fleet.side_by_side(tasks))
    assert found == [
        Outcome("dies", Path("out/dies"), "its worker failed 4 times (LostError); try it alone"),
        Outcome("night", Path("out/night"), "dark"),
        Outcome("day", Path("out/day"), ""),
    ]
    names = [name for name, _ in ray.calls]
    assert names == (["remote"] if running else ["init", "remote", "shutdown"])
    assert dict(ray.calls)["remote"] == {"num_cpus": 1, "max_retries": 3}


def test_workers_are_told_whole_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    (tmp_path / "net.onnx").touch()
    (tmp_path / "lucas-kanade").touch()
    settings = Settings(use=("mine", "net.onnx", "lucas-kanade"))
    source, folder, told, overwrite = fleet.absolute(("drive", Path("out/drive"), settings, True))
    assert (source, folder, overwrite) == (str(tmp_path / "drive"), tmp_path / "out" / "drive", True)
    assert told.use == (str(tmp_path / "mine"), str(tmp_path / "net.onnx"), "lucas-kanade")
    assert fleet.absolute(("sim:street", Path("out"), settings, False))[0] == "sim:street"


def test_a_ray_that_does_not_start_is_one_line():
    class Closed(HandMadeRay):
        def init(self, **settings: object) -> None:
            raise RuntimeError("no ports\nleft")

    with pytest.raises(InputError, match=r"^Ray did not start \(no ports\); try again, or leave out --engine ray$"):
        fleet.start(Closed(running=False), {})


def test_what_becomes_of_each_is_printed_where_it_is_asked_for(tmp_path):
    printed = io.StringIO()
    outcomes = perceive_all(("/nowhere",), tmp_path, console=Console(file=printed, width=200))
    assert f"/nowhere: {outcomes[0].reason}" in printed.getvalue()
