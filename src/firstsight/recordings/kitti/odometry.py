"""KITTI odometry benchmark: one sequence folder, with true poses beside the sequences where they are public.

Conventions there -> ours:
- `P0` ... `P3` of calib.txt = K [I | t] with t the position of camera 0 in camera i -> intrinsics K and `body_from_camera`.
- `Tr` (camera 0 from Velodyne, rectified) -> the Velodyne frame (x forward, y left, z up) is the body frame; without `Tr`
  the body sits at camera 0 and looks along its axis.
- `times.txt`, seconds -> ns; without it 10 Hz by number from 0. Files are paired by number, as those of raw drives.
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
    absolute,
    image_channel,
    image_files,
    image_kinds,
    numbered,
    parent_with,
    read_seconds,
    regular_stamps,
    require_no_way_back,
    rows_for,
    scan_files,
    velodyne_channel,
)
from firstsight.recordings.kitti.raw import (
    RATE_HZ,
    Numbers,
    SharedFrames,
    calibrated,
    read_calibration,
    read_projection,
    rectified_camera,
    scan_remarks,
    shared_frames,
    stereo_pair,
    velodyne,
    with_true_poses,
)
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA, Recording, Rig, Transform

NAME = "KITTI odometry sequence"
LAYOUT = "image_[0-3]/*.png and velodyne/*.bin with calib.txt and times.txt; ../../poses/NN.txt"

CAMERAS = ("image_2", "image_3", "image_0", "image_1")  # colour first
STEREO_PAIRS = (("image_2", "image_3"), ("image_0", "image_1"))


def recognises(path: Path) -> bool:
    return any((path / name).is_dir() for name in (*CAMERAS, "velodyne")) and not (path / "mav0").exists()


def read(path: Path) -> Recording:
    """Raises InputError where calibration or frames are missing or do not fit together."""
    images = {name: files for name in CAMERAS if (files := numbered(image_files(path / name)))}
    scans = numbered(scan_files(path / "velodyne"))
    if not images and not scans:
        raise InputError(f"{path}: a KITTI odometry sequence without images or scans; unpack them into image_2")
    calibration = read_calibration(path / "calib.txt")
    body_from_camera_0 = _body_from_camera_0(calibration, path / "calib.txt", required=bool(scans))
    stereo = stereo_pair(images, STEREO_PAIRS)
    names, numbers, remarks = shared_frames(path, images, stereo) if images else SharedFrames([], list(scans), ())
    files = {name: [images[name][number] for number in numbers] for name in names}
    kinds = image_kinds(files)
    cameras = tuple(
        rectified_camera(
            name, read_projection(calibration, f"P{name[-1]}", path / "calib.txt"), body_from_camera_0, kind.size
        )
        for name, kind in kinds.items()
    )
    rig = Rig(cameras=cameras, stereo=stereo, lidar=velodyne(np.eye(4)) if scans else None)
    recording = Recording(
        source=str(path),
        format=NAME,
        rig=require_usable(rig, path / "calib.txt"),
        stamps_ns=regular_stamps(numbers, RATE_HZ),
        images={name: image_channel(files[name], kind) for name, kind in kinds.items()},
        scans=velodyne_channel([scans.get(number) for number in numbers]) if scans else None,
        remarks=(*remarks, *(kinds[cameras[0].name].remarks if cameras else ()), *scan_remarks(scans, numbers)),
    )
    return _with_poses(_with_times(recording, path / "times.txt", numbers), path, numbers, body_from_camera_0)


def _body_from_camera_0(calibration: dict[str, Numbers], source: Path, required: bool) -> Transform:
    key = "Tr" if "Tr" in calibration else "Tr_velo_to_cam"
    if key not in calibration and not required:
        return BODY_FROM_FORWARD_CAMERA
    camera_0_from_body = np.eye(4)
    camera_0_from_body[:3] = calibrated(calibration, key, 12, source).reshape(3, 4)
    return np.linalg.inv(require_rigid(camera_0_from_body, source))


def _with_times(recording: Recording, path: Path, numbers: list[int]) -> Recording:
    if not path.exists():
        return recording.with_remark(f"timestamps assumed: {RATE_HZ:g} Hz (no {path.name})")
    stamps = read_seconds(path)
    return replace(recording, stamps_ns=require_no_way_back(stamps[rows_for(numbers, len(stamps), path)], path))


def _with_poses(recording: Recording, path: Path, numbers: list[int], body_from_camera_0: Transform) -> Recording:
    name = f"poses/{absolute(path).name}.txt"
    poses_file = parent_with(path, name, up=2) / name
    if not poses_file.exists():
        in_dataset = absolute(path).parent.name == "sequences"
        return recording.with_remark(f"no true poses: {poses_file} is missing") if in_dataset else recording
    poses = read_kitti(poses_file)
    first_from_camera_0 = poses[rows_for(numbers, len(poses), poses_file)]
    first_body_from_body = body_from_camera_0 @ first_from_camera_0 @ np.linalg.inv(body_from_camera_0)
    return with_true_poses(recording, first_body_from_body, "ground truth")
