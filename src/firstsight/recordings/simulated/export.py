"""Writing a simulated recording as a KITTI raw drive, with its ground truth beside it.

    DATE/calib_cam_to_cam.txt, calib_velo_to_cam.txt, calib_imu_to_velo.txt
    DATE/DATE_drive_0001_sync/image_02, image_03, velodyne_points: data/ and timestamps.txt
    DATE/DATE_drive_0001_sync/ground_truth: see recordings/ground_truth.py

Conventions ours -> there: left, right -> cameras 2, 3 (and 0, 1, for readers that insist on them, at the same places);
the body -> the IMU; without a LiDAR the Velodyne frame is the body. All cameras are rectified and free of distortion.
Source: Geiger et al., Vision meets Robotics: The KITTI Dataset (IJRR 2013), and the readme of its raw development kit.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from firstsight.errors import InputError
from firstsight.formats.png import write_image
from firstsight.formats.storage.atomic import write_bytes, write_text
from firstsight.reading import read_text
from firstsight.recordings import ground_truth
from firstsight.recordings.recording import Recording, Rig, Scan, Transform

DRIVE = "0001"
FOLDER_OF = {"left": "image_02", "right": "image_03"}
CAMERA_OF_NUMBER = {"00": "left", "01": "right", "02": "left", "03": "right"}
VELODYNE = "velodyne_points"

Progress = Callable[[Iterable[int]], Iterable[int]]


def write_kitti_raw(recording: Recording, folder: Path, progress: Progress | None = None) -> Path:
    """Writes the recording under `folder` and returns the drive's folder.

    Files that exist are kept, so a killed run goes on where it stopped; `progress` wraps the frame numbers. Raises
    InputError where the folder holds another recording.
    """
    stamps = np.datetime_as_string(recording.stamps_ns.astype("datetime64[ns]"))
    date = str(stamps[0]).split("T")[0].replace("-", "_")
    drive = folder / date / f"{date}_drive_{DRIVE}_sync"
    for name, content in calibration(recording.rig).items():
        _write_same(drive.parent / name, content)
    _refuse_other(drive / "ground_truth" / "odometry.txt", recording)
    times = "".join(str(stamp).replace("T", " ") + "\n" for stamp in stamps)
    for name in (*FOLDER_OF.values(), *([VELODYNE] if recording.scans else [])):
        write_text(drive / name / "timestamps.txt", times)
    ground_truth.write_whole(recording, drive / "ground_truth")
    frames = range(len(recording))
    for frame in progress(frames) if progress else frames:
        write_frame(recording, drive, frame)
    return drive


def write_frame(recording: Recording, drive: Path, frame: int) -> None:
    """The files of one frame that do not exist yet."""
    for camera, name in FOLDER_OF.items():
        image = ground_truth.frame_path(drive / name / "data", frame, ".png")
        if not image.exists():
            write_image(image, recording.images[camera][frame])
    points = ground_truth.frame_path(drive / VELODYNE / "data", frame, ".bin")
    scan = recording.scans[frame] if recording.scans is not None and not points.exists() else None
    if scan is not None:
        write_bytes(points, velodyne_bytes(scan))
    ground_truth.write_frame(recording, drive / "ground_truth", frame)


def velodyne_bytes(scan: Scan) -> bytes:
    """Rows of float32 (x, y, z, reflectance)."""
    intensity = np.zeros(len(scan.points), np.float32) if scan.intensity is None else scan.intensity
    return np.column_stack([scan.points, intensity]).astype("<f4").tobytes()


def calibration(rig: Rig) -> dict[str, str]:
    """The three calibration files by name."""
    left = rig.camera("left")
    body_from_velodyne = np.eye(4) if rig.lidar is None else rig.lidar.body_from_lidar
    camera_from_velodyne = np.linalg.inv(left.body_from_camera) @ body_from_velodyne
    return {
        "calib_cam_to_cam.txt": camera_calibration(rig),
        "calib_velo_to_cam.txt": rigid_entries(camera_from_velodyne),
        "calib_imu_to_velo.txt": rigid_entries(np.linalg.inv(body_from_velodyne)),
    }


def camera_calibration(rig: Rig) -> str:
    """P_rect_0i = K [I | t] with t the left camera's origin seen from camera i; rectified cameras are not turned."""
    lines = ["calib_time: 01-Jan-2026 00:00:00", entry("corner_dist", [0.1])]
    for number, name in CAMERA_OF_NUMBER.items():
        camera = rig.camera(name)
        left_in_camera = (np.linalg.inv(camera.body_from_camera) @ rig.camera("left").body_from_camera)[:3, 3]
        height, width = camera.size
        lines += [
            entry(f"S_{number}", [width, height]),
            entry(f"K_{number}", camera.intrinsics),
            entry(f"D_{number}", np.zeros(5)),
            entry(f"R_{number}", np.eye(3)),
            entry(f"T_{number}", left_in_camera),
            entry(f"S_rect_{number}", [width, height]),
            entry(f"R_rect_{number}", np.eye(3)),
            entry(f"P_rect_{number}", np.column_stack([camera.intrinsics, camera.intrinsics @ left_in_camera])),
        ]
    return "\n".join(lines) + "\n"


def rigid_entries(a_from_b: Transform) -> str:
    lines = ["calib_time: 01-Jan-2026 00:00:00", entry("R", a_from_b[:3, :3]), entry("T", a_from_b[:3, 3])]
    return "\n".join(lines) + "\n"


def entry(key: str, numbers: Float64[np.ndarray, "..."] | list[float] | list[int]) -> str:
    """`key: numbers` with enough digits to come back to the bit."""
    return f"{key}: " + " ".join(f"{value:.16e}" for value in np.ravel(numbers))


def _write_same(path: Path, content: str) -> None:
    if path.exists() and read_text(path) != content:
        raise InputError(f"{path}: belongs to a recording with other cameras; choose another folder")
    write_text(path, content)


def _refuse_other(odometry: Path, recording: Recording) -> None:
    """Odometry tells recordings apart: its noise depends on the seed, and a longer recording only adds to it."""
    if recording.odometry is None or not odometry.exists():
        return
    rows = ground_truth.read_kitti(odometry)
    common = min(len(rows), len(recording))
    ours = (recording.odometry @ recording.rig.camera("left").body_from_camera)[:common]
    if not np.allclose(rows[:common], ours, atol=1e-6):
        raise InputError(f"{odometry}: belongs to a recording with another seed; choose another folder")
