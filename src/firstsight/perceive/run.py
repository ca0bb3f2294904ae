"""`firstsight perceive`: a recording in, a run folder out."""

import re
import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from firstsight import __version__
from firstsight.doctor import examine
from firstsight.errors import InputError
from firstsight.formats.storage.lock import locked
from firstsight.perceive.claim import begin
from firstsight.perceive.conclusion import conclude
from firstsight.perceive.execution.frames import FrameStore, decoded_once
from firstsight.perceive.execution.running import run_stage
from firstsight.perceive.execution.workers import FRAMES_PER_WORKER, Workers, usable_cores
from firstsight.perceive.plan import Plan, Skip, check_use, make_plan, scale_of, unused
from firstsight.perceive.stage import FrameStage, Stage
from firstsight.perceive.workspace import Workspace
from firstsight.progress import progress_bars
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording
from firstsight.run_folder import RunFolder, RunRecord, StageRecord


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a run's results. A run folder is continued only with the settings it was begun with."""

    sensors: tuple[str, ...] | list[str] | str | None = None
    frames: str | None = None
    fov_deg: float | None = None
    use: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Makes `sensors` a tuple; one name alone stands for a tuple of one."""
        if self.sensors is not None:
            names = (self.sensors,) if isinstance(self.sensors, str) else tuple(self.sensors)
            object.__setattr__(self, "sensors", names)


def perceive(
    source: str | Path,
    out: str | Path | None = None,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    workers: int | None = None,
) -> RunFolder:
    """Everything that can be got from a recording, written to a run folder (docs/run_folder.md).

    A folder that holds an unfinished run of the same source and settings is continued. `workers` is the number of cores to
    use, by default all usable ones; the result does not depend on it. Raises InputError where the source cannot be used,
    where `out` holds another run and `overwrite` is not given, and where another process is writing to it.
    """
    settings, console = settings or Settings(), console or Console(stderr=True)
    check_use(settings.use)
    recording = open_recording(
        str(source),
        sensors=None if settings.sensors is None else frozenset(settings.sensors),
        frames=settings.frames,
        fov_deg=settings.fov_deg,
    )
    run = RunFolder(default_folder(str(source)) if out is None else Path(out))
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"{run.path}: is a file; choose another --out")
    with locked(run.path):
        record = begin(run, new_record(recording, settings), overwrite=overwrite)
        if run.report_path.exists():  # written last
            console.print(f"already complete: {run.path} (--overwrite makes it anew)")
            return run
        for remark in record.remarks:
            console.print(f"note: {remark}", markup=False)
        complete(run, record, recording, settings, console, cores=workers or usable_cores())
    return run


def default_folder(source: str) -> Path:
    """runs/NAME, NAME being the recording's with nothing in it that a file system or a shell might mind."""
    name = source if source.startswith("sim:") else Path(source).expanduser().resolve().name
    return Path("runs") / (re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "recording")


def new_record(recording: Recording, settings: Settings) -> RunRecord:
    """The record of a run that has just begun."""
    return RunRecord(
        version=__version__,
        source=recording.source,
        format=recording.format,
        frames=len(recording),
        scale=scale_of(recording, settings.use),
        sensors=describe_sensors(recording),
        settings=asdict(settings)
        | {"sensors": list(settings.sensors) if settings.sensors else None, "use": list(settings.use)},
        remarks=[*recording.remarks, *unused(make_plan(recording, settings.use), settings.use)],
    )


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


def complete(
    run: RunFolder, record: RunRecord, recording: Recording, settings: Settings, console: Console, *, cores: int
) -> None:
    """Does what the record lacks."""
    plan = make_plan(recording, settings.use)
    finished = {stage.name for stage in record.stages}
    work = Workspace(decoded_once(recording, FrameStore(run.scratch_path / "frames")), run, settings.use)
    with ExitStack() as stack:
        workers = None
        count = workers_for([stage for stage in plan if stage.name not in finished], len(recording), cores)
        if count:
            workers = Workers(count, run.scratch_path / "tasks")
            stack.callback(workers.close)
        record.findings = record.findings or list(examine(work.recording))
        run_stages(work, record, plan, console, workers)
    conclude(work, record)
    shutil.rmtree(run.scratch_path, ignore_errors=True)


def workers_for(plan: Plan, frames: int, cores: int) -> int:
    """How many processes help this one with the frames of the stages that can be shared."""
    shared = any(not isinstance(stage, Skip) and issubclass(stage, FrameStage) for stage in plan)
    return min(cores - 1, frames // FRAMES_PER_WORKER) if shared else 0


def run_stages(work: Workspace, record: RunRecord, plan: Plan, console: Console, workers: Workers | None) -> None:
    """Runs what the plan holds and the record does not have yet; the record is written after every stage."""
    finished = {stage.name for stage in record.stages}
    work.flagged = {entry["frame"]: entry["reason"] for entry in record.flagged_frames}
    with progress_bars(console) as bars:
        for planned in plan:
            if planned.name in finished:
                continue
            record.stages.append(run_planned(planned, work, bars, workers))
            record.flagged_frames = [{"frame": f, "reason": work.flagged[f]} for f in sorted(work.flagged)]
            work.run.write_record(record)
    if all(stage.status == "skipped" for stage in record.stages):
        reasons = "; ".join(f"{stage.name}: {stage.reason}" for stage in record.stages)
        raise InputError(f"{record.source}: nothing can be done with this recording ({reasons})")


def run_planned(planned: type[Stage] | Skip, work: Workspace, bars: Progress, workers: Workers | None) -> StageRecord:
    """What became of one stage of the plan."""
    if isinstance(planned, Skip):
        return StageRecord(name=planned.name, method="", status="skipped", reason=planned.reason)
    stage = planned(work)
    task = bars.add_task(f"{stage.name} ({stage.method})", total=len(work.recording))
    return run_stage(stage, lambda frames: bars.update(task, completed=frames), workers)
