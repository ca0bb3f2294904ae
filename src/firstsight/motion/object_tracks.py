"""Which region is which object: ids that stay with an object from frame to frame.

Idea:   an object's mask is carried to the next frame by its flow, and where that is unknown by the flow of the rest of it
                                                                                              -> ObjectTracks.carry()
        A region takes the id that covers most of it there; one that covers two objects is divided between them, and a part
        that broke off keeps the id if it is as far away as the rest                          -> ObjectTracks.assign()
        The belief that an object moves follows the share of its pixels seen to move; pixels whose motion cannot be seen
        leave it as it was                                                                    -> ObjectTracks.judge()
        An object that is not found is carried on for a few frames. Ids start at 1 and are never used twice; those believed to
        move are reported under numbers of their own, counted in the order of appearance      -> ObjectTracks.numbers()
"""

from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32
from scipy.ndimage import find_objects

from firstsight.motion.forward_splat import forward_splat
from firstsight.roles.state import State

COVERED = 0.25  # share of a region that an object must cover to be found in it
SAME_DEPTH = 0.2  # difference of log depth between parts of one object
BELIEF_RATE = 0.5
INHERITED = 0.5  # of the belief in an object, by what is found in its place at another depth

Ids = Int32[np.ndarray, "height width"]


class Carried(NamedTuple):
    """The place where the objects should be now, and their depth there (0 where there is none)."""

    ids: Ids
    depth: Float32[np.ndarray, "height width"]


@dataclass
class Track:
    """`belief` in [0, 1] that it moves, `gap` frames since it was found; `number` if it has been reported, else 0."""

    belief: float = 0.0
    number: int = 0
    gap: int = 0
    flow_px: tuple[float, float] = (0.0, 0.0)  # what is typical of it


@dataclass
class ObjectTracks:
    """Identities and beliefs of objects over time. For every frame call `assign`, `judge` and `carry`, in this order."""

    max_gap: int
    tracks: dict[int, Track] = field(default_factory=dict)
    next_id: int = 1
    reported: int = 0
    carried: Carried | None = None

    def state(self) -> State:
        return {
            "tracks": [[i, asdict(track)] for i, track in self.tracks.items()],
            "next_id": self.next_id,
            "reported": self.reported,
            "carried": None if self.carried is None else list(self.carried),
        }

    def restore(self, state: State) -> None:
        self.tracks = {i: Track(**track | {"flow_px": tuple(track["flow_px"])}) for i, track in state["tracks"]}
        self.next_id, self.reported = state["next_id"], state["reported"]
        self.carried = None if state["carried"] is None else Carried(*state["carried"])

    def beliefs(self) -> Float32[np.ndarray, " ids"]:
        """Belief by id; 0 for those that are gone, and for id 0."""
        beliefs = np.zeros(self.next_id, np.float32)
        for i, track in self.tracks.items():
            beliefs[i] = track.belief
        return beliefs

    def flows(self) -> Float32[np.ndarray, "ids 2"]:
        """The flow (px) that is typical of each id; 0 for those that are gone, and for id 0."""
        flows = np.zeros((self.next_id, 2), np.float32)
        for i, track in self.tracks.items():
            flows[i] = track.flow_px
        return flows

    def assign(self, regions: Ids, log_depth: Float32[np.ndarray, "height width"]) -> Ids:
        """Ids of the regions (0 stays 0), by what was carried here. The largest region chooses first."""
        expected = np.zeros_like(regions) if self.carried is None else self.carried.ids
        ids = np.zeros_like(regions)
        distances: dict[int, float] = {}
        boxes = find_objects(regions)
        areas = np.bincount(regions.ravel(), minlength=len(boxes) + 1)[1:]
        for index in np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]:
            box = boxes[index]
            inside = regions[box] == index + 1
            distance = float(np.median(log_depth[box][inside]))
            ids[box][inside] = self._ids_within(expected[box][inside], distance, distances)
        for i, track in self.tracks.items():
            track.gap = 0 if i in distances else track.gap + 1
        return ids

    def _ids_within(
        self, expected: Int32[np.ndarray, " pixels"], distance: float, distances: dict[int, float]
    ) -> Int32[np.ndarray, " pixels"]:
        """Ids of one region's pixels; `distances` are the log depths of the objects found so far and gains this one's."""
        covered = np.bincount(expected, minlength=self.next_id)
        covered[0] = 0
        matches = [int(i) for i in np.flatnonzero(covered >= COVERED * len(expected))]
        free = [i for i in matches if abs(distances.get(i, distance) - distance) < SAME_DEPTH]
        if not free:
            free = [self._start(INHERITED * max((self.tracks[i].belief for i in matches), default=0.0))]
        distances |= {i: distance for i in free if i not in distances}
        main = max(free, key=lambda i: covered[i] if i < len(covered) else 0)
        return np.where(np.isin(expected, free), expected, main).astype(np.int32)

    def _start(self, belief: float) -> int:
        self.tracks[self.next_id] = Track(belief=belief)
        self.next_id += 1
        return self.next_id - 1

    def judge(
        self, ids: Ids, decided: Bool[np.ndarray, "height width"], moving: Bool[np.ndarray, "height width"]
    ) -> None:
        """Updates the beliefs by the pixels whose motion could be `decided`, and those of them that are `moving`."""
        size, known, moved = (
            np.bincount(ids[mask], minlength=self.next_id) for mask in (ids > 0, decided, decided & moving)
        )
        for i, track in self.tracks.items():
            if known[i]:
                track.belief += BELIEF_RATE * known[i] / size[i] * (moved[i] / known[i] - track.belief)

    def numbers(self, min_belief: float) -> Int32[np.ndarray, " ids"]:
        """The number under which each id is reported, 0 where the belief is too low."""
        numbers = np.zeros(self.next_id, np.int32)
        for i, track in self.tracks.items():
            if track.belief > min_belief:
                if track.number == 0:
                    self.reported += 1
                    track.number = self.reported
                numbers[i] = track.number
        return numbers

    def carry(
        self,
        ids: Ids,
        depth: Float32[np.ndarray, "height width"],
        flow: Float32[np.ndarray, "2 height width"],
        known: Bool[np.ndarray, "height width"],
    ) -> None:
        """Moves the found objects, and those missing for a while, to the next frame."""
        self.tracks = {i: track for i, track in self.tracks.items() if track.gap <= self.max_gap}
        if self.carried is not None:
            missing = [i for i, track in self.tracks.items() if track.gap]
            ids = np.where((ids == 0) & np.isin(self.carried.ids, missing), self.carried.ids, ids)
        for i, track in self.tracks.items():
            inside = (ids == i) & known
            if inside.any():
                track.flow_px = (float(np.median(flow[0][inside])), float(np.median(flow[1][inside])))
        moves = np.where(known, flow, self.flows()[ids].transpose(2, 0, 1))
        carried, carried_depth = forward_splat(ids[..., None], depth, moves, ids > 0)
        self.carried = Carried(carried[..., 0], carried_depth)
