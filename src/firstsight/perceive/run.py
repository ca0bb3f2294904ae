"""`firstsight perceive`: a recording in, a run folder out."""

import re
import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from firstsight import __version__
from firstsight.errors import InputError
from firstsight.formats.storage.lock import locked
from firstsight.perceive.claim import begin
from firstsight.perceive.execution.frames import FrameStore, decoded_once
from firstsight.perceive.execution.jobs import Answer, Job, JobRunner, class_of
from firstsight.perceive.execution.schedule import Schedule, steps_of
from firstsight.perceive.execution.workers import Workers, one_thread, usable_cores, workers_for
from firstsight.perceive.execution.working import work_off
from firstsight.perceive.plan import Plan, check_use, make_plan, scale_of, unused
from firstsight.perceive.results import ENDS, Results
from firstsight.perceive.settings import Settings
from firstsight.perceive.workspace import Workspace
from firstsight.progress import progress_bars
from firstsight.recordings.recording import Channel, Recording
from firstsight.run_folder import RunFolder, RunRecord
from firstsight.show.report import write_report


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
    recording = settings.open(str(source))
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
    """runs/NAME, NAME being the recording's own, so that no two become one; a simulated world's settings are joined by hyphens."""
    if source.startswith("sim:"):
        return Path("runs") / re.sub(r"[^\w.-]+", "-", source)
    return Path("runs") / (Path(source).expanduser().resolve().name or "recording")


def new_record(recording: Recording, settings: Settings) -> RunRecord:
    """The record of a run that has just begun."""
    return RunRecord(
        version=__version__,
        source=recording.source,
        format=recording.format,
        frames=len(recording),
        scale=scale_of(recording, settings.use),
        sensors=describe_sensors(recording),
        settings=settings.as_json(),
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
    results = Results(run, record, plan)
    require_a_stage(record, plan)
    count = workers_for(len(recording), cores)
    store = FrameStore(run.scratch_path / "frames", sharers=max(count, 1)).without_files()
    work = Workspace(decoded_once(recording, store), run, settings.use)
    schedule = Schedule(steps_of(plan, record, share_frames=count > 0))
    told = {"source": record.source, "settings": settings.as_json(), "out": str(run.path)}
    with one_thread(), ExitStack() as stack:
        bars = Bars(stack.enter_context(progress_bars(console)), len(recording))
        workers = Workers(count, told | {"scale": record.scale, "sharers": max(count, 1)})
        stack.callback(workers.close)

        def hear(job: Job, answer: Answer) -> None:
            bars.show(job, answer)
            if "frames" not in answer:
                results.take(job, answer)

        work_off(schedule, JobRunner(work, record.scale), workers, hear)
    require_a_stage(record, plan)
    require_a_frame(record, work.recording)
    write_report(run, work.recording, results.end())
    shutil.rmtree(run.scratch_path, ignore_errors=True)


def require_a_stage(record: RunRecord, plan: Plan) -> None:
    """Raises InputError where all stages of the plan were skipped."""
    stages = [stage for stage in record.stages if stage.name not in ENDS]
    if len(stages) == len(plan) and all(stage.status == "skipped" for stage in stages):
        reasons = "; ".join(f"{stage.name}: {stage.reason}" for stage in stages)
        raise InputError(f"{record.source}: nothing can be done with this recording ({reasons})")


def require_a_frame(record: RunRecord, recording: Recording) -> None:
    """Raises InputError where not one image, depth image or sweep of the recording can be read."""
    sensors = [*recording.images.values(), recording.depth, recording.scans]
    channels = [channel for channel in sensors if channel is not None]
    if not channels or len(record.flagged_frames) < record.frames:
        return
    reasons = [why_unreadable(channel, frame) for channel in channels for frame in range(record.frames)]
    if all(reasons):
        raise InputError(f"{record.source}: none of its {record.frames} frames can be read; the first: {reasons[0]}")


def why_unreadable(channel: Channel[Any], frame: int) -> str:
    """Why a frame cannot be decoded or is missing, "" where it is there."""
    try:
        return "" if channel[frame] is not None else "missing"
    except InputError as error:
        return str(error)


class Bars:
    """A bar for each stage that has begun, of so many frames."""

    def __init__(self, bars: Progress, frames: int) -> None:
        self.bars, self.frames = bars, frames
        self._tasks: dict[str, TaskID] = {}
        self._done: Counter[str] = Counter()

    def show(self, job: Job, answer: Answer) -> None:
        """Shows how far the job's stage has come: frames done by anyone, or counted when the whole stage is run."""
        if job.kind not in ("frame", "stage"):
            return
        stage = job.subject
        if stage not in self._tasks:
            self._tasks[stage] = self.bars.add_task(class_of(stage).name, total=self.frames)
        counted = self._done[stage] + 1 if job.kind == "frame" else answer.get("frames", self.frames)
        self._done[stage] = max(self._done[stage], counted)
        self.bars.update(self._tasks[stage], completed=self._done[stage])
