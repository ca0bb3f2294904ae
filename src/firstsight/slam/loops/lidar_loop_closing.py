"""Loop closing of a LiDAR: a trajectory that meets itself again where the sensor came back to a place.

Paper:  Kim, Kim. Scan Context. IROS 2018 (which places are alike);
        Behley, Stachniss. Efficient Surfel-Based SLAM using 3D Laser Range Data in Urban Environments. RSS 2018
        (loops verified by registration to a map);
        Mangelson et al. Pairwise Consistent Measurement Set Maximization. ICRA 2018 (false loops).
Idea:   scans are kept where the path led on enough, as thinned points                    -> should_add(), scan_views.py
        places that look alike, also from aside, the path having led away in between                -> scan_places.py
        alike is not the same: the scans about one place must lie on those about the other             scan_places.py
        a loop must lie within what odometry leaves open, as proposed and as measured; pose graph of odometry and
        loops; loops that contradict the others are left out                                       -> loop_graph.py
        scans between those kept follow their neighbours                                       -> travelled.follow()
Differs: runs when the recording has ended. Without an accepted loop the trajectory is left as it is, to the last bit.
        Descriptors and registration are of the scans about a place, not of one; lengths follow from the scans, so that
        rooms and streets need no settings.
Role:   LoopCloser. Poses given and returned are those of the LiDAR, at the end of a sweep whose points carry times.
Units:  metres, radians; the LiDAR's z axis points up. Lengths in the configuration are relative to how far away things
        are, the median range of what is not level.
"""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar, final

import numpy as np

from firstsight.roles import ClosedLoops, LoopCloser, Observation
from firstsight.roles.state import State
from firstsight.slam.loops import place_recognition, scan_places, scan_registration
from firstsight.slam.loops.loop_graph import (
    Chain,
    DriftConfig,
    Found,
    Loop,
    chain_of,
    close_graph,
    nothing_found,
    possible,
)
from firstsight.slam.loops.scan_views import (
    ScanConfig,
    Scans,
    ScanView,
    clearest_spacing,
    deskewed,
    local_map,
    packed,
    scans_of,
    unpacked,
    view_of,
)
from firstsight.slam.loops.travelled import MIN_VIEWS, Transform, Travelled, path_length
from firstsight.slam.pose_graphs import pose_graph as graphs


def alike_scans() -> place_recognition.Config:
    """Descriptors of scans tell places apart better than images: fewer candidates, which must be more alike."""
    return place_recognition.Config(per_place=4, min_path_between=1.5, min_similarity=0.6, min_share=0.5)


@dataclass(frozen=True, kw_only=True)
class Config:
    scans: ScanConfig = field(default_factory=ScanConfig)
    places: place_recognition.Config = field(default_factory=alike_scans)
    registration: scan_registration.Config = field(default_factory=scan_registration.Config)
    verification: scan_places.AgreementConfig = field(default_factory=scan_places.AgreementConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    graph: graphs.Config = field(default_factory=lambda: graphs.Config(false_loops="consistent"))


@final
class LidarLoopClosing(LoopCloser):
    """Closes loops of a LiDAR alone. Scans of too few points are skipped."""

    needs: ClassVar[frozenset[str]] = frozenset({"points_lidar"})

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.travelled: Travelled[ScanView] = Travelled()
        # when the last frame was taken
        self.stamp_ns = 0

    def should_add(self, world_from_sensor: Transform) -> bool:
        """Whether the path led on enough since the last scan kept."""
        if not self.travelled.views:
            return True
        last = self.travelled.views[-1]
        both = np.stack([last.world_from_lidar, world_from_sensor])
        return bool(path_length(both, np.full(2, last.distance_m))[1] > self.config.scans.min_path)

    def integrate(self, observation: Observation, world_from_sensor: Transform) -> None:
        """Take the next frame, and keep its scan where the path led on enough."""
        due = self.should_add(world_from_sensor)
        before, seconds = self.travelled.poses[-1:], (observation.stamp_ns - self.stamp_ns) * 1e-9
        self.skip(observation.stamp_ns, world_from_sensor)
        if not due or observation.points_lidar is None:
            return
        points = observation.points_lidar.numpy().astype(np.float64)
        if before and observation.point_times_s is not None and seconds > 0:
            before_from_now = np.linalg.inv(before[0]) @ world_from_sensor
            points = deskewed(points, observation.point_times_s, before_from_now, seconds)
        view = view_of(points, world_from_sensor, self.config.scans)
        if view is not None:
            self.travelled.keep(view)

    def skip(self, stamp_ns: int, world_from_sensor: Transform) -> None:
        """Take the next frame without looking at it."""
        self.travelled.move_to(world_from_sensor)
        self.stamp_ns = stamp_ns

    def close(self) -> ClosedLoops:
        """All poses so far, corrected where the LiDAR came back."""
        if len(self.travelled.views) < MIN_VIEWS:
            return self.travelled.unchanged()
        scans = scans_of(self.travelled.views, self.config.scans)
        found = find_loops(scans, chain_of(scans.world_from_lidar, scans.distance, self.config.drift), self.config)
        if not found.loops:
            return self.travelled.unchanged(found.tried, found.disputed)
        return self.travelled.closed(found.world_from_view, found.pairs, found.tried, found.disputed)

    def state(self) -> State:
        """The frames so far; "grows" are the scans."""
        return self.travelled.state(packed) | {"stamp_ns": self.stamp_ns}

    def restore(self, state: State) -> None:
        """Become as the instance was whose state this is."""
        self.travelled.restore(state, unpacked)
        self.stamp_ns = state["stamp_ns"]


def find_loops(scans: Scans, chain: Chain, config: Config) -> Found:
    """The loops that scans, odometry and the other loops agree on, and where views then are."""
    alike = scan_places.proposed(scans, chain.path, config.places)
    both = zip(alike.pairs.tolist(), alike.a_from_b, strict=True)
    guesses = possible([scan_places.guess(a, b, a_from_b, scans.unit_m) for (a, b), a_from_b in both], chain)
    loops = possible(agreed(scans, guesses, config), chain)
    if not loops:
        return nothing_found(chain, len(guesses))
    return close_graph(chain, loops, len(guesses), config.graph)


def agreed(scans: Scans, guesses: list[Loop], config: Config) -> list[Loop]:
    """The loops that the surfaces around both scans agree on, at the clearest spacing."""
    if not guesses:
        return []
    spacing = clearest_spacing(scans, config.registration)
    scans = scans._replace(config=replace(scans.config, spacing=spacing))
    mapped = cache(lambda k: local_map(scans, k, config.registration))
    checked = [
        scan_places.verified((mapped(at.a), mapped(at.b)), at, scans.unit_m, config.registration, config.verification)
        for at in guesses
    ]
    return [loop for loop in checked if loop is not None]
