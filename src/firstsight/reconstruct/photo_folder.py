"""A folder of photos: which files they are, and what is known of their lenses."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firstsight.errors import InputError
from firstsight.geometry.camera import field_of_view_intrinsics
from firstsight.recordings.files import image_files, intrinsics_beside
from firstsight.slam.photos.lenses import LensGroups, PhotoLens, lens_groups

# degrees
MIN_FOV, MAX_FOV = 1, 175


def photo_files(folder: Path) -> list[Path]:
    """Raises InputError where there are not two photos, or a name that COLMAP's text cannot hold."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds the photos")
    paths = image_files(folder)
    if len(paths) < 2:
        holds = "one photo only" if paths else "no photos (png, jpg, ...)"
        raise InputError(f"{folder}: holds {holds}; put in photos of one scene from two places or more")
    spaced = next((path for path in paths if len(path.name.split()) != 1), None)
    if spaced is not None:
        raise InputError(f"{spaced}: COLMAP's text model holds no names with spaces; rename it")
    return paths


def stamps(paths: Sequence[Path]) -> list[list[Any]]:
    """What tells a changed photo: its name, length and time of change; of a link to nothing its name alone."""
    known = {path: path.stat() for path in paths if path.exists()}
    return [
        [path.name, known[path].st_size, known[path].st_mtime_ns] if path in known else [path.name] for path in paths
    ]


def known_lenses(folder: Path, photos: Sequence[PhotoLens], fov_deg: float | None) -> tuple[LensGroups, bool]:
    """Lenses from a calibration file beside photos of one size (exact), the given field of view, or the photos' notes."""
    groups = lens_groups(photos)
    calibration = intrinsics_beside(folder)
    if calibration is not None:
        path, matrix = calibration
        if len(set(map(tuple, groups.lenses.size.tolist()))) > 1:
            raise InputError(f"{path}: holds for photos of one size, these have several; remove it")
        intrinsics = np.tile(matrix, (len(groups.lenses.size), 1, 1))
    elif fov_deg is not None:
        if not MIN_FOV <= fov_deg <= MAX_FOV:
            raise InputError(f"--fov-deg is {fov_deg:g}; a field of view lies between {MIN_FOV} and {MAX_FOV} degrees")
        sizes = groups.lenses.size.tolist()
        intrinsics = np.stack([field_of_view_intrinsics(*size, math.radians(fov_deg)).numpy() for size in sizes])
    else:
        return groups, False
    lenses = groups.lenses._replace(intrinsics=intrinsics)
    return LensGroups(groups.lens, lenses, np.zeros(len(intrinsics), bool)), calibration is not None
