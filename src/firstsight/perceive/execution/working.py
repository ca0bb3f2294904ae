"""Doing the jobs of a schedule: by workers where there are some, else in this process."""

from collections.abc import Callable

from firstsight.errors import InputError
from firstsight.perceive.execution.jobs import Answer, Job, JobRunner
from firstsight.perceive.execution.schedule import Schedule
from firstsight.perceive.execution.workers import Workers

# Called with a job and its answer, or with {"frames": number} where a stage has come that far.
Hear = Callable[[Job, Answer], None]


def work_off(schedule: Schedule, here: JobRunner, workers: Workers, hear: Hear) -> None:
    """Does all jobs. What a worker that dies was doing is done by another, in the end by this process.

    Raises the InputError of a job, and RuntimeError for a defect in a worker.
    """
    while not schedule.is_done():
        if not workers.any_alive():
            work_here(schedule, here, hear)
            continue
        while workers.any_free() and (job := schedule.next_job()) is not None:
            workers.hand(job)
        assert workers.any_busy(), "steps that wait for each other"
        job, said = workers.hear()
        if job is not None:
            take(schedule, job, said, hear)


def work_here(schedule: Schedule, here: JobRunner, hear: Hear) -> None:
    """Does the next job in this process."""
    job = schedule.next_job()
    assert job is not None, "steps that wait for each other"

    def advance(frames: int) -> None:
        hear(job, {"frames": frames})

    take(schedule, job, here.run(job, advance), hear)


def take(schedule: Schedule, job: Job, said: Answer | None, hear: Hear) -> None:
    """Takes what was said of a job; None is that its worker died."""
    if said is None:
        schedule.give_back(job)
        return
    if "input_error" in said:
        raise InputError(said["input_error"])
    if "defect" in said:
        raise RuntimeError(f"a worker failed at {' '.join(map(str, job))}:\n{said['defect']}")
    hear(job, said)
    if "frames" not in said:
        schedule.end(job)
