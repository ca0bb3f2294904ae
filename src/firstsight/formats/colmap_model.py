"""Reconstructions as COLMAP's text model: a folder with cameras.txt, images.txt and points3D.txt.

Conventions there -> ours:
    pixels: the top-left centre is (0.5, 0.5)                -> (0, 0), of points and of principal points
    camera_from_world as quaternion w x y z and translation  -> world_from_camera
    width, height                                            -> (height, width)
    camera ids, image ids, point ids of any kind             -> 0, 1, ... in ascending order
    SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, RADIAL, OPENCV   -> Lenses; OPENCV without tangential distortion only
    keypoints without a point (POINT3D_ID -1)                -> left out
Written ids begin at 1, and a lens is written as the simplest of PINHOLE, SIMPLE_RADIAL, RADIAL, OPENCV that holds it.
"""

from pathlib import Path

import numpy as np
import torch

from firstsight.errors import InputError
from firstsight.formats.png import MAX_PIXELS
from firstsight.formats.storage.atomic import write_text
from firstsight.geometry.se3 import matrix_to_quaternion_wxyz, quaternion_wxyz_to_matrix
from firstsight.reading import read_text
from firstsight.roles.reconstruction import Lenses, Observations, Reconstruction

HALF = 0.5  # COLMAP's coordinates of a pixel's centre less ours
UNMATCHED = -1
FOCAL = {"f", "fx", "fy"}
PARAMETERS = {
    "SIMPLE_PINHOLE": "f f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f f cx cy k1",
    "RADIAL": "f f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
}


def write_colmap(folder: Path, reconstruction: Reconstruction) -> None:
    """Writes the three files. Points that nobody saw are kept, with an empty track.

    Raises InputError for a name with a space, which COLMAP would cut off there.
    """
    spaced = next((name for name in reconstruction.names if len(name.split()) != 1), None)
    if spaced is not None:
        raise InputError(f"{folder}: COLMAP's text holds no spaces in names, {spaced!r} has some; rename the photo")
    seen = reconstruction.observations
    order = np.argsort(seen.camera, kind="stable")
    start = np.searchsorted(seen.camera[order], np.arange(len(reconstruction.names) + 1))
    place = np.empty(len(order), np.int64)  # of an observation among those of its camera
    place[order] = np.arange(len(order)) - start[seen.camera[order]]
    write_text(folder / "cameras.txt", _camera_lines(reconstruction.lenses))
    write_text(folder / "images.txt", _image_lines(reconstruction, order, start))
    write_text(folder / "points3D.txt", _point_lines(reconstruction, place))


def _camera_lines(lenses: Lenses) -> str:
    lines = ["# Camera list: CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for number, ((height, width), k, (k1, k2)) in enumerate(zip(*lenses, strict=True), 1):
        fx, fy = k[0, 0], k[1, 1]
        cx, cy = k[0, 2] + HALF, k[1, 2] + HALF
        if k1 == k2 == 0:
            model, values = "PINHOLE", [fx, fy, cx, cy]
        elif fx != fy:
            model, values = "OPENCV", [fx, fy, cx, cy, k1, k2, 0.0, 0.0]
        elif k2 == 0:
            model, values = "SIMPLE_RADIAL", [fx, cx, cy, k1]
        else:
            model, values = "RADIAL", [fx, cx, cy, k1, k2]
        lines.append(f"{number} {model} {width} {height} {_words(values)}")
    return "\n".join(lines) + "\n"


def _image_lines(reconstruction: Reconstruction, order: np.ndarray, start: np.ndarray) -> str:
    camera_from_world = np.linalg.inv(reconstruction.world_from_camera)
    quaternions = matrix_to_quaternion_wxyz(torch.from_numpy(camera_from_world[:, :3, :3].copy())).numpy()
    seen = reconstruction.observations
    lines = [
        "# Image list: IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME",
        "# and below each its keypoints: X, Y, POINT3D_ID ...",
    ]
    for camera, name in enumerate(reconstruction.names):
        pose = _words([*quaternions[camera], *camera_from_world[camera, :3, 3]])
        lines.append(f"{camera + 1} {pose} {reconstruction.lens[camera] + 1} {name}")
        rows = order[start[camera] : start[camera + 1]]
        pixels, points = (seen.pixels[rows] + HALF).tolist(), (seen.point[rows] + 1).tolist()
        lines.append(" ".join(f"{x!r} {y!r} {point}" for (x, y), point in zip(pixels, points, strict=True)))
    return "\n".join(lines) + "\n"


def _point_lines(reconstruction: Reconstruction, place: np.ndarray) -> str:
    seen, points = reconstruction.observations, reconstruction.points_world
    order = np.argsort(seen.point, kind="stable")
    start = np.searchsorted(seen.point[order], np.arange(len(points) + 1))
    images, places = (seen.camera[order] + 1).tolist(), place[order].tolist()
    lines = ["# Point list: POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as IMAGE_ID, POINT2D_IDX"]
    for number, (position, colour) in enumerate(zip(points.tolist(), reconstruction.colours.tolist(), strict=True)):
        first, end = start[number], start[number + 1]
        track = [f"{i} {k}" for i, k in zip(images[first:end], places[first:end], strict=True)]
        lines.append(" ".join([str(number + 1), *map(repr, position), *map(str, colour), "-1", *track]))
    return "\n".join(lines) + "\n"


def _words(values: list) -> str:
    return " ".join(repr(float(value)) for value in values)


def read_colmap(folder: Path) -> Reconstruction:
    """Raises InputError naming the file and the line that is not what the format says."""
    lens_of, lenses = _read_cameras(folder / "cameras.txt")
    point_of, positions, colours = _read_points(folder / "points3D.txt")
    names, poses, lens, keypoints = _read_images(folder / "images.txt", lens_of)
    camera = np.repeat(np.arange(len(names)), [len(rows) for rows in keypoints])
    rows = np.concatenate([np.zeros((0, 3)), *keypoints])
    matched = rows[:, 2] != UNMATCHED
    ids = rows[matched, 2].astype(np.int64).tolist()
    unknown = next((number for number in ids if number not in point_of), None)
    if unknown is not None:
        raise InputError(
            f"{folder}/images.txt: names point {unknown}, which points3D.txt lacks; export the model again"
        )
    point = np.array([point_of[number] for number in ids], np.int64)
    seen = Observations(camera[matched], point, rows[matched, :2] - HALF)
    return Reconstruction(names, poses, lens, lenses, positions, colours, seen)


def _lines(path: Path) -> list[tuple[int, str]]:
    """(number, line) of those that are no comment."""
    return [(i, line) for i, line in enumerate(read_text(path).splitlines(), 1) if not line.startswith("#")]


def _fault(path: Path, number: int) -> InputError:
    return InputError(f"{path}, line {number}: not a line of a COLMAP text model; export the model again")


def _finite(words: list[str]) -> list[float]:
    values = [float(word) for word in words]
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    return values


def _read_cameras(path: Path) -> tuple[dict[int, int], Lenses]:
    """(place of each camera id, lenses)."""
    found: dict[int, tuple[list[int], dict[str, float]]] = {}
    for number, line in _lines(path):
        words = line.split()
        if not words:
            continue
        if len(words) > 1 and words[1] not in PARAMETERS:
            raise InputError(
                f"{path}, line {number}: camera model {words[1]}; undistort or use one of {', '.join(PARAMETERS)}"
            )
        try:
            names = [name for i, name in enumerate(PARAMETERS[words[1]].split()) if (i, name) != (1, "f")]
            values = dict(zip(names, _finite(words[4:]), strict=True))
            height, width = int(words[3]), int(words[2])
            found[int(words[0])] = [height, width], values
        except (ValueError, IndexError):
            raise _fault(path, number) from None
        focal = [value for name, value in values.items() if name in FOCAL]
        if min(focal) <= 0 or not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
            raise InputError(
                f"{path}, line {number}: {width}x{height} pixels and a focal length of {min(focal):g} are no camera's; "
                "export the model again"
            )
        if values.get("p1", 0) or values.get("p2", 0):
            raise InputError(f"{path}, line {number}: tangential distortion is not supported; undistort the images")
    ids = sorted(found)
    size, intrinsics, radial = (
        np.zeros((len(ids), 2), np.int64),
        np.tile(np.eye(3), (len(ids), 1, 1)),
        np.zeros((len(ids), 2)),
    )
    for place, (shape, values) in enumerate(found[i] for i in ids):
        size[place] = shape
        intrinsics[place, 0, 0] = values.get("fx", values.get("f"))
        intrinsics[place, 1, 1] = values.get("fy", values.get("f"))
        intrinsics[place, :2, 2] = values["cx"] - HALF, values["cy"] - HALF
        radial[place] = values.get("k1", 0.0), values.get("k2", 0.0)
    return {number: place for place, number in enumerate(ids)}, Lenses(size, intrinsics, radial)


def _read_images(
    path: Path, lens_of: dict[int, int]
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, list[np.ndarray]]:
    """(names, world_from_camera, lens, keypoints (n, 3) of each image as x, y, point id), by ascending image id."""
    found = {}
    lines = iter(_lines(path))
    for number, line in lines:
        if not line.strip():
            continue
        try:
            words = line.split(maxsplit=9)
            camera_from_world = np.eye(4)
            quaternion = torch.tensor(_finite(words[1:5]), dtype=torch.float64)
            camera_from_world[:3, :3] = quaternion_wxyz_to_matrix(quaternion).numpy()
            camera_from_world[:3, 3] = _finite(words[5:8])
            image, lens, name = int(words[0]), int(words[8]), words[9].strip()
            number, line = next(lines, (number, ""))
            keypoints = np.array(_finite(line.split())).reshape(-1, 3)
            pose = np.linalg.inv(camera_from_world)
            if not np.isfinite(pose).all():
                raise ValueError("a quaternion of zeros")
        except (ValueError, IndexError, np.linalg.LinAlgError):
            raise _fault(path, number) from None
        if lens not in lens_of:
            raise InputError(f"{path}, line {number}: camera {lens} is not in cameras.txt; export the model again")
        found[image] = (name, pose, lens_of[lens], keypoints)
    images = [found[image] for image in sorted(found)]
    if not images:
        raise InputError(f"{path}: no images; export the model again")
    names, poses, lens, keypoints = zip(*images, strict=True)
    return tuple(names), np.array(poses), np.array(lens, np.int64), list(keypoints)


def _read_points(path: Path) -> tuple[dict[int, int], np.ndarray, np.ndarray]:
    """(place of each point id, positions, colours). Tracks repeat what images.txt says and are left out."""
    found: dict[int, tuple[list[float], list[int]]] = {}
    for number, line in _lines(path):
        words = line.split()
        if not words:
            continue
        try:
            colour = [int(word) for word in words[4:7]]
            if len(words) < 8 or len(words) % 2 or not 0 <= min(colour) <= max(colour) <= 255:
                raise ValueError("no colour, or half a track")
            found[int(words[0])] = _finite(words[1:4]), colour
        except (ValueError, IndexError):
            raise _fault(path, number) from None
    ids = sorted(found)
    positions = np.array([found[i][0] for i in ids], float).reshape(-1, 3)
    colours = np.array([found[i][1] for i in ids], np.uint8).reshape(-1, 3)
    return {number: place for place, number in enumerate(ids)}, positions, colours
