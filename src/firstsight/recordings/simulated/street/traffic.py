"""Who moves in the street.

All traffic keeps the beat of street_plan.py, so that every beat is alike: oncoming cars drive as fast as the vehicle, two
beats apart; whoever crosses the road does so before the vehicle arrives, in the gap between the others.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from firstsight.recordings.simulated.actors import Motion, person_actor, rigid_actor
from firstsight.recordings.simulated.path import ClosedPath
from firstsight.recordings.simulated.scene import Actor
from firstsight.recordings.simulated.street.plan import (
    BEAT_M,
    BEATS,
    FIRST_CROSSING_M,
    KERB_M,
    LANE_LEFT_M,
    PAVEMENT_HEIGHT_M,
    SIDE_STREET_LENGTH_M,
    SPEED_M_S,
    WALL_M,
    ahead_m,
    crossing_m,
    is_side_street,
)
from firstsight.recordings.simulated.street.things import CAR_COLOURS, CAR_SIZE_M, COAT_COLOURS
from firstsight.recordings.simulated.surface import Transform

WALKERS = 24  # on each pavement
CROSSING_CAR_M_S, CROSSING_PERSON_M_S = -5.0, 1.4  # positive: to the left
CAR_AHEAD_M, PERSON_AHEAD_M, BEHIND_M = 75.0, 45.0, 20.0  # traffic farther away than this is left out


def traffic(path: ClosedPath, time_s: float) -> list[Actor]:
    """The things that move within sight of the vehicle."""
    here = SPEED_M_S * time_s
    next_crossing = int(np.ceil((here - FIRST_CROSSING_M) / BEAT_M))
    actors = [car_ahead(path), *oncoming(path, time_s), *walkers(path, time_s)]
    for crossing in range(max(next_crossing - 1, 0), next_crossing + 3):
        actors += crossing_traffic(path, crossing, time_s)
    return actors


def in_sight(along_m: float, time_s: float, sight_m: float) -> bool:
    return -BEHIND_M < ahead_m(along_m, SPEED_M_S * time_s) < sight_m


def car_actor(object_id: int, world_from_car: Motion) -> Actor:
    return rigid_actor(object_id, "car", f"car {object_id % len(CAR_COLOURS)}", CAR_SIZE_M, world_from_car)


def walker(object_id: int, stride_rad_s: float, world_from_person: Motion) -> Actor:
    return person_actor(object_id, f"person {object_id % len(COAT_COLOURS)}", stride_rad_s, world_from_person)


def car_ahead(path: ClosedPath) -> Actor:
    """Returns a car in the overtaking lane, now nearer, now farther."""
    beat_s = BEAT_M / SPEED_M_S
    return car_actor(1, lambda t: path.pose(SPEED_M_S * t + 11 - np.sin(np.pi * t / beat_s), LANE_LEFT_M[1]))


def oncoming(path: ClosedPath, time_s: float) -> Iterator[Actor]:
    """Cars in both oncoming lanes, timed to pass the crossings when nobody crosses there."""
    for lane, start_m in ((2, FIRST_CROSSING_M - 11.2), (3, FIRST_CROSSING_M)):
        for i in range(BEATS // 2):
            start = start_m + 2 * BEAT_M * i
            if in_sight(start - SPEED_M_S * time_s, time_s, CAR_AHEAD_M):
                yield car_actor(10 * lane + i, partial(along_pose, path, start, -SPEED_M_S, LANE_LEFT_M[lane], 0.0))


def walkers(path: ClosedPath, time_s: float) -> Iterator[Actor]:
    """People on both pavements, some with us, some against."""
    for side in (1, -1):
        for i in range(WALKERS):
            start = path.length_m / WALKERS * i + 4 * side
            speed, aside = (1.3, 1.3) if i % 3 == 0 else (-1.1, 2.2)
            if in_sight(start + speed * time_s, time_s, PERSON_AHEAD_M):
                left = side * (KERB_M + aside)
                pose = partial(along_pose, path, start, speed, left, PAVEMENT_HEIGHT_M)
                yield walker(100 + 100 * (side > 0) + i, 5.0, pose)


def along_pose(
    path: ClosedPath, start_m: float, speed_m_s: float, left_m: float, height_m: float, time_s: float
) -> Transform:
    """Returns a pose that moves along the street at constant speed, facing the way it goes."""
    return path.pose(start_m + speed_m_s * time_s, left_m, height_m, 0.0 if speed_m_s > 0 else np.pi)


def crossing_traffic(path: ClosedPath, crossing: int, time_s: float) -> Iterator[Actor]:
    """Who crosses at a crossing, in time with the vehicle's arrival there: a car from a side street, or two people."""
    arrival_s, first_id = crossing_m(crossing) / SPEED_M_S, 1000 + 4 * (crossing % 10000)
    if is_side_street(crossing):
        centre_s = arrival_s - 4.6
        if abs(CROSSING_CAR_M_S * (time_s - centre_s)) < SIDE_STREET_LENGTH_M:
            yield car_actor(first_id, partial(across_pose, path, crossing_m(crossing), CROSSING_CAR_M_S, centre_s))
        return
    for i, (centre_s, beside_m) in enumerate(((arrival_s - 3.9, -0.7), (arrival_s - 3.4, 0.6))):
        if abs(CROSSING_PERSON_M_S * (time_s - centre_s)) < WALL_M:
            along = crossing_m(crossing) + beside_m
            pose = partial(across_pose, path, along, CROSSING_PERSON_M_S, centre_s)
            yield walker(first_id + 1 + i, 7.0 + 0.3 * i, pose)


def across_pose(path: ClosedPath, along_m: float, speed_m_s: float, centre_s: float, time_s: float) -> Transform:
    """Straight across the road, on its centre line at the time `centre_s`."""
    return path.pose(along_m, speed_m_s * (time_s - centre_s), yaw_rad=np.pi / 2 if speed_m_s > 0 else -np.pi / 2)
