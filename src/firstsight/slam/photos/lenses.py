"""What is known of the lenses of photos before anything is reconstructed, and rays through them.

Idea:   photos of one size and camera share a lens; its focal length is in the photo's EXIF notes, or assumed  -> lens_groups()
        a ray (x, y, 1) is seen at K (d x, d y, 1), d = 1 + k1 r^2 + k2 r^4; undone by iteration     -> straight_rays()
Units:  pixels of the photo as it is stored; the top-left centre is (0, 0).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from PIL import ExifTags
from PIL import Image as PillowImage

from firstsight.roles.reconstruction import Lenses

# mm, of 35 mm film, to which equivalent focal lengths refer
DIAGONAL_35MM = 43.2666
# of the longer side, where nothing is known
ASSUMED_FOCAL = 1.2
MM_PER_UNIT = {2: 25.4, 3: 10.0}
UNDISTORTION_STEPS = 10


class PhotoLens(NamedTuple):
    """`focal_px` as the photo's own notes have it, None where they say nothing; `camera` is the maker's name for it."""

    size: tuple[int, int]
    focal_px: float | None
    camera: str


def photo_lens(path: Path, size: tuple[int, int]) -> PhotoLens:
    """What the photo's EXIF notes say; `size` is (height, width) of the decoded photo."""
    try:
        with PillowImage.open(path) as image:
            notes = image.getexif()
            camera = " ".join(str(notes.get(tag, "")).strip() for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
            details = notes.get_ifd(ExifTags.IFD.Exif)
    except (OSError, SyntaxError, ValueError, PillowImage.DecompressionBombError):
        return PhotoLens(size, None, "")
    equivalent_mm = _number(details.get(ExifTags.Base.FocalLengthIn35mmFilm))
    focal_mm = _number(details.get(ExifTags.Base.FocalLength))
    camera = camera.strip()
    if focal_mm or equivalent_mm:
        camera = f"{camera} {focal_mm or equivalent_mm:g} mm".strip()
    if equivalent_mm > 0:
        return PhotoLens(size, equivalent_mm * float(np.hypot(*size)) / DIAGONAL_35MM, camera)
    per_unit = _number(details.get(ExifTags.Base.FocalPlaneXResolution))
    unit_mm = MM_PER_UNIT.get(int(_number(details.get(ExifTags.Base.FocalPlaneResolutionUnit)) or 2), 25.4)
    focal_px = focal_mm * per_unit / unit_mm
    return PhotoLens(size, focal_px if focal_px > 0 else None, camera)


def _number(value: object) -> float:
    """A number of EXIF notes; 0 where there is none, or one that cannot be (0 / 0)."""
    try:
        number = float(value)  # ty: ignore[invalid-argument-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if np.isfinite(number) else 0.0


class LensGroups(NamedTuple):
    """Photos of one size and camera share a lens; where its focal length is `assumed`, nothing was known of it."""

    lens: Int64[np.ndarray, " photos"]
    lenses: Lenses
    assumed: Bool[np.ndarray, " lenses"]


def lens_groups(photos: Sequence[PhotoLens]) -> LensGroups:
    """The lenses of photos, without distortion, in the order in which their photos come."""
    keys = {key: i for i, key in enumerate(dict.fromkeys((photo.size, photo.camera) for photo in photos))}
    lens = np.array([keys[photo.size, photo.camera] for photo in photos], np.int64)
    focal = [next(photo.focal_px for photo in photos if (photo.size, photo.camera) == key) for key in keys]
    sizes = np.array([size for size, _ in keys], np.int64).reshape(-1, 2)
    assumed = np.array([f is None for f in focal])
    focal_px = [f or ASSUMED_FOCAL * max(size) for f, size in zip(focal, sizes, strict=True)]
    intrinsics = np.stack([centred_intrinsics(f, size) for f, size in zip(focal_px, sizes, strict=True)])
    return LensGroups(lens, Lenses(sizes, intrinsics, np.zeros((len(sizes), 2))), assumed)


def centred_intrinsics(focal_px: float, size: Int64[np.ndarray, "2"]) -> Float64[np.ndarray, "3 3"]:
    """Square pixels, and the axis through the middle of the photo."""
    height, width = size
    return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1.0]])


def straight_rays(
    pixels: Float64[np.ndarray, "rows 2"], lenses: Lenses, lens: Int64[np.ndarray, " rows"]
) -> Float64[np.ndarray, "rows 2"]:
    """Points on the plane z = 1, by fixed-point iteration x = x_seen / d(x)."""
    intrinsics, (k1, k2) = lenses.intrinsics[lens], lenses.radial[lens].T
    bent = (pixels - intrinsics[:, :2, 2]) / intrinsics[:, [0, 1], [0, 1]]
    straight = bent
    if not lenses.radial.any():
        return straight
    for _ in range(UNDISTORTION_STEPS):
        squared = (straight**2).sum(1)
        straight = bent / np.maximum(1 + squared * (k1 + squared * k2), 0.1)[:, None]
    return straight
