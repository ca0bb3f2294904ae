"""Microsoft 7-Scenes: a folder of Kinect frames with colour, depth and pose.

Conventions there -> ours:
- `frame-NNNNNN.color.png` (or .jpg) -> the reference camera "color".
- Depth, uint16 millimetres with 0 or 65535 for none -> metres and `valid`. The original release does not register depth to
  colour; using both with one set of intrinsics, as published results do, is off by a few pixels near the borders.
- `frame-NNNNNN.pose.txt`: 4x4 camera-to-world, metres -> `world_from_camera`, NaN where a frame has none. The world is the
  recording's own.
- No calibration file in the release: focal length 585 px, principal point (320, 240); a 3x3 `camera-intrinsics.txt` or
  `intrinsics.txt` wins.
- No times -> 30 Hz by number from 0. The camera looks ahead in the body frame.

Source: Shotton et al., Scene Coordinate Regression Forests for Camera Relocalization (CVPR 2013) and its dataset page.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from firstsight.errors import InputError
from firstsight.recordings.files import (
    CALIBRATION_FILES,
    depth_channel,
    image_channel,
    image_kind,
    intrinsics_beside,
    missing_images,
    numbered,
    read_matrix,
    regular_stamps,
)
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA, Camera, Recording, Rig, Transforms, Truth

NAME = "7-Scenes"
LAYOUT = "frame-NNNNNN.color.png, .depth.png and .pose.txt"

CAMERA = "color"
PUBLISHED_SIZE = (480, 640)
PUBLISHED_INTRINSICS = np.array([[585.0, 0.0, 320.0], [0.0, 585.0, 240.0], [0.0, 0.0, 1.0]])
DEPTH_PER_METRE = 1000.0
NO_DEPTH = (0, 65535)
RATE_HZ = 30.0


def recognises(path: Path) -> bool:
    return path.is_dir() and any(path.glob("frame-*.color.*"))


def read(path: Path) -> Recording:
    """Raises InputError where no frame has both colour and depth, or a matrix cannot be read."""
    colour = numbered(sorted(path.glob("frame-*.color.*")))
    depth = numbered(sorted(path.glob("frame-*.depth.png")))
    numbers = [number for number in colour if number in depth or not depth]
    if not numbers:
        raise InputError(f"{path}: no frame has both colour and depth; rename the files, or move the depth away")
    kind = image_kind([colour[number] for number in numbers])
    size = kind.size
    camera = Camera(
        name=CAMERA, size=size, intrinsics=_intrinsics(path, size), body_from_camera=BODY_FROM_FORWARD_CAMERA
    )
    recording = Recording(
        source=str(path),
        format=NAME,
        rig=Rig(cameras=(camera,)),
        stamps_ns=regular_stamps(numbers, RATE_HZ),
        images={CAMERA: image_channel([colour[number] for number in numbers], kind)},
        truth=Truth(world_from_camera=_poses(path, numbers)),
        remarks=(
            f"timestamps assumed: {RATE_HZ:g} Hz (7-Scenes has none)",
            *missing_images(len(colour) - len(numbers), len(colour), ["depth"]),
            *kind.remarks,
        ),
    )
    if not depth:
        return recording
    metres = depth_channel([depth[number] for number in numbers], size, DEPTH_PER_METRE, NO_DEPTH)
    return replace(recording, depth=metres, depth_per_metre=DEPTH_PER_METRE)


def _intrinsics(path: Path, size: tuple[int, int]) -> Float64[np.ndarray, "3 3"]:
    calibration = intrinsics_beside(path)
    if calibration is not None:
        return calibration[1]
    if size != PUBLISHED_SIZE:
        raise InputError(
            f"{path}: images are not 640x480, so the published calibration does not fit; add {CALIBRATION_FILES[0]}"
        )
    return PUBLISHED_INTRINSICS


def _poses(path: Path, numbers: list[int]) -> Transforms | None:
    files = {number: path / f"frame-{number:06d}.pose.txt" for number in numbers}
    if not any(file.exists() for file in files.values()):
        return None
    missing = np.full((4, 4), np.nan)
    return np.stack([read_matrix(file, 4, 4) if file.exists() else missing for file in files.values()])
