"""A recording behaves as a list of frames does, and says what it is in a line."""

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording, Rig


@pytest.fixture(scope="module")
def street() -> Recording:
    return open_recording("sim:street:frames=5,height=48,width=64")


def test_frames_are_counted_from_the_end_too(street: Recording):
    assert street[-1].index == 4
    assert street[-5].index == 0
    assert street.images["left"][-1] is street.images["left"][4]
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"index {index} of 5"):
            street[index]
        with pytest.raises(IndexError):
            street.images["left"][index]


def test_a_slice_is_a_recording(street: Recording):
    part = street[1:4:2]
    assert isinstance(part, Recording)
    assert part.stamps_ns.tolist() == [street.stamps_ns[1], street.stamps_ns[3]]
    assert np.array_equal(part[1].image("right"), street[3].image("right"))
    assert len(street[-2:]) == 2
    assert street[-2:].truth.flow is not None
    assert part.truth.flow is None
    with pytest.raises(InputError, match="step above 0"):
        street[::-1]


def test_an_unknown_camera_is_answered_with_those_there_are(street: Recording):
    with pytest.raises(InputError, match=r"camera 'lft': the recording has no such camera; there is 'left', 'right'"):
        street[0].image("lft")
    blind = Recording(source="x", format="test", rig=Rig(), stamps_ns=np.array([0]))
    with pytest.raises(InputError, match="x: this recording has no camera"):
        blind[0].image()


def test_a_recording_prints_as_one_line(street: Recording):
    source = "sim:street:frames=5,height=48,width=64"
    assert repr(street) == (
        f"Recording({source!r}, {street.format}, 5 frames: left 48x64, right 48x64, lidar, odometry)"
    )
    assert repr(street[2]) == f"Frame(recording={street!r}, index=2)"
