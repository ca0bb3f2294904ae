"""TUM RGB-D: a folder with lists of colour and depth images and the camera's true trajectory.

Conventions there -> ours:
- `rgb.txt`, `depth.txt` (seconds, file name) -> frames are the colour images whose nearest depth image, and they its,
  lies within 0.02 s; the stamp is that of the colour image, in ns.
- Depth, uint16 with 5000 per metre, 0 for none, registered to colour -> metres and `valid`.
- `groundtruth.txt` (seconds, tx ty tz qx qy qz qw): world_from_camera of the colour camera -> the same at the nearest row
  within 0.02 s, NaN where there is none.
- `camera-intrinsics.txt` or `intrinsics.txt` (a 3x3 matrix), or ETH3D's `calibration.txt` (fx fy cx cy), pinhole -> intrinsics.
- No calibration file: the published one of freiburg1, 2 or 3 by the folder's name (k1 k2 p1 p2 k3 as OpenCV's); otherwise the
  driver's default of 525 px, flagged as assumed.
- The camera looks ahead in the body frame. `accelerometer.txt` is not read.

Source: Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems (IROS 2012) and its file formats page.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.errors import InputError
from firstsight.formats.trajectory import read_tum, time_ns
from firstsight.reading import read_text
from firstsight.recordings.association import poses_at, simultaneous
from firstsight.recordings.calibration import camera_matrix, require_intrinsics
from firstsight.recordings.files import (
    ImageKind,
    absolute,
    depth_channel,
    image_channel,
    image_kind,
    intrinsics_beside,
    listed_file,
    read_matrix,
)
from firstsight.recordings.image_folder import assumed_camera
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Camera,
    Distortion,
    Recording,
    Rig,
    Truth,
)

NAME = "TUM RGB-D"
LAYOUT = "rgb.txt and depth.txt listing the images, groundtruth.txt"

CAMERA = "rgb"
TOLERANCE_NS = 20_000_000
DEPTH_PER_METRE = 5000.0
PUBLISHED_SIZE = (480, 640)
# fx, fy, cx, cy in px and the distortion of the colour camera, by freiburg number
PUBLISHED = {
    1: ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    2: ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    3: ((535.4, 539.2, 320.1, 247.6), None),
}
ETH3D_CALIBRATION = "calibration.txt"
DRIVER_DEFAULT = (525.0, 525.0, 319.5, 239.5)


def recognises(path: Path) -> bool:
    return (path / "rgb.txt").is_file()


def read(path: Path) -> Recording:
    """Raises InputError where a list cannot be read. Depth of another time than all colour is left out, and that is said."""
    colour_stamps, colour = _listed_images(path, "rgb.txt")
    kind = image_kind(colour)
    camera = _camera(path, kind.size)
    recording = Recording(
        source=str(path),
        format=NAME,
        rig=Rig(cameras=(camera,)),
        stamps_ns=colour_stamps,
        images={CAMERA: image_channel(colour, kind)},
        remarks=kind.remarks,
    )
    if camera.assumed:
        recording = recording.with_remark("calibration assumed: the folder's name does not say freiburg1, 2 or 3")
    if (path / "depth.txt").exists():
        recording = _with_depth(recording, path, colour, kind)
    return _with_trajectory(recording, path / "groundtruth.txt")


def _listed_images(path: Path, name: str) -> tuple[Int64[np.ndarray, " rows"], list[Path]]:
    table = path / name
    lines = enumerate(read_text(table).splitlines(), start=1)
    rows = [(number, line.split()) for number, line in lines if line.strip() and not line.startswith("#")]
    if not rows or any(len(row) < 2 for _, row in rows):
        raise InputError(f"{table}: expected rows 'seconds file-name'; restore the file")
    stamps = np.array([time_ns(row[0], "s", table) for _, row in rows], dtype=np.int64)
    return stamps, [listed_file(path, row[1], table, number) for number, row in rows]


def _camera(path: Path, size: tuple[int, int]) -> Camera:
    own = _own_intrinsics(path)
    if own is not None:
        return Camera(name=CAMERA, size=size, intrinsics=own, body_from_camera=BODY_FROM_FORWARD_CAMERA)
    named = re.search(r"(?:freiburg|fr)([123])", absolute(path).name)
    if named is None or size != PUBLISHED_SIZE:
        return _default_camera(size)
    fx_fy_cx_cy, coefficients = PUBLISHED[int(named[1])]
    distortion = Distortion(model="radial-tangential", coefficients=coefficients) if coefficients else None
    return Camera(
        name=CAMERA,
        size=size,
        intrinsics=camera_matrix(*fx_fy_cx_cy),
        body_from_camera=BODY_FROM_FORWARD_CAMERA,
        distortion=distortion,
    )


def _own_intrinsics(path: Path) -> Float64[np.ndarray, "3 3"] | None:
    """The matrix of a calibration beside the lists, None where there is none."""
    calibration = intrinsics_beside(path)
    if calibration is not None:
        return calibration[1]
    row = path / ETH3D_CALIBRATION
    if not row.exists():
        return None
    values = read_matrix(row, 1, 4)[0]
    return require_intrinsics(camera_matrix(*values.tolist()), row)


def _default_camera(size: tuple[int, int]) -> Camera:
    """The driver's default calibration, which holds for 640x480 only; a guessed field of view for other sizes."""
    camera = assumed_camera(CAMERA, size)
    return replace(camera, intrinsics=camera_matrix(*DRIVER_DEFAULT)) if size == PUBLISHED_SIZE else camera


def _with_depth(recording: Recording, path: Path, colour: list[Path], kind: ImageKind) -> Recording:
    """The recording of the frames that have depth."""
    depth_stamps, depth = _listed_images(path, "depth.txt")
    items, remarks = simultaneous({"rgb.txt": recording.stamps_ns, "depth.txt": depth_stamps}, TOLERANCE_NS)
    recording = replace(recording, remarks=(*recording.remarks, *remarks))
    if "depth.txt" not in items:
        return recording
    rows = items["rgb.txt"]
    paired = replace(
        recording,
        stamps_ns=recording.stamps_ns[rows],
        images={CAMERA: image_channel([colour[row] for row in rows], kind)},
        depth=depth_channel([depth[row] for row in items["depth.txt"]], kind.size, DEPTH_PER_METRE),
        depth_per_metre=DEPTH_PER_METRE,
    )
    left_out = len(colour) - len(rows)
    if not left_out:
        return paired
    return paired.with_remark(f"{left_out} of {len(colour)} colour images left out: no depth image within 0.02 s")


def _with_trajectory(recording: Recording, path: Path) -> Recording:
    if not path.exists():
        return recording
    poses = poses_at(recording.stamps_ns, *read_tum(path), TOLERANCE_NS)
    return replace(recording, truth=Truth(world_from_camera=poses))
