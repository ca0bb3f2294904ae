"""`perceive` for many recordings: one after the other, or side by side on all machines of a Ray cluster.

A recording that cannot be used does not stop the others. With Ray a worker that dies is replaced, and its run goes on from
its last checkpoint, as any killed run does. On several machines `out` must be a folder that all of them see.

Ray runs code for whoever reaches its ports. A Ray that is started here listens on this machine alone and asks for a token
that only its own processes know; how a cluster that is joined is protected is for the cluster to say.
"""

import io
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
from rich.console import Console

from firstsight.errors import InputError
from firstsight.extras import install_command
from firstsight.perceive import choice
from firstsight.perceive.run import Settings, default_folder, perceive
from firstsight.progress import progress_bars
from firstsight.terminal import notes

Engine = Literal["serial", "ray"]
# How often the run of a worker that died is tried again; one that ended with an InputError is not.
RETRIES = 3
LOOPBACK = "127.0.0.1"


class Outcome(NamedTuple):
    """What became of one recording: `reason` is "" where its run folder is complete."""

    source: str
    folder: Path
    reason: str


def perceive_all(
    sources: Sequence[str],
    out: Path,
    settings: Settings | None = None,
    *,
    engine: Engine = "serial",
    overwrite: bool = False,
    console: Console | None = None,
    workers: int | None = None,
) -> list[Outcome]:
    """A run folder for each source in `out`, named after it; `workers` is as for `perceive`, with Ray one. Raises InputError where two sources would share a folder."""
    console, settings = console or notes(), settings or Settings()
    folders = folders_of(sources, out)
    tasks = [(source, folder, settings, overwrite) for source, folder in zip(sources, folders, strict=True)]
    outcomes = side_by_side(tasks) if engine == "ray" else (one(*task, workers=workers) for task in tasks)
    done: dict[Path, Outcome] = {}
    with progress_bars(console) as bars:
        task = bars.add_task("recordings", total=len(sources))
        for outcome in outcomes:
            done[outcome.folder] = outcome
            bars.advance(task)
            bars.print(f"{outcome.source}: {outcome.reason or outcome.folder}")
    return [done[folder] for folder in folders]


def folders_of(sources: Sequence[str], out: Path) -> list[Path]:
    folders = [out / default_folder(source).name for source in sources]
    shared = [folder for folder, count in Counter(folders).items() if count > 1]
    if shared:
        raise InputError(f"{shared[0]}: several sources would write to it; run those one by one with --out")
    return folders


def one(source: str, folder: Path, settings: Settings, overwrite: bool, workers: int | None = None) -> Outcome:
    """Runs in this process with so many `workers`; an InputError becomes the outcome's reason."""
    try:
        perceive(source, folder, settings, overwrite=overwrite, console=Console(file=io.StringIO()), workers=workers)
    except InputError as error:
        return Outcome(source, folder, str(error))
    return Outcome(source, folder, "")


def side_by_side(tasks: Sequence[tuple[str, Path, Settings, bool]]) -> Iterator[Outcome]:
    """Outcomes in the order in which they come. Joins the cluster of RAY_ADDRESS, or starts one on this machine."""
    ray = import_ray()
    threads = {name: str(torch.get_num_threads()) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    started = not ray.is_initialized()
    if started:
        start(ray, {"env_vars": threads})
    try:
        remote: Any = ray.remote(num_cpus=1, max_retries=RETRIES)(one)
        waiting = {remote.remote(*absolute(task), workers=1): task for task in tasks}
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(ready)
            yield result(ray, ready, task)
    finally:
        if started:
            ray.shutdown()


def start(ray: ModuleType, environment: dict[str, Any]) -> None:
    """Starts or joins Ray. Raises InputError where its processes do not answer in time."""
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", runtime_env=environment, **local_settings())
    except (RuntimeError, ConnectionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"Ray did not start ({reason}); try again, or leave out --engine ray") from None


def absolute(task: tuple[str, Path, Settings, bool]) -> tuple[str, Path, Settings, bool]:
    """Workers have another current folder."""
    source, folder, settings, overwrite = task
    if not source.startswith("sim:"):
        source = os.path.abspath(source)
    use = tuple(choice.absolute(name) for name in settings.use)
    return source, folder.absolute(), replace(settings, use=use), overwrite


def result(ray: ModuleType, ready: Any, task: tuple[str, Path, Settings, bool]) -> Outcome:
    source, folder, _, _ = task
    try:
        return Outcome(source, folder, ray.get(ready).reason)
    except ray.exceptions.RayError as error:
        return Outcome(source, folder, f"its worker failed {RETRIES + 1} times ({type(error).__name__}); try it alone")


def import_ray() -> ModuleType:
    """Returns the module, imported with the environment that it needs. Raises InputError where Ray is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not joins_a_cluster():
        protect_local_ray()
    try:
        import ray
    except ImportError:
        raise InputError(f"Ray is not installed: {install_command('fleet')}") from None
    return ray


def joins_a_cluster() -> bool:
    return bool(os.environ.get("RAY_ADDRESS"))


def protect_local_ray() -> None:
    """Sets what Ray reads when it is imported: that its processes talk over loopback, and the token that they share.

    Ray has this for Windows and macOS, where a cluster is not supported; the variable's name stems from there. Tokens are
    checked from Ray 2.52 on; one in the environment, unlike one in a file, is not left behind.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def local_settings() -> dict[str, Any]:
    """Returns the arguments of ray.init that hold only for a Ray that is started here."""
    return {} if joins_a_cluster() else {"include_dashboard": False, "_node_ip_address": LOOPBACK}
