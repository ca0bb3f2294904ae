"""A small sequence written by hand; one test per line of the reader's conventions."""

import lzma
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.kitti import odometry as kitti_odometry
from firstsight.recordings.opening import open_recording

SIZE = (24, 40)
# Velodyne (x forward, y left, z up) to camera 0 (x right, y down, z forward), which sits 0.27 m ahead and 0.08 m below
TR = "Tr: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27"


def write_sequence(root: Path, cameras=("image_2", "image_3"), frames=3, scans=3, tr=TR) -> Path:
    sequence = root / "sequences" / "07"
    for name in cameras:
        (sequence / name).mkdir(parents=True)
        for frame in range(frames):
            cv2.imwrite(str(sequence / name / f"{frame:06d}.png"), np.full((*SIZE, 3), frame, np.uint8))
    (sequence / "velodyne").mkdir(parents=True)
    for frame in range(scans):
        (sequence / "velodyne" / f"{frame:06d}.bin").write_bytes(np.full((2, 4), frame + 1, "<f4").tobytes())
    projections = [f"P{i}: 30 0 19.5 {-30 * x} 0 30 11.5 0 0 0 1 0" for i, x in enumerate((0, 0.54, -0.06, 0.47))]
    (sequence / "calib.txt").write_text("\n".join([*projections, tr]) + "\n")
    (sequence / "times.txt").write_text("0.000000e+00\n1.037875e-01\n2.073581e-01\n")
    (root / "poses").mkdir()
    (root / "poses" / "07.txt").write_text("\n".join(f"1 0 0 0 0 1 0 0 0 0 1 {2 * frame}" for frame in range(frames)))
    return sequence


def test_a_sequence_is_recognised(tmp_path):
    assert open_recording(str(write_sequence(tmp_path))).format == kitti_odometry.NAME
    assert not kitti_odometry.recognises(tmp_path)


def test_projections_give_intrinsics_and_extrinsics(tmp_path):
    recording = kitti_odometry.read(write_sequence(tmp_path))
    assert recording.rig.stereo == ("image_2", "image_3")
    np.testing.assert_array_equal(recording.rig.reference.intrinsics, [[30, 0, 19.5], [0, 30, 11.5], [0, 0, 1]])
    assert recording.rig.baseline_m == pytest.approx(0.53)


def test_the_velodyne_is_the_body(tmp_path):
    recording = kitti_odometry.read(write_sequence(tmp_path))
    np.testing.assert_array_equal(recording.rig.lidar.body_from_lidar, np.eye(4))
    np.testing.assert_allclose(recording.rig.reference.body_from_camera[:3, 3], [0.27, 0.06, -0.08], atol=1e-12)


def test_without_tr_the_body_is_at_camera_0(tmp_path):
    recording = kitti_odometry.read(write_sequence(tmp_path, scans=0, tr=""))
    np.testing.assert_allclose(recording.rig.reference.body_from_camera[:3, 3], [0, 0.06, 0], atol=1e-12)
    np.testing.assert_allclose(recording.rig.reference.body_from_camera[:3, 2], [1, 0, 0], atol=1e-12)


def test_times_are_seconds(tmp_path):
    recording = kitti_odometry.read(write_sequence(tmp_path))
    np.testing.assert_array_equal(recording.stamps_ns, [0, 103_787_500, 207_358_100])


def test_without_times_ten_hertz_are_assumed_and_said(tmp_path):
    sequence = write_sequence(tmp_path)
    (sequence / "times.txt").unlink()
    recording = kitti_odometry.read(sequence)
    assert recording.stamps_ns[2] == 200_000_000
    assert recording.remarks == ("timestamps assumed: 10 Hz (no times.txt)",)


def test_poses_of_camera_0_become_those_of_the_reference_in_a_world_with_z_up(tmp_path):
    poses = kitti_odometry.read(write_sequence(tmp_path)).truth.world_from_camera
    np.testing.assert_allclose(poses[0][:3, 3], [0.27, 0.06, -0.08], atol=1e-12)
    np.testing.assert_allclose(poses[2][:3, 3], [4.27, 0.06, -0.08], atol=1e-12)  # forward is x


def test_scans_hold_points_and_reflectance(tmp_path):
    scan = kitti_odometry.read(write_sequence(tmp_path))[1].scan()
    np.testing.assert_array_equal(scan.points, np.full((2, 3), 2))
    np.testing.assert_array_equal(scan.intensity, [2, 2])
    assert scan.times_s is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: (s / "calib.txt").unlink(), r"calib\.txt: missing file"),
        (lambda s: (s / "calib.txt").write_text("P2: 1 2\n" + TR), r"has no 'P2' with 12 numbers"),
        (lambda s: (s / "calib.txt").write_text("P2: 1 2\n"), r"has no 'Tr_velo_to_cam' with 12 numbers"),
        (
            lambda s: (s / "times.txt").write_text("0\n1\n"),
            r"times\.txt: 2 rows for 3 frames, whose numbers go up to 2",
        ),
        (lambda s: (s / "times.txt").write_text("0\none\n2\n"), r"times\.txt: 'one' is not a time"),
        (
            lambda s: (s / "times.txt").write_text("0\n0.3\n0.1\n"),
            r"times\.txt: the time of frame 2 of 3 \(0\.100000 s\) is before that of the frame in front of it \(0\.300000 s\)",
        ),
        (lambda s: (s / "times.txt").write_text("0\n1e30\n2\n"), r"times\.txt: '1e30' is not a time"),
        (lambda s: (s.parents[1] / "poses" / "07.txt").write_text("1 2 3\n"), r"expected rows of 12 numbers"),
    ],
)
def test_what_is_broken_is_named(tmp_path, spoil, message):
    sequence = write_sequence(tmp_path)
    spoil(sequence)
    with pytest.raises(InputError, match=message):
        kitti_odometry.read(sequence)


def test_a_number_without_a_scan_is_a_frame_without_a_scan(tmp_path):
    sequence = write_sequence(tmp_path)
    (sequence / "velodyne" / "000001.bin").unlink()
    (sequence / "velodyne" / "._000001.bin").write_bytes(b"of macOS")
    recording = kitti_odometry.read(sequence)
    assert recording.scans[1] is None
    assert recording.scans[2].points[0, 0] == 3
    assert recording.remarks == ("1 of 3 frames have no LiDAR scan (the first is frame number 1)",)


def test_a_frame_of_which_an_image_is_missing_is_left_out_and_no_other_is_moved(tmp_path):
    sequence = write_sequence(tmp_path, cameras=("image_2", "image_3", "image_0"))
    (sequence / "image_3" / "000001.png").unlink()
    (sequence / "image_0" / "000002.png").unlink()
    recording = kitti_odometry.read(sequence)
    np.testing.assert_array_equal(recording.stamps_ns, [0, 207_358_100])
    assert [recording.images[name][1][0, 0, 0] for name in ("image_2", "image_3")] == [2, 2]
    assert recording.scans[1].points[0, 0] == 3
    assert [camera.name for camera in recording.rig.cameras] == ["image_2", "image_3"]
    assert recording.remarks == (
        "1 of 3 frames left out: an image is missing in image_2 or image_3",
        "left out: image_0, in which frames are missing",
    )


def test_without_times_a_gap_in_the_numbers_is_one_in_time(tmp_path):
    sequence = write_sequence(tmp_path)
    (sequence / "times.txt").unlink()
    for name in ("image_2", "image_3"):
        (sequence / name / "000001.png").unlink()
    np.testing.assert_array_equal(kitti_odometry.read(sequence).stamps_ns, [0, 200_000_000])


def test_a_part_of_a_sequence_keeps_its_times_and_poses_by_number(tmp_path):
    sequence = write_sequence(tmp_path)
    for folder in ("image_2", "image_3", "velodyne"):
        next((sequence / folder).glob("000000.*")).unlink()
    recording = kitti_odometry.read(sequence)
    np.testing.assert_array_equal(recording.stamps_ns, [103_787_500, 207_358_100])
    np.testing.assert_allclose(recording.truth.world_from_camera[:, 0, 3], [2.27, 4.27], atol=1e-12)


def test_a_sequence_that_is_a_link_has_its_poses_beside_it_or_where_it_leads(tmp_path):
    sequence = write_sequence(tmp_path / "disk")
    linked = tmp_path / "dataset" / "sequences" / "03"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(sequence, target_is_directory=True)
    assert kitti_odometry.read(linked).remarks == (f"no true poses: {tmp_path / 'dataset/poses/03.txt'} is missing",)
    (tmp_path / "dataset" / "poses").mkdir()
    (tmp_path / "dataset" / "poses" / "03.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 7\n" * 3)
    assert kitti_odometry.read(linked).truth.world_from_camera[1, 0, 3] == pytest.approx(7.27)


@pytest.mark.parametrize("lost", ["0 0 0 0 0 0 0 0 0 0 0 0", "1 0 0 inf 0 1 0 0 0 0 1 2", "-1 0 0 0 0 1 0 0 0 0 1 2"])
def test_a_pose_that_is_no_rigid_motion_is_missing_and_said(tmp_path, lost):
    sequence = write_sequence(tmp_path)
    (tmp_path / "poses" / "07.txt").write_text(f"1 0 0 0 0 1 0 0 0 0 1 0\n{lost}\n1 0 0 0 0 1 0 0 0 0 1 4\n")
    recording = open_recording(str(sequence))
    assert np.isnan(recording.truth.world_from_camera[1]).all()
    assert recording.truth.world_from_camera[2, 0, 3] == pytest.approx(4.27)
    assert (
        recording.remarks[-1]
        == "1 of 3 frames have no true pose: it is missing or no rigid motion (the first is frame 1)"
    )


def test_the_real_sequence_with_fewer_scans_than_frames(shared_data, tmp_path):
    stored = shared_data / "kitti_odometry" / "sequences" / "50"
    sequence = tmp_path / "sequences" / "50"
    (sequence / "velodyne").mkdir(parents=True)
    for name in ("image_0", "image_1", "calib.txt", "times.txt"):
        (sequence / name).symlink_to(stored / name)
    packed = np.load(BytesIO(lzma.decompress((stored / "scans.npz.xz").read_bytes())))
    begin = 0
    for number, count in zip(packed["number"].tolist(), packed["count"].tolist(), strict=True):
        part = slice(begin, begin + count)
        points = np.cumsum(packed["dxyz"][:, part].astype(np.int64), axis=1).T * 0.01
        rows = np.column_stack([points, packed["intensity"][part] / 100]).astype("<f4")
        (sequence / "velodyne" / f"{number:06d}.bin").write_bytes(rows.tobytes())
        begin += count
    recording = open_recording(str(sequence))
    assert len(recording) == 180
    assert [i for i in range(20) if recording.scans[i] is not None] == [1, 5, 9, 12, 15]
    assert sum(recording.scans[i] is not None for i in range(180)) == 23
    assert len(recording.scans[1].points) == 124_200
    assert "157 of 180 frames have no LiDAR scan (the first is frame number 0)" in recording.remarks
