"""Adjusting the model: the new photo and its neighbours, or everything, each followed by settling."""

import numpy as np
from jaxtyping import Bool

from firstsight.optimisation import bundle_adjustment
from firstsight.optimisation.robust_kernels import Kernel
from firstsight.slam.photos.model import Config, LensFreedom, Model
from firstsight.slam.photos.settling import settle, settle_points
from firstsight.slam.photos.triangulation import triangulate

# photos that are adjusted with a new one
NEIGHBOURS = 6
# each adjustment is followed by another, so that it need not converge
STEPS, TOLERANCE = 30, 1e-4
# of the sightings: if fewer change, adjusting all once more changes little
CHANGED_SHARE = 1e-3
# photos that can tell focal lengths, and distortion too, from the scene
FOCAL_PHOTOS, RADIAL_PHOTOS = 3, 6


def adjust_near(model: Model, photo: int, config: Config) -> None:
    """The new photo and those that share most points with it; all other photos stay."""
    if not config.adjusts:
        return
    in_photo = np.zeros(model.tracks.points, bool)
    in_photo[model.tracks.track[model.used & (model.tracks.photo == photo)]] = True
    shared = np.bincount(model.tracks.photo[model.used & in_photo[model.tracks.track]], minlength=len(model.registered))
    free = np.argsort(-shared, kind="stable")[: NEIGHBOURS + 1]
    free = free[shared[free] > 0]
    fixed = np.ones(len(model.registered), bool)
    fixed[free] = False
    touched = np.zeros(model.tracks.points, bool)
    touched[model.tracks.track[model.used & ~fixed[model.tracks.photo]]] = True
    run_adjustment(model, fixed, touched, "fixed", config)
    settle_points(model, np.flatnonzero(touched), config)


def adjust_all(model: Model, config: Config, rounds: int) -> None:
    """Adjusts, settles and triangulates again until little changes."""
    for _ in range(rounds):
        before = model.used.copy()
        if config.adjusts:
            run_adjustment(model, ~model.registered, model.known, lens_freedom(model, config), config)
        settle(model, config)
        triangulate(model, ~model.known, config)
        if (before != model.used).sum() < CHANGED_SHARE * before.sum():
            return


def lens_freedom(model: Model, config: Config) -> LensFreedom:
    """Few photos cannot tell a lens from the scene."""
    photos = int(model.registered.sum())
    if config.lens == "fixed" or photos < FOCAL_PHOTOS:
        return "fixed"
    return "focal" if photos < RADIAL_PHOTOS else config.lens


def run_adjustment(
    model: Model,
    fixed: Bool[np.ndarray, " photos"],
    wanted: Bool[np.ndarray, " points"],
    lens: LensFreedom,
    config: Config,
) -> None:
    """Moves the photos that are not `fixed`, the wanted points, and what `lens` sets free, to where sightings agree best."""
    rows = np.flatnonzero(model.used & wanted[model.tracks.track])
    number = np.cumsum(wanted) - 1
    problem = model.seen_as(model.points[wanted], rows, number[model.tracks.track[rows]])
    settings = bundle_adjustment.Config(
        kernel=Kernel.HUBER,
        threshold_px=config.kernel_px,
        lens=lens,
        max_iterations=STEPS,
        relative_tolerance=TOLERANCE,
    )
    found = bundle_adjustment.adjust(problem, settings, fixed).reconstruction
    model.world_from_camera, model.lenses = found.world_from_camera, found.lenses
    model.points[wanted] = found.points_world
