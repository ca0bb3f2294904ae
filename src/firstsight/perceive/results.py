"""What comes of the jobs of a run, gathered in its record."""

from collections import defaultdict

from firstsight.perceive.execution.jobs import Answer, Job
from firstsight.perceive.measure import MEASURES
from firstsight.perceive.plan import Plan, Skip
from firstsight.run_folder import Finding, Metric, RunFolder, RunRecord, StageRecord
from firstsight.show.report import Drawings

# Stages of the end, which a killed end does again.
ENDS = ("metrics", "recording", "report")


class Results:
    """The record of a run that goes on; it is written after every stage.

    Stages stand in the order of the plan and metrics in that of MEASURES, whatever ended first.
    """

    def __init__(self, run: RunFolder, record: RunRecord, plan: Plan) -> None:
        self.run, self.record = run, record
        self._order = [*(planned.name for planned in plan), *ENDS]
        self._frame_seconds: defaultdict[str, float] = defaultdict(float)
        self._metrics: dict[str, list[Metric]] = {}
        self._failed: dict[str, str] = {}
        self.drawings: Drawings | None = None
        record.stages = [stage for stage in record.stages if stage.name not in ENDS]
        known = {stage.name for stage in record.stages}
        for planned in plan:
            if isinstance(planned, Skip) and planned.name not in known:
                self.add(StageRecord(name=planned.name, method="", status="skipped", reason=planned.reason))

    def take(self, job: Job, answer: Answer) -> None:
        """Takes the answer to a job."""
        match job.kind:
            case "examine":
                self.record.findings = [Finding(**finding) for finding in answer["findings"]]
            case "frame":
                self._frame_seconds[job.subject] += answer["seconds"]
            case "stage":
                self._take_stage(job, answer)
            case "measure":
                self._metrics[job.subject] = [Metric(**metric) for metric in answer["metrics"]]
                self._failed[job.subject] = answer["failed"]
            case "export":
                self.add(StageRecord(**answer["record"]))
            case "draw":
                self.drawings = Drawings(*answer["drawings"])
        if job.kind in ("examine", "stage"):
            self.run.write_record(self.record)

    def _take_stage(self, job: Job, answer: Answer) -> None:
        """Seconds are those of all processes together."""
        stage = StageRecord(**answer["record"])
        if stage.status == "done":
            stage.seconds = round(stage.seconds + self._frame_seconds[job.subject], 3)
        flags = {flag["frame"]: flag["reason"] for flag in self.record.flagged_frames} | dict(answer["flagged"])
        self.record.flagged_frames = [{"frame": frame, "reason": flags[frame]} for frame in sorted(flags)]
        self.add(stage)

    def add(self, stage: StageRecord) -> None:
        """Puts the record of a stage in its place."""
        self.record.stages.append(stage)
        self.record.stages.sort(key=lambda stage: self._order.index(stage.name))

    def end(self) -> Drawings:
        """Puts in what was measured and that the report is there, writes the record, and returns the report's drawings."""
        assert self.drawings is not None, "the report was not drawn"
        self.record.metrics = [metric for name in MEASURES for metric in self._metrics[name]]
        failed = [self._failed[name] for name in MEASURES if self._failed[name]]
        if failed:
            self.add(StageRecord(name="metrics", method="", status="skipped", reason="; ".join(failed)))
        self.add(StageRecord(name="report", method="html", status="done"))
        self.run.write_record(self.record)
        return self.drawings
