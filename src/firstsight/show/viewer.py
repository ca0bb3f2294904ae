"""Opening a run to look at it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from firstsight.run_folder import RunFolder


def show(path: Path) -> str:
    """Opens the run in the Rerun viewer where there is a screen and a viewer; returns what to tell the user.

    Raises InputError where the folder holds no run.
    """
    run = RunFolder(path)
    run.read_record()
    report = f"report: {run.report_path}"
    if not run.rerun_path.exists():
        return f"{report}\nthe run has no recording.rrd; install the viewer with: pip install 'firstsight[view]'"
    has_screen = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if find_spec("rerun") is None or not has_screen:
        why = "no screen here" if find_spec("rerun") else "the viewer is missing: pip install 'firstsight[view]'"
        return f"{report}\n3-D:    {run.rerun_path} ({why}; open it with: rerun {run.rerun_path})"
    subprocess.Popen([sys.executable, "-m", "rerun", str(run.rerun_path)], start_new_session=True)
    return f"{report}\n3-D:    {run.rerun_path} (opening)"
