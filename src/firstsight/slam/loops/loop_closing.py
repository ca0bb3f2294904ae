"""Loop closing: a trajectory that meets itself again where the camera came back to a place.

Paper:  Mur-Artal, Tardos. ORB-SLAM2. T-RO 33(5), 2017 (loops, pose graph, then full bundle adjustment);
        Strasdat, Montiel, Davison. Scale Drift-Aware Large Scale Monocular SLAM. RSS 2010 (one camera: Sim(3));
        Mangelson et al. Pairwise Consistent Measurement Set Maximization. ICRA 2018 (false loops).
Idea:   frames that show enough new are kept as views, features with depth                     -> should_add(), views.py
        places that look alike, the path having led away in between                         -> place_recognition.py
        alike is not the same: two views must agree on a pose both ways                    -> loop_verification.py
        a loop must lie within what odometry leaves open; a pose graph of odometry and loops, or for one camera
        a graph of similarities; loops that contradict the others are left out                    -> loop_graph.py
        then all views that overlap are matched, and every sighting is adjusted jointly      -> view_adjustment.py
        frames between views follow their neighbours                                           -> travelled.follow()
Differs: runs when the recording has ended. Without an accepted loop the trajectory is left as it is, to the last bit.
Role:   LoopCloser.  Lengths are relative to how far away things are, so the scale may be unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from firstsight.geometry.points import Intrinsics
from firstsight.optimisation import joint_adjustment
from firstsight.roles import ClosedLoops, LoopCloser, Observation
from firstsight.roles.state import State
from firstsight.slam.loops import place_recognition
from firstsight.slam.loops.loop_graph import (
    Chain,
    DriftConfig,
    Found,
    Loop,
    chain_of,
    close_graph,
    close_similarities,
    nothing_found,
    possible,
)
from firstsight.slam.loops.loop_verification import VerificationConfig, verified
from firstsight.slam.loops.travelled import MIN_VIEWS, Transform, Travelled
from firstsight.slam.loops.view_adjustment import adjusted, agreeing, overlapping
from firstsight.slam.loops.views import (
    MIN_MATCHES,
    CameraViews,
    Matches,
    View,
    ViewConfig,
    differs_enough,
    packed,
    shows_enough_new,
    triangulated,
    unpacked,
    view_of,
)
from firstsight.slam.photos.pairs import photo_summaries
from firstsight.slam.pose_graphs import pose_graph as graphs

# views before, that each is matched to
NEIGHBOURS = 5


@dataclass(frozen=True, kw_only=True)
class Config:
    views: ViewConfig = field(default_factory=ViewConfig)
    places: place_recognition.Config = field(default_factory=place_recognition.Config)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    graph: graphs.Config = field(default_factory=lambda: graphs.Config(false_loops="consistent"))
    adjustment: joint_adjustment.Config = field(default_factory=joint_adjustment.Config)


@final
class LoopClosing(LoopCloser):
    """Closes loops of a camera with depth, or of one camera alone: then the scale is closed too."""

    needs: ClassVar[frozenset[str]] = frozenset({"image", "intrinsics"})

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.intrinsics: Intrinsics | None = None
        self.travelled: Travelled[View] = Travelled()

    def should_add(self, world_from_sensor: Transform) -> bool:
        """Whether a camera with depth sees enough from here that the last view does not; one without must look."""
        if not self.travelled.views or self.intrinsics is None:
            return True
        return shows_enough_new(self.travelled.views[-1], world_from_sensor, self.intrinsics, self.config.views)

    def integrate(self, observation: Observation, world_from_sensor: Transform) -> None:
        """Take the next frame, and keep it where it shows enough that is new."""
        assert observation.intrinsics is not None
        self.intrinsics = observation.intrinsics.numpy()
        self.travelled.move_to(world_from_sensor)
        if observation.depth is not None and not self.should_add(world_from_sensor):
            return
        view, before = view_of(observation, world_from_sensor, self.config.views), self.travelled.views
        alone = observation.depth is None and len(before) > 0
        if not alone or differs_enough(before[-1], view, self.intrinsics, self.config.views):
            self.travelled.keep(view)

    def skip(self, stamp_ns: int, world_from_sensor: Transform) -> None:
        """Take the next frame without looking at it."""
        self.travelled.move_to(world_from_sensor)

    def close(self) -> ClosedLoops:
        """All poses so far, corrected where the camera came back."""
        if len(self.travelled.views) < MIN_VIEWS:
            return self.travelled.unchanged()
        assert self.intrinsics is not None
        seen, matches = self.seen(self.intrinsics)
        chain = chain_of(seen.world_from_camera, seen.distance, self.config.drift)
        found = find_loops(seen, chain, self.config)
        if not found.loops:
            return self.travelled.unchanged(found.tried, found.disputed)
        used = agreeing(seen, matches, self.config.verification)
        used |= overlapping(seen, found, matches, self.config.verification)
        closed = found.world_from_view
        if used:
            closed = adjusted(seen, chain, found, used, self.config.adjustment)
        return self.travelled.closed(closed, found.pairs, found.tried, found.disputed)

    def seen(self, intrinsics: Intrinsics) -> tuple[CameraViews, Matches]:
        """The views, triangulated where no depth was measured, and matches of neighbours."""
        config, views = self.config.views, self.travelled.views
        metric = any((view.precision > 0).any() for view in views)
        seen = CameraViews(views, intrinsics, metric, config)
        matches = neighbour_matches(seen)
        if metric:
            return seen, matches
        return seen._replace(views=triangulated(views, matches, intrinsics, config)), matches

    def state(self) -> State:
        """The frames so far; "grows" are the views."""
        return self.travelled.state(packed) | {"intrinsics": self.intrinsics}

    def restore(self, state: State) -> None:
        """Become as the instance was whose state this is."""
        self.travelled.restore(state, unpacked)
        self.intrinsics = state["intrinsics"]


def neighbour_matches(seen: CameraViews) -> Matches:
    """Matches of each view with the few before it, where there are enough."""
    pairs = ((a, b) for b in range(len(seen.views)) for a in range(max(0, b - NEIGHBOURS), b))
    matched = {pair: seen.matched(*pair) for pair in pairs}
    return {pair: rows for pair, rows in matched.items() if len(rows) >= MIN_MATCHES}


def find_loops(seen: CameraViews, chain: Chain, config: Config) -> Found:
    """The loops that features, odometry and the other loops agree on, and where views then are."""
    pairs = alike(seen.views, chain, config.places)
    checked = [same_place(seen, pair, config.verification) for pair in pairs]
    loops = possible([loop for loop in checked if loop is not None], chain)
    if not loops:
        return nothing_found(chain, len(pairs))
    if seen.metric:
        return close_graph(chain, loops, len(pairs), config.graph)
    return close_similarities(chain, loops, len(pairs), config.drift)


def alike(views: Sequence[View], chain: Chain, config: place_recognition.Config) -> list[tuple[int, int]]:
    """Pairs of views that look alike, the path having led away in between."""
    summaries = photo_summaries([view.features for view in views], config.words)
    pairs = place_recognition.candidates(summaries @ summaries.T, chain.path, config)
    return [(a, b) for a, b in pairs.tolist()]


def same_place(seen: CameraViews, pair: tuple[int, int], config: VerificationConfig) -> Loop | None:
    """The loop that features of two views agree on; None where they do not."""
    views = seen.views[pair[0]], seen.views[pair[1]]
    return verified(views, pair, seen.matched(*pair), seen.intrinsics, seen.config.sigma_px, config)
