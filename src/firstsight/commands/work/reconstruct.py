"""`firstsight reconstruct`: a folder of photos in; COLMAP's text model, a point cloud, a picture and a summary out."""

import io
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64, UInt8
from rich.console import Console

from firstsight import __version__
from firstsight.errors import InputError
from firstsight.formats.atomic import write_bytes, write_json
from firstsight.formats.colmap_model import write_colmap
from firstsight.formats.png import write_image
from firstsight.formats.point_cloud import write_ply
from firstsight.geometry.camera import field_of_view_intrinsics
from firstsight.kernels.compiling import announce_compilation
from firstsight.progress import progress_bars
from firstsight.recordings.files import image_files, read_intrinsics
from firstsight.recordings.image_folder import CALIBRATION_FILES
from firstsight.roles.reconstruction import Reconstruction
from firstsight.slam.photos.photo_matching import (
    Features,
    LensGroups,
    Pair,
    PhotoLens,
    calibrated,
    lens_groups,
    pair_of,
    pairs_to_try,
)
from firstsight.slam.photos.structure_from_motion import (
    Collection,
    Config,
    Outcome,
    Report,
    reconstruct,
    seen_photo,
)
from firstsight.terminal import notes, results, say
from firstsight.terminal import table as new_table

PANEL_PX, MARGIN_PX, DOT_PX = 720, 24, 2
BACKGROUND, CAMERA, WORDS = (18, 21, 26), (255, 84, 64), (200, 205, 212)
FRUSTUM = 0.16  # a drawn camera's length, in the reconstruction's unit
ABOVE = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])  # right and down in the panel, as world axes
ASIDE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The content of summary.json. `left_out` says of each photo that was not placed why."""

    version: str
    source: str
    settings: dict[str, Any]
    photos: int
    placed: int
    points: int
    observations: int
    mean_track_length: float
    mean_error_px: float
    pairs_matched: int
    lenses: list[dict[str, Any]]
    left_out: dict[str, str]
    seconds: float


def reconstruct_folder(
    photos: Path,
    out: Path | None = None,
    *,
    fov_deg: float | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> tuple[Path, Summary]:
    """Reconstructs the photos of a folder and writes what was found; returns where, and the summary.

    Features and matches are kept in the folder until it is complete, so that a killed run continues. Raises InputError
    where the photos cannot be read or do not overlap, or where `out` holds something else and `overwrite` is not given.
    """
    started, console = time.perf_counter(), console or notes()
    announce_compilation()
    paths, folder = photo_files(photos), out or Path("runs") / f"{photos.resolve().name}-reconstruction"
    work = Work(folder, {"photos": stamps(paths), "fov_deg": fov_deg, "version": __version__})
    work.begin(overwrite)
    with progress_bars(console) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done)

        collection, exact = collect(paths, fov_deg, work, report)
        try:
            outcome = reconstruct(collection, replace(Config(), lens="fixed") if exact else Config(), report)
        except InputError as error:
            raise InputError(f"{photos}: {error}") from None
    summary = summarised(str(photos), collection, outcome, exact, fov_deg, time.perf_counter() - started)
    write(folder, outcome.reconstruction, summary)
    work.finish()
    return folder, summary


# Reading


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
    """What tells a changed photo: its name, length and time of change."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def collect(paths: Sequence[Path], fov_deg: float | None, work: "Work", report: Report) -> tuple[Collection, bool]:
    """Features, lenses and verified pairs, those of a killed run read again; and whether the lens is known exactly."""
    config = Config().matching
    seen: list[tuple[Features, PhotoLens]] = []
    for path in paths:
        seen.append(work.features(path.name) or work.keep_features(path.name, seen_photo(path, config)))
        report("features", len(seen), len(paths))
    features = tuple(found for found, _ in seen)
    groups, exact = known_lenses(paths[0].parent, [lens for _, lens in seen], fov_deg)
    wanted, pairs = pairs_to_try(features, config), []
    for first in range(len(paths)):
        others = [b for a, b in wanted if a == first]
        kept = work.pairs(first)
        if kept is None:
            found = [pair_of(first, b, features, groups, config) for b in others]
            kept = work.keep_pairs(first, [pair for pair in found if pair is not None])
        pairs += kept
        report("matching pairs", sum(a <= first for a, _ in wanted), len(wanted))
    names = tuple(path.name for path in paths)
    return Collection(names, features, calibrated(groups, pairs), tuple(pairs)), exact


def known_lenses(folder: Path, photos: Sequence[PhotoLens], fov_deg: float | None) -> tuple[LensGroups, bool]:
    """Lenses from a calibration file beside photos of one size (exact), the given field of view, or the photos' notes."""
    groups = lens_groups(photos)
    calibration = next((folder / name for name in CALIBRATION_FILES if (folder / name).exists()), None)
    if calibration is not None:
        if len(set(map(tuple, groups.lenses.size.tolist()))) > 1:
            raise InputError(f"{calibration}: holds for photos of one size, these have several; remove it")
        intrinsics = np.tile(read_intrinsics(calibration), (len(groups.lenses.size), 1, 1))
    elif fov_deg is not None:
        if not 1 <= fov_deg <= 175:
            raise InputError(f"--fov-deg is {fov_deg:g}; a field of view lies between 1 and 175 degrees")
        sizes = groups.lenses.size.tolist()
        intrinsics = np.stack([field_of_view_intrinsics(*size, math.radians(fov_deg)).numpy() for size in sizes])
    else:
        return groups, False
    lenses = groups.lenses._replace(intrinsics=intrinsics)
    return LensGroups(groups.lens, lenses, np.zeros(len(intrinsics), bool)), calibration is not None


@dataclass(frozen=True)
class Work:
    """The output folder while it is being filled: what a killed run need not do again is in `.work`."""

    folder: Path
    settings: dict[str, Any]

    @property
    def scratch(self) -> Path:
        return self.folder / ".work"

    def begin(self, overwrite: bool) -> None:
        """Raises InputError where the folder holds something else."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: is a file; choose another --out")
        ours = any((self.folder / name).exists() for name in ("summary.json", ".work"))
        if self.folder.exists() and any(self.folder.iterdir()) and not ours:
            raise InputError(f"{self.folder}: the folder holds other files; choose another --out")
        if (self.folder / "summary.json").exists() and not overwrite:
            raise InputError(f"{self.folder}: holds a reconstruction; choose another --out, or --overwrite it")
        settings = self.scratch / "settings.json"
        if overwrite or not settings.exists() or settings.read_bytes() != _json(self.settings):
            shutil.rmtree(self.scratch, ignore_errors=True)
            (self.folder / "summary.json").unlink(missing_ok=True)
            write_bytes(settings, _json(self.settings))

    def finish(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def features(self, name: str) -> tuple[Features, PhotoLens] | None:
        kept = _loaded(self.scratch / "features" / f"{name}.npz")
        if kept is None:
            return None
        focal_px, size = float(kept["focal_px"]), tuple(kept["size"].tolist())
        lens = PhotoLens((size[0], size[1]), focal_px if focal_px > 0 else None, str(kept["camera"]))
        return Features(kept["pixels"], kept["descriptors"], kept["colours"]), lens

    def keep_features(self, name: str, seen: tuple[Features, PhotoLens]) -> tuple[Features, PhotoLens]:
        found, lens = seen
        notes = {
            "size": np.array(lens.size),
            "focal_px": np.array(lens.focal_px or 0.0),
            "camera": np.array(lens.camera),
        }
        _store(self.scratch / "features" / f"{name}.npz", found._asdict() | notes)
        return seen

    def pairs(self, first: int) -> list[Pair] | None:
        kept = _loaded(self.scratch / "pairs" / f"{first:06d}.npz")
        if kept is None:
            return None
        rows = np.split(kept["rows"], np.cumsum(kept["counts"])[:-1])
        both = zip(kept["second"].tolist(), rows, kept["general"].tolist(), kept["fundamental"], strict=False)
        return [Pair(first, b, of_pair, general, matrix) for b, of_pair, general, matrix in both]

    def keep_pairs(self, first: int, pairs: list[Pair]) -> list[Pair]:
        content = {
            "second": np.array([pair.b for pair in pairs], np.int64),
            "counts": np.array([len(pair.rows) for pair in pairs], np.int64),
            "rows": np.concatenate([pair.rows for pair in pairs] or [np.zeros((0, 2), np.int64)]),
            "general": np.array([pair.general for pair in pairs], bool),
            "fundamental": np.array([pair.fundamental for pair in pairs], np.float64).reshape(-1, 3, 3),
        }
        _store(self.scratch / "pairs" / f"{first:06d}.npz", content)
        return pairs


def _json(content: Any) -> bytes:

    return json.dumps(content).encode()


def _store(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # ty: ignore[invalid-argument-type]
    write_bytes(path, buffer.getvalue())


def _loaded(path: Path) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    with np.load(path) as kept:
        return dict(kept)


# Writing


def summarised(
    source: str, collection: Collection, outcome: Outcome, exact: bool, fov_deg: float | None, seconds: float
) -> Summary:
    found, assumed = outcome.reconstruction, collection.groups.assumed
    used = np.unique(collection.groups.lens[[collection.names.index(name) for name in found.names]])
    origin = {True: "assumed, then refined", False: "given" if exact else "given or from the photo, then refined"}
    lenses = [
        {
            "width": int(size[1]),
            "height": int(size[0]),
            "focal_px": round(float(intrinsics[0, 0]), 3),
            "radial": [round(float(k), 6) for k in radial],
            "focal_length": origin[bool(assumed[lens])],
        }
        for lens, size, intrinsics, radial in zip(used, *found.lenses, strict=True)
    ]
    return Summary(
        version=__version__,
        source=source,
        settings={"fov_deg": fov_deg},
        photos=len(collection.names),
        placed=len(found.names),
        points=len(found.points_world),
        observations=len(found.observations.point),
        mean_track_length=len(found.observations.point) / max(len(found.points_world), 1),
        mean_error_px=outcome.mean_error_px,
        pairs_matched=len(collection.pairs),
        lenses=lenses,
        left_out=outcome.left_out,
        seconds=round(seconds, 2),
    )


def write(folder: Path, found: Reconstruction, summary: Summary) -> None:
    """The summary is written last: a folder that has it is complete."""
    write_colmap(folder, found)
    comment = "firstsight reconstruct; z up, the unit is arbitrary"
    write_ply(folder / "points.ply", found.points_world.astype(np.float32), found.colours, comment)
    write_image(folder / "reconstruction.png", picture(found))
    write_json(folder / "summary.json", asdict(summary))


def print_summary(folder: Path, summary: Summary) -> None:
    table = new_table("reconstruction", "")
    table.add_row("photos placed", f"{summary.placed} of {summary.photos}")
    table.add_row("points", f"{summary.points}")
    table.add_row("mean reprojection error", f"{summary.mean_error_px:.3f} px")
    table.add_row("mean track length", f"{summary.mean_track_length:.2f} photos")
    for lens in summary.lenses:
        size = f"{lens['width']}x{lens['height']}"
        table.add_row(f"focal length ({size})", f"{lens['focal_px']:.1f} px, {lens['focal_length']}")
    table.add_row("time", f"{summary.seconds:.1f} s")
    results().print(table)
    for name, reason in summary.left_out.items():
        say(f"left out: {name}: {reason}")
    say("scale: unknown (photos alone do not tell it)")
    say(f"written: {folder} (COLMAP text model, points.ply, reconstruction.png, summary.json)")


def picture(found: Reconstruction) -> UInt8[np.ndarray, "height width 3"]:
    """Points and cameras from above and from the right, both at one scale."""
    centres = found.world_from_camera[:, :3, 3]
    lower, upper = np.percentile(found.points_world, [2, 98], axis=0)
    lower = np.minimum(lower, centres.min(0)) - FRUSTUM
    upper = np.maximum(upper, centres.max(0)) + FRUSTUM
    scale = (PANEL_PX - 2 * MARGIN_PX) / float((upper - lower).max())
    middle = (lower + upper) / 2
    panels = [
        panel(found, axes, middle, scale, words) for axes, words in ((ABOVE, "from above"), (ASIDE, "from the right"))
    ]
    return np.concatenate(panels, 1)


def panel(
    found: Reconstruction,
    axes: Float64[np.ndarray, "2 3"],
    middle: Float64[np.ndarray, "3"],
    scale: float,
    words: str,
) -> UInt8[np.ndarray, "height width 3"]:
    """One parallel projection; near points over far ones, cameras over points."""

    def placed(points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2"]:
        return scale * (points - middle) @ axes.T + PANEL_PX / 2

    canvas = np.full((PANEL_PX, PANEL_PX, 3), BACKGROUND, np.uint8)
    far_first = np.argsort(found.points_world @ -np.cross(*axes), kind="stable")
    columns, rows = np.rint(placed(found.points_world[far_first])).astype(int).T
    colours = found.colours[far_first]
    for dy, dx in np.ndindex(DOT_PX, DOT_PX):
        inside = (rows >= 0) & (rows < PANEL_PX - dy) & (columns >= 0) & (columns < PANEL_PX - dx)
        canvas[rows[inside] + dy, columns[inside] + dx] = colours[inside]
    for pose, lens in zip(found.world_from_camera, found.lens, strict=True):
        corners = frustum(pose, found.lenses.intrinsics[lens], found.lenses.size[lens])
        apex, *rim = (np.rint(placed(corners) * 16).astype(np.int32)).tolist()
        lines = [np.array(rim), *(np.array([apex, corner]) for corner in rim)]
        cv2.polylines(canvas, lines, True, CAMERA, 1, cv2.LINE_AA, 4)
    cv2.putText(canvas, words, (MARGIN_PX, MARGIN_PX), cv2.FONT_HERSHEY_SIMPLEX, 0.5, WORDS, 1, cv2.LINE_AA)
    return canvas


def frustum(
    world_from_camera: Float64[np.ndarray, "4 4"], intrinsics: Float64[np.ndarray, "3 3"], size: np.ndarray
) -> Float64[np.ndarray, "5 3"]:
    """A camera's centre and the corners of its picture."""
    height, width = size
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1.0]])
    corners = FRUSTUM * pixels @ np.linalg.inv(intrinsics).T
    return np.concatenate([np.zeros((1, 3)), corners]) @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]
