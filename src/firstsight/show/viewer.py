"""Opening a run, or the folder of a training, to look at it."""

import os
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from firstsight.errors import InputError
from firstsight.extras import install_command
from firstsight.run_folder import RunFolder

LOOPBACK = "127.0.0.1"


def show(path: Path) -> list[str]:
    """Opens a run in the Rerun viewer where there is a screen and a viewer; returns what to tell the user, a line each.

    Of a training it only says where its files are. Raises InputError where the folder is neither.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a run of firstsight perceive or a training of firstsight train")
    if (path / "config.json").exists() and not (path / "run.json").exists():
        return training_lines(path)
    run = RunFolder(path)
    record = run.read_record()
    lines = [f"run of {record.source}", f"report: {run.report_path}"]
    if not run.report_path.exists():
        lines[1] = "unfinished: the same firstsight perceive command continues it"
    if not run.rerun_path.exists():
        return [*lines, f"no recording.rrd in it; the viewer is installed by: {install_command('view')}"]
    if find_spec("rerun") is None:
        why = f"the viewer is missing: {install_command('view')}"
        return [*lines, f"3-D:    {run.rerun_path} ({why})"]
    if not has_screen():
        return [
            *lines,
            f"3-D:    {run.rerun_path} (no screen here; open it with: rerun --bind {LOOPBACK} {shlex.quote(str(run.rerun_path))})",
        ]
    open_viewer(run.rerun_path)
    return [*lines, f"3-D:    {run.rerun_path} (opening)"]


def training_lines(path: Path) -> list[str]:
    """Returns what a training holds, a line each. Raises InputError where its config.json is not one of ours."""
    from firstsight import pretrained

    lines = [f"training of {pretrained.name(path)}"]
    files = {"preview": "preview.png", "metrics": "metrics.jsonl", "weights": "model.safetensors"}
    lines += [f"{what}: {path / name}" for what, name in files.items() if (path / name).exists()]
    if not (path / "model.safetensors").exists():
        lines.append("training unfinished; resume with `firstsight train` and the same --out")
    return lines


def has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def viewer_command(recording: Path) -> list[str]:
    """Returns the command that opens a recording in a viewer that this machine alone can reach."""
    return [sys.executable, "-m", "rerun", "--bind", LOOPBACK, str(recording.absolute())]


def viewer_environment() -> dict[str, str]:
    """Returns the environment in which the viewer reports no usage: it reports none where tests run, of which CI tells it."""
    return {name: value for name, value in os.environ.items() if name != "FORCE_RERUN_ANALYTICS"} | {"CI": "true"}


def open_viewer(recording: Path) -> None:
    """Starts the viewer, which goes on when this program ends."""
    subprocess.Popen(viewer_command(recording), env=viewer_environment(), start_new_session=True)
