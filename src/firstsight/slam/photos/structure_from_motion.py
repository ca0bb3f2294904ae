"""Structure from motion: where unordered photos of one scene were taken from, and the scene's points.

Paper:  Snavely, Seitz, Szeliski. Photo Tourism. SIGGRAPH 2006; Schoenberger, Frahm. Structure-from-Motion Revisited.
        CVPR 2016 (COLMAP); Hartley, Zisserman. Multiple View Geometry. 2004, sections 9.6, 12.2 (E, triangulation).
Idea:   features, pairs and what is known of the lenses                                               photo_matching.py
        tracks: features of many photos that show one point                                           tracks.py
        start   the pair whose points are seen under the largest angles together, not planar          -> start_pairs()
        next    the photo with the most known points, best spread over it                             -> spread()
                its pose from them (PnP in RANSAC)                                                    -> register()
        points  of two views each, by direct linear transform; the one most views agree on,
                then from all of them                                                                 -> triangulate()
        adjust  min sum rho(|pi(K_l, T_i, X_j) - x_ij|^2): the new photo and its neighbours, and all
                whenever the model has grown by a tenth                                               bundle_adjustment.py
        settle  sightings off by more than a threshold go, points without two of them or without angle
                too; sightings that fit by now come back, lost points are triangulated again          -> settle()
Differs: tracks are made once, before; COLMAP grows them with the model. Photos that do not fit are left out with a reason;
        of several scenes the largest is kept.
Role:   Reconstructor. Photos in; cameras, lenses and points out, z up as far as photos are held level, the unit arbitrary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, no_type_check

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, UInt8
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.geometry import epipolar
from firstsight.optimisation import bundle_adjustment
from firstsight.optimisation.pnp import robust_pnp
from firstsight.optimisation.robust_kernels import Kernel
from firstsight.roles import Reconstructor
from firstsight.roles.reconstruction import Lenses, Observations, Reconstruction
from firstsight.slam.photos.photo_matching import (
    Features,
    LensGroups,
    MatchingConfig,
    Pair,
    PhotoLens,
    calibrated,
    essential_matrix,
    lens_groups,
    pair_of,
    pairs_to_try,
    photo_features,
    photo_lens,
    unit_px,
)
from firstsight.slam.photos.tracks import Tracks, joined_tracks

WIDE_RAD = np.radians(16)  # more angle than this makes a start no better
HYPOTHESES = 12  # pairs of views that are tried for a point
UNDISTORTION_STEPS = 10
ADJUSTMENT_STEPS, ADJUSTMENT_TOLERANCE = 30, 1e-4  # each is followed by another
OTHER_FOCALS = (1.0, 0.5, 0.6, 0.7, 0.83, 1.2, 1.44, 1.73, 2.07)  # tried for a photo whose lens nothing is known of

Report = Callable[[str, int, int], None]
"""Is told (what is being done, how much is done, of how much)."""


def silent(what: str, done: int, of: int) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Config:
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    threshold_px: float = 4.0  # of a sighting that agrees, at up to the matching's `longest_side_px`
    kernel_px: float = 1.0  # of the adjustment's Huber kernel
    min_angle_rad: float = np.radians(1.5)  # under which a point is seen
    min_start_points: int = 50
    min_seen: int = 15  # known points that a photo must agree on
    min_share: float = 0.25  # of the known points it matches
    lens: Literal["fixed", "focal", "radial"] = "radial"  # what is refined of lenses
    neighbours: int = 6  # photos that are adjusted with a new one
    growth: float = 1.1  # of photos or points, after which everything is adjusted
    adjusts: bool = True  # False leaves out all adjustment, to see what it is worth
    tries: int = 3  # for a photo that does not fit at first
    starts: int = 3  # that are tried while less than half of the photos fit


class Collection(NamedTuple):
    """Photos, before anything is known of where they were taken."""

    names: tuple[str, ...]
    features: tuple[Features, ...]
    groups: LensGroups
    pairs: tuple[Pair, ...]


class Outcome(NamedTuple):
    """`left_out` says of each photo that is not in the reconstruction why; `mean_error_px` is of its observations."""

    reconstruction: Reconstruction
    left_out: dict[str, str]
    mean_error_px: float
    tracks: Tracks
    attempts: int


class StructureFromMotion(Reconstructor):
    """Raises InputError where the photos cannot be read or do not overlap."""

    def __init__(self, config: Config | None = None, report: Report = silent):
        self.config, self.report = config or Config(), report

    def __call__(self, photos: Sequence[Path]) -> Reconstruction:
        config = self.config.matching
        seen = [seen_photo(path, config) for path in photos]
        groups = lens_groups([lens for _, lens in seen])
        features = tuple(found for found, _ in seen)
        pairs = [pair_of(a, b, features, groups, config) for a, b in pairs_to_try(features, config)]
        kept = tuple(pair for pair in pairs if pair is not None)
        names = tuple(path.name for path in photos)
        return reconstruct(
            Collection(names, features, calibrated(groups, kept), kept), self.config, self.report
        ).reconstruction


def seen_photo(path: Path, config: MatchingConfig) -> tuple[Features, PhotoLens]:
    photo = png.read_image(path)
    return photo_features(photo, config), photo_lens(path, photo.shape[:2])


def reconstruct(collection: Collection, config: Config, report: Report = silent) -> Outcome:
    """The largest scene that photos show together. Raises InputError where no two photos make a start."""
    scene, left_out = largest_scene(collection)
    pairs = [pair for pair in collection.pairs if pair.a in scene]
    tracks = joined_tracks(pairs, [len(found.pixels) for found in collection.features])
    best, attempts = None, 0
    for start in start_pairs(collection, pairs, config):
        if attempts == config.starts or (best and 2 * best.registered.sum() >= len(scene)):
            break
        model, attempts = beginning(collection, tracks, start, config), attempts + 1
        grow(model, config, len(scene), report)
        best = model if best is None or model.registered.sum() > best.registered.sum() else best
    if best is None or best.registered.sum() < 2:
        raise InputError("no two photos see the same points from different places; take more photos, each a step aside")
    for photo in scene - set(np.flatnonzero(best.registered).tolist()):
        left_out[collection.names[photo]] = "too few of its points agree with the others"
    found = levelled(best.reconstruction())
    error_px = np.linalg.norm(bundle_adjustment.residuals(found), axis=1)
    return Outcome(found, left_out, float(error_px.mean()), tracks, attempts)


def largest_scene(collection: Collection) -> tuple[set[int], dict[str, str]]:
    """The photos of the largest connected part of the graph of pairs, and why each other one is not of it."""
    count = len(collection.names)
    a, b = np.array([(pair.a, pair.b) for pair in collection.pairs], np.int64).reshape(-1, 2).T
    _, part = connected_components(coo_array((np.ones(len(a)), (a, b)), (count, count)), directed=False)
    sizes = np.bincount(part)
    if sizes.max() < 2:
        raise InputError("no two photos show the same points; take photos that overlap by half or more")
    largest = int(sizes.argmax())
    left_out = {}
    for photo in np.flatnonzero(part != largest):
        others = int(sizes[part[photo]])
        why = (
            "shows nothing that another photo shows" if others == 1 else f"belongs to another scene, of {others} photos"
        )
        left_out[collection.names[photo]] = why
    return set(np.flatnonzero(part == largest).tolist()), left_out


# The model that grows


@dataclass
class Model:
    """What is known so far. Sighting i is of point `tracks.track[i]` in photo `tracks.photo[i]`; `used` are those that agree."""

    collection: Collection
    tracks: Tracks
    pixels: Float64[np.ndarray, "seen 2"]
    threshold_px: Float64[np.ndarray, " seen"]
    lenses: Lenses
    world_from_camera: Float64[np.ndarray, "photos 4 4"]
    registered: Bool[np.ndarray, " photos"]
    points: Float64[np.ndarray, "points 3"]
    known: Bool[np.ndarray, " points"]
    used: Bool[np.ndarray, " seen"]

    @property
    def lens(self) -> Int64[np.ndarray, " photos"]:
        return self.collection.groups.lens

    @property
    def placed(self) -> Bool[np.ndarray, " seen"]:
        """Sightings of registered photos."""
        return self.registered[self.tracks.photo]

    def rays(self, rows: Int64[np.ndarray, " rows"]) -> Float64[np.ndarray, "rows 2"]:
        """Where sightings are on the plane z = 1, the lens undone."""
        return straight_rays(self.pixels[rows], self.lenses, self.lens[self.tracks.photo[rows]])

    def seen_as(
        self,
        points: Float64[np.ndarray, "points 3"],
        rows: Int64[np.ndarray, " rows"],
        point: Int64[np.ndarray, " rows"],
    ) -> Reconstruction:
        """The model with these points, of which sighting `rows[i]` is of `point[i]`."""
        names, sightings = self.collection.names, Observations(self.tracks.photo[rows], point, self.pixels[rows])
        colours = np.zeros((len(points), 3), np.uint8)
        return Reconstruction(names, self.world_from_camera, self.lens, self.lenses, points, colours, sightings)

    def agrees(
        self,
        points: Float64[np.ndarray, "points 3"],
        rows: Int64[np.ndarray, " rows"],
        point: Int64[np.ndarray, " rows"],
    ) -> tuple[Bool[np.ndarray, " rows"], Float64[np.ndarray, " rows"]]:
        """Which sightings are where these points should be seen, and how far off they are in thresholds."""
        off_px = np.linalg.norm(bundle_adjustment.residuals(self.seen_as(points, rows, point)), axis=1)
        off = off_px / self.threshold_px[rows]
        return off < 1, off

    def reconstruction(self) -> Reconstruction:
        """The registered photos and known points alone."""
        rows = np.flatnonzero(self.used)
        photo, track = np.cumsum(self.registered) - 1, np.cumsum(self.known) - 1
        lens_used, lens = np.unique(self.lens[self.registered], return_inverse=True)
        return Reconstruction(
            names=tuple(np.array(self.collection.names)[self.registered].tolist()),
            world_from_camera=self.world_from_camera[self.registered],
            lens=lens.astype(np.int64),
            lenses=Lenses(*(values[lens_used] for values in self.lenses)),
            points_world=self.points[self.known],
            colours=self.colours(rows)[self.known],
            observations=Observations(
                photo[self.tracks.photo[rows]], track[self.tracks.track[rows]], self.pixels[rows]
            ),
        )

    def colours(self, rows: Int64[np.ndarray, " rows"]) -> UInt8[np.ndarray, "points 3"]:
        """Of each point the mean over its sightings."""
        total = np.zeros((len(self.points), 3))
        features = self.collection.features
        seen = [features[p].colours[f] for p, f in zip(self.tracks.photo[rows], self.tracks.feature[rows], strict=True)]
        np.add.at(total, self.tracks.track[rows], np.array(seen, np.float64).reshape(-1, 3))
        counts = np.bincount(self.tracks.track[rows], minlength=len(total))
        return np.rint(total / np.maximum(counts, 1)[:, None]).astype(np.uint8)


def straight_rays(
    pixels: Float64[np.ndarray, "rows 2"], lenses: Lenses, lens: Int64[np.ndarray, " rows"]
) -> Float64[np.ndarray, "rows 2"]:
    """Points on the plane z = 1, by fixed-point iteration x = x_seen / d(x)."""
    intrinsics, (k1, k2) = lenses.intrinsics[lens], lenses.radial[lens].T
    bent = (pixels - intrinsics[:, :2, 2]) / intrinsics[:, [0, 1], [0, 1]]
    straight = bent
    for _ in range(UNDISTORTION_STEPS * bool(lenses.radial.any())):
        squared = (straight**2).sum(1)
        straight = bent / np.maximum(1 + squared * (k1 + squared * k2), 0.1)[:, None]
    return straight


# The start


class Start(NamedTuple):
    """A pair, the motion between its photos, and the angles under which it sees its points together."""

    pair: Pair
    b_from_a: Float64[np.ndarray, "4 4"]
    angle_rad: float


def start_pairs(collection: Collection, pairs: Sequence[Pair], config: Config) -> list[Start]:
    """Pairs that can begin a model, best first. Planar and turning pairs come last, for they are read less surely."""
    found = [start for pair in pairs if (start := start_of(collection, pair, config)) is not None]
    return sorted(found, key=lambda start: (not start.pair.general, -start.angle_rad))


def start_of(collection: Collection, pair: Pair, config: Config) -> Start | None:
    """None where the pair sees too few points under an angle."""
    groups, photos = collection.groups, (pair.a, pair.b)
    pixels = [collection.features[p].pixels[pair.rows[:, i]] for i, p in enumerate(photos)]
    if len(pair.rows) < config.min_start_points:
        return None
    intrinsics = [groups.lenses.intrinsics[groups.lens[p]] for p in photos]
    threshold_px = config.matching.threshold_px * unit_px(groups.lenses.size[groups.lens[pair.a]], config.matching)
    essential, mask = essential_matrix(*pixels, tuple(intrinsics), threshold_px)
    if essential is None or essential.shape != (3, 3):
        return None
    seen = [
        straight_rays(at, groups.lenses, np.full(len(at), groups.lens[p])) for at, p in zip(pixels, photos, strict=True)
    ]
    _, rotation, direction, mask = cv2.recoverPose(essential, *seen, np.eye(3), mask=mask)
    b_from_a = np.eye(4)
    b_from_a[:3, :3], b_from_a[:3, 3:] = rotation, direction
    cameras = np.stack([np.eye(4), b_from_a])
    points = triangulated(np.stack(seen, 1), np.tile(cameras, (len(pair.rows), 1, 1, 1)))
    centre = -rotation.T @ direction[:, 0]
    angle = epipolar.parallax_angle(*(torch.from_numpy(x) for x in (points, np.zeros(3), centre))).numpy()
    good = (mask[:, 0] > 0) & (angle > config.min_angle_rad)
    if good.sum() < config.min_start_points:
        return None
    return Start(pair, b_from_a, float(np.minimum(angle[good], WIDE_RAD).sum()))


def triangulated(
    rays: Float64[np.ndarray, "points views 2"], camera_from_world: Float64[np.ndarray, "points views 4 4"]
) -> Float64[np.ndarray, "points 3"]:
    return epipolar.triangulate(torch.from_numpy(rays), torch.from_numpy(camera_from_world)).numpy()


def beginning(collection: Collection, tracks: Tracks, start: Start, config: Config) -> Model:
    """A model of two photos."""
    photos, groups = len(collection.names), collection.groups
    features = [collection.features[p].pixels[f] for p, f in zip(tracks.photo, tracks.feature, strict=True)]
    px = np.array([unit_px(size, config.matching) for size in groups.lenses.size])[groups.lens[tracks.photo]]
    model = Model(
        collection=collection,
        tracks=tracks,
        pixels=np.array(features).reshape(-1, 2),
        threshold_px=config.threshold_px * px,
        lenses=groups.lenses,
        world_from_camera=np.tile(np.eye(4), (photos, 1, 1)),
        registered=np.zeros(photos, bool),
        points=np.zeros((tracks.points, 3)),
        known=np.zeros(tracks.points, bool),
        used=np.zeros(len(tracks.photo), bool),
    )
    model.registered[[start.pair.a, start.pair.b]] = True
    model.world_from_camera[start.pair.b] = np.linalg.inv(start.b_from_a)
    triangulate(model, ~model.known, config)
    adjust_all(model, config, rounds=1)
    return model


# Growing


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
        if (size_of(model) > config.growth * adjusted).any():
            adjust_all(model, config, rounds=1)
            adjusted = size_of(model)
    adjust_all(model, config, rounds=5)
    report("placing photos", int(model.registered.sum()), photos)


def size_of(model: Model) -> Int64[np.ndarray, "2"]:
    return np.array([model.registered.sum(), model.known.sum()])


def next_photo(model: Model, tries: Int64[np.ndarray, " photos"], config: Config) -> int | None:
    """Of the photos tried least the one whose known points are most and best spread; None where none sees enough."""
    rows = np.flatnonzero(model.known[model.tracks.track] & ~model.placed)
    best, best_rank = None, (-config.tries, 0)
    for photo in np.unique(model.tracks.photo[rows]).tolist():
        of_photo = rows[model.tracks.photo[rows] == photo]
        if len(of_photo) >= config.min_seen:
            rank = -int(tries[photo]), spread(model.pixels[of_photo], model.lenses.size[model.lens[photo]])
            best, best_rank = (photo, rank) if rank > best_rank else (best, best_rank)
    return best if best_rank[0] > -config.tries else None


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


def triangulate(model: Model, wanted: Bool[np.ndarray, " points"], config: Config) -> None:
    """Makes those of the wanted points known that two or more registered photos agree on, under enough angle."""
    rows = np.flatnonzero(wanted[model.tracks.track] & model.placed)
    first, second = view_pairs(model, rows, config)
    if not len(first):
        return
    views = rows[np.stack([first, second], 1)]
    camera_from_world = np.linalg.inv(model.world_from_camera)
    rays = model.rays(views.ravel()).reshape(-1, 2, 2)
    points = triangulated(rays, camera_from_world[model.tracks.photo[views]])
    points = np.where(np.isfinite(points) & (np.abs(points) < 1e9), points, 0.0)
    best = most_agreed(model, points, model.tracks.track[views[:, 0]], rows)
    if not len(best):
        return
    tracks = model.tracks.track[views[best, 0]]
    place = np.full(model.tracks.points, -1)
    place[tracks] = np.arange(len(tracks))
    rows = rows[place[model.tracks.track[rows]] >= 0]
    good, _ = model.agrees(points[best], rows, place[model.tracks.track[rows]])
    rows = rows[good]
    model.points[tracks] = from_all_views(model, rows, place[model.tracks.track[rows]], points[best], camera_from_world)
    model.known[tracks] = True
    model.used[rows] = True
    settle_points(model, tracks, config)


def view_pairs(
    model: Model, rows: Int64[np.ndarray, " rows"], config: Config
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """Pairs of rows of one track whose rays enclose enough angle; of many, some, from the widest to the narrowest."""
    track = model.tracks.track[rows]
    first, second = pairs_within(track)
    directions = world_directions(model, rows)
    cosine = np.einsum("ni,ni->n", directions[first], directions[second])
    wide = cosine < np.cos(config.min_angle_rad)
    first, second, cosine = first[wide], second[wide], cosine[wide]
    order = np.lexsort((cosine, track[first]))
    first, second = first[order], second[order]
    counts = np.unique(track[first], return_counts=True)[1]
    rank = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank % np.repeat(-(-counts // HYPOTHESES), counts) == 0
    return first[kept], second[kept]


def pairs_within(group: Int64[np.ndarray, " rows"]) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """All pairs i < j with group[i] = group[j], of groups that lie together."""
    counts = np.unique(group, return_counts=True)[1]
    later = np.repeat(np.cumsum(counts), counts) - np.arange(len(group)) - 1
    first = np.repeat(np.arange(len(group)), later)
    return first, np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later) + first + 1


def world_directions(model: Model, rows: Int64[np.ndarray, " rows"]) -> Float64[np.ndarray, "rows 3"]:
    """Unit vectors from the photos towards what they see."""
    rays = np.column_stack([model.rays(rows), np.ones(len(rows))])
    turned = np.einsum("nij,nj->ni", model.world_from_camera[model.tracks.photo[rows], :3, :3], rays)
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)


def most_agreed(
    model: Model,
    points: Float64[np.ndarray, "points 3"],
    track: Int64[np.ndarray, " points"],
    rows: Int64[np.ndarray, " rows"],
) -> Int64[np.ndarray, " tracks"]:
    """Of several points for each track the one that most of its sightings agree on, by two at least; ties by their errors."""
    of_track = model.tracks.track[rows]
    start, stop = np.searchsorted(of_track, track, "left"), np.searchsorted(of_track, track, "right")
    counts = stop - start
    point = np.repeat(np.arange(len(points)), counts)
    asked = rows[np.arange(len(point)) - np.repeat(np.cumsum(counts) - counts - start, counts)]
    good, off = model.agrees(points, asked, point)
    votes = np.bincount(point, good, len(points))
    error = np.bincount(point, np.minimum(off, 1.0) ** 2, len(points))
    order = np.lexsort((error, -votes, track))
    order = order[votes[order] >= 2]
    return order[np.unique(track[order], return_index=True)[1]]


def from_all_views(
    model: Model,
    rows: Int64[np.ndarray, " rows"],
    point: Int64[np.ndarray, " rows"],
    points: Float64[np.ndarray, "points 3"],
    camera_from_world: Float64[np.ndarray, "photos 4 4"],
) -> Float64[np.ndarray, "points 3"]:
    """Each point from all of its sightings, where that is no worse; views that are not there are rows of zeros."""
    counts = np.bincount(point, minlength=len(points))
    column = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    rays, cameras = np.zeros((len(points), counts.max(), 2)), np.zeros((len(points), counts.max(), 4, 4))
    rays[point, column], cameras[point, column] = model.rays(rows), camera_from_world[model.tracks.photo[rows]]
    together = triangulated(rays, cameras)
    together = np.where(np.isfinite(together) & (np.abs(together) < 1e9), together, points)
    errors = [np.bincount(point, model.agrees(p, rows, point)[1], len(points)) for p in (points, together)]
    return np.where((errors[1] <= errors[0])[:, None], together, points)


# Adjusting and settling


def adjust_near(model: Model, photo: int, config: Config) -> None:
    """The new photo and those that share most points with it; all other photos stay."""
    if not config.adjusts:
        return
    in_photo = np.zeros(model.tracks.points, bool)
    in_photo[model.tracks.track[model.used & (model.tracks.photo == photo)]] = True
    shared = np.bincount(model.tracks.photo[model.used & in_photo[model.tracks.track]], minlength=len(model.registered))
    free = np.argsort(-shared, kind="stable")[: config.neighbours + 1]
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
        if (before != model.used).sum() < 1e-3 * before.sum():
            return


def lens_freedom(model: Model, config: Config) -> Literal["fixed", "focal", "radial"]:
    """Few photos cannot tell a lens from the scene."""
    photos = int(model.registered.sum())
    if config.lens == "fixed" or photos < 3:
        return "fixed"
    return "focal" if photos < 6 else config.lens


def run_adjustment(
    model: Model,
    fixed: Bool[np.ndarray, " photos"],
    wanted: Bool[np.ndarray, " points"],
    lens: Literal["fixed", "focal", "radial"],
    config: Config,
) -> None:
    rows = np.flatnonzero(model.used & wanted[model.tracks.track])
    number = np.cumsum(wanted) - 1
    problem = model.seen_as(model.points[wanted], rows, number[model.tracks.track[rows]])
    settings = bundle_adjustment.Config(
        kernel=Kernel.HUBER,
        threshold_px=config.kernel_px,
        lens=lens,
        max_iterations=ADJUSTMENT_STEPS,
        relative_tolerance=ADJUSTMENT_TOLERANCE,
    )
    found = bundle_adjustment.adjust(problem, settings, fixed).reconstruction
    model.world_from_camera, model.lenses = found.world_from_camera, found.lenses
    model.points[wanted] = found.points_world


def settle(model: Model, config: Config) -> None:
    """Decides anew which sightings, points and photos belong to the model."""
    settle_points(model, np.flatnonzero(model.known), config)
    seen = np.bincount(model.tracks.photo[model.used], minlength=len(model.registered))
    lost = model.registered & (seen < config.min_seen)
    if lost.any() and model.registered.sum() - lost.sum() >= 2:
        model.registered &= ~lost
        settle_points(model, np.flatnonzero(model.known), config)


def settle_points(model: Model, tracks: Int64[np.ndarray, " tracks"], config: Config) -> None:
    """Of these points uses the sightings that agree; forgets points with less than two, or without angle."""
    chosen = np.zeros(model.tracks.points, bool)
    chosen[tracks] = True
    rows = np.flatnonzero(chosen[model.tracks.track])
    model.used[rows] = False
    rows = rows[model.placed[rows]]
    good, _ = model.agrees(model.points, rows, model.tracks.track[rows])
    rows = rows[good]
    cosine = narrowest_cosines(model.tracks.track[rows], world_directions(model, rows), model.tracks.points)
    kept = cosine < np.cos(config.min_angle_rad)
    model.known[tracks] = kept[tracks]
    model.used[rows] = kept[model.tracks.track[rows]]


def narrowest_cosines(
    group: Int64[np.ndarray, " rows"], directions: Float64[np.ndarray, "rows 3"], groups: int
) -> Float64[np.ndarray, " groups"]:
    """The cosine of the widest angle between two directions of each group; 1 where there are not two."""
    out = np.ones(groups)
    _narrowest_cosines(group, directions, out)
    return out


@njit(cache=True)
@no_type_check
def _narrowest_cosines(group, directions, out):
    for i in range(len(group)):
        j = i + 1
        while j < len(group) and group[j] == group[i]:
            cosine = 0.0
            for k in range(3):
                cosine += directions[i, k] * directions[j, k]
            out[group[i]] = min(out[group[i]], cosine)
            j += 1


# The frame it is given in


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
