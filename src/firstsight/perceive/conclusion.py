"""The end of a run: the file for the Rerun viewer, which may not cost what was computed."""

import errno
from collections.abc import Callable

from firstsight.errors import InputError
from firstsight.perceive.workspace import Workspace
from firstsight.run_folder import StageRecord
from firstsight.show.rerun_file import write_rerun


def exported(work: Workspace) -> StageRecord:
    """What became of recording.rrd."""
    reason = why_failed(lambda: write_rerun(work.run, work.recording))
    if not reason:
        return StageRecord(name="recording", method="rerun", status="done")
    work.run.rerun_path.unlink(missing_ok=True)
    return StageRecord(name="recording", method="rerun", status="skipped", reason=reason)


def why_failed(step: Callable[[], None]) -> str:
    """Runs a step that the run can do without; returns in one line why it failed, "" where it did not."""
    try:
        step()
    except InputError as error:
        return str(error)
    except Exception as error:  # of a library that draws, or of the disk: the run is worth more than its image
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        cause = "the disk is full" if full else f"{type(error).__name__}: {error}"
        return " ".join(f"it could not be written ({cause})".split())
    return ""
