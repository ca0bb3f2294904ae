"""KITTI raw data: a drive folder with the calibration of its day in the parent folder.

Conventions there -> ours:
- Velodyne frame (x forward, y left, z up) -> the body frame; `body_from_lidar` is the identity.
- `P_rect_0i` = K [I | t] with camera_i_from_camera_0 = t -> intrinsics K, `body_from_camera` through `R_rect_00` and
  `calib_velo_to_cam` (Tr: camera_0 from velodyne, before rectification).
- `S_rect_0i` (width, height) -> `size` (height, width).
- Velodyne rows (x, y, z, reflectance) -> points in metres and intensity. Synchronised scans are not motion compensated and
  carry no times per point -> `times_s` None.
- Stamps `2011-09-26 13:02:25.964389445` (local time) -> ns, taken as UTC; without them 10 Hz by number from 0.
- OXTS (latitude, longitude, altitude in degrees and m; roll, pitch, yaw in rad) -> Mercator position scaled at the first
  latitude, world = first body frame.
- `poses_kiss_icp_velodyne.txt`: 3x4 rows first_velodyne_from_velodyne -> the same world.
- Files are paired by number, not by position: a number that the Velodyne lacks is a frame without a scan. Line k of a list
  belongs to number k, unless it has a line for each frame.

Source: Geiger, Lenz, Stiller, Urtasun, Vision meets Robotics: The KITTI Dataset (IJRR 2013), sections IV and V.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.errors import InputError
from firstsight.formats.trajectory import read_kitti, read_rows, time_ns
from firstsight.reading import read_text
from firstsight.recordings.calibration import require_intrinsics, require_rigid, require_usable
from firstsight.recordings.files import (
    ImageKind,
    image_channel,
    image_files,
    image_kinds,
    missing_images,
    numbered,
    parent_with,
    regular_stamps,
    require_no_way_back,
    rows_for,
    scan_files,
    velodyne_channel,
)
from firstsight.recordings.recording import Camera, Lidar, Recording, Rig, Transform, Transforms

NAME = "KITTI raw drive"
LAYOUT = "image_0[0-3]/data/*.png and velodyne_points/data/*.bin, with calib_*.txt in the parent folder"

CAMERAS = ("image_02", "image_03", "image_00", "image_01")  # colour first
STEREO_PAIRS = (("image_02", "image_03"), ("image_00", "image_01"))
VELODYNE = "velodyne_points"
RATE_HZ = 10.0
EARTH_RADIUS_M = 6378137.0  # the devkit's: WGS 84, semi-major axis

Numbers = Float64[np.ndarray, " _"]
Projection = Float64[np.ndarray, "3 4"]


def recognises(path: Path) -> bool:
    return any((path / name / "data").is_dir() for name in (*CAMERAS, VELODYNE))


def read(path: Path) -> Recording:
    """Raises InputError where calibration or images are missing or do not fit together."""
    images = {name: files for name in CAMERAS if (files := numbered(image_files(path / name / "data")))}
    scans = numbered(scan_files(path / VELODYNE / "data"))
    if not images and not scans:
        raise InputError(f"{path}: a KITTI raw drive without images or scans; unpack its data into image_02/data")
    stereo = stereo_pair(images, STEREO_PAIRS)
    shared = shared_frames(path, images, stereo) if images else SharedFrames([], list(scans), ())
    names, numbers = shared.names, shared.numbers
    kinds = image_kinds({name: [images[name][number] for number in numbers] for name in names})
    cameras = _cameras(path, kinds) if images else ()
    stamps, remarks = _stamps(path / (names[0] if names else VELODYNE) / "timestamps.txt", numbers)
    rig = Rig(cameras=cameras, stereo=stereo, lidar=velodyne(np.eye(4)) if scans else None)
    recording = Recording(
        source=str(path),
        format=NAME,
        rig=require_usable(rig, calibration_folder(path) / "calib_cam_to_cam.txt"),
        stamps_ns=stamps,
        images={
            name: image_channel([images[name][number] for number in numbers], kind) for name, kind in kinds.items()
        },
        scans=velodyne_channel([scans.get(number) for number in numbers]) if scans else None,
        remarks=(*shared.remarks, *remarks, *scan_remarks(scans, numbers)),
    )
    return _with_ground_truth(_with_trajectory(recording, path, numbers), path / "ground_truth")


def stereo_pair(present: Mapping[str, object], pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The first (left, right) of which both are present."""
    return next((pair for pair in pairs if pair[0] in present and pair[1] in present), None)


class SharedFrames(NamedTuple):
    """The cameras that are used, the reference first, the numbers of the frames, and what the user should know of both."""

    names: list[str]
    numbers: list[int]
    remarks: tuple[str, ...]


def shared_frames(path: Path, images: Mapping[str, Mapping[int, Path]], stereo: tuple[str, str] | None) -> SharedFrames:
    """The frames that the stereo pair, or the one camera, has whole; a further camera that lacks some of them is left out.

    Raises InputError where the pair has no frame in common.
    """
    names = sorted(images, key=lambda name: name not in (stereo or ()))
    needed = names[: 2 if stereo else 1]
    known = sorted(set().union(*(images[name] for name in needed)))
    numbers = [number for number in known if all(number in images[name] for name in needed)]
    if not numbers:
        raise InputError(
            f"{path}: {' and '.join(needed)} have no frame of one number; rename the files, or move one away"
        )
    remarks = missing_images(len(known) - len(numbers), len(known), needed)
    short = [name for name in names if any(number not in images[name] for number in numbers)]
    if short:
        remarks += (f"left out: {', '.join(short)}, in which frames are missing",)
    return SharedFrames([name for name in names if name not in short], numbers, remarks)


def calibration_folder(path: Path) -> Path:
    """Where the day's calibration lies: beside the drive as it is named, or beside what it links to."""
    return parent_with(path, "calib_cam_to_cam.txt")


def _cameras(path: Path, kinds: Mapping[str, ImageKind]) -> tuple[Camera, ...]:
    folder = calibration_folder(path)
    calibration = read_calibration(folder / "calib_cam_to_cam.txt")
    body_from_camera_0 = _body_from_camera_0(folder, calibration)
    cameras = []
    for name, kind in kinds.items():
        _require_calibrated_size(calibration.get(f"S_rect_{name[-2:]}"), kind.size, path / name / "data")
        projection = read_projection(calibration, f"P_rect_{name[-2:]}", folder / "calib_cam_to_cam.txt")
        cameras.append(rectified_camera(name, projection, body_from_camera_0, kind.size))
    return tuple(cameras)


def _body_from_camera_0(folder: Path, calibration: Mapping[str, Numbers]) -> Transform:
    """Body = Velodyne; camera 0 after rectification."""
    velodyne_to_camera = folder / "calib_velo_to_cam.txt"
    unrectified_from_body = rigid(read_calibration(velodyne_to_camera), velodyne_to_camera)
    rectified_from_unrectified = np.eye(4)
    rectifying = calibrated(calibration, "R_rect_00", 9, folder / "calib_cam_to_cam.txt")
    rectified_from_unrectified[:3, :3] = rectifying.reshape(3, 3)
    require_rigid(rectified_from_unrectified, folder / "calib_cam_to_cam.txt")
    return np.linalg.inv(rectified_from_unrectified @ unrectified_from_body)


def read_calibration(path: Path) -> dict[str, Numbers]:
    """`key: numbers` lines; lines of other content (dates) are left out."""
    values = {}
    for line in read_text(path).splitlines():
        key, _, numbers = line.partition(":")
        try:
            values[key.strip()] = np.array(numbers.split(), dtype=np.float64)
        except ValueError:
            continue
    return values


def calibrated(values: Mapping[str, Numbers], key: str, count: int, source: Path) -> Numbers:
    """A calibration entry. Raises InputError where the file lacks it or some of its numbers."""
    if key not in values or len(values[key]) != count:
        raise InputError(f"{source}: has no '{key}' with {count} numbers; restore the file")
    return values[key]


def rigid(values: Mapping[str, Numbers], source: Path) -> Transform:
    """The 4x4 matrix of the entries R and T."""
    matrix = np.eye(4)
    matrix[:3, :3] = calibrated(values, "R", 9, source).reshape(3, 3)
    matrix[:3, 3] = calibrated(values, "T", 3, source)
    return require_rigid(matrix, source)


def read_projection(values: Mapping[str, Numbers], key: str, source: Path) -> Projection:
    """A 3x4 projection K [I | t]."""
    projection = calibrated(values, key, 12, source).reshape(3, 4)
    require_intrinsics(projection[:, :3], source)
    return projection


def rectified_camera(name: str, projection: Projection, body_from_camera_0: Transform, size: tuple[int, int]) -> Camera:
    """The camera of a projection K [I | t], where t is the position of camera 0 in it."""
    camera_0_from_camera = np.eye(4)
    camera_0_from_camera[:3, 3] = -np.linalg.solve(projection[:, :3], projection[:, 3])
    return Camera(
        name=name,
        size=size,
        intrinsics=projection[:, :3].copy(),
        body_from_camera=body_from_camera_0 @ camera_0_from_camera,
    )


def velodyne(body_from_lidar: Transform) -> Lidar:
    """KITTI's HDL-64E turns ten times a second."""
    return Lidar(body_from_lidar=body_from_lidar, sweep_s=1 / RATE_HZ)


def _require_calibrated_size(width_height: Numbers | None, size: tuple[int, int], folder: Path) -> None:
    if width_height is not None and tuple(width_height[::-1]) != size:
        raise InputError(
            f"{folder}: images are {size[1]}x{size[0]} but calibrated for {width_height[0]:.0f}x{width_height[1]:.0f}; "
            "use the rectified images of the `_sync` drive at their own size"
        )


def _stamps(path: Path, numbers: list[int]) -> tuple[Int64[np.ndarray, " frames"], tuple[str, ...]]:
    """Stamps of the frames and remarks."""
    if not path.exists():
        return regular_stamps(numbers, RATE_HZ), (f"timestamps assumed: {RATE_HZ:g} Hz (no {path.name})",)
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    chosen = (lines[row] for row in rows_for(numbers, len(lines), path))
    stamps = np.array([time_ns(line, "date", path) for line in chosen], dtype=np.int64)
    return require_no_way_back(stamps, path), ()


def scan_remarks(scans: Mapping[int, Path], numbers: list[int]) -> tuple[str, ...]:
    without = [number for number in numbers if number not in scans]
    if not scans or not without:
        return ()
    return (f"{len(without)} of {len(numbers)} frames have no LiDAR scan (the first is frame number {without[0]})",)


def _with_trajectory(recording: Recording, path: Path, numbers: list[int]) -> Recording:
    """The recording with the GPS/INS trajectory, or else that of a KISS-ICP reference file, as truth."""
    oxts, reference = path / "oxts" / "data", path / "poses_kiss_icp_velodyne.txt"
    if oxts.is_dir():
        calibration = calibration_folder(path) / "calib_imu_to_velo.txt"
        if not calibration.exists():
            return recording.with_remark(f"GPS/INS trajectory left out: {calibration.name} is missing")
        body_from_imu = rigid(read_calibration(calibration), calibration)
        return with_true_poses(recording, _oxts_poses(oxts, numbers, body_from_imu), "OXTS GPS/INS")
    if reference.exists():
        poses = read_kitti(reference)
        rows = rows_for(numbers, len(poses), reference)
        return with_true_poses(recording, poses[rows], "KISS-ICP reference")
    return recording


def with_true_poses(recording: Recording, world_from_body: Transforms, reference: str) -> Recording:
    """The recording with body poses as its true trajectory (of the camera; of the body where there is none)."""
    camera = recording.rig.reference
    world_from_camera = world_from_body @ (camera.body_from_camera if camera is not None else np.eye(4))
    truth = replace(recording.truth, world_from_camera=world_from_camera, trajectory_reference=reference)
    return replace(recording, truth=truth)


def _oxts_poses(folder: Path, numbers: list[int], body_from_imu: Transform) -> Transforms:
    """world_from_body of each frame, NaN where there is no packet; the world is the first packet's body frame."""
    packets = numbered(sorted(folder.glob("*.txt")))
    present = [row for row, number in enumerate(numbers) if number in packets]
    poses = np.full((len(numbers), 4, 4), np.nan)
    if not present:
        return poses
    table = np.concatenate([_packet(packets[numbers[row]]) for row in present])
    mercator_from_imu = mercator_poses(table)
    first_from_imu = np.linalg.inv(mercator_from_imu[0]) @ mercator_from_imu
    poses[present] = body_from_imu @ first_from_imu @ np.linalg.inv(body_from_imu)
    return poses


def _packet(path: Path) -> Float64[np.ndarray, "1 6"]:
    rows = read_rows(path, 6)
    if len(rows) != 1:
        raise InputError(f"{path}: expected one line of OXTS values; restore or remove the file")
    return rows


def mercator_poses(
    packets: Float64[np.ndarray, "rows 6"], earth_radius_m: float = EARTH_RADIUS_M
) -> Float64[np.ndarray, "rows 4 4"]:
    """IMU poses (x east, y north, z up) of packets (latitude, longitude in degrees, altitude in m, roll, pitch, yaw in rad)."""
    from scipy.spatial.transform import Rotation

    latitude, longitude = np.radians(packets[:, :2]).T
    scale = np.cos(latitude[0])
    poses = np.tile(np.eye(4), (len(packets), 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("ZYX", packets[:, [5, 4, 3]]).as_matrix()
    poses[:, 0, 3] = scale * earth_radius_m * longitude
    poses[:, 1, 3] = scale * earth_radius_m * np.log(np.tan(np.pi / 4 + latitude / 2))
    poses[:, 2, 3] = packets[:, 2]
    return poses


def _with_ground_truth(recording: Recording, folder: Path) -> Recording:
    """What `firstsight simulate` wrote beside the drive."""
    if not folder.is_dir():
        return recording
    from firstsight.recordings import ground_truth

    return ground_truth.read(folder, recording)
