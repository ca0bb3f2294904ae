"""A small drive written by hand; one test per line of the reader's conventions."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.kitti import raw as kitti_raw
from firstsight.recordings.opening import open_recording

SIZE = (24, 40)
FOCAL = 30.0
CAMERA_X_M = {"image_00": 0.0, "image_01": 0.54, "image_02": -0.06, "image_03": 0.47}  # right of camera 0
# Velodyne (x forward, y left, z up) to camera 0 (x right, y down, z forward), which sits 0.27 m ahead and 0.08 m below
VELO_TO_CAM = "R: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.08 -0.27\n"
IDENTITY_TO = "R: 1 0 0 0 1 0 0 0 1\nT: {} 0 0\n"


def write_drive(root: Path, cameras=("image_02",), frames=3, scans=(0, 1, 2)) -> Path:
    drive = root / "2011_09_26" / "2011_09_26_drive_0001_sync"
    for name in cameras:
        (drive / name / "data").mkdir(parents=True)
        for frame in range(frames):
            image = np.full((*SIZE, 3), frame, np.uint8)
            image[:, :, 2] = 200  # red, in OpenCV's order
            cv2.imwrite(str(drive / name / "data" / f"{frame:010d}.png"), image)
    for frame in scans:
        (drive / "velodyne_points" / "data").mkdir(parents=True, exist_ok=True)
        points = np.array([[10, 0, 0, 0.5], [20 + frame, 1, -1, 0.25]], "<f4")
        (drive / "velodyne_points" / "data" / f"{frame:010d}.bin").write_bytes(points.tobytes())
    write_calibration(drive.parent)
    return drive


def write_calibration(folder: Path) -> None:
    lines = ["calib_time: 09-Jan-2012 13:57:47", "R_rect_00: 1 0 0 0 1 0 0 0 1"]
    for name, x_m in CAMERA_X_M.items():
        lines.append(f"S_rect_{name[-2:]}: {SIZE[1]} {SIZE[0]}")
        lines.append(f"P_rect_{name[-2:]}: {FOCAL} 0 19.5 {-FOCAL * x_m} 0 {FOCAL} 11.5 0 0 0 1 0")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n")
    (folder / "calib_velo_to_cam.txt").write_text(VELO_TO_CAM)
    (folder / "calib_imu_to_velo.txt").write_text(IDENTITY_TO.format(-0.8))


def test_a_drive_is_recognised(tmp_path):
    drive = write_drive(tmp_path)
    assert kitti_raw.recognises(drive)
    assert not kitti_raw.recognises(drive.parent)
    assert open_recording(str(drive)).format == kitti_raw.NAME


def test_the_velodyne_is_the_body(tmp_path):
    lidar = kitti_raw.read(write_drive(tmp_path)).rig.lidar
    np.testing.assert_array_equal(lidar.body_from_lidar, np.eye(4))
    assert lidar.sweep_s == 0.1


def test_projection_gives_intrinsics_and_extrinsics(tmp_path):
    camera = kitti_raw.read(write_drive(tmp_path)).rig.reference
    np.testing.assert_array_equal(camera.intrinsics, [[30, 0, 19.5], [0, 30, 11.5], [0, 0, 1]])
    # camera 2 looks along the body's x and sits 0.06 m to the left of camera 0
    np.testing.assert_allclose(camera.body_from_camera[:3, 2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(camera.body_from_camera[:3, 3], [0.27, 0.06, -0.08], atol=1e-12)


def test_size_is_height_and_width(tmp_path):
    assert kitti_raw.read(write_drive(tmp_path)).rig.reference.size == SIZE


def test_images_are_rgb(tmp_path):
    image = kitti_raw.read(write_drive(tmp_path))[2].image()
    assert image[0, 0].tolist() == [200, 2, 2]


def test_scans_hold_points_and_reflectance(tmp_path):
    scan = kitti_raw.read(write_drive(tmp_path))[1].scan()
    np.testing.assert_array_equal(scan.points, [[10, 0, 0], [21, 1, -1]])
    np.testing.assert_array_equal(scan.intensity, [0.5, 0.25])
    assert scan.times_s is None


def test_stamps_are_nanoseconds(tmp_path):
    drive = write_drive(tmp_path)
    times = ["2011-09-26 13:02:25.964389445", "2011-09-26 13:02:26.067", "2011-09-26 13:02:26.17"]
    (drive / "image_02" / "timestamps.txt").write_text("\n".join(times) + "\n")
    recording = kitti_raw.read(drive)
    assert recording.stamps_ns[0] == 1317042145964389445
    assert recording.stamps_ns[1] - recording.stamps_ns[0] == 102610555
    assert recording.remarks == ()


def test_without_times_ten_hertz_are_assumed_and_said(tmp_path):
    recording = kitti_raw.read(write_drive(tmp_path))
    np.testing.assert_array_equal(recording.stamps_ns, [0, 100_000_000, 200_000_000])
    assert recording.remarks == ("timestamps assumed: 10 Hz (no timestamps.txt)",)


def test_oxts_positions_are_mercator(tmp_path):
    drive = write_drive(tmp_path)
    (drive / "oxts" / "data").mkdir(parents=True)
    north_deg = math.degrees(2.0 / kitti_raw.EARTH_RADIUS_M)
    for frame in range(3):  # driving north, two metres per frame
        row = f"{49.0 + north_deg * frame} 8.4 110.0 0 0 {math.pi / 2} " + "0 " * 24
        (drive / "oxts" / "data" / f"{frame:010d}.txt").write_text(row)
    truth = kitti_raw.read(drive).truth
    assert truth.trajectory_reference == "OXTS GPS/INS"
    start = truth.world_from_camera[0]
    np.testing.assert_allclose(start[:3, 3], [0.27, 0.06, -0.08], atol=1e-9)  # world = first body frame
    np.testing.assert_allclose(truth.world_from_camera[2][:3, 3] - start[:3, 3], [4.0, 0, 0], atol=1e-4)


def test_oxts_angles_turn_about_z_then_y_then_x():
    pose = kitti_raw.mercator_poses(np.array([[0.0, 0.0, 0.0, 0.1, 0.2, 0.3]]))[0]

    def about(axis, angle):
        return cv2.Rodrigues(np.eye(3)[axis] * angle)[0]

    np.testing.assert_allclose(pose[:3, :3], about(2, 0.3) @ about(1, 0.2) @ about(0, 0.1), atol=1e-12)


def test_kiss_icp_poses_are_in_the_velodyne_frame(tmp_path):
    drive = write_drive(tmp_path)
    rows = [f"1 0 0 {1.5 * frame} 0 1 0 0 0 0 1 0" for frame in range(3)]
    (drive / "poses_kiss_icp_velodyne.txt").write_text("\n".join(rows))
    truth = kitti_raw.read(drive).truth
    assert truth.trajectory_reference == "KISS-ICP reference"
    np.testing.assert_allclose(truth.world_from_camera[2][:3, 3], [3.27, 0.06, -0.08], atol=1e-12)


def test_a_missing_scan_leaves_its_frame_without_one(tmp_path):
    recording = kitti_raw.read(write_drive(tmp_path, scans=(0, 2)))
    assert recording[1].scan() is None
    assert recording[2].scan().points[1, 0] == 22
    assert "1 of 3 frames have no LiDAR scan (the first is frame number 1)" in recording.remarks


@pytest.mark.parametrize(
    ("cameras", "reference", "stereo"),
    [
        (("image_02", "image_03"), "image_02", ("image_02", "image_03")),
        (("image_00", "image_01"), "image_00", ("image_00", "image_01")),
        (("image_00", "image_01", "image_02", "image_03"), "image_02", ("image_02", "image_03")),
        (("image_00", "image_01", "image_02"), "image_00", ("image_00", "image_01")),
        (("image_00", "image_03"), "image_03", None),
    ],
)
def test_any_subset_of_cameras_has_its_reference_and_pair(tmp_path, cameras, reference, stereo):
    recording = kitti_raw.read(write_drive(tmp_path, cameras=cameras))
    assert recording.rig.reference.name == reference
    assert recording.rig.stereo == stereo
    assert set(recording.images) == set(cameras)
    if stereo is not None:
        assert recording.rig.baseline_m == pytest.approx(CAMERA_X_M[stereo[1]] - CAMERA_X_M[stereo[0]])


def test_a_drive_of_scans_alone_needs_no_calibration(tmp_path):
    drive = write_drive(tmp_path, cameras=(), scans=(3, 4))
    (drive.parent / "calib_velo_to_cam.txt").unlink()
    recording = kitti_raw.read(drive)
    assert recording.rig.reference is None
    assert len(recording) == 2


def test_stereo_with_lidar_carries_its_returns_as_true_depth(tmp_path):
    recording = open_recording(str(write_drive(tmp_path, cameras=("image_02", "image_03"))))
    assert recording.truth.depth_reference == "LiDAR returns"
    depth, valid = recording.truth.depth[0]
    # the point (10, 0, 0) of the body: camera (x, y, z) = (0.06, -0.08, 9.73)
    row, column = round(30 * -0.08 / 9.73 + 11.5), round(30 * 0.06 / 9.73 + 19.5)
    assert valid[row, column]
    assert depth[row, column] == pytest.approx(9.73, abs=1e-5)


def break_calibration(drive):
    (drive.parent / "calib_cam_to_cam.txt").unlink()


def break_projection(drive):
    (drive.parent / "calib_cam_to_cam.txt").write_text("R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 1 2 3\n")


def break_numbers(drive):
    for image in (drive / "image_03" / "data").iterdir():
        image.rename(image.with_stem(f"1{image.stem}"))


def break_size(drive):
    for image in (drive / "image_02" / "data").iterdir():
        cv2.imwrite(str(image), np.zeros((10, 10, 3), np.uint8))


def break_times(drive):
    (drive / "image_02" / "timestamps.txt").write_text("noon\n" * 3)


def break_times_count(drive):
    (drive / "image_02" / "timestamps.txt").write_text("2011-09-26 13:02:25\n")


def break_times_range(drive):
    (drive / "image_02" / "timestamps.txt").write_text("NaT\n" * 3)


def break_times_order(drive):
    seconds = ("25.1", "25.3", "25.2")
    (drive / "image_02" / "timestamps.txt").write_text("".join(f"2011-09-26 13:02:{s}\n" for s in seconds))


def break_baseline(drive):
    path = drive.parent / "calib_cam_to_cam.txt"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("P_rect_03")]
    (left,) = (line for line in lines if line.startswith("P_rect_02"))
    path.write_text("\n".join([*lines, left.replace("P_rect_02", "P_rect_03")]))


def break_poses(drive):
    (drive / "poses_kiss_icp_velodyne.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")


def break_all(drive):
    for data in drive.glob("*/data"):
        for file in data.iterdir():
            file.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_calibration, r"calib_cam_to_cam\.txt: missing file"),
        (break_projection, r"has no 'P_rect_02' with 12 numbers"),
        (break_numbers, r"image_02 and image_03 have no frame of one number; rename the files, or move one away"),
        (break_size, r"images are 10x10 but calibrated for 40x24"),
        (break_times, r"timestamps\.txt: 'noon' is not a time in a form like 2011-09-26"),
        (break_times_count, r"timestamps\.txt: 1 rows for 3 frames"),
        (break_times_range, r"timestamps\.txt: 'NaT' is not a time in a form like"),
        (break_times_order, r"timestamps\.txt: the time of frame 2 of 3 \(1317042145\.200000 s\) is before that of"),
        (break_baseline, r"calib_cam_to_cam\.txt: the stereo cameras image_02 and image_03 are at one place"),
        (break_poses, r"velodyne\.txt: 1 rows for 3 frames"),
        (break_all, r"a KITTI raw drive without images or scans"),
    ],
)
def test_what_is_broken_is_named(tmp_path, damage, message):
    drive = write_drive(tmp_path, cameras=("image_02", "image_03"))
    damage(drive)
    with pytest.raises(InputError, match=message):
        kitti_raw.read(drive)


def test_the_real_calibration_puts_a_point_where_it_was_computed_by_hand(shared_data):
    """Velodyne (10, 1, -1) m, through the printed calibration with a pocket calculator's steps."""
    recording = open_recording(str(shared_data / "kitti_raw/2011_09_26/2011_09_26_drive_0000_sync"))
    camera = recording.rig.reference
    x, y, z = (np.linalg.inv(camera.body_from_camera) @ [10.0, 1.0, -1.0, 1.0])[:3]
    # R, T of calib_velo_to_cam:  x0 = 0.07533745 - 0.9999714 + 0.0006166020 - 0.004069766 = -0.92808712
    #                             y0 = 0.1480249 + 0.0007280733 + 0.9998902 - 0.07631618 = 1.07232699
    #                             z0 = 9.998621 + 0.00752379 - 0.01480755 - 0.2717806 = 9.71955664
    # R_rect_00:  x = 0.9999239 x0 + 0.00983776 y0 - 0.007445048 z0 = -0.98982976
    #             y = -0.009869795 x0 + 0.9999421 y0 - 0.004278459 z0 = 1.03984021
    #             z = 0.007402527 x0 + 0.004351614 y0 + 0.9999631 z0 = 9.71699415
    # t of P_rect_02: (44.85728 - 609.5593 * 0.002745884) / 721.5377 = 0.05984916, (0.2163791 - 172.854 * 0.002745884)
    #                 / 721.5377 = -0.00035793, 0.00274588
    np.testing.assert_allclose([x, y, z], [-0.92998060, 1.03948228, 9.71974003], atol=2e-7)


def test_the_real_drive_opens(shared_data):
    recording = open_recording(str(shared_data / "kitti_raw/2011_09_26/2011_09_26_drive_0000_sync"))
    assert len(recording) == 20
    assert recording[19].image().shape == (375, 1242, 3)
    assert recording[19].scan().points.shape == (111732, 3)
    assert recording.truth.world_from_camera.shape == (20, 4, 4)


def test_the_rectifying_rotation_turns_camera_0(tmp_path):
    """It is the identity above, which its transpose and another order of the two transforms are as well."""
    drive = write_drive(tmp_path)
    calibration = drive.parent / "calib_cam_to_cam.txt"
    turned = calibration.read_text().replace("R_rect_00: 1 0 0 0 1 0 0 0 1", "R_rect_00: 0.8 -0.6 0 0.6 0.8 0 0 0 1")
    calibration.write_text(turned)
    camera = kitti_raw.read(drive).rig.reference
    # the Velodyne's (10, 1, -1) is (-1, 0.92, 9.73) before, (-1.352, 0.136, 9.73) after; camera 2 is 0.06 m further left
    point = np.linalg.inv(camera.body_from_camera) @ [10.0, 1.0, -1.0, 1.0]
    np.testing.assert_allclose(point[:3], [-1.292, 0.136, 9.73], atol=1e-9)


def test_oxts_positions_in_metres_east_north_and_up():
    """At 60 degrees a degree of longitude is half as long as one of latitude: 1.1131949 m for 0.00001 degrees."""
    rows = np.array([[60.0, 8.0, 110.0, 0, 0, 0], [60.00001, 8.00001, 110.7, 0, 0, 0]])
    start, end = kitti_raw.mercator_poses(rows)
    np.testing.assert_allclose((end - start)[:3, 3], [0.5565975, 1.1131949, 0.7], atol=1e-6)


def test_a_frame_without_a_packet_has_no_true_pose(tmp_path):
    drive = write_drive(tmp_path)
    (drive / "oxts" / "data").mkdir(parents=True)
    for frame, altitude in ((0, 110.0), (2, 110.7)):
        (drive / "oxts" / "data" / f"{frame:010d}.txt").write_text(f"49.0 8.4 {altitude} 0 0 0 " + "0 " * 24)
    poses = kitti_raw.read(drive).truth.world_from_camera
    assert np.isnan(poses[1]).all()
    np.testing.assert_allclose((poses[2] - poses[0])[:3, 3], [0, 0, 0.7], atol=1e-9)


def test_times_belong_to_numbers_where_images_are_missing(tmp_path):
    drive = write_drive(tmp_path, scans=())
    (drive / "image_02" / "data" / f"{1:010d}.png").unlink()
    times = ["2011-09-26 13:02:25.1", "2011-09-26 13:02:25.2", "2011-09-26 13:02:25.5"]
    (drive / "image_02" / "timestamps.txt").write_text("\n".join(times) + "\n")
    stamps = kitti_raw.read(drive).stamps_ns
    assert (stamps - stamps[0]).tolist() == [0, 400_000_000]
