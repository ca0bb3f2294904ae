"""The ground-truth folder beside a recording, in KITTI's conventions.

    poses.txt odometry.txt     3x4 rows: world_from_camera of the reference camera, true and as the odometry has it
    depth/                     16-bit PNG, metres x 256, 0 = none
    disp_occ/ disp_noc/        16-bit PNG, px x 256: all pixels, and those that the right camera sees
    flow_occ/ flow_noc/        KITTI flow PNG to the next frame: all pixels, and those visible there
    moving/                    16-bit PNG, ids of independently moving objects, 0 = static
    boxes/                     one JSON list of 3-D boxes per frame, in the reference camera's frame
    occupancy.pgm .yaml        cells of the static world with a surface at obstacle height (map_server)

Files of frame i are named by its ten digits; every part may be missing. Rows of poses refer to the camera because its frame
means the same to every reader, while the body's depends on the format.
Source: KITTI devkits 2012, 2015 and raw (Geiger et al. 2013; Menze and Geiger 2015; Uhrig et al. 2017).
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt16

from firstsight.errors import InputError
from firstsight.formats import occupancy, png
from firstsight.formats.storage.atomic import write_json
from firstsight.formats.trajectory import read_kitti, write_kitti
from firstsight.reading import read_text
from firstsight.recordings.recording import (
    Box,
    Channel,
    DepthImage,
    DisparityImage,
    FlowImage,
    OccupancyTruth,
    Recording,
    Transforms,
    Truth,
)

T = TypeVar("T")
PNG, JSON = ".png", ".json"


def write(recording: Recording, folder: Path) -> None:
    """Writes what is known to be true about the recording, and its odometry; files of frames that exist are kept."""
    write_whole(recording, folder)
    for frame in range(len(recording)):
        write_frame(recording, folder, frame)


def write_whole(recording: Recording, folder: Path) -> None:
    """What is not per frame: trajectories and the occupancy map."""
    truth, camera = recording.truth, recording.rig.reference
    if truth.world_from_camera is not None:
        write_kitti(folder / "poses.txt", truth.world_from_camera)
    if recording.odometry is not None and camera is not None:
        write_kitti(folder / "odometry.txt", recording.odometry @ camera.body_from_camera)
    if truth.occupancy is not None:
        cells = truth.occupancy
        occupancy.write_map(
            folder / "occupancy.pgm", cells.occupied, ~cells.occupied, cells.origin_m, cells.cell_size_m
        )


def write_frame(recording: Recording, folder: Path, frame: int) -> None:
    """The files of one frame that do not exist yet."""
    truth = recording.truth

    def once(name: str, channel: Channel[T] | None, save: Callable[[Path, T], None], suffix: str = PNG) -> None:
        path = frame_path(folder / name, frame, suffix)
        if channel is not None and not path.exists():
            save(path, channel[frame])

    once("depth", truth.depth, lambda path, d: png.write_scaled(path, d.depth, d.valid))
    once("disp_occ", truth.disparity, lambda path, d: png.write_scaled(path, d.disparity, d.valid))
    once("disp_noc", truth.disparity, lambda path, d: png.write_scaled(path, d.disparity, d.visible))
    once("flow_occ", truth.flow, lambda path, f: png.write_flow(path, f.flow, f.valid))
    once("flow_noc", truth.flow, lambda path, f: png.write_flow(path, f.flow, f.visible))
    once("moving", truth.moving, png.write_ids)
    once("boxes", truth.boxes, _write_boxes, JSON)


def read(folder: Path, recording: Recording) -> Recording:
    """The recording with the truth and the odometry of its ground-truth folder.

    Raises InputError where a part does not fit the recording's frames; a damaged file raises when its frame is asked for.
    """
    camera = recording.rig.reference
    poses, odometry = (_poses(folder / name, len(recording)) for name in ("poses.txt", "odometry.txt"))
    if odometry is not None and camera is not None:
        odometry = odometry @ np.linalg.inv(camera.body_from_camera)
    truth = Truth(
        world_from_camera=recording.truth.world_from_camera if poses is None else poses,
        trajectory_reference=recording.truth.trajectory_reference if poses is None else "ground-truth folder",
        depth=_channel(folder, "depth", len(recording), _read_depth),
        depth_reference="ground-truth folder",
        disparity=_channel(folder, "disp_occ", len(recording), _read_disparity),
        flow=_channel(folder, "flow_occ", len(recording), _read_flow),
        moving=_channel(folder, "moving", len(recording), _read_moving),
        boxes=_channel(folder, "boxes", len(recording), read_boxes, JSON),
        occupancy=_occupancy(folder / "occupancy.pgm"),
    )
    return replace(recording, truth=truth, odometry=recording.odometry if odometry is None else odometry)


def frame_path(folder: Path, frame: int, suffix: str) -> Path:
    return folder / f"{frame:010d}{suffix}"


def _poses(path: Path, frames: int) -> Transforms | None:
    if not path.exists():
        return None
    poses = read_kitti(path)
    if len(poses) != frames:
        raise InputError(f"{path}: {len(poses)} poses for {frames} frames; restore the file or the missing frames")
    return poses


def _channel(
    folder: Path, name: str, frames: int, load: Callable[[Path, int], T], suffix: str = PNG
) -> Channel[T] | None:
    """A lazy channel of the files, None without them."""
    if not (folder / name).is_dir():
        return None
    count = sum(1 for _ in (folder / name).glob(f"[0-9]*{suffix}"))
    if count != frames:
        raise InputError(f"{folder / name}: {count} files for {frames} frames; restore or remove the folder")
    return Channel(frames, partial(load, folder))


def _read_depth(folder: Path, frame: int) -> DepthImage:
    return DepthImage(*png.read_scaled(frame_path(folder / "depth", frame, PNG)))


def _read_disparity(folder: Path, frame: int) -> DisparityImage:
    disparity, valid = png.read_scaled(frame_path(folder / "disp_occ", frame, PNG))
    _, visible = png.read_scaled(frame_path(folder / "disp_noc", frame, PNG))
    return DisparityImage(disparity, valid, visible)


def _read_flow(folder: Path, frame: int) -> FlowImage:
    flow, valid = png.read_flow(frame_path(folder / "flow_occ", frame, PNG))
    _, visible = png.read_flow(frame_path(folder / "flow_noc", frame, PNG))
    return FlowImage(flow, valid, visible)


def _read_moving(folder: Path, frame: int) -> UInt16[np.ndarray, "height width"]:
    return png.read_sixteen_bit(frame_path(folder / "moving", frame, PNG))


def _write_boxes(path: Path, boxes: tuple[Box, ...]) -> None:
    write_json(path, [box._asdict() | {"camera_from_box": box.camera_from_box.tolist()} for box in boxes])


def read_boxes(folder: Path, frame: int) -> tuple[Box, ...]:
    path = frame_path(folder / "boxes", frame, JSON)
    try:
        rows = json.loads(read_text(path))
        return tuple(
            Box(
                int(row["object_id"]),
                str(row["label"]),
                np.array(row["camera_from_box"], dtype=np.float64).reshape(4, 4),
                (float(row["size_m"][0]), float(row["size_m"][1]), float(row["size_m"][2])),
                bool(row["moving"]),
            )
            for row in rows
        )
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{path}: not a list of boxes ({error}); restore or remove the folder") from None


def _occupancy(pgm: Path) -> OccupancyTruth | None:
    if not pgm.exists():
        return None
    values, origin_m, cell_size_m = occupancy.read_map(pgm)
    return OccupancyTruth(values == occupancy.OCCUPIED, origin_m, cell_size_m)
