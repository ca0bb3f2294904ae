"""KITTI odometry benchmark: one sequence folder, with true poses beside the sequences where they are public.

Conventions there -> ours:
- `P0` ... `P3` of calib.txt = K [I | t] with t the position of camera 0 in camera i -> intrinsics K and `body_from_camera`.
- `Tr` (camera 0 from Velodyne, rectified) -> the Velodyne frame (x forward, y left, z up) is the body frame; without `Tr`
  the body sits at camera 0 and looks along its axis.
- `times.txt`, seconds -> ns; without it 10 Hz from 0.
- `../../poses/NN.txt`, 3x4 rows first_camera_0_from_camera_0 -> `world_from_camera` of the reference camera; the world is the
  first body frame, so that z is up.
- Velodyne rows (x, y, z, reflectance), motion compensated -> points in metres and intensity, `times_s` None.

Source: Geiger, Lenz, Urtasun, Are we ready for Autonomous Driving? (CVPR 2012); the odometry devkit's readme.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from firstsight.errors import InputError
from firstsight.formats.trajectory import read_kitti
from firstsight.recordings.calibration import require_rigid, require_usable
from firstsight.recordings.files import (
    common_image_size,
    image_channel,
    image_files,
    read_seconds,
    regular_stamps,
    require_same_count,
    velodyne_channel,
)
from firstsight.recordings.kitti.raw import (
    RATE_HZ,
    Numbers,
    calibrated,
    read_calibration,
    read_projection,
    rectified_camera,
    reference_first,
    stereo_pair,
    velodyne,
    with_true_poses,
)
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA, Camera, Recording, Rig, Transform

NAME = "KITTI odometry sequence"
LAYOUT = "image_[0-3]/*.png and velodyne/*.bin with calib.txt and times.txt; ../../poses/NN.txt"

CAMERAS = ("image_2", "image_3", "image_0", "image_1")  # colour first
STEREO_PAIRS = (("image_2", "image_3"), ("image_0", "image_1"))


def recognises(path: Path) -> bool:
    return any((path / name).is_dir() for name in (*CAMERAS, "velodyne")) and not (path / "mav0").exists()


def read(path: Path) -> Recording:
    """Raises InputError where calibration or frames are missing or do not fit together."""
    images = {name: files for name in CAMERAS if (files := image_files(path / name))}
    scans = sorted((path / "velodyne").glob("*.bin"))
    counts = [(str(path / name), len(files)) for name, files in images.items()]
    counts += [(str(path / "velodyne"), len(scans))] if scans else []
    if not counts:
        raise InputError(f"{path}: a KITTI odometry sequence without images or scans; unpack them into image_2")
    for other in counts[1:]:
        require_same_count(counts[0], other)
    calibration = read_calibration(path / "calib.txt")
    body_from_camera_0 = _body_from_camera_0(calibration, path / "calib.txt", required=bool(scans))
    stereo = stereo_pair(images, STEREO_PAIRS)
    cameras = tuple(
        _camera(name, calibration, body_from_camera_0, images[name]) for name in reference_first(images, stereo)
    )
    rig = Rig(cameras=cameras, stereo=stereo, lidar=velodyne(np.eye(4)) if scans else None)
    recording = Recording(
        source=str(path),
        format=NAME,
        rig=require_usable(rig, path / "calib.txt"),
        stamps_ns=regular_stamps(counts[0][1], RATE_HZ),
        images={camera.name: image_channel(images[camera.name], camera.size) for camera in cameras},
        scans=velodyne_channel(scans) if scans else None,
    )
    return _with_poses(_with_times(recording, path / "times.txt"), path, body_from_camera_0)


def _body_from_camera_0(calibration: dict[str, Numbers], source: Path, required: bool) -> Transform:
    key = "Tr" if "Tr" in calibration else "Tr_velo_to_cam"
    if key not in calibration and not required:
        return BODY_FROM_FORWARD_CAMERA
    camera_0_from_body = np.eye(4)
    camera_0_from_body[:3] = calibrated(calibration, key, 12, source).reshape(3, 4)
    return np.linalg.inv(require_rigid(camera_0_from_body, source))


def _camera(name: str, calibration: dict[str, Numbers], body_from_camera_0: Transform, images: list[Path]) -> Camera:
    source = images[0].parents[1] / "calib.txt"
    projection = read_projection(calibration, f"P{name[-1]}", source)
    return rectified_camera(name, projection, body_from_camera_0, common_image_size(images))


def _with_times(recording: Recording, path: Path) -> Recording:
    if not path.exists():
        return recording.with_remark(f"timestamps assumed: {RATE_HZ:g} Hz (no {path.name})")
    stamps = read_seconds(path)
    require_same_count((str(path), len(stamps)), (str(path.parent), len(recording)))
    return replace(recording, stamps_ns=stamps)


def _with_poses(recording: Recording, path: Path, body_from_camera_0: Transform) -> Recording:
    sequence = path.resolve()
    poses_file = sequence.parents[1] / "poses" / f"{sequence.name}.txt"
    if not poses_file.exists():
        return recording
    first_from_camera_0 = read_kitti(poses_file)
    require_same_count((str(poses_file), len(first_from_camera_0)), (str(path), len(recording)))
    first_body_from_body = body_from_camera_0 @ first_from_camera_0 @ np.linalg.inv(body_from_camera_0)
    return with_true_poses(recording, first_body_from_body, "ground truth")
