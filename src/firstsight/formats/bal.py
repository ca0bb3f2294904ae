"""Bundle adjustment problems as the text of "Bundle Adjustment in the Large" (BAL), plain, `.gz` or `.bz2`.

    cameras points observations
    camera point x y                                            for each observation
    rotation vector (3), translation (3), f, k1, k2             for each camera
    X Y Z                                                       for each point

Conventions there -> ours:
    the camera looks along -z, y up                                  -> along z, y down
    camera_from_world as a rotation vector and a translation         -> world_from_camera
    pixels from the image centre, x right, y up                      -> y down; the principal point is (0, 0)
    a lens for every camera; pixel = f d (X, Y) / -Z, d = 1 + k1 r^2 + k2 r^4    -> the same, K = diag(f, f, 1)
    image sizes, names and colours are not told                      -> (0, 0), the camera's number, black
Source: Agarwal, Snavely, Seitz, Szeliski. Bundle Adjustment in the Large. ECCV 2010, and its web page.
"""

import bz2
import gzip
import zlib
from math import inf
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_bytes
from firstsight.reading import read_bytes
from firstsight.roles.reconstruction import Lenses, Observations, Reconstruction

MAX_COUNT = 2**40
FLIP = np.diag([1.0, -1.0, -1.0])  # between a camera that looks along -z, y up, and ours


def read_bal(path: Path) -> Reconstruction:
    """Raises InputError for a file that is missing, is not such text, ends early or names what it does not hold."""
    numbers = _numbers(path)
    head = numbers[:3]
    if len(head) < 3 or (head < 1).any() or (head > MAX_COUNT).any() or (head != head.round()).any():
        raise InputError(f"{path}: does not begin with numbers of cameras, points and observations; give a BAL file")
    cameras, points, count = head.astype(int).tolist()
    expected = 3 + 4 * count + 9 * cameras + 3 * points
    if len(numbers) != expected:
        ends = "ends early" if len(numbers) < expected else "goes on"
        raise InputError(
            f"{path}: {ends}: {cameras} cameras, {points} points and {count} observations take {expected} numbers, "
            f"it has {len(numbers)}; fetch it again"
        )
    seen, placed, positions = np.split(numbers[3:], [4 * count, 4 * count + 9 * cameras])
    seen, placed = seen.reshape(-1, 4), placed.reshape(-1, 9)
    named = seen[:, :2]
    wrong = ((named < 0) | (named != named.round())).any(1) | (seen[:, 0] >= cameras) | (seen[:, 1] >= points)
    if wrong.any():
        raise InputError(
            f"{path}: observation {int(wrong.argmax())} names a camera or a point it does not have; fix it"
        )
    if (placed[:, 6] <= 0).any():
        camera = int((placed[:, 6] <= 0).argmax())
        raise InputError(f"{path}: camera {camera} has a focal length of {placed[camera, 6]:g}; it must exceed 0")
    world_from_camera = np.tile(np.eye(4), (cameras, 1, 1))
    world_from_bal = Rotation.from_rotvec(placed[:, :3]).as_matrix().transpose(0, 2, 1)
    world_from_camera[:, :3, :3] = world_from_bal @ FLIP
    world_from_camera[:, :3, 3] = -np.einsum("cij,cj->ci", world_from_bal, placed[:, 3:6])
    lost = ~np.isfinite(world_from_camera).all((1, 2))
    if lost.any():
        raise InputError(f"{path}: the numbers of camera {int(lost.argmax())} are beyond all bounds; fix them")
    intrinsics = np.tile(np.eye(3), (cameras, 1, 1))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = placed[:, 6]
    return Reconstruction(
        tuple(str(camera) for camera in range(cameras)),
        world_from_camera,
        np.arange(cameras),
        Lenses(np.zeros((cameras, 2), np.int64), intrinsics, placed[:, 7:].copy()),
        positions.reshape(-1, 3).copy(),
        np.zeros((points, 3), np.uint8),
        Observations(seen[:, 0].astype(np.int64), seen[:, 1].astype(np.int64), seen[:, 2:] * [1, -1]),
    )


def write_bal(path: Path, reconstruction: Reconstruction) -> None:
    """Pixels are written from the principal point. Raises InputError where f_x and f_y differ: BAL has one f."""
    cameras, points, seen = reconstruction.names, reconstruction.points_world, reconstruction.observations
    lenses, lens = reconstruction.lenses, reconstruction.lens
    focal = lenses.intrinsics[:, [0, 1], [0, 1]]
    if not np.allclose(focal[:, 0], focal[:, 1], rtol=1e-9):
        raise InputError(f"{path}: BAL has one focal length for x and y, and a lens here has two; write another format")
    centre = lenses.intrinsics[lens[seen.camera], :2, 2]
    pixels = (seen.pixels - centre) * [1, -1]
    bal_from_world = FLIP @ reconstruction.world_from_camera[:, :3, :3].transpose(0, 2, 1)
    translation = -np.einsum("cij,cj->ci", bal_from_world, reconstruction.world_from_camera[:, :3, 3])
    rotations = Rotation.from_matrix(bal_from_world).as_rotvec()
    placed = np.column_stack([rotations, translation, focal[lens, 0], lenses.radial[lens]])
    lines = [f"{len(cameras)} {len(points)} {len(seen.camera)}"]
    for camera, point, (x, y) in zip(seen.camera.tolist(), seen.point.tolist(), pixels.tolist(), strict=True):
        lines.append(f"{camera} {point} {x!r} {y!r}")
    lines += map(repr, [*placed.ravel().tolist(), *points.ravel().tolist()])
    write_bytes(path, _packed(path, ("\n".join(lines) + "\n").encode()))


def _packed(path: Path, text: bytes) -> bytes:
    if path.suffix == ".gz":
        return gzip.compress(text, mtime=0)
    return bz2.compress(text) if path.suffix == ".bz2" else text


def _numbers(path: Path) -> np.ndarray:
    """All numbers of the file, (n,)."""
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)
    try:
        words = unpack(read_bytes(path, "BAL file", at_most=inf)).split()
    except (InputError, OSError, EOFError, ValueError, zlib.error):
        raise InputError(f"{path}: cannot be read; give a BAL file, or fetch it again") from None
    try:
        numbers = np.array(words, dtype="S").astype(float) if words else np.zeros(0)
    except ValueError:
        raise InputError(f"{path}: holds more than numbers; give a BAL file") from None
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: number {int((~np.isfinite(numbers)).argmax())} is not finite; fix it")
    return numbers
