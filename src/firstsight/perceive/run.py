"""`firstsight perceive`: a recording in, a run folder out."""

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from firstsight import __version__
from firstsight.doctor import examine
from firstsight.errors import InputError
from firstsight.perceive.choice import check_use
from firstsight.perceive.measure import measure
from firstsight.perceive.plan import Skip, make_plan, scale_of
from firstsight.perceive.stage import Stage, run_stage
from firstsight.perceive.workspace import Workspace
from firstsight.progress import progress_bars
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording
from firstsight.run_folder import RunFolder, RunRecord, StageRecord
from firstsight.show.report import write_report
from firstsight.show.rerun_file import write_rerun


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a run's results. A run folder is continued only with the settings it was begun with."""

    sensors: tuple[str, ...] | None = None
    frames: str | None = None
    fov_deg: float | None = None
    use: tuple[str, ...] = ()


def perceive(
    source: str,
    out: Path | None = None,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> RunFolder:
    """Everything that can be got from a recording, written to a run folder (docs/run_folder.md).

    A folder that holds an unfinished run of the same source and settings is continued. Raises InputError where the
    source cannot be used, and where `out` holds another run and `overwrite` is not given.
    """
    settings = settings or Settings()
    console = console or Console(stderr=True)
    check_use(settings.use)
    recording = open_recording(
        source,
        sensors=None if settings.sensors is None else frozenset(settings.sensors),
        frames=settings.frames,
        fov_deg=settings.fov_deg,
    )
    run = RunFolder(out or default_folder(source))
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"{run.path}: is a file; choose another --out")
    if overwrite and run.record_path.exists():
        shutil.rmtree(run.path)
    record = begin(run, recording, settings)
    work = Workspace(recording, run, settings.use)
    if run.report_path.exists():  # written last
        console.print(f"already complete: {run.path} (--overwrite makes it anew)")
        return run
    record.findings = record.findings or list(examine(recording))
    for remark in recording.remarks:
        console.print(f"note: {remark}")
    run_stages(work, record, console)
    conclude(work, record)
    return run


def default_folder(source: str) -> Path:
    return Path("runs") / re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source).name).strip("-.")


def begin(run: RunFolder, recording: Recording, settings: Settings) -> RunRecord:
    """The record to continue, or a new one."""
    record = RunRecord(
        version=__version__,
        source=recording.source,
        format=recording.format,
        frames=len(recording),
        scale=scale_of(recording, settings.use),
        sensors=describe_sensors(recording),
        settings=asdict(settings)
        | {"sensors": list(settings.sensors) if settings.sensors else None, "use": list(settings.use)},
        remarks=list(recording.remarks),
    )
    if not run.record_path.exists():
        if run.path.exists() and any(run.path.iterdir()):
            raise InputError(f"{run.path}: the folder holds other files; choose another --out")
        run.write_record(record)
        return record
    previous = run.read_record()
    for part in ("version", "source", "settings", "sensors", "frames"):
        if getattr(previous, part) != getattr(record, part):
            raise InputError(
                f"{run.path}: holds a run with another {part} ({getattr(previous, part)}); "
                "choose another --out, or --overwrite it"
            )
    return previous


def describe_sensors(recording: Recording) -> dict[str, Any]:
    rig = recording.rig
    return {
        "cameras": [
            {
                "name": camera.name,
                "height": camera.size[0],
                "width": camera.size[1],
                "intrinsics": camera.intrinsics.tolist(),
                "body_from_camera": camera.body_from_camera.tolist(),
                "assumed": camera.assumed,
            }
            for camera in rig.cameras
        ],
        "stereo_baseline_m": rig.baseline_m,
        "lidar": recording.scans is not None,
        "depth": recording.depth is not None,
        "odometry": recording.odometry is not None,
    }


def run_stages(work: Workspace, record: RunRecord, console: Console) -> None:
    """Run what the plan holds and the record does not have yet; the record is written after every stage."""
    finished = {stage.name for stage in record.stages}
    work.flagged = {entry["frame"]: entry["reason"] for entry in record.flagged_frames}
    with progress_bars(console) as bars:
        for planned in make_plan(work.recording, work.use):
            if planned.name in finished:
                continue
            record.stages.append(run_planned(planned, work, bars))
            record.flagged_frames = [{"frame": f, "reason": work.flagged[f]} for f in sorted(work.flagged)]
            work.run.write_record(record)
    if all(stage.status == "skipped" for stage in record.stages):
        reasons = "; ".join(f"{stage.name}: {stage.reason}" for stage in record.stages)
        raise InputError(f"{record.source}: nothing can be done with this recording ({reasons})")


def run_planned(planned: type[Stage] | Skip, work: Workspace, bars: Progress) -> StageRecord:
    if isinstance(planned, Skip):
        return StageRecord(name=planned.name, method="", status="skipped", reason=planned.reason)
    stage = planned(work)
    task = bars.add_task(f"{stage.name} ({stage.method})", total=len(work.recording))
    return run_stage(stage, lambda frames: bars.update(task, completed=frames))


def conclude(work: Workspace, record: RunRecord) -> None:
    """Measure, then write what people look at. Working files go last: until then a killed run continues."""
    record.metrics = measure(work, record.scale)
    record.stages = [stage for stage in record.stages if stage.name not in ("recording", "report")]  # of a killed end
    work.run.write_record(record)
    try:
        write_rerun(work.run, work.recording)
        record.stages.append(StageRecord(name="recording", method="rerun", status="done"))
    except InputError as error:
        record.stages.append(StageRecord(name="recording", method="rerun", status="skipped", reason=str(error)))
    record.stages.append(StageRecord(name="report", method="html", status="done"))
    work.run.write_record(record)
    write_report(work.run, work.recording)
    work.clean()
