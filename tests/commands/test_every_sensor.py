"""What is asked of a recording must be asked of what it has: every verb over every combination of sensors."""

from itertools import chain, combinations

import pytest

from firstsight.doctor import Given, examine
from firstsight.doctor.samples import gather
from firstsight.doctor.settings import proposed_command
from firstsight.perceive.plan import describe_plan
from firstsight.perceive.run import Settings, perceive
from firstsight.recordings.opening import open_recording, restrict
from firstsight.recordings.recording import Recording

SOURCE = "sim:street:frames=4,height=48,width=96"
SENSORS = ("camera", "stereo", "lidar", "odometry")
COMBINATIONS = list(chain.from_iterable(combinations(SENSORS, count) for count in range(1, len(SENSORS) + 1)))


@pytest.fixture(scope="module")
def street() -> Recording:
    return open_recording(SOURCE)


@pytest.mark.parametrize("sensors", COMBINATIONS, ids="+".join)
def test_the_doctor_finds_a_verdict_a_plan_and_a_command(street: Recording, sensors: tuple[str, ...]):
    recording = restrict(street, frozenset(sensors))
    findings = examine(recording)
    assert findings[0].measured.startswith("4 frames, 0.3 s")
    assert proposed_command(gather(recording), findings, SOURCE, Given()).startswith(f"firstsight perceive {SOURCE}")
    assert dict(describe_plan(recording)).keys() >= {"depth", "flow", "motion", "map"}


@pytest.mark.slow
@pytest.mark.parametrize("sensors", COMBINATIONS, ids="+".join)
def test_perceive_writes_its_report(tmp_path, sensors: tuple[str, ...]):
    run = perceive(SOURCE, tmp_path / "run", Settings(sensors=sensors), workers=1)
    record = run.read_record()
    assert run.report_path.exists()
    assert [stage.name for stage in record.stages if stage.status == "done"][-1] == "report"
    assert not [stage for stage in record.stages if stage.name == "metrics"]
