"""A small sequence written by hand; one test per line of the reader's conventions."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings import tum_rgbd
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA

NAME = "rgbd_dataset_freiburg1_desk"
COLOUR_TIMES = ("1305031102.175304", "1305031102.211214", "1305031102.243211")
DEPTH_TIMES = ("1305031102.160407", "1305031102.262886", "1305031102.226738")  # the last two out of order


def write_sequence(root: Path, name: str = NAME, size=(480, 640)) -> Path:
    path = root / name
    for kind, times in (("rgb", COLOUR_TIMES), ("depth", DEPTH_TIMES)):
        (path / kind).mkdir(parents=True)
        rows = [f"{time} {kind}/{time}.png" for time in times]
        (path / f"{kind}.txt").write_text("# timestamp filename\n" + "\n".join(rows) + "\n")
    for frame, time in enumerate(COLOUR_TIMES):
        cv2.imwrite(str(path / "rgb" / f"{time}.png"), np.full((*size, 3), frame, np.uint8))
    for frame, time in enumerate(DEPTH_TIMES):
        depth = np.full(size, 5000 * (frame + 1), np.uint16)
        depth[0, 0] = 0
        cv2.imwrite(str(path / "depth" / f"{time}.png"), depth)
    half = 0.5**0.5  # a quarter turn about z
    (path / "groundtruth.txt").write_text(f"# comment\n1305031102.1758 1.0 2.0 3.0 0.0 0.0 {half} {half}\n")
    return path


def test_frames_pair_colour_with_the_nearest_depth(tmp_path):
    recording = tum_rgbd.read(write_sequence(tmp_path))
    # 0.175 with 0.160 (15 ms); 0.211 with 0.227 (15.5 ms); 0.243 is nearer to 0.227 (16 ms), which is nearer to 0.211
    np.testing.assert_array_equal(recording.stamps_ns, [1305031102175304000, 1305031102211214000])
    assert recording[1].image()[0, 0].tolist() == [1, 1, 1]
    assert recording[1].depth().depth[5, 5] == 3.0
    assert recording.remarks == (
        "rgb.txt and depth.txt are up to 15.5 ms apart and taken for simultaneous",
        "1 of 3 colour images left out: no depth image within 0.02 s",
    )


def test_depth_of_another_clock_is_left_out_and_it_is_said(tmp_path):
    path = write_sequence(tmp_path)
    (path / "depth.txt").write_text("1305031110.175304 depth/1305031102.160407.png\n")
    recording = tum_rgbd.read(path)
    assert recording.depth is None
    assert len(recording) == 3
    assert recording.remarks == (
        "depth.txt left out: nothing of it is of the time of rgb.txt, the nearest is 7.93 s off; "
        "bring the stamps to one clock",
    )


def test_depth_is_5000_per_metre(tmp_path):
    depth, valid = tum_rgbd.read(write_sequence(tmp_path))[0].depth()
    assert depth[3, 4] == 1.0
    assert not valid[0, 0]
    assert valid.sum() == valid.size - 1


def test_ground_truth_is_the_camera_in_the_world(tmp_path):
    poses = tum_rgbd.read(write_sequence(tmp_path)).truth.world_from_camera
    np.testing.assert_allclose(poses[0], [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-12)
    assert np.isnan(poses[1]).all()


@pytest.mark.parametrize(
    ("name", "focal_px", "k1"),
    [
        ("rgbd_dataset_freiburg1_desk", 517.3, 0.2624),
        ("rgbd_dataset_freiburg2_xyz", 520.9, 0.2312),
        ("rgbd_dataset_freiburg3_office", 535.4, None),
        ("fr3_walking", 535.4, None),
    ],
)
def test_the_published_calibration_is_known_by_name(tmp_path, name, focal_px, k1):
    camera = tum_rgbd.read(write_sequence(tmp_path, name)).rig.reference
    assert camera.intrinsics[0, 0] == focal_px
    assert not camera.assumed
    assert (camera.distortion.coefficients[0] if camera.distortion else None) == k1


def test_an_unknown_name_has_the_assumed_default(tmp_path):
    recording = open_recording(str(write_sequence(tmp_path, "desk")))
    np.testing.assert_array_equal(recording.rig.reference.intrinsics, [[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]])
    assert recording.rig.reference.assumed
    assert any("calibration assumed" in remark for remark in recording.remarks)


def test_the_camera_looks_ahead(tmp_path):
    camera = tum_rgbd.read(write_sequence(tmp_path)).rig.reference
    np.testing.assert_array_equal(camera.body_from_camera, BODY_FROM_FORWARD_CAMERA)


def test_colour_alone_is_a_recording(tmp_path):
    path = write_sequence(tmp_path)
    (path / "depth.txt").unlink()
    recording = tum_rgbd.read(path)
    assert recording.depth is None
    assert len(recording) == 3


def test_opened_it_is_undistorted(tmp_path):
    recording = open_recording(str(write_sequence(tmp_path)))
    assert recording.format == tum_rgbd.NAME
    assert recording.rig.reference.distortion is None
    assert recording[0].depth().depth[100, 100] == 1.0


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("rgb.txt", "noon rgb/1.png\n", r"rgb\.txt: 'noon' is not a time"),
        ("rgb.txt", "# nothing\n", r"rgb\.txt: expected rows 'seconds file-name'"),
        ("rgb.txt", "1e30 rgb/1.png\n", r"rgb\.txt: '1e30' is not a time"),
        ("rgb.txt", "1e999999 rgb/1.png\n", r"rgb\.txt: '1e999999' is not a time"),
        ("rgb.txt", "#\n\n1 ../secret.png\n", r"rgb\.txt: line 3 names '\.\./secret\.png', which lies outside of"),
        ("depth.txt", "1 /etc/secret.png\n", r"depth\.txt: line 1 names '/etc/secret\.png', which lies outside of"),
        ("groundtruth.txt", "nan 0 0 0 0 0 0 1\n", r"groundtruth\.txt: 'nan' is not a time"),
        ("groundtruth.txt", "1e30 0 0 0 0 0 0 1\n", r"groundtruth\.txt: '1e30' is not a time"),
        ("depth.txt", "1.0\n", r"depth\.txt: expected rows 'seconds file-name'"),
        ("groundtruth.txt", "1.0 2.0\n", r"groundtruth\.txt: expected rows of 8 numbers"),
    ],
)
def test_what_is_broken_is_named(tmp_path, file, text, message):
    path = write_sequence(tmp_path)
    (path / file).write_text(text)
    with pytest.raises(InputError, match=message):
        tum_rgbd.read(path)


@pytest.mark.parametrize(
    ("time", "unit", "by"),
    [("1305031102175304000", "nanoseconds", "1000000000"), ("1305031102175.304", "milliseconds", "1000")],
)
def test_times_in_another_unit_are_named_with_the_cure(tmp_path, time, unit, by):
    path = write_sequence(tmp_path)
    (path / "rgb.txt").write_text(f"{time} rgb/{COLOUR_TIMES[0]}.png\n")
    with pytest.raises(
        InputError, match=rf"rgb\.txt: '{time}' is not a time in seconds; it looks like {unit}: divide .* {by}"
    ):
        tum_rgbd.read(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [("calibration.txt", "601.5 602.5 319 241\n"), ("camera-intrinsics.txt", "601.5 0 319\n0 602.5 241\n0 0 1\n")],
)
def test_a_calibration_beside_the_lists_wins_over_the_published_one(tmp_path, name, text):
    path = write_sequence(tmp_path)
    (path / name).write_text(text)
    camera = tum_rgbd.read(path).rig.reference
    np.testing.assert_array_equal(camera.intrinsics, [[601.5, 0, 319], [0, 602.5, 241], [0, 0, 1]])
    assert camera.distortion is None
    assert not camera.assumed


def test_depth_of_another_camera_is_scaled_as_stated(tmp_path):
    source = str(write_sequence(tmp_path))
    recording = open_recording(source, depth_per_metre=1000.0)
    assert recording[1].depth().depth[5, 5] == pytest.approx(15)
    assert "depth as stated: 1000 for a metre" in recording.remarks
    with pytest.raises(InputError, match="depth-per-metre -5: must be a positive number"):
        open_recording(source, depth_per_metre=-5.0)
    with pytest.raises(InputError, match=r"depth-per-metre 1000: sim:rooms.* has no raw depth images"):
        open_recording("sim:rooms:frames=1,height=48,width=64", depth_per_metre=1000.0)


def test_an_empty_quaternion_is_a_frame_without_truth(tmp_path):
    path = write_sequence(tmp_path)
    (path / "groundtruth.txt").write_text("1305031102.1758 1.0 2.0 3.0 0 0 0 0\n1305031102.2112 1 2 3 0 0 0 1\n")
    poses = open_recording(str(path)).truth.world_from_camera
    assert np.isnan(poses[0]).all()
    assert poses[1, 2, 3] == 3
