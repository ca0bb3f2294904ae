"""EuRoC MAV dataset and other recordings in the ASL layout: stereo (or one camera) and the true state of the IMU.

Conventions there -> ours:
- `T_BS` of a camera = imu_from_camera, with B the IMU, whose axes point anywhere -> our body sits at cam0 and looks along its
  optical axis (x forward, y left, z up); `body_from_camera` of cam0 is the forward camera, that of cam1 follows from both T_BS.
- `intrinsics` [fu, fv, cu, cv], pixel centres at integers -> the 3x3 matrix; `resolution` [width, height] -> size.
- `distortion_model` radial-tangential or equidistant with four coefficients -> the same, in OpenCV's order.
- `data.csv` (ns, file name) -> stamps; frames are the stamps of cam0 that have an image of cam1 within half a frame.
- `state_groundtruth_estimate0/data.csv`: ns, position, quaternion (w, x, y, z), ...: world_from_imu -> `world_from_camera` of
  cam0 at the nearest row within half a frame, NaN where there is none.
- Images are grey and distorted as read; `open_recording` undistorts and rectifies them (rectification.py).

Source: Burri et al., The EuRoC micro aerial vehicle datasets (IJRR 2016), section 4.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64

from firstsight.errors import InputError
from firstsight.formats.trajectory import from_rows, read_rows, time_ns
from firstsight.reading import read_text
from firstsight.recordings.association import half_period_ns, poses_at, simultaneous
from firstsight.recordings.calibration import camera_matrix, require_intrinsics, require_rigid
from firstsight.recordings.files import image_channel, image_kinds, listed_file, missing_images
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Camera,
    Distortion,
    Recording,
    Rig,
    Transform,
    Truth,
)

NAME = "EuRoC / ASL"
LAYOUT = "mav0/cam0 (and cam1) with sensor.yaml, data.csv and data/*.png"

CAMERAS = ("cam0", "cam1")
TRUTH = "state_groundtruth_estimate0"
DISTORTION_MODELS: Mapping[str, Literal["radial-tangential", "equidistant"]] = {
    "radial-tangential": "radial-tangential",
    "radtan": "radial-tangential",
    "equidistant": "equidistant",
}
OPENCV_MATRIX = "!!opencv-matrix"
# Of a calibration; its products stay finite.
MAX_NUMBER = 1e100
# How many each model may have, in OpenCV's order.
COEFFICIENTS = {"radial-tangential": (4, 5, 8), "equidistant": (4,)}


def recognises(path: Path) -> bool:
    return (path / "mav0").is_dir() or (path / CAMERAS[0] / "sensor.yaml").is_file()


def _root(path: Path) -> Path:
    return path / "mav0" if (path / "mav0").is_dir() else path


def read(path: Path) -> Recording:
    """Raises InputError where a calibration or list is missing or cannot be read, or no frame is complete."""
    root = _root(path)
    names = [name for name in CAMERAS if (root / name).is_dir()]
    if not names:
        raise InputError(f"{root}: an ASL recording without {CAMERAS[0]}; unpack its images there")
    listed = {name: _listed_images(root / name) for name in names}
    stamps, images, remarks = _complete_frames(root, listed)
    names = list(images)
    sensors = {name: read_yaml(root / name / "sensor.yaml") for name in names}
    imu_from_camera = {name: _extrinsics(sensors[name], root / name / "sensor.yaml") for name in names}
    body_from_imu = BODY_FROM_FORWARD_CAMERA @ np.linalg.inv(imu_from_camera[names[0]])
    kinds = image_kinds(images)
    cameras = [
        _camera(root / name, sensors[name], kinds[name].size, body_from_imu @ imu_from_camera[name]) for name in names
    ]
    return Recording(
        source=str(path),
        format=NAME,
        rig=Rig(cameras=tuple(cameras), stereo=("cam0", "cam1") if len(names) == 2 else None),
        stamps_ns=stamps,
        images={name: image_channel(images[name], kinds[name]) for name in names},
        truth=_truth(root / TRUTH / "data.csv", stamps, imu_from_camera[names[0]]),
        remarks=(*remarks, *kinds[names[0]].remarks),
    )


class Frames(NamedTuple):
    """Stamps, the images of each camera, and what the user should know of them."""

    stamps_ns: Int64[np.ndarray, " frames"]
    images: Mapping[str, list[Path]]
    remarks: tuple[str, ...]


def _listed_images(folder: Path) -> dict[int, Path]:
    """The images of data.csv by stamp, whether they exist or not."""
    table, listed = folder / "data.csv", {}
    for number, line in enumerate(read_text(table).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        stamp, comma, names = line.partition(",")
        if not comma:
            raise InputError(f"{table}: line {number} is no row 'nanoseconds,file name'; fix the file")
        name = names.split(",")[0].strip()
        listed[time_ns(stamp.strip(), "ns", table)] = listed_file(folder / "data", name, table, number)
    return listed


def _complete_frames(root: Path, listed: Mapping[str, Mapping[int, Path]]) -> Frames:
    """The frames whose image exists for every camera. Raises InputError where there are none."""
    present = {
        name: {stamp: path for stamp, path in images.items() if path.exists()} for name, images in listed.items()
    }
    first = next(iter(present))
    for name in present:
        if not present[name]:
            raise InputError(f"{root}: no image that {name}/data.csv lists is there; unpack {name}/data")
    streams = {name: np.array(list(images), dtype=np.int64) for name, images in present.items()}
    items, remarks = simultaneous(streams, half_period_ns(streams[first]))
    stamps = {name: streams[name][rows] for name, rows in items.items()}
    images = {name: [present[name][stamp] for stamp in stamps[name].tolist()] for name in stamps}
    left_out = missing_images(len(listed[first]) - len(stamps[first]), len(listed[first]), list(images))
    return Frames(stamps[first], images, (*left_out, *remarks))


def read_yaml(path: Path) -> dict[str, Any]:
    """A sensor.yaml. OpenCV's first line `%YAML:1.0`, which is no YAML, and its tag of matrices are left out."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    lines = (line for line in read_text(path).splitlines() if not line.startswith("%"))
    text = "\n".join(lines).replace(OPENCV_MATRIX, "")
    try:
        content = YAML(typ="safe", pure=True).load(text)
    # beside its own errors: a number of thousands of digits, or brackets nested without end
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}); restore the file") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a sensor description; restore the file")
    return content


def _numbers(sensor: Mapping[str, Any], key: str, counts: int | tuple[int, ...], source: Path) -> list[float]:
    value, allowed = sensor.get(key), (counts,) if isinstance(counts, int) else counts
    value = value.get("data") if isinstance(value, dict) else value
    numbers = value if isinstance(value, list) else []
    # a whole number of YAML may have more digits than a float holds
    if len(numbers) not in allowed or not all(type(v) in (int, float) and not abs(v) > MAX_NUMBER for v in numbers):
        raise InputError(f"{source}: '{key}' must be {' or '.join(map(str, allowed))} numbers; restore the file")
    return [float(v) for v in numbers]


def _extrinsics(sensor: Mapping[str, Any], source: Path) -> Transform:
    return require_rigid(np.array(_numbers(sensor, "T_BS", 16, source)).reshape(4, 4), source)


def _camera(folder: Path, sensor: Mapping[str, Any], size: tuple[int, int], body_from_camera: Transform) -> Camera:
    source = folder / "sensor.yaml"
    intrinsics = camera_matrix(*_numbers(sensor, "intrinsics", 4, source))
    width, height = _numbers(sensor, "resolution", 2, source)
    if (height, width) != size:
        raise InputError(f"{folder}: images are {size[1]}x{size[0]} but calibrated for {width:.0f}x{height:.0f}")
    model = DISTORTION_MODELS.get(sensor.get("distortion_model", ""))
    if model is None:
        known = ", ".join(DISTORTION_MODELS)
        raise InputError(f"{source}: distortion_model '{sensor.get('distortion_model')}' is none of {known}")
    coefficients = _numbers(sensor, "distortion_coefficients", COEFFICIENTS[model], source)
    return Camera(
        name=folder.name,
        size=size,
        intrinsics=require_intrinsics(intrinsics, source),
        body_from_camera=body_from_camera,
        distortion=Distortion(model=model, coefficients=tuple(coefficients)),
    )


def _truth(path: Path, stamps: Int64[np.ndarray, " frames"], imu_from_camera: Transform) -> Truth:
    if not path.exists():
        return Truth()
    rows = [line.split(",")[0] for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    times = np.array([time_ns(row.strip(), "ns", path) for row in rows], dtype=np.int64)
    world_from_imu = from_rows(read_rows(path, 8)[:, [1, 2, 3, 5, 6, 7, 4]])
    return Truth(world_from_camera=poses_at(stamps, times, world_from_imu, half_period_ns(stamps)) @ imu_from_camera)
