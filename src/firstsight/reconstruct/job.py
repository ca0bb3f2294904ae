"""A folder of photos in; COLMAP's text model, a point cloud, an image and a summary out."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from firstsight import __version__
from firstsight.errors import InputError
from firstsight.formats.colmap_model import write_colmap
from firstsight.formats.png import write_image
from firstsight.formats.point_cloud import write_ply
from firstsight.formats.storage.atomic import write_json
from firstsight.kernels.compiling import announce_compilation
from firstsight.progress import progress_bars
from firstsight.reconstruct.photo_folder import known_lenses, photo_files, stamps
from firstsight.reconstruct.scratch import Scratch, features_key
from firstsight.roles.reconstruction import Reconstruction
from firstsight.show.reconstruction_image import draw_reconstruction
from firstsight.slam.photos.features import Features
from firstsight.slam.photos.growth import Report
from firstsight.slam.photos.lenses import PhotoLens
from firstsight.slam.photos.pairs import Pair, pair_of, pairs_to_try
from firstsight.slam.photos.self_calibration import calibrated
from firstsight.slam.photos.structure_from_motion import Collection, Config, Outcome, reconstruct, seen_photo
from firstsight.terminal import notes

Seen = dict[str, tuple[Features, PhotoLens]]
# of a lens, by whether its focal length was assumed
ASSUMED = "assumed, then refined"


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
    photos: Path | str,
    out: Path | str | None = None,
    *,
    fov_deg: float | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> tuple[Path, Summary]:
    """Reconstructs the photos of a folder and writes what was found; returns where, and the summary.

    Features and matches are kept in the folder until it is complete, so that a killed run continues. Raises InputError
    where the photos cannot be read or do not overlap, or where `out` holds something else and `overwrite` is not given.
    """
    started, console, photos = time.perf_counter(), console or notes(), Path(photos)
    announce_compilation()
    paths = photo_files(photos)
    folder = Path(out) if out is not None else Path("runs") / f"{photos.resolve().name}-reconstruction"
    scratch = Scratch(folder, {"photos": stamps(paths), "fov_deg": fov_deg, "version": __version__})
    scratch.begin(overwrite)
    with progress_bars(console) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done)

        seen, unreadable = seen_photos(paths, scratch, report)
        collection, exact = collect(seen, photos, fov_deg, scratch, report)
        try:
            outcome = reconstruct(collection, replace(Config(), lens="fixed") if exact else Config(), report)
        except InputError as error:
            raise InputError(f"{photos}: {error}") from None
    outcome.left_out.update(unreadable)
    summary = summarised(str(photos), collection, outcome, exact, fov_deg, time.perf_counter() - started)
    write(folder, outcome.reconstruction, summary)
    scratch.clear()
    return folder, summary


def seen_photos(paths: Sequence[Path], scratch: Scratch, report: Report) -> tuple[Seen, dict[str, str]]:
    """What is seen in each photo, by name, and why in others nothing is: a photo that cannot be read is left out.

    Raises InputError where less than two can be read.
    """
    config = Config().matching
    seen: Seen = {}
    unreadable: dict[str, str] = {}
    for done, path in enumerate(paths, 1):
        try:
            seen[path.name] = scratch.features(path.name, lambda photo=path: seen_photo(photo, config))
        except InputError as error:
            unreadable[path.name] = str(error)
        report("features", done, len(paths))
    if len(seen) < 2:
        raise InputError(f"{len(unreadable)} of {len(paths)} photos cannot be read; {next(iter(unreadable.values()))}")
    return seen, unreadable


def collect(
    seen: Seen, folder: Path, fov_deg: float | None, scratch: Scratch, report: Report
) -> tuple[Collection, bool]:
    """Features, lenses and verified pairs, those of a killed run read again; and whether the lens is known exactly."""
    config, names = Config().matching, tuple(seen)
    features = tuple(found for found, _ in seen.values())
    groups, exact = known_lenses(folder, [lens for _, lens in seen.values()], fov_deg)

    def verified(first: int, others: Sequence[int]) -> list[Pair]:
        found = [pair_of(first, second, features, groups, config) for second in others]
        return [pair for pair in found if pair is not None]

    wanted, key, pairs = pairs_to_try(features, config), features_key(features), []
    for first in range(len(names)):
        others = [b for a, b in wanted if a == first]
        pairs += scratch.pairs(first, key, lambda a=first, b=others: verified(a, b))
        report("matching pairs", sum(a <= first for a, _ in wanted), len(wanted))
    return Collection(names, features, calibrated(groups, pairs), tuple(pairs)), exact


def summarised(
    source: str, collection: Collection, outcome: Outcome, exact: bool, fov_deg: float | None, seconds: float
) -> Summary:
    """What summary.json says; `exact` where the lens was given beside the photos."""
    found = outcome.reconstruction
    return Summary(
        version=__version__,
        source=source,
        settings={"fov_deg": fov_deg},
        photos=len({*collection.names, *outcome.left_out}),
        placed=len(found.names),
        points=len(found.points_world),
        observations=len(found.observations.point),
        mean_track_length=len(found.observations.point) / max(len(found.points_world), 1),
        mean_error_px=outcome.mean_error_px,
        pairs_matched=len(collection.pairs),
        lenses=lens_notes(collection, found, exact),
        left_out=outcome.left_out,
        seconds=round(seconds, 2),
    )


def lens_notes(collection: Collection, found: Reconstruction, exact: bool) -> list[dict[str, Any]]:
    """Returns each lens's size, focal length and distortion, and where the focal length came from."""
    groups = collection.groups
    used = np.unique(groups.lens[[collection.names.index(name) for name in found.names]])
    known = "given" if exact else "given or from the photo, then refined"
    return [
        {
            "width": int(size[1]),
            "height": int(size[0]),
            "focal_px": round(float(intrinsics[0, 0]), 3),
            "radial": [round(float(k), 6) for k in radial],
            "focal_length": ASSUMED if groups.assumed[lens] else known,
        }
        for lens, size, intrinsics, radial in zip(used, *found.lenses, strict=True)
    ]


def write(folder: Path, found: Reconstruction, summary: Summary) -> None:
    """Writes all files, the summary last: a folder that has it is complete."""
    write_colmap(folder, found)
    comment = "firstsight reconstruct; z up, the unit is arbitrary"
    write_ply(folder / "points.ply", found.points_world.astype(np.float32), found.colours, comment)
    write_image(folder / "reconstruction.png", draw_reconstruction(found))
    write_json(folder / "summary.json", asdict(summary))
