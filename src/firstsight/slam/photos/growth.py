"""Growing: the photo that sees most known points, best spread, is placed next, and what it adds is made known.

Source: Schoenberger, Frahm. Structure-from-Motion Revisited. CVPR 2016, section 4.2.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.optimisation.pnp import robust_pnp
from firstsight.roles.reconstruction import Lenses
from firstsight.slam.photos.adjustment import adjust_all, adjust_near
from firstsight.slam.photos.model import Config, Model
from firstsight.slam.photos.triangulation import triangulate

# of photos or points, after which everything is adjusted
GROWTH = 1.1
# for a photo that does not fit at first
TRIES = 3
# times the focal length, tried for a photo whose lens nothing is known of
OTHER_FOCALS = (1.0, 0.5, 0.6, 0.7, 0.83, 1.2, 1.44, 1.73, 2.07)

Report = Callable[[str, int, int], None]
"""Is told (what is being done, how much is done, of how much)."""


def silent(what: str, done: int, of: int) -> None:
    """A report that nobody hears."""


def grow(model: Model, config: Config, photos: int, report: Report) -> None:
    """Takes in photo after photo until none is left that has not been tried often enough."""
    tries, adjusted = np.zeros(len(model.registered), np.int64), size_of(model)
    while (photo := next_photo(model, tries, config)) is not None:
        report("placing photos", int(model.registered.sum()), photos)
        tries[photo] += 1
        if not register(model, photo, config):
            continue
        of_photo = np.zeros(model.tracks.points, bool)
        of_photo[model.tracks.track[model.tracks.photo == photo]] = True
        triangulate(model, of_photo & ~model.known, config)
        adjust_near(model, photo, config)
        if (size_of(model) > GROWTH * adjusted).any():
            adjust_all(model, config, rounds=1)
            adjusted = size_of(model)
    adjust_all(model, config, rounds=5)
    report("placing photos", int(model.registered.sum()), photos)


def size_of(model: Model) -> Int64[np.ndarray, "2"]:
    """(photos, points) that are known."""
    return np.array([model.registered.sum(), model.known.sum()])


def next_photo(model: Model, tries: Int64[np.ndarray, " photos"], config: Config) -> int | None:
    """Returns, of the photos tried least, the one whose known points are most and best spread; None where none sees enough."""
    rows = np.flatnonzero(model.known[model.tracks.track] & ~model.placed)
    best, best_rank = None, (-TRIES, 0)
    for photo in np.unique(model.tracks.photo[rows]).tolist():
        of_photo = rows[model.tracks.photo[rows] == photo]
        if len(of_photo) >= config.min_seen:
            rank = -int(tries[photo]), spread(model.pixels[of_photo], model.lenses.size[model.lens[photo]])
            best, best_rank = (photo, rank) if rank > best_rank else (best, best_rank)
    return best if best_rank[0] > -TRIES else None


def spread(pixels: Float64[np.ndarray, "n 2"], size: Int64[np.ndarray, "2"], levels: int = 6) -> int:
    """Cells of grids of 2 x 2, 4 x 4, ... that hold a point, each grid's counted as often as it is wide, twice over.

    Source: Schoenberger and Frahm (2016), section 4.2.
    """
    total = 0
    for level in range(1, levels + 1):
        cell = np.clip((pixels + 0.5) / size[::-1] * 2**level, 0, 2**level - 1).astype(int)
        total += len(np.unique(cell[:, 1] * 2**level + cell[:, 0])) * 4**level
    return total


def register(model: Model, photo: int, config: Config) -> bool:
    """Finds the photo's pose from the known points it sees; False where too few agree."""
    rows = np.flatnonzero((model.tracks.photo == photo) & model.known[model.tracks.track])
    points, lens = model.points[model.tracks.track[rows]], int(model.lens[photo])
    first_of_lens = model.collection.groups.assumed[lens] and not (model.lens[model.registered] == lens).any()
    ideal = model.rays(rows) * model.lenses.intrinsics[lens].diagonal()[:2] + model.lenses.intrinsics[lens, :2, 2]
    best, best_scale = None, 1.0
    for scale in OTHER_FOCALS if first_of_lens else (1.0,):
        intrinsics = model.lenses.intrinsics[lens] * np.array([[scale, 1, 1], [1, scale, 1], [1, 1, 1]])
        found = robust_pnp(points, ideal, intrinsics, float(model.threshold_px[rows[0]]), config.min_seen)
        if found is not None and (best is None or found.inliers.sum() > best.inliers.sum()):
            best, best_scale = found, scale
    if best is None or best.inliers.mean() < config.min_share:
        return False
    if best_scale != 1:
        model.lenses = with_focal(model.lenses, lens, best_scale)
    model.world_from_camera[photo] = np.linalg.inv(best.camera_from_world)
    model.registered[photo] = True
    model.used[rows[best.inliers]] = True
    return True


def with_focal(lenses: Lenses, lens: int, scale: float) -> Lenses:
    """The lenses, the focal length of one times `scale`."""
    intrinsics = lenses.intrinsics.copy()
    intrinsics[lens, [0, 1], [0, 1]] *= scale
    return lenses._replace(intrinsics=intrinsics)
