"""Which frames teach and judge, and what a rig can learn."""

from dataclasses import replace

import pytest

from firstsight.errors import InputError
from firstsight.learning.lessons import held, image_size, judged_elsewhere, lessons
from firstsight.learning.record import Held
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Rig

WORLD = "sim:street:frames=3,height=96,width=320"


def test_the_last_third_judges():
    assert held("drive", None, 30) == Held(source="drive", taught="0:20:1", judge="drive", held_out="20:30:1")
    assert held("drive", "10:40:2", 100) == Held(source="drive", taught="10:30:2", judge="drive", held_out="30:40:2")


def test_another_recording_judges_with_all_of_its_frames():
    expected = Held(source="drive", taught="5:25:1", judge="other", held_out="0:7:1")
    assert judged_elsewhere("drive", "5:25", 100, "other", 7) == expected


def test_too_few_frames_are_one_line():
    with pytest.raises(InputError, match=r"^drive: 8 frames; learning takes 9 or more, the last third"):
        held("drive", None, 8)
    with pytest.raises(InputError, match=r"^other: 2 frames; 3 or more are needed$"):
        judged_elsewhere("drive", None, 30, "other", 2)
    with pytest.raises(InputError, match=r"^drive: 5 frames; 6 or more are needed$"):
        judged_elsewhere("drive", None, 5, "other", 9)


@pytest.mark.parametrize(
    ("sensors", "expected"),
    [
        ({"camera"}, [("flow", "refined-search"), ("depth", "filled-sweep")]),
        ({"stereo"}, [("flow", "refined-search"), ("depth", "mc-cnn"), ("depth of one image", "taught-depth")]),
        ({"camera", "lidar"}, [("flow", "refined-search"), ("depth of one image", "taught-depth")]),
    ],
)
def test_the_rig_says_what_is_learned(sensors: set[str], expected: list[tuple[str, str]]):
    found = lessons(open_recording(WORLD, sensors=frozenset(sensors)))
    assert [(one.name, one.entry.name) for one in found] == expected
    assert [one.taught for one in found] == [False, *[True] * (len(expected) - 1)], "a run teaches all but flow"
    assert sum(one.share for one in found) == pytest.approx(1)
    assert not found[0].config.truth
    if expected[1][1] == "mc-cnn":
        assert found[1].config.taught


def test_without_a_camera_nothing_is_learned():
    recording = replace(open_recording(WORLD), rig=Rig())
    with pytest.raises(InputError, match=r"^sim:street.*: it has no camera"):
        lessons(recording)


@pytest.mark.parametrize(
    ("size", "area", "expected"),
    [
        ((375, 1242), 24_576, (96, 288)),
        ((480, 640), 24_576, (128, 192)),
        ((480, 640), 98_304, (256, 352)),
        ((48, 640), 24_576, (64, 576)),
    ],
)
def test_images_are_learned_from_in_their_shape(size: tuple[int, int], area: int, expected: tuple[int, int]):
    assert image_size(size, area) == expected
