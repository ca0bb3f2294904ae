"""Depth in another unit than the true trajectory is told by how far the camera travels."""

from dataclasses import replace

import numpy as np
import pytest

from firstsight.doctor import Given
from firstsight.doctor.examination import findings_of
from firstsight.doctor.samples import Samples, gather
from firstsight.doctor.sensors import DEPTH_SCALE, depth_coverage, depth_scale, fitting_depth_per_metre, measured_scale
from firstsight.doctor.settings import proposed_command
from firstsight.errors import InputError
from firstsight.recordings.recording import Channel, Recording


@pytest.fixture(scope="module")
def handheld_samples(handheld: Recording) -> Samples:
    return gather(handheld)


def as_read(samples: Samples, times: float, per_metre: float | None) -> Samples:
    """The samples with all depth multiplied, as a reader does that takes a metre for `per_metre`."""
    wide = tuple(pair._replace(depth_m=pair.depth_m * times) for pair in samples.wide)
    return replace(samples, wide=wide, recording=replace(samples.recording, depth_per_metre=per_metre))


def test_depth_in_metres_agrees_with_the_true_travel(handheld_samples: Samples):
    found = measured_scale(handheld_samples)
    assert found is not None
    assert found.ratio == pytest.approx(1, abs=0.05)
    finding = depth_scale(handheld_samples)
    assert finding is not None
    assert (finding.check, finding.verdict, finding.advice) == ("depth scale", "ok", "")


def test_millimetres_read_at_5000_per_metre_are_unfit_and_the_cure_is_said(handheld_samples: Samples):
    samples = as_read(handheld_samples, 0.2, 5000.0)
    finding = depth_scale(samples)
    assert finding is not None
    assert finding.verdict == "unfit"
    assert "depth is 5 times too near: --depth-per-metre 1000" in finding.advice
    findings = findings_of(samples)
    assert DEPTH_SCALE in {f.check for f in findings if f.verdict == "unfit"}
    command = proposed_command(samples, findings, "desk", Given())
    assert command.endswith("--depth-per-metre 1000")


@pytest.mark.parametrize(
    ("times", "per_metre", "verdict", "fitting"),
    [
        (5.0, 1000.0, "unfit", 5000.0),
        (1.5, 1000.0, "note", 1500.0),
        (1.1, 1000.0, "ok", None),
        (0.1, None, "unfit", None),
    ],
)
def test_how_far_off_depth_may_be(
    handheld_samples: Samples, times: float, per_metre: float | None, verdict: str, fitting: float | None
):
    samples = as_read(handheld_samples, times, per_metre)
    finding = depth_scale(samples)
    assert finding is not None
    assert finding.verdict == verdict
    stated = fitting_depth_per_metre(measured_scale(samples), per_metre)
    assert stated == (None if fitting is None else pytest.approx(fitting, rel=0.07))


def test_without_travel_or_truth_nothing_is_said(handheld_samples: Samples):
    recording = handheld_samples.recording
    poses = recording.truth.world_from_camera
    assert poses is not None
    unknown = replace(recording, truth=replace(recording.truth, world_from_camera=np.full_like(poses, np.nan)))
    assert depth_scale(replace(handheld_samples, recording=unknown)) is None
    assert (
        depth_scale(
            replace(
                handheld_samples, recording=replace(recording, truth=replace(recording.truth, world_from_camera=None))
            )
        )
        is None
    )


def test_depth_that_cannot_be_read_says_why(handheld: Recording):
    def load(index: int):
        raise InputError(f"depth/{index}.png: is 320x240, the others are 640x480")

    finding = depth_coverage(gather(replace(handheld, depth=Channel(len(handheld), load))))
    assert finding.measured == "none of the sampled depth can be read"
    assert finding.advice == "depth/0.png: is 320x240, the others are 640x480"
