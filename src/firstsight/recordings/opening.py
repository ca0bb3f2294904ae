"""Opening a recording, whatever its format: the one entry point in front of the readers and the simulated worlds."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from firstsight.errors import InputError
from firstsight.geometry.camera import field_of_view_intrinsics
from firstsight.geometry.points import project_to_depth
from firstsight.recordings import euroc, image_folder, seven_scenes, tum_rgbd, video
from firstsight.recordings.calibration import require_usable, without_lost_poses
from firstsight.recordings.kitti import odometry as kitti_odometry
from firstsight.recordings.kitti import raw as kitti_raw
from firstsight.recordings.recording import Camera, Channel, DepthImage, Lidar, Recording, Scan, Truth, select
from firstsight.recordings.rectification import rectify as rectified
from firstsight.recordings.ros import bag as ros_bag

SENSORS = ("camera", "stereo", "depth", "lidar", "odometry")
WORLD_SETTINGS = ("frames", "seed", "height", "width")
MAX_DIGITS = 18  # of their values


class Format(Protocol):
    """What a reader module offers."""

    @property
    def NAME(self) -> str: ...

    @property
    def LAYOUT(self) -> str: ...

    def recognises(self, path: Path) -> bool: ...

    def read(self, path: Path) -> Recording: ...


# In order of recognition: a folder of images is what remains when nothing more specific fits.
FORMATS: tuple[Format, ...] = (
    kitti_odometry,
    kitti_raw,
    euroc,
    tum_rgbd,
    seven_scenes,
    ros_bag,
    video,
    image_folder,
)


def open_recording(
    source: str,
    *,
    sensors: frozenset[str] | None = None,
    frames: str | None = None,
    fov_deg: float | None = None,
    depth_per_metre: float | None = None,
    rectify: bool = True,
) -> Recording:
    """The recording at a path, or the simulated one of `sim:NAME[:key=value,key=value]`.

    `sensors` keeps some of SENSORS, `frames` a slice "start:stop:step"; `fov_deg` is the horizontal field of view of a
    camera without calibration; `depth_per_metre` the value of a metre in depth images; `rectify` undistorts and aligns
    stereo rows. Raises InputError for anything a user can fix.
    """
    recording = simulated_world(source) if source.startswith("sim:") else read_path(Path(source).expanduser())
    if len(recording) == 0:
        raise InputError(f"{source}: this recording has no frames")
    recording = with_depth_per_metre(with_field_of_view(recording, fov_deg), depth_per_metre)
    if sensors is not None and "stereo" not in sensors and recording.rig.cameras:
        recording = _with_cameras(recording, stereo=False)
    if rectify:
        recording = rectified(recording)
    if sensors is not None:
        recording = restrict(recording, sensors)
    if frames is not None:
        recording = select(recording, frame_indices(frames, len(recording)))
    return with_lidar_as_true_depth(recording) if recording.rig.stereo is not None else recording


def read_path(path: Path) -> Recording:
    """The recording of the first format that recognises the path."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give the path of a recording, or sim:street")
    for reader in FORMATS:
        if reader.recognises(path):
            recording = reader.read(path)
            require_usable(recording.rig, path)
            return in_time_order(without_lost_poses(recording))
    known = ", ".join(reader.NAME for reader in FORMATS)
    raise InputError(f"{path}: {_what_is_wrong(path)}; formats that exist: {known}")


def in_time_order(recording: Recording) -> Recording:
    """The recording with its frames in the order of their times, and a remark where they were listed in another."""
    order = np.argsort(recording.stamps_ns, kind="stable")
    moved = int((order != np.arange(len(order))).sum())
    if not moved:
        return recording
    return select(recording, order.tolist()).with_remark(
        f"{moved} of {len(order)} frames were not listed in the order of their times: put in order"
    )


def _what_is_wrong(path: Path) -> str:
    if not path.is_dir():
        return "not a recording (a video or bag file is known by its suffix)"
    children = sorted(path.iterdir())
    if not children:
        return "an empty folder"
    inside = [child.name for child in children if any(reader.recognises(child) for reader in FORMATS)]
    return f"not a recording, but it contains {', '.join(inside[:5])}" if inside else "no recording of a known format"


def simulated_world(source: str) -> Recording:
    """The recording of `sim:NAME[:key=value,...]`."""
    from firstsight.recordings.simulated import simulate

    name, _, listed = source.removeprefix("sim:").partition(":")
    return replace(simulate(name, **number_settings(source, listed, WORLD_SETTINGS)), source=source)


def number_settings(source: str, listed: str, known: Collection[str]) -> dict[str, int]:
    """What `key=value,...` behind a source's name says. Raises InputError for a key that is not known or is said twice,
    and for a value that is no whole number of at most MAX_DIGITS digits.
    """
    settings: dict[str, int] = {}
    for entry in filter(None, listed.split(",")):
        key, _, value = entry.partition("=")
        if key not in known or not value.isdecimal() or len(value) > MAX_DIGITS:
            shown = f"{source[:80]}..." if len(source) > 80 else source
            raise InputError(
                f"{shown}: '{entry[:40]}' is not a setting; write key=number with one of {', '.join(known)}"
            )
        if key in settings:
            raise InputError(f"{source}: {key} is given twice; leave one out")
        settings[key] = int(value)
    return settings


def frame_indices(text: str, count: int) -> Sequence[int]:
    """The frames of a slice "start:stop:step", each part optional."""
    try:
        parts = [int(part) if part else None for part in text.split(":")]
        chosen = range(count)[slice(*parts)] if 2 <= len(parts) <= 3 else None
    except ValueError:
        chosen = None
    if chosen is None or chosen.step < 1:
        raise InputError(f"frames '{text}': write start:stop or start:stop:step with whole numbers, step at least 1")
    if not chosen:
        raise InputError(f"frames '{text}': leaves none of the recording's {count} frames")
    return chosen


def with_field_of_view(recording: Recording, fov_deg: float | None) -> Recording:
    """The recording with its assumed intrinsics replaced by those of `fov_deg`, or with a remark that they are assumed."""
    guessed = [camera for camera in recording.rig.cameras if camera.assumed]
    if fov_deg is None:
        for camera in guessed:
            recording = recording.with_remark(
                f"field of view assumed: {horizontal_fov_deg(camera):.0f} degrees for camera '{camera.name}' "
                "(no calibration; state it with --fov-deg)"
            )
        return recording
    if not guessed:
        raise InputError(f"fov-deg {fov_deg:g}: {recording.source} brings its own calibration; leave the setting out")
    if not 1 <= fov_deg < 175:
        raise InputError(f"fov-deg {fov_deg:g}: must be between 1 and 175 degrees, measured across the image's width")
    cameras = tuple(_with_intrinsics_of(camera, fov_deg) for camera in recording.rig.cameras)
    stated = replace(recording, rig=replace(recording.rig, cameras=cameras))
    return stated.with_remark(f"field of view as stated: {fov_deg:g} degrees; the lens is taken as free of distortion")


def with_depth_per_metre(recording: Recording, stated: float | None) -> Recording:
    """The recording whose raw depth images hold `stated` for a metre, in the place of what the reader took."""
    if stated is None:
        return recording
    taken = recording.depth_per_metre
    if recording.depth is None or taken is None:
        raise InputError(
            f"depth-per-metre {stated:g}: {recording.source} has no raw depth images; leave the setting out"
        )
    if not (math.isfinite(stated) and stated > 0):
        raise InputError(f"depth-per-metre {stated:g}: must be a positive number, such as 1000 for millimetres")
    ratio = np.float32(taken / stated)
    metres = recording.depth.map(lambda depth: depth._replace(depth=depth.depth * ratio))
    scaled = replace(recording, depth=metres, depth_per_metre=stated)
    return scaled.with_remark(f"depth as stated: {stated:g} for a metre")


def _with_intrinsics_of(camera: Camera, fov_deg: float) -> Camera:
    if not camera.assumed:
        return camera
    intrinsics = field_of_view_intrinsics(*camera.size, math.radians(fov_deg)).numpy()
    return replace(camera, intrinsics=intrinsics, distortion=None, assumed=False)


def horizontal_fov_deg(camera: Camera) -> float:
    """The angle that the image spans, edge to edge, without distortion."""
    return math.degrees(2 * math.atan(camera.size[1] / 2 / camera.intrinsics[0, 0]))


def available_sensors(recording: Recording) -> list[str]:
    """Which of SENSORS the recording has."""
    rig = recording.rig
    present = {
        "camera": bool(rig.cameras),
        "stereo": rig.stereo is not None,
        "depth": recording.depth is not None,
        "lidar": recording.scans is not None,
        "odometry": recording.odometry is not None,
    }
    return [name for name in SENSORS if present[name]]


def restrict(recording: Recording, sensors: frozenset[str]) -> Recording:
    """The recording with only some of its sensors; `stereo` and `depth` bring the reference camera along.

    Depth that is dropped while a camera stays, from the depth sensor or the LiDAR, becomes the true depth unless there is
    one. Raises InputError for an unknown sensor and where nothing would remain.
    """
    available = available_sensors(recording)
    if unknown := sensors - set(SENSORS):
        raise InputError(f"sensors: '{min(unknown)}' is none of {', '.join(SENSORS)}")
    if not sensors & set(available):
        asked = ", ".join(sorted(sensors)) or "none"
        raise InputError(f"sensors: {asked} would leave nothing; {recording.source} has {', '.join(available)}")
    with_camera = bool(recording.rig.cameras) and not sensors.isdisjoint({"camera", "stereo", "depth"})
    if with_camera and "depth" not in sensors:
        recording = with_sensor_depth_as_true_depth(recording)
    if with_camera and "lidar" not in sensors:
        recording = with_lidar_as_true_depth(recording)
    recording = replace(
        recording,
        depth=recording.depth if with_camera and "depth" in sensors else None,
        scans=recording.scans if "lidar" in sensors else None,
        odometry=recording.odometry if "odometry" in sensors else None,
        rig=replace(recording.rig, lidar=recording.rig.lidar if "lidar" in sensors else None),
    )
    return _with_cameras(recording, "stereo" in sensors) if with_camera else without_cameras(recording)


def _with_cameras(recording: Recording, stereo: bool) -> Recording:
    """The recording with its stereo pair, or with its reference camera alone."""
    pair = recording.rig.stereo if stereo else None
    names = pair or (recording.rig.cameras[0].name,)
    return replace(
        recording,
        rig=replace(recording.rig, cameras=tuple(recording.rig.camera(name) for name in names), stereo=pair),
        images={name: recording.images[name] for name in names},
    )


def without_cameras(recording: Recording) -> Recording:
    """The recording without its cameras; the true trajectory becomes that of the body."""
    camera, truth = recording.rig.reference, recording.truth
    poses = truth.world_from_camera
    if camera is not None and poses is not None:
        poses = poses @ np.linalg.inv(camera.body_from_camera)
    return replace(
        recording,
        rig=replace(recording.rig, cameras=(), stereo=None),
        images={},
        truth=Truth(
            world_from_camera=poses, trajectory_reference=truth.trajectory_reference, occupancy=truth.occupancy
        ),
    )


def with_sensor_depth_as_true_depth(recording: Recording) -> Recording:
    """The recording with the depth sensor's images as true depth, unless it has a true depth or no such sensor."""
    if recording.depth is None or recording.truth.depth is not None:
        return recording
    truth = replace(recording.truth, depth=recording.depth, depth_reference="depth sensor")
    return replace(recording, truth=truth)


def with_lidar_as_true_depth(recording: Recording) -> Recording:
    """The recording with the LiDAR's returns as true depth, unless it has a true depth, no camera or no LiDAR."""
    camera, lidar, scans = recording.rig.reference, recording.rig.lidar, recording.scans
    if camera is None or lidar is None or scans is None or recording.truth.depth is not None:
        return recording
    depth = Channel(len(recording), lambda i: scan_depth(scans[i], lidar, camera))
    truth = replace(recording.truth, depth=depth, depth_reference="LiDAR returns")
    return replace(recording, truth=truth)


def scan_depth(scan: Scan | None, lidar: Lidar, camera: Camera) -> DepthImage:
    """The sweep's returns as sparse depth of the camera, the nearest one winning where several meet; none without a sweep."""
    points = scan.points if scan is not None else np.empty((0, 3), dtype=np.float32)
    camera_from_lidar = np.linalg.inv(camera.body_from_camera) @ lidar.body_from_lidar
    points_camera = points.astype(np.float64) @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    return DepthImage(*project_to_depth(points_camera, camera.intrinsics, *camera.size))
