"""In which order the jobs of a run are begun: what waits for nothing may go on at the same time."""

from collections import deque
from dataclasses import dataclass

from firstsight.perceive.execution.jobs import Job, target_of
from firstsight.perceive.measure import MEASURES
from firstsight.perceive.plan import Plan, Skip, waits_for
from firstsight.perceive.stage import FrameStage
from firstsight.run_folder import RunRecord


@dataclass
class Step:
    """Jobs that may be done at the same time, once all the steps of `after` are done."""

    name: str
    jobs: deque[Job]
    after: frozenset[str] = frozenset()


class Schedule:
    """The steps that are not done. Of the jobs that can begin, those of the first step do."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = {step.name: step for step in steps}
        assert len(self._steps) == len(steps), "two steps of one name"
        self._begun: dict[Job, Step] = {}

    def next_job(self) -> Job | None:
        """A job that has now begun; None where all that are left wait for others."""
        for step in self._steps.values():
            if step.jobs and not step.after & self._steps.keys():
                job = step.jobs.popleft()
                self._begun[job] = step
                return job
        return None

    def end(self, job: Job) -> None:
        """The job is done."""
        step = self._begun.pop(job)
        if not step.jobs and step not in self._begun.values():
            del self._steps[step.name]

    def give_back(self, job: Job) -> None:
        """The job was begun in vain and is to be begun again."""
        self._begun.pop(job).jobs.appendleft(job)

    def is_done(self) -> bool:
        return not self._steps


def steps_of(plan: Plan, record: RunRecord, *, share_frames: bool) -> list[Step]:
    """All that the record lacks. What goes from frame to frame comes first and takes one process each; the frames of the
    stages that can be shared fill the others (`share_frames`), and the doctor and metrics what is left.
    """
    finished = {stage.name for stage in record.stages}
    waits = waits_for(plan)
    whole: list[Step] = []
    frames: list[Step] = []
    for stage in plan:
        if isinstance(stage, Skip) or stage.name in finished:
            continue
        after, target = waits[stage.name], target_of(stage)
        if share_frames and issubclass(stage, FrameStage):
            shared = deque(Job("frame", target, frame) for frame in range(record.frames))
            frames.append(Step(f"frames of {stage.name}", shared, after))
            after |= {frames[-1].name}
        whole.append(Step(stage.name, deque([Job("stage", target)]), after))
    whole += [Step(kind, deque([Job(kind)]), frozenset(waits)) for kind in ("export", "draw")]
    examine = [] if record.findings else [Step("examine", deque([Job("examine")]))]
    return [*whole, *frames, *examine, *measure_steps(plan)]


def measure_steps(plan: Plan) -> list[Step]:
    """A step for each of MEASURES, after the stages that give what it looks at."""
    stages = [stage for stage in plan if not isinstance(stage, Skip)]
    return [
        Step(
            f"measure {name}",
            deque([Job("measure", name)]),
            frozenset(s.name for s in stages if s.gives & measure.needs),
        )
        for name, measure in MEASURES.items()
    ]
