"""What waits for what: the jobs of a run in an order in which none is begun too early, and as many at once as may be."""

from collections import deque

from firstsight.perceive.execution.jobs import Job, class_of, target_of
from firstsight.perceive.execution.schedule import Schedule, Step, steps_of
from firstsight.perceive.plan import make_plan, waits_for
from firstsight.perceive.stages.depth import StereoDepth
from firstsight.recordings.simulated import simulate
from firstsight.run_folder import Finding, RunRecord, StageRecord


def job(name: str) -> Job:
    return Job("measure", name)


def street_plan():
    return make_plan(simulate("street", frames=3, height=48, width=96))


def record(**named) -> RunRecord:
    return RunRecord(version="", source="sim:street", format="", frames=3, **named)


def begun_together(schedule: Schedule) -> list[set[str]]:
    """The jobs that can begin at the same time, then those that can once these are done, and so on."""
    rounds = []
    while not schedule.is_done():
        jobs = list(iter(schedule.next_job, None))
        rounds.append({label(job) for job in jobs})
        for done in jobs:
            schedule.end(done)
    return rounds


def label(job: Job) -> str:
    if job.kind in ("frame", "stage"):
        name = class_of(job.subject).name
        return name if job.kind == "stage" else f"{name} {job.frame}"
    return f"{job.kind} {job.subject}".strip()


def test_a_step_waits_for_all_jobs_of_those_before_it():
    steps = [Step("last", deque([job("c")]), frozenset({"first"})), Step("first", deque([job("a"), job("b")]))]
    schedule = Schedule(steps)
    assert [schedule.next_job(), schedule.next_job(), schedule.next_job()] == [job("a"), job("b"), None]
    schedule.end(job("b"))
    assert schedule.next_job() is None
    schedule.end(job("a"))
    assert schedule.next_job() == job("c")
    assert not schedule.is_done()
    schedule.end(job("c"))
    assert schedule.is_done()


def test_a_job_that_was_given_back_is_begun_again():
    schedule = Schedule([Step("only", deque([job("a"), job("b")]))])
    first = schedule.next_job()
    assert first == job("a")
    schedule.give_back(first)
    assert schedule.next_job() == job("a")


def test_what_a_stage_of_the_street_waits_for():
    assert waits_for(street_plan()) == {
        "depth": set(),
        "flow": set(),
        "motion": {"depth"},
        "loops": {"depth", "motion"},
        "moving": {"depth", "flow", "motion", "loops"},
        "map": {"depth", "motion", "loops", "moving"},
        "occupancy": {"depth", "motion", "loops", "moving"},
        "places": {"depth", "motion", "loops", "moving"},
        "mesh": {"depth", "motion", "loops", "moving"},
    }


def test_what_can_be_done_at_the_same_time():
    assert begun_together(Schedule(steps_of(street_plan(), record(), share_frames=True))) == [
        {"examine", "depth 0", "depth 1", "depth 2", "flow 0", "flow 1", "flow 2"},
        {"depth", "flow"},
        {"motion", "measure disparity", "measure depth", "measure flow"},
        {"loops"},
        {"moving", "measure trajectory"},
        {"map", "occupancy", "places", "mesh", "measure moving objects", "measure agreement"},
        {"export", "draw", "measure occupancy"},
    ]


def test_what_the_record_has_is_not_done_again():
    done = [StageRecord(name=name, method="", status="done") for name in ("depth", "flow", "motion", "loops")]
    found = [Finding(check="", verdict="ok", measured="")]
    first = begun_together(Schedule(steps_of(street_plan(), record(stages=done, findings=found), share_frames=True)))[0]
    assert first == {"moving", *(f"measure {name}" for name in ("disparity", "depth", "flow", "trajectory"))}


def test_without_workers_no_frames_are_shared():
    steps = steps_of(street_plan(), record(), share_frames=False)
    assert not [job for step in steps for job in step.jobs if job.kind == "frame"]


def test_each_stage_waits_for_its_own_frames():
    after = {step.name: set(step.after) for step in steps_of(street_plan(), record(), share_frames=True)}
    assert (after["depth"], after["flow"]) == ({"frames of depth"}, {"frames of flow"})
    assert (after["frames of depth"], after["frames of flow"], after["examine"]) == (set(), set(), set())
    assert after["motion"] == {"depth"}
    assert after["measure occupancy"] == {"motion", "loops", "occupancy"}
    everything = {"depth", "flow", "motion", "loops", "moving", "map", "occupancy", "places", "mesh"}
    assert after["export"] == after["draw"] == everything


def test_a_stage_is_found_by_its_text():
    assert target_of(StereoDepth) == "firstsight.perceive.stages.depth:StereoDepth"
    assert class_of(target_of(StereoDepth)) is StereoDepth
