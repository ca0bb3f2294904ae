"""The model that grows: what structure from motion was given, and what it knows so far."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from firstsight.optimisation import bundle_adjustment
from firstsight.roles.reconstruction import Lenses, Observations, Reconstruction
from firstsight.slam.photos.features import Features, MatchingConfig
from firstsight.slam.photos.lenses import LensGroups, straight_rays
from firstsight.slam.photos.pairs import Pair
from firstsight.slam.photos.tracks import Tracks

LensFreedom = Literal["fixed", "focal", "radial"]
"""What of lenses is refined: nothing, the focal lengths, or these and the distortion."""


@dataclass(frozen=True, kw_only=True)
class Config:
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    # of a sighting that agrees, at up to the matching's `longest_side_px`
    threshold_px: float = 4.0
    # of the adjustment's Huber kernel
    kernel_px: float = 1.0
    # under which a point is seen
    min_angle_rad: float = np.radians(1.5)
    min_start_points: int = 50
    # known points that a photo must agree on
    min_seen: int = 15
    # of the known points it matches
    min_share: float = 0.25
    lens: LensFreedom = "radial"
    # False leaves out all adjustment, to see what it is worth
    adjusts: bool = True


class Collection(NamedTuple):
    """Photos, before anything is known of where they were taken."""

    names: tuple[str, ...]
    features: tuple[Features, ...]
    groups: LensGroups
    pairs: tuple[Pair, ...]


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
        """The lens of each photo."""
        return self.collection.groups.lens

    @property
    def placed(self) -> Bool[np.ndarray, " seen"]:
        """Sightings of registered photos."""
        return self.registered[self.tracks.photo]

    def rays(self, rows: Int64[np.ndarray, " rows"]) -> Float64[np.ndarray, "rows 2"]:
        """Returns where sightings are on the plane z = 1, the lens undone."""
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
        """Returns each point's mean colour over its sightings."""
        total = np.zeros((len(self.points), 3))
        features = self.collection.features
        seen = [features[p].colours[f] for p, f in zip(self.tracks.photo[rows], self.tracks.feature[rows], strict=True)]
        np.add.at(total, self.tracks.track[rows], np.array(seen, np.float64).reshape(-1, 3))
        counts = np.bincount(self.tracks.track[rows], minlength=len(total))
        return np.rint(total / np.maximum(counts, 1)[:, None]).astype(np.uint8)
