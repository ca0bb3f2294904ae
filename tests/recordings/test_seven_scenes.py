"""A small sequence written by hand; one test per line of the reader's conventions."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings import seven_scenes
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA

POSE = "0 0 1 {x}\n-1 0 0 0.5\n0 -1 0 0.25\n0 0 0 1\n"


def write_sequence(path: Path, frames=3, size=(480, 640), suffix="png") -> Path:
    for frame in range(frames):
        stem = str(path / f"frame-{frame:06d}")
        cv2.imwrite(f"{stem}.color.{suffix}", np.full((*size, 3), frame, np.uint8))
        depth = np.full(size, 1500 + frame, np.uint16)
        depth[0, :2] = 0, 65535
        cv2.imwrite(f"{stem}.depth.png", depth)
        Path(f"{stem}.pose.txt").write_text(POSE.format(x=frame))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_colour_is_the_reference_camera(tmp_path, suffix):
    recording = open_recording(str(write_sequence(tmp_path, suffix=suffix)))
    assert recording.format == seven_scenes.NAME
    assert recording.rig.reference.name == "color"
    assert recording[2].image()[9, 9].tolist() == [2, 2, 2]


def test_depth_is_millimetres(tmp_path):
    depth, valid = seven_scenes.read(write_sequence(tmp_path))[1].depth()
    assert depth[5, 5] == np.float32(1.501)
    assert valid.sum() == valid.size - 2
    assert not valid[0, :2].any()


def test_poses_are_world_from_camera(tmp_path):
    write_sequence(tmp_path)
    (tmp_path / "frame-000001.pose.txt").unlink()
    poses = seven_scenes.read(tmp_path).truth.world_from_camera
    np.testing.assert_array_equal(poses[2], [[0, 0, 1, 2], [-1, 0, 0, 0.5], [0, -1, 0, 0.25], [0, 0, 0, 1]])
    assert np.isnan(poses[1]).all()


def test_the_published_calibration_and_its_replacement(tmp_path):
    write_sequence(tmp_path)
    camera = seven_scenes.read(tmp_path).rig.reference
    np.testing.assert_array_equal(camera.intrinsics, [[585, 0, 320], [0, 585, 240], [0, 0, 1]])
    (tmp_path / "camera-intrinsics.txt").write_text("500 0 310\n0 501 230\n0 0 1\n")
    assert seven_scenes.read(tmp_path).rig.reference.intrinsics[1, 1] == 501
    (tmp_path / "camera-intrinsics.txt").rename(tmp_path / "intrinsics.txt")
    assert seven_scenes.read(tmp_path).rig.reference.intrinsics[0, 2] == 310


def test_thirty_hertz_are_assumed_and_said(tmp_path):
    recording = seven_scenes.read(write_sequence(tmp_path))
    np.testing.assert_array_equal(recording.stamps_ns, [0, 33_333_333, 66_666_667])
    assert recording.remarks == ("timestamps assumed: 30 Hz (7-Scenes has none)",)


def test_the_camera_looks_ahead(tmp_path):
    camera = seven_scenes.read(write_sequence(tmp_path)).rig.reference
    np.testing.assert_array_equal(camera.body_from_camera, BODY_FROM_FORWARD_CAMERA)


def test_colour_alone_is_a_recording(tmp_path):
    write_sequence(tmp_path)
    for file in (*tmp_path.glob("*.depth.png"), *tmp_path.glob("*.pose.txt")):
        file.unlink()
    recording = seven_scenes.read(tmp_path)
    assert recording.depth is None
    assert recording.truth.world_from_camera is None


def elsewhere(path):
    """All depth but that of a frame without colour is lost."""
    for number in (0, 2):
        (path / f"frame-{number:06d}.depth.png").unlink()
    (path / "frame-000001.depth.png").rename(path / "frame-000009.depth.png")


def test_a_frame_without_depth_is_left_out_with_its_time(tmp_path):
    path = write_sequence(tmp_path)
    (path / "frame-000001.depth.png").unlink()
    recording = seven_scenes.read(path)
    np.testing.assert_array_equal(recording.stamps_ns, [0, 66_666_667])
    assert recording.remarks[1] == "1 of 3 frames left out: an image is missing in depth"
    assert recording.truth.world_from_camera[:, 0, 3].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (elsewhere, r"no frame has both colour and depth"),
        (lambda p: (p / "frame-000001.pose.txt").write_text("1 2 3"), r"pose\.txt: expected a 4x4 matrix"),
        (lambda p: (p / "camera-intrinsics.txt").write_text("585"), r"intrinsics\.txt: expected a 3x3 matrix"),
    ],
)
def test_what_is_broken_is_named(tmp_path, spoil, message):
    write_sequence(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=message):
        seven_scenes.read(tmp_path)


def test_another_size_needs_its_calibration(tmp_path):
    with pytest.raises(InputError, match=r"not 640x480.*add camera-intrinsics\.txt"):
        seven_scenes.read(write_sequence(tmp_path, size=(24, 32)))


def test_the_real_sequence_opens(shared_data):
    recording = open_recording(str(shared_data / "seven_scenes"))
    assert len(recording) == 180
    np.testing.assert_allclose(
        recording.truth.world_from_camera[0][:3, 3], [-0.3404563, 0.0164698, 0.2965692], atol=1e-7
    )
    depth, valid = recording[179].depth()
    assert valid.mean() > 0.8
    assert 0.3 < np.median(depth[valid]) < 5
