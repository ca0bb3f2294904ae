"""A folder of images from one camera.

Conventions there -> ours:
- Images in natural order of their names (`frame2` before `frame10`) -> frames.
- `camera-intrinsics.txt` or `intrinsics.txt`, a 3x3 matrix with pixel centres at integers -> intrinsics.
- No calibration -> a horizontal field of view of 60 degrees is assumed, and flagged (`open_recording(fov_deg=...)` states it).
- No times -> 10 Hz from 0. The camera looks ahead in the body frame.
"""

import math
from pathlib import Path

from firstsight.geometry.camera import field_of_view_intrinsics
from firstsight.recordings.files import image_channel, image_files, image_kind, intrinsics_beside, regular_stamps
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA, Camera, Recording, Rig

NAME = "image folder"
LAYOUT = "a folder of png, jpg, ... images of one size"

CAMERA = "camera"
ASSUMED_FOV_DEG = 60.0
RATE_HZ = 10.0


def recognises(path: Path) -> bool:
    return bool(image_files(path))


def read(path: Path) -> Recording:
    """Raises InputError where no image can be read or the intrinsics are no 3x3 matrix."""
    images = image_files(path)
    kind = image_kind(images)
    camera = _camera(path, kind.size)
    return Recording(
        source=str(path),
        format=NAME,
        rig=Rig(cameras=(camera,)),
        stamps_ns=regular_stamps(range(len(images)), RATE_HZ),
        images={CAMERA: image_channel(images, kind)},
        remarks=(f"timestamps assumed: {RATE_HZ:g} Hz (images have none)", *kind.remarks),
    )


def _camera(path: Path, size: tuple[int, int]) -> Camera:
    calibration = intrinsics_beside(path)
    if calibration is None:
        return assumed_camera(CAMERA, size)
    return Camera(name=CAMERA, size=size, intrinsics=calibration[1], body_from_camera=BODY_FROM_FORWARD_CAMERA)


def assumed_camera(name: str, size: tuple[int, int], fov_deg: float = ASSUMED_FOV_DEG) -> Camera:
    """A camera that looks ahead, whose intrinsics are a guess from its horizontal field of view."""
    return Camera(
        name=name,
        size=size,
        intrinsics=field_of_view_intrinsics(*size, math.radians(fov_deg)).numpy(),
        body_from_camera=BODY_FROM_FORWARD_CAMERA,
        assumed=True,
    )
