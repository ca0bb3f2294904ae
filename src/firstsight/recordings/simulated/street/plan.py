"""The street's plan and its beat, shared by what stands and what moves there.

Positions are (s, left): metres along the loop and to the left of the centre line. Every seed has a plan of its own; that of
seed 0 is PLAN.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from firstsight.recordings.simulated.path import ClosedPath

BEAT_M, BEATS = 24.0, 16
SPEED_M_S = 4.0
SIDE_STREET_EVERY = 4
SIDE_STREET_HALF_M, SIDE_STREET_LENGTH_M = 5.0, 26.0
LANE_LEFT_M = (-4.5, -1.5, 1.5, 4.5)  # ours, ours for overtaking, oncoming, oncoming
KERB_M, WALL_M, PAVEMENT_HEIGHT_M = 8.2, 11.2, 0.12
CONTROLS_M = np.array(
    [[0, 0], [40, 1], [78, -4], [112, 6], [128, 38], [116, 70], [76, 80], [36, 76], [-8, 78], [-30, 44], [-24, 10]],
    dtype=np.float64,
)
SHAKE_M = 6.0  # how far another seed's loop is from this one, before it is scaled to the loop's length
STREAM = 11  # of the random numbers that make a plan


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where the road runs and who is on it when. Times of crossings are relative to the vehicle's arrival there."""

    controls_m: Float64[np.ndarray, "n 2"] = field(default_factory=lambda: CONTROLS_M)
    first_crossing_m: float = 14.0  # s of crossing 0; crossing k lies k beats on
    side_street_phase: int = 1  # crossings 1, 5, 9, ... are side streets, the others zebra crossings
    parked_share: float = 0.55
    sun_yaw_rad: float = 0.0
    car_ahead_m: float = 11.0
    oncoming_s: tuple[float, float] = (-6.3, -3.5)  # when the cars of either oncoming lane pass a crossing
    people_cross_s: tuple[float, ...] = (-3.9, -3.4)  # when they are on the centre line
    car_crosses_s: float = -4.6
    walkers: int = 24  # on each pavement
    walking_m_s: tuple[float, float] = (1.3, -1.1)  # with us, towards us
    walkers_spread: float = 0.0  # how far they may be from their places, as a share of the distance between these
    absent_share: float = 0.0  # of those that would take part in the traffic
    colours: int = 0  # which of the colours comes first
    seed: int = 0

    def centre_line(self) -> ClosedPath:
        """The loop, placed so that the vehicle's lane starts at the origin."""
        return ClosedPath(self.controls_m, BEAT_M * BEATS, LANE_LEFT_M[0])

    def is_side_street(self, crossing: int) -> bool:
        return crossing % SIDE_STREET_EVERY == self.side_street_phase

    def crossing_m(self, crossing: int) -> float:
        return self.first_crossing_m + BEAT_M * crossing

    def gap_m(self, along_m: float, side_streets_only: bool = False) -> float:
        """Distance along the road to the nearest crossing."""
        crossings = [self.crossing_m(k) for k in range(BEATS) if self.is_side_street(k) or not side_streets_only]
        return min(abs(ahead_m(crossing, along_m)) for crossing in crossings)

    def takes_part(self, object_id: int) -> bool:
        """Returns whether one of the traffic is there; the same at any time."""
        return bool(self._own(object_id)[0] >= self.absent_share)

    def walker_shift(self, object_id: int) -> float:
        """Returns how far somebody walks from an even place, as a share of the distance between these."""
        return self.walkers_spread * (2 * float(self._own(object_id)[1]) - 1)

    def _own(self, object_id: int) -> Float64[np.ndarray, "2"]:
        return np.random.default_rng((self.seed, STREAM, object_id)).random(2)


def ahead_m(along_m: float, here_m: float) -> float:
    """How far ahead a place lies, by the shorter way round the loop (negative: behind)."""
    loop = BEAT_M * BEATS
    return (along_m - here_m + loop / 2) % loop - loop / 2


def plan_of(seed: int) -> Plan:
    """Another loop, another start on it, other crossings, other traffic; nobody meets anybody on the road.

    Oncoming cars pass where nobody crosses: people are in their lanes 1.1 and 3.2 s after the centre line, cars from the
    side streets 0.3 and 0.9 s before it, and both need 1.5 s.
    """
    if seed == 0:
        return Plan()
    random = np.random.default_rng((seed, STREAM))
    start = int(random.integers(len(CONTROLS_M)))
    shaken = CONTROLS_M + random.uniform(-SHAKE_M, SHAKE_M, CONTROLS_M.shape)
    people = sorted(random.uniform(-4.1, -3.3, int(random.integers(1, 4))).tolist())
    return Plan(
        controls_m=np.roll(shaken, -start, axis=0),
        first_crossing_m=float(random.uniform(8.0, 8.0 + BEAT_M)),
        side_street_phase=int(random.integers(SIDE_STREET_EVERY)),
        parked_share=float(random.uniform(0.3, 0.75)),
        sun_yaw_rad=float(random.uniform(-np.pi, np.pi)),
        car_ahead_m=float(random.uniform(8.5, 11.5)),
        oncoming_s=(float(random.uniform(-0.3, 5.0)), float(random.uniform(1.6, 4.6))),
        people_cross_s=tuple(people),
        car_crosses_s=float(random.uniform(-4.9, -4.5)),
        walkers=int(random.integers(15, 31)),
        walking_m_s=(float(random.uniform(0.9, 1.6)), float(random.uniform(-1.6, -0.9))),
        walkers_spread=0.5,
        absent_share=0.2,
        colours=int(random.integers(100)),
        seed=seed,
    )
