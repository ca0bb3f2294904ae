"""The start of a model: the pair of photos whose points are seen under the largest angles together, not planar.

Source: Hartley, Zisserman. Multiple View Geometry. 2004, section 9.6 (the motion in E).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float64

from firstsight.geometry import epipolar
from firstsight.slam.photos.adjustment import adjust_all
from firstsight.slam.photos.lenses import straight_rays
from firstsight.slam.photos.model import Collection, Config, Model
from firstsight.slam.photos.pairs import Pair, essential_matrix, unit_px
from firstsight.slam.photos.tracks import Tracks
from firstsight.slam.photos.triangulation import triangulate, triangulated

# more angle than this makes a start no better
WIDE_RAD = np.radians(16)


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


def initial_model(collection: Collection, tracks: Tracks, start: Start, config: Config) -> Model:
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
