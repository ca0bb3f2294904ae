"""The end of a run: metrics, the file for the Rerun viewer and the report, none of which may cost what was computed."""

import errno
from collections.abc import Callable

from firstsight.errors import InputError
from firstsight.perceive.measure import measure
from firstsight.perceive.workspace import Workspace
from firstsight.run_folder import RunRecord, StageRecord
from firstsight.show.report import write_report
from firstsight.show.rerun_file import write_rerun

# Stages of the end, which a killed end does again.
ENDS = ("metrics", "recording", "report")


def conclude(work: Workspace, record: RunRecord) -> None:
    """Measures, then writes what people look at; a metric or a file that fails is named with its reason and left out."""
    record.metrics, failed = measure(work, record.scale)
    record.stages = [stage for stage in record.stages if stage.name not in ENDS]
    if failed:
        record.stages.append(StageRecord(name="metrics", method="", status="skipped", reason="; ".join(failed)))
    work.run.write_record(record)
    record.stages.append(drawn(work))
    record.stages.append(StageRecord(name="report", method="html", status="done"))
    work.run.write_record(record)
    write_report(work.run, work.recording)


def drawn(work: Workspace) -> StageRecord:
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
