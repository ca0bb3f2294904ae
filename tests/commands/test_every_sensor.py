"""What is asked of a recording must be asked of what it has: every verb over every combination of sensors."""

from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import pytest

from firstsight.commands.work import evaluate
from firstsight.doctor import Given, examine
from firstsight.doctor.samples import gather
from firstsight.doctor.settings import proposed_command
from firstsight.errors import InputError
from firstsight.perceive import settings
from firstsight.perceive.plan import describe_plan
from firstsight.perceive.run import Settings, perceive
from firstsight.recordings.opening import open_recording, restrict
from firstsight.recordings.recording import Recording

SOURCE = "sim:street:frames=4,height=48,width=96"
SENSORS = ("camera", "stereo", "depth", "lidar", "odometry")
COMBINATIONS = list(chain.from_iterable(combinations(SENSORS, count) for count in range(1, len(SENSORS) + 1)))


NEEDED = {
    "semi-global-matching": {"stereo"},
    "dense-inverse-search": {"camera"},
    "lucas-kanade": {"camera"},
    "visual-odometry": {"camera", "depth"},
    "monocular-odometry": {"camera"},
    "lidar-odometry": {"lidar"},
}
"""What each method that `evaluate` judges sees; depth is a sensor's or a stereo pair's."""


@pytest.fixture(scope="module")
def street() -> Recording:
    """A street of which the depth is known by a sensor, too."""
    recording = open_recording(SOURCE)
    return replace(recording, depth=recording.truth.depth)


def seen(sensors: tuple[str, ...]) -> set[str]:
    """What of the street is left with these sensors: a stereo pair gives depth, and depth comes with its camera."""
    found = set(sensors) | ({"depth"} if "stereo" in sensors else set())
    return found | ({"camera"} if "depth" in found else set())


@pytest.mark.parametrize("sensors", COMBINATIONS, ids="+".join)
def test_the_doctor_finds_a_verdict_a_plan_and_a_command(street: Recording, sensors: tuple[str, ...]):
    recording = restrict(street, frozenset(sensors))
    findings = examine(recording)
    assert findings[0].measured.startswith("4 frames, 0.3 s")
    assert not [finding.check for finding in findings if finding.verdict == "unfit"]
    assert proposed_command(gather(recording), findings, SOURCE, Given()) == f"firstsight perceive {SOURCE}"
    assert dict(describe_plan(recording)).keys() >= {"depth", "flow", "motion", "map"}


@pytest.mark.slow
@pytest.mark.parametrize("sensors", COMBINATIONS, ids="+".join)
def test_perceive_writes_its_report(street: Recording, tmp_path: Path, monkeypatch, sensors: tuple[str, ...]):
    monkeypatch.setattr(settings, "open_recording", lambda source, *, sensors, **_: restrict(street, sensors))
    run = perceive(SOURCE, tmp_path / "run", Settings(sensors=sensors), workers=1)
    record = run.read_record()
    assert run.report_path.exists()
    assert [stage.name for stage in record.stages if stage.status == "done"][-1] == "report"
    assert not [stage for stage in record.stages if stage.name == "metrics"]


@pytest.mark.parametrize(
    "sensors",
    [pytest.param(chosen, marks=pytest.mark.slow if len(chosen) > 1 else ()) for chosen in COMBINATIONS],
    ids="+".join,
)
def test_evaluate_judges_what_the_sensors_allow(street: Recording, monkeypatch, sensors: tuple[str, ...]):
    recording = restrict(street, frozenset(sensors))
    monkeypatch.setattr(evaluate, "open_recording", lambda source, frames: recording)
    for name, needed in NEEDED.items():
        if needed <= seen(sensors):
            assert evaluate.evaluate(name, SOURCE)
        else:
            with pytest.raises(InputError, match=f"^{SOURCE}: "):
                evaluate.evaluate(name, SOURCE)
