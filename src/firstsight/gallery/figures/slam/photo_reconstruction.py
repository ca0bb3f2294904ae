"""What structure from motion makes of unordered photos, and what bundle adjustment adds to it.

Shows:  Structure from motion of a photo set: tracks, the pairs that match, points and cameras, errors with and without adjustment
Slide:  Classical Mapping, Structure from Motion
Reads:  one point is seen by many photos: rings of one colour are one track. Pairs of photos that see the same things match,
        of which some look planar or turning: a model starts with others. Without adjustment every new photo stands
        on the errors of those before it. Adjustment moves all cameras and points together, to where they agree best with
        every sighting: what is left is how exactly features are found.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes

from firstsight.evaluation.trajectory import align, apply
from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.optimisation.bundle_adjustment import residuals
from firstsight.recordings.simulated.photo_set import PhotoSet, photo_set
from firstsight.roles.reconstruction import Reconstruction
from firstsight.run_folder import Metric
from firstsight.slam.photos.features import MatchingConfig, photo_features
from firstsight.slam.photos.lenses import PhotoLens, lens_groups
from firstsight.slam.photos.model import Collection
from firstsight.slam.photos.pairs import pair_of, pairs_to_try
from firstsight.slam.photos.self_calibration import calibrated
from firstsight.slam.photos.structure_from_motion import Config, Outcome, reconstruct

PHOTOS, SHOWN, TRACKS_SHOWN = 16, 4, 14
PLAN_M, MAX_PX = 3.2, 1.5
TRUE, ADJUSTED, ALONE = "#555555", "#1f4e9e", "#e07b00"


class Experiment(NamedTuple):
    """Photos whose lens is not known, and their reconstruction with all adjustment and without any."""

    taken: PhotoSet
    collection: Collection
    adjusted: Outcome
    alone: Outcome


def experiment(scale: float = 1.0) -> Experiment:
    taken = photo_set(max(round(scale * PHOTOS), 8))
    collection = collected(taken, MatchingConfig())
    return Experiment(
        taken, collection, reconstruct(collection, Config()), reconstruct(collection, Config(adjusts=False))
    )


def collected(taken: PhotoSet, config: MatchingConfig, known: bool = False) -> Collection:
    """Features and pairs of photos whose focal length is `known` or not."""
    features = tuple(photo_features(photo, config) for photo in taken.photos)
    focal_px = float(taken.intrinsics[0, 0]) if known else None
    groups = lens_groups([PhotoLens((photo.shape[0], photo.shape[1]), focal_px, "") for photo in taken.photos])
    pairs = [pair_of(a, b, features, groups, config) for a, b in pairs_to_try(features, config)]
    kept = tuple(pair for pair in pairs if pair is not None)
    names = tuple(f"{i:03d}" for i in range(len(features)))
    return Collection(names, features, calibrated(groups, kept), kept)


def in_truth(found: Reconstruction, taken: PhotoSet) -> Reconstruction:
    """Laid over the true cameras by a similarity."""
    true = taken.world_from_camera[photos_of(found)]
    aligned = align(found.world_from_camera[:, :3, 3], true[:, :3, 3], with_scale=True)
    turn, shift = aligned.true_from_estimated[:3, :3], aligned.true_from_estimated[:3, 3]
    return found._replace(
        world_from_camera=apply(aligned, found.world_from_camera),
        points_world=aligned.scale * found.points_world @ turn.T + shift,
    )


def photos_of(found: Reconstruction) -> list[int]:
    return [int(name) for name in found.names]


def camera_errors_m(found: Reconstruction, taken: PhotoSet) -> Float64[np.ndarray, " cameras"]:
    true = taken.world_from_camera[photos_of(found), :3, 3]
    return np.linalg.norm(in_truth(found, taken).world_from_camera[:, :3, 3] - true, axis=1)


def errors_px(found: Reconstruction) -> Float64[np.ndarray, " seen"]:
    return np.linalg.norm(residuals(found), axis=1)


def numbers(found: Experiment) -> tuple[Metric, ...]:
    photos, adjusted, alone = len(found.taken.photos), found.adjusted.reconstruction, found.alone.reconstruction
    tracks = len(adjusted.observations.point) / len(adjusted.points_world)
    true_px, focal_px = found.taken.intrinsics[0, 0], float(adjusted.lenses.intrinsics[0, 0, 0])
    guess_px = found.collection.groups.lenses.intrinsics[0, 0, 0]
    position, seen = "median of camera positions after Sim(3) alignment", "mean over all observations"
    return (
        Metric(name="photos placed", value=float(len(adjusted.names)), unit="", protocol=f"of {photos}"),
        Metric(
            name="points",
            value=float(len(adjusted.points_world)),
            unit="",
            protocol=f"seen by {tracks:.1f} photos each",
        ),
        Metric(name="reprojection error", value=found.adjusted.mean_error_px, unit="px", protocol=seen),
        Metric(name="without adjustment", value=found.alone.mean_error_px, unit="px", protocol=seen),
        Metric(name="camera", value=1e3 * median_error_m(found, adjusted), unit="mm", protocol=position),
        Metric(
            name="camera without adjustment", value=1e3 * median_error_m(found, alone), unit="mm", protocol=position
        ),
        Metric(
            name="focal length",
            value=focal_px,
            unit="px",
            protocol=f"{true_px:.1f} is true; {guess_px:.1f} from the pairs alone",
        ),
    )


def median_error_m(found: Experiment, of: Reconstruction) -> float:
    return float(np.median(camera_errors_m(of, found.taken)))


def photo_reconstruction(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(950, "Structure from motion: where unordered photos were taken from, and the points that they show")
    shown = most_shared(found, SHOWN)
    grid = figure.add_gridspec(2, 1, height_ratios=[0.62, 1])
    above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    above.supxlabel(
        "rings of one colour: one point, followed through the photos (a track); dots: all features found", fontsize=10
    )
    for axes, photo in zip(above.subplots(1, SHOWN), shown, strict=True):
        draw_tracks(axes, found, shown, photo)
    for axes, draw in zip(below.subplots(1, 3), (draw_pairs, draw_plan, draw_errors), strict=True):
        draw(axes, found)
    return Drawing(figure, numbers(found))


def most_shared(found: Experiment, count: int) -> list[int]:
    """The photos that see the longest tracks."""
    seen = found.adjusted.reconstruction.observations
    long = np.argsort(-np.bincount(seen.point), kind="stable")[:TRACKS_SHOWN]
    shares = np.bincount(seen.camera[np.isin(seen.point, long)], minlength=len(found.adjusted.reconstruction.names))
    chosen = np.argsort(-shares, kind="stable")[:count]
    return [photos_of(found.adjusted.reconstruction)[camera] for camera in chosen]


def draw_tracks(axes: Axes, found: Experiment, shown: list[int], photo: int) -> None:
    """The photo with all of its features, and a few long tracks as rings of the same colour in all photos."""
    rebuilt = found.adjusted.reconstruction
    seen, camera = rebuilt.observations, photos_of(rebuilt).index(photo)
    show_image(
        axes, found.taken.photos[photo], f"photo {photo}", f"{(seen.camera == camera).sum()} points of the model"
    )
    axes.plot(*found.collection.features[photo].pixels.T, ".", color="white", ms=1.2, alpha=0.6)
    cameras = [photos_of(rebuilt).index(other) for other in shown]
    for place, point in enumerate(common_points(rebuilt, cameras)):
        at = seen.pixels[(seen.camera == camera) & (seen.point == point)]
        axes.plot(*at.T, "o", mfc="none", mec=f"C{place % 10}", mew=2.2, ms=11)


def common_points(rebuilt: Reconstruction, cameras: list[int]) -> list[int]:
    """Points that most of these cameras see, apart from each other."""
    seen = rebuilt.observations
    shares = np.bincount(seen.point[np.isin(seen.camera, cameras)], minlength=len(rebuilt.points_world))
    chosen: list[int] = []
    for point in np.argsort(-shares, kind="stable")[:400].tolist():
        gaps = np.linalg.norm(rebuilt.points_world[chosen] - rebuilt.points_world[point], axis=1)
        if not len(gaps) or gaps.min() > 0.2:
            chosen.append(point)
    return chosen[:TRACKS_SHOWN]


def draw_pairs(axes: Axes, found: Experiment) -> None:
    """How many matches one rigid scene explains, for all pairs of photos."""
    count = len(found.taken.photos)
    matches = np.full((count, count), np.nan)
    for pair in found.collection.pairs:
        matches[pair.a, pair.b] = matches[pair.b, pair.a] = len(pair.rows)
        if not pair.general:
            axes.plot([pair.a, pair.b], [pair.b, pair.a], "x", color=ALONE, ms=5)
    drawn = axes.imshow(matches, cmap="Blues", vmin=0)
    axes.figure.colorbar(drawn, ax=axes, shrink=0.6, label="matches")
    axes.set(
        title="verified pairs; crosses: a plane or a turn\nexplains them as well, no model starts there",
        xlabel="photo",
        ylabel="photo",
    )


def draw_plan(axes: Axes, found: Experiment) -> None:
    """Draws the reconstruction from above, laid over the truth."""
    rebuilt = in_truth(found.adjusted.reconstruction, found.taken)
    x, y, _ = rebuilt.points_world.T
    axes.scatter(-y, x, s=3, c=rebuilt.colours / 255, linewidths=0)
    for poses, colour, width, label in (
        (found.taken.world_from_camera, TRUE, 4.0, "true"),
        (rebuilt.world_from_camera, ADJUSTED, 1.4, "reconstructed"),
    ):
        ends = poses[:, :2, 3] + 0.25 * poses[:, :2, 2]
        for number, (start, end) in enumerate(zip(poses[:, :2, 3], ends, strict=True)):
            axes.plot(
                *np.stack([start, end], 1)[::-1] * [[-1], [1]], color=colour, lw=width, label="" if number else label
            )
    axes.plot(-rebuilt.world_from_camera[:, 1, 3], rebuilt.world_from_camera[:, 0, 3], ".", color=ADJUSTED, ms=7)
    centre = rebuilt.world_from_camera[:, :2, 3].mean(0)
    axes.set(
        title="points and cameras from above",
        aspect="equal",
        xlim=(-centre[1] - PLAN_M, -centre[1] + PLAN_M),
        ylim=(centre[0] - 1.2, centre[0] + 2 * PLAN_M - 1.2),
        xlabel="m",
        ylabel="m",
    )
    axes.legend(loc="lower right", fontsize=9)


def draw_errors(axes: Axes, found: Experiment) -> None:
    """Histograms of the distance between where points are seen and where they should be."""
    bins = np.linspace(0, MAX_PX, 61).tolist()
    for outcome, colour, label in ((found.alone, ALONE, "without"), (found.adjusted, ADJUSTED, "with")):
        off = errors_px(outcome.reconstruction)
        axes.hist(off, bins, color=colour, alpha=0.6, label=f"{label} adjustment: mean {off.mean():.2f} px")
    axes.set(title="reprojection errors", xlabel="px", ylabel="observations", xlim=(0, MAX_PX))
    axes.legend(fontsize=9)
