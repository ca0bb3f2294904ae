"""Structure from motion: where unordered photos of one scene were taken from, and the scene's points.

Paper:  Snavely, Seitz, Szeliski. Photo Tourism. SIGGRAPH 2006; Schoenberger, Frahm. Structure-from-Motion Revisited.
        CVPR 2016 (COLMAP); Hartley, Zisserman. Multiple View Geometry. 2004, sections 9.6, 12.2 (E, triangulation).
Idea:   features, pairs and what is known of the lenses        features.py, pairs.py, lenses.py, self_calibration.py
        tracks: features of many photos that show one point                                           tracks.py
        start   the pair whose points are seen under the largest angles together, not planar          start.py
        next    the photo with the most known points, best spread over it; its pose from them (PnP in RANSAC)
                                                                                                      growth.py
        points  of two views each, by direct linear transform; the one most views agree on,
                then from all of them                                                                 triangulation.py
        adjust  min sum rho(|pi(K_l, T_i, X_j) - x_ij|^2): the new photo and its neighbours, and all
                whenever the model has grown by a tenth                                               adjustment.py
        settle  sightings off by more than a threshold go, points without two of them or without angle
                too; sightings that fit by now come back, lost points are triangulated again          settling.py
Differs: tracks are made once, before; COLMAP grows them with the model. Photos that do not fit are left out with a reason;
        of several scenes the largest is kept.
Role:   Reconstructor. Photos in; cameras, lenses and points out, z up as far as photos are held level, the unit arbitrary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.optimisation import bundle_adjustment
from firstsight.roles import Reconstructor
from firstsight.roles.reconstruction import Reconstruction
from firstsight.slam.photos.features import Features, MatchingConfig, photo_features
from firstsight.slam.photos.growth import Report, grow, silent
from firstsight.slam.photos.lenses import PhotoLens, lens_groups, photo_lens
from firstsight.slam.photos.model import Collection, Config, Model
from firstsight.slam.photos.pairs import pair_of, pairs_to_try
from firstsight.slam.photos.self_calibration import calibrated
from firstsight.slam.photos.start import initial_model, start_pairs
from firstsight.slam.photos.tracks import Tracks, joined_tracks

# starts that are tried while less than half of the photos fit
STARTS = 3


class Outcome(NamedTuple):
    """`left_out` says of each photo that is not in the reconstruction why; `mean_error_px` is of its observations."""

    reconstruction: Reconstruction
    left_out: dict[str, str]
    mean_error_px: float
    tracks: Tracks
    attempts: int


@final
class StructureFromMotion(Reconstructor):
    """Raises InputError where the photos cannot be read or do not overlap."""

    def __init__(self, config: Config | None = None, report: Report = silent):
        self.config, self.report = config or Config(), report

    def reconstruct(self, photos: Sequence[Path]) -> Reconstruction:
        return reconstruct(collected(photos, self.config.matching), self.config, self.report).reconstruction


def collected(photos: Sequence[Path], config: MatchingConfig) -> Collection:
    """Features and lenses of photos, and the pairs that overlap."""
    seen = [seen_photo(path, config) for path in photos]
    features = tuple(found for found, _ in seen)
    groups = lens_groups([lens for _, lens in seen])
    pairs = [pair_of(a, b, features, groups, config) for a, b in pairs_to_try(features, config)]
    kept = tuple(pair for pair in pairs if pair is not None)
    return Collection(tuple(path.name for path in photos), features, calibrated(groups, kept), kept)


def seen_photo(path: Path, config: MatchingConfig) -> tuple[Features, PhotoLens]:
    """The features of a photo, and what its notes say of its lens. Raises InputError where it cannot be read."""
    photo = png.read_image(path, white=None)
    return photo_features(photo, config), photo_lens(path, photo.shape[:2])


def reconstruct(collection: Collection, config: Config, report: Report = silent) -> Outcome:
    """The largest scene that photos show together. Raises InputError where no two photos make a start."""
    scene, left_out = largest_scene(collection)
    pairs = [pair for pair in collection.pairs if pair.a in scene]
    tracks = joined_tracks(pairs, [len(found.pixels) for found in collection.features])
    best, attempts = None, 0
    for start in start_pairs(collection, pairs, config)[:STARTS]:
        if best is not None and 2 * placed(best) >= len(scene):
            break
        model, attempts = initial_model(collection, tracks, start, config), attempts + 1
        grow(model, config, len(scene), report)
        if best is None or placed(model) > placed(best):
            best = model
    if best is None or placed(best) < 2:
        raise InputError("no two photos see the same points from different places; take more photos, each a step aside")
    for photo in scene - set(np.flatnonzero(best.registered).tolist()):
        left_out[collection.names[photo]] = "too few of its points agree with the others"
    found = levelled(best.reconstruction())
    error_px = np.linalg.norm(bundle_adjustment.residuals(found), axis=1)
    return Outcome(found, left_out, float(error_px.mean()), tracks, attempts)


def placed(model: Model) -> int:
    """How many photos have a pose."""
    return int(model.registered.sum())


def largest_scene(collection: Collection) -> tuple[set[int], dict[str, str]]:
    """The photos of the largest connected part of the graph of pairs, and why each other one is not of it."""
    count = len(collection.names)
    a, b = np.array([(pair.a, pair.b) for pair in collection.pairs], np.int64).reshape(-1, 2).T
    _, part = connected_components(coo_array((np.ones(len(a)), (a, b)), (count, count)), directed=False)
    sizes = np.bincount(part)
    if sizes.max() < 2:
        raise InputError("no two photos show the same points; take photos that overlap by half or more")
    largest = int(sizes.argmax())
    apart = np.flatnonzero(part != largest)
    left_out = {collection.names[photo]: why_apart(int(sizes[part[photo]])) for photo in apart}
    return set(np.flatnonzero(part == largest).tolist()), left_out


def why_apart(photos: int) -> str:
    """Why a photo of a smaller part of so many photos is left out."""
    if photos == 1:
        return "shows nothing that another photo shows"
    return f"belongs to another scene, of {photos} photos"


def levelled(found: Reconstruction) -> Reconstruction:
    """Turned so that z is up, moved to the middle of the photos, and scaled so that they lie at 1 from it (root mean square).

    Up is across the x axes of all photos, as they are held level more or less, on the side of their tops.
    """
    right, down = found.world_from_camera[:, :3, 0], found.world_from_camera[:, :3, 1]
    up = np.linalg.svd(right)[2][2] if len(right) > 2 else -down.mean(0)
    up = up * np.sign(-(down @ up).sum() or 1.0) / np.linalg.norm(up)
    ahead = found.world_from_camera[:, :3, 2].mean(0)
    ahead = ahead - (ahead @ up) * up
    if np.linalg.norm(ahead) < 1e-3:
        ahead = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    x = ahead / np.linalg.norm(ahead)
    level_from_world = np.stack([x, np.cross(up, x), up])
    centres = found.world_from_camera[:, :3, 3]
    middle = centres.mean(0)
    scale = 1 / max(float(np.sqrt(((centres - middle) ** 2).sum(1).mean())), 1e-12)
    poses = found.world_from_camera.copy()
    poses[:, :3, :3] = level_from_world @ poses[:, :3, :3]
    poses[:, :3, 3] = scale * (centres - middle) @ level_from_world.T
    points = scale * (found.points_world - middle) @ level_from_world.T
    return found._replace(world_from_camera=poses, points_world=points)
