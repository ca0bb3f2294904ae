"""The street's plan and its beat, shared by what stands and what moves there.

Positions are (s, left): metres along the loop and to the left of the centre line.
"""

import numpy as np

from firstsight.recordings.simulated.path import ClosedPath

BEAT_M, BEATS = 24.0, 16
SPEED_M_S = 4.0
FIRST_CROSSING_M = 14.0  # s of crossing 0; crossing k lies k beats on
SIDE_STREET_EVERY, SIDE_STREET_PHASE = 4, 1  # crossings 1, 5, 9, ... are side streets, the others zebra crossings
SIDE_STREET_HALF_M, SIDE_STREET_LENGTH_M = 5.0, 26.0
LANE_LEFT_M = (-4.5, -1.5, 1.5, 4.5)  # ours, ours for overtaking, oncoming, oncoming
KERB_M, WALL_M, PAVEMENT_HEIGHT_M = 8.2, 11.2, 0.12
PLAN_M = np.array(
    [[0, 0], [40, 1], [78, -4], [112, 6], [128, 38], [116, 70], [76, 80], [36, 76], [-8, 78], [-30, 44], [-24, 10]],
    dtype=np.float64,
)


def centre_line() -> ClosedPath:
    """The loop, placed so that the vehicle's lane starts at the origin."""
    return ClosedPath(PLAN_M, BEAT_M * BEATS, LANE_LEFT_M[0])


def is_side_street(crossing: int) -> bool:
    return crossing % SIDE_STREET_EVERY == SIDE_STREET_PHASE


def crossing_m(crossing: int) -> float:
    return FIRST_CROSSING_M + BEAT_M * crossing


def gap_m(along_m: float, side_streets_only: bool = False) -> float:
    """Distance along the road to the nearest crossing."""
    crossings = [crossing_m(k) for k in range(BEATS) if is_side_street(k) or not side_streets_only]
    return min(abs(ahead_m(crossing, along_m)) for crossing in crossings)


def ahead_m(along_m: float, here_m: float) -> float:
    """How far ahead a place lies, by the shorter way round the loop (negative: behind)."""
    loop = BEAT_M * BEATS
    return (along_m - here_m + loop / 2) % loop - loop / 2
