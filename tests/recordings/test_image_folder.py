"""One test per line of the reader's conventions."""

import math
import os

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings import image_folder
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA


@pytest.fixture
def folder(tmp_path):
    for name, grey in (("view2.png", 2), ("view10.jpg", 10), ("view1.png", 1)):
        cv2.imwrite(str(tmp_path / name), np.full((24, 40, 3), grey, np.uint8))
    return tmp_path


def test_images_are_in_natural_order(folder):
    recording = open_recording(str(folder))
    assert recording.format == image_folder.NAME
    assert [int(frame.image()[0, 0, 0]) for frame in recording] == [1, 2, 10]


@pytest.mark.parametrize("name", ["camera-intrinsics.txt", "intrinsics.txt"])
def test_a_matrix_beside_the_images_is_the_calibration(folder, name):
    (folder / name).write_text("33 0 20\n0 34 12\n0 0 1\n")
    camera = open_recording(str(folder)).rig.reference
    np.testing.assert_array_equal(camera.intrinsics, [[33, 0, 20], [0, 34, 12], [0, 0, 1]])
    assert not camera.assumed


def test_without_calibration_sixty_degrees_are_assumed_and_said(folder):
    recording = open_recording(str(folder))
    camera = recording.rig.reference
    assert camera.assumed
    assert camera.intrinsics[0, 0] == pytest.approx(20 / math.tan(math.radians(30)))
    np.testing.assert_array_equal(camera.intrinsics[:2, 2], [19.5, 11.5])
    assert any(remark.startswith("field of view assumed: 60 degrees") for remark in recording.remarks)


def test_a_stated_field_of_view_is_used(folder):
    recording = open_recording(str(folder), fov_deg=90.0)
    assert recording.rig.reference.intrinsics[0, 0] == pytest.approx(20)
    assert not recording.rig.reference.assumed
    assert not any("assumed: 60" in remark for remark in recording.remarks)


def test_ten_hertz_are_assumed_and_said(folder):
    recording = image_folder.read(folder)
    np.testing.assert_array_equal(recording.stamps_ns, [0, 100_000_000, 200_000_000])
    assert recording.remarks == ("timestamps assumed: 10 Hz (images have none)",)


def test_the_camera_looks_ahead(folder):
    camera = image_folder.read(folder).rig.reference
    np.testing.assert_array_equal(camera.body_from_camera, BODY_FROM_FORWARD_CAMERA)


def test_a_folder_of_unreadable_images_is_an_error(tmp_path):
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="none of its 1 images can be read"):
        open_recording(str(tmp_path))


def test_a_pipe_and_a_device_among_the_images_lose_their_frames_only(tmp_path):
    """Neither is waited for nor read without end."""
    os.mkfifo(tmp_path / "frame0.png")
    (tmp_path / "frame1.png").symlink_to("/dev/zero")
    cv2.imwrite(str(tmp_path / "frame2.png"), np.full((4, 6, 3), 9, np.uint8))
    recording = open_recording(str(tmp_path))
    assert recording.rig.reference.size == (4, 6)
    assert recording[2].image()[0, 0].tolist() == [9, 9, 9]
    for frame in (0, 1):
        with pytest.raises(InputError, match=rf"frame{frame}\.png: a folder, device or pipe"):
            recording[frame].image()
