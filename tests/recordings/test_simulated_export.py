"""A simulated recording written as a KITTI raw drive, read back by hand and by the reader."""

from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.kitti import raw as kitti_raw
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import simulate
from firstsight.recordings.simulated.export import write_kitti_raw


@pytest.fixture(scope="module")
def street() -> Recording:
    return simulate("street", frames=2, height=48, width=160)


@pytest.fixture(scope="module")
def drive(street: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kitti_raw(street, tmp_path_factory.mktemp("street"))


def parsed(path: Path) -> dict[str, np.ndarray]:
    """Calibration entries, read as the KITTI development kit's readme says."""
    lines = (line.split(":", 1) for line in path.read_text().splitlines() if not line.startswith("calib_time"))
    return {key: np.array([float(word) for word in words.split()]) for key, words in lines}


def test_the_calibration_files_say_what_the_rig_is(street: Recording, drive: Path):
    cameras = parsed(drive.parent / "calib_cam_to_cam.txt")
    left, right = (cameras[f"P_rect_0{number}"].reshape(3, 4) for number in (2, 3))
    np.testing.assert_array_equal(left[:, :3], street.rig.cameras[0].intrinsics)
    np.testing.assert_allclose((left[0, 3] - right[0, 3]) / left[0, 0], street.rig.baseline_m, rtol=1e-14)
    np.testing.assert_array_equal(cameras["S_rect_02"], [160, 48])
    np.testing.assert_array_equal(cameras["R_rect_00"].reshape(3, 3), np.eye(3))
    velodyne = parsed(drive.parent / "calib_velo_to_cam.txt")
    camera_from_velodyne = np.eye(4)
    camera_from_velodyne[:3, :3], camera_from_velodyne[:3, 3] = velodyne["R"].reshape(3, 3), velodyne["T"]
    imu = parsed(drive.parent / "calib_imu_to_velo.txt")
    velodyne_from_body = np.eye(4)
    velodyne_from_body[:3, :3], velodyne_from_body[:3, 3] = imu["R"].reshape(3, 3), imu["T"]
    camera_from_body = np.linalg.inv(street.rig.cameras[0].body_from_camera)
    np.testing.assert_allclose(camera_from_velodyne @ velodyne_from_body, camera_from_body, atol=1e-14)
    np.testing.assert_allclose(np.linalg.inv(velodyne_from_body), street.rig.lidar.body_from_lidar, atol=1e-14)


def test_the_velodyne_file_is_rows_of_four_floats(street: Recording, drive: Path):
    rows = np.fromfile(drive / "velodyne_points" / "data" / "0000000001.bin", "<f4").reshape(-1, 4)
    np.testing.assert_array_equal(rows[:, :3], street.scans[1].points)
    np.testing.assert_array_equal(rows[:, 3], street.scans[1].intensity)


def test_the_reader_finds_the_same_recording(street: Recording, drive: Path):
    found = kitti_raw.read(drive)
    assert found.rig.stereo is not None
    assert found.rig.baseline_m == pytest.approx(street.rig.baseline_m)
    np.testing.assert_array_equal(found.stamps_ns, street.stamps_ns)
    np.testing.assert_allclose(found.rig.cameras[0].intrinsics, street.rig.cameras[0].intrinsics, rtol=1e-14)
    for there, here in (("image_02", "left"), ("image_03", "right")):
        np.testing.assert_array_equal(found.images[there][1], street.images[here][1])
    np.testing.assert_array_equal(found.scans[1].points, street.scans[1].points)
    camera_from_lidar = (
        np.linalg.inv(rig.cameras[0].body_from_camera) @ rig.lidar.body_from_lidar for rig in (found.rig, street.rig)
    )
    np.testing.assert_allclose(*camera_from_lidar, atol=1e-12)


def test_the_reader_finds_the_truth(street: Recording, drive: Path):
    found = kitti_raw.read(drive)
    np.testing.assert_allclose(found.truth.world_from_camera, street.truth.world_from_camera, atol=1e-8)
    np.testing.assert_allclose(
        found.odometry @ found.rig.cameras[0].body_from_camera,
        street.odometry @ street.rig.cameras[0].body_from_camera,
        atol=1e-8,
    )
    np.testing.assert_array_equal(found.truth.moving[1], street.truth.moving[1])


def test_a_world_without_lidar(tmp_path: Path):
    toys = simulate("objects", frames=1, height=48)
    found = kitti_raw.read(write_kitti_raw(toys, tmp_path))
    assert found.scans is None
    np.testing.assert_allclose(found.rig.cameras[0].body_from_camera, toys.rig.cameras[0].body_from_camera, atol=1e-12)


def test_a_killed_run_goes_on(street: Recording, tmp_path: Path):
    class Killed(Exception):
        pass

    def killing(frames):
        yield 0
        raise Killed

    with pytest.raises(Killed):
        write_kitti_raw(street, tmp_path, killing)
    first = next(tmp_path.rglob("image_02/data/0000000000.png"))
    written_at = first.stat().st_mtime_ns
    drive = write_kitti_raw(street, tmp_path)
    assert first.stat().st_mtime_ns == written_at
    assert len(kitti_raw.read(drive)) == 2
    assert len(list(drive.glob("ground_truth/flow_noc/*.png"))) == 2


@pytest.mark.parametrize("other", [{"seed": 1}, {"width": 80}])
def test_a_folder_with_another_recording_is_refused(street: Recording, tmp_path: Path, other: dict):
    settings = {"frames": 2, "height": 48, "width": 160}
    write_kitti_raw(simulate("objects", **settings), tmp_path)
    with pytest.raises(InputError, match="another folder"):
        write_kitti_raw(simulate("objects", **(settings | other)), tmp_path)
