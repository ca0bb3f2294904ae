"""What differs between the flats of `sim:rooms`: every seed has one of its own; that of seed 0 is FLAT."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from firstsight.recordings.simulated.indoors.things import bookcase, cabinet, plant
from firstsight.recordings.simulated.path import ClosedPath
from firstsight.recordings.simulated.surface import Colour, Surface, Transform, moved

HEIGHT_M = 2.6
DOOR_M, DOOR_WIDTH_M, DOOR_HEIGHT_M = 2.4, 1.3, 2.1  # a door's centre is this far from the middle of the flat
LAP_M = 17.4
STREAM = 12  # of the random numbers that make a flat
MAX_SHIFT_M = 0.2  # of furniture along its wall

OUTER_COLOURS: tuple[Colour, ...] = ((0.58, 0.5, 0.3), (0.35, 0.45, 0.32), (0.52, 0.36, 0.32), (0.3, 0.4, 0.5))
COAT_COLOURS: tuple[Colour, ...] = ((0.55, 0.1, 0.1), (0.1, 0.3, 0.5), (0.5, 0.45, 0.12), (0.12, 0.36, 0.18))


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Sizes (m), where the walk begins and which way round it goes, and what stands and moves in the rooms."""

    half_x_m: float = 5.0
    half_y_m: float = 4.6
    begin_m: float = 0.0  # how far along the loop from its lower doorway the walk begins
    backwards: bool = False  # round the other way
    person_ahead_m: float = 3.0
    outer: tuple[int, ...] = (0, 1, 2, 3)  # which of the colours the outer walls have
    coats: tuple[int, int] = (0, 1)
    sofa: Colour = (0.16, 0.3, 0.22)
    start_m: tuple[float, ...] = (0.0, 0.0, 1.0, 0.0)  # of the visitor, the two robots and the ball on their tracks
    faster: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    door_start_s: float = 0.0
    seed: int = 0

    def path(self) -> ClosedPath:
        """The walk through all rooms, placed so that it begins at the origin, along x."""
        controls = rounded_square(DOOR_M)
        return ClosedPath(controls * (-1, 1) if self.backwards else controls, LAP_M, anchor_m=self.begin_m)

    def world_from_plan(self, path: ClosedPath) -> Transform:
        """The plan as the path lies; arc length 0 is the lower doorway, passed to the right or backwards to the left."""
        plan_from_doorway = moved(y=-DOOR_M, yaw_rad=np.pi if self.backwards else 0.0)
        return path.pose(0.0) @ np.linalg.inv(plan_from_doorway)

    def shift_m(self, place: int) -> float:
        """How far the furniture of a place stands from where seed 0 has it, along its wall."""
        return 0.0 if self.seed == 0 else float(self._random(place).uniform(-MAX_SHIFT_M, MAX_SHIFT_M))

    def stands(self, place: int, usual: Surface, max_width_m: float) -> Surface:
        """What stands in a place along a wall that takes something as wide as that: in seed 0 the usual thing."""
        if self.seed == 0:
            return usual
        random = self._random(100 + place)
        width = float(random.uniform(0.6, 1.0)) * max_width_m
        brown = tuple(random.uniform(0.15, 0.55) * np.array(random.uniform((0.9, 0.6, 0.3), (1.0, 0.9, 0.8))))
        kind = int(random.integers(5))
        if kind < 2:
            return bookcase(width, float(random.uniform(0.9, 2.1)))
        if kind < 4:
            return cabinet(width, float(random.uniform(0.7, 2.0)), brown)
        return plant(float(random.uniform(0.8, 1.5)))

    def _random(self, place: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, STREAM, place))


def flat_of(seed: int) -> Flat:
    """Another flat. Rooms only grow and furniture stays at its wall, so that nobody walks into anything."""
    if seed == 0:
        return Flat()
    random = np.random.default_rng((seed, STREAM))
    return Flat(
        half_x_m=float(random.uniform(5.0, 6.0)),
        half_y_m=float(random.uniform(4.6, 5.6)),
        begin_m=float(random.uniform(0, LAP_M)),
        backwards=bool(random.integers(2)),
        person_ahead_m=float(random.uniform(2.6, 3.6)),
        outer=tuple(random.permutation(len(OUTER_COLOURS)).tolist()),
        coats=tuple(random.permutation(len(COAT_COLOURS))[:2].tolist()),
        sofa=tuple(random.uniform(0.1, 0.4, 3).tolist()),
        start_m=tuple(random.uniform(0, 6, 4).tolist()),
        faster=tuple(random.uniform(0.7, 1.25, 4).tolist()),
        door_start_s=float(random.uniform(0, 5)),
        seed=seed,
    )


def rounded_square(half_m: float) -> Float64[np.ndarray, "16 2"]:
    """Points of a superellipse, from the middle of its lower side leftwards about."""
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False) - np.pi / 2
    circle = np.stack([np.cos(angle), np.sin(angle)], 1).round(9)
    return half_m * np.sign(circle) * np.abs(circle) ** 0.7
