"""Who moves in the street.

All traffic keeps the beat of plan.py, so that every beat is alike: oncoming cars drive as fast as the vehicle, two
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
    KERB_M,
    LANE_LEFT_M,
    PAVEMENT_HEIGHT_M,
    SIDE_STREET_LENGTH_M,
    SPEED_M_S,
    WALL_M,
    Plan,
    ahead_m,
)
from firstsight.recordings.simulated.street.things import CAR_COLOURS, CAR_SIZE_M, COAT_COLOURS
from firstsight.recordings.simulated.surface import Transform

CROSSING_CAR_M_S, CROSSING_PERSON_M_S = -5.0, 1.4  # positive: to the left
CAR_AHEAD_M, PERSON_AHEAD_M, BEHIND_M = 75.0, 45.0, 20.0  # traffic farther away than this is left out
BESIDE_M = (-0.7, 0.6, -0.05)  # of the middle of a zebra crossing, whoever crosses first, second and third


def traffic(plan: Plan, path: ClosedPath, time_s: float) -> list[Actor]:
    """The things that move within sight of the vehicle."""
    here = SPEED_M_S * time_s
    next_crossing = int(np.ceil((here - plan.first_crossing_m) / BEAT_M))
    actors = [car_ahead(plan, path), *oncoming(plan, path, time_s), *walkers(plan, path, time_s)]
    for crossing in range(max(next_crossing - 1, 0), next_crossing + 3):
        actors += crossing_traffic(plan, path, crossing, time_s)
    return [actor for actor in actors if plan.takes_part(actor.object_id)]


def in_sight(along_m: float, time_s: float, sight_m: float) -> bool:
    return -BEHIND_M < ahead_m(along_m, SPEED_M_S * time_s) < sight_m


def car_actor(plan: Plan, object_id: int, world_from_car: Motion) -> Actor:
    shape = f"car {(object_id + plan.colours) % len(CAR_COLOURS)}"
    return rigid_actor(object_id, "car", shape, CAR_SIZE_M, world_from_car)


def walker(plan: Plan, object_id: int, stride_rad_s: float, world_from_person: Motion) -> Actor:
    shape = f"person {(object_id + plan.colours) % len(COAT_COLOURS)}"
    return person_actor(object_id, shape, stride_rad_s, world_from_person)


def car_ahead(plan: Plan, path: ClosedPath) -> Actor:
    """Returns a car in the overtaking lane, now nearer, now farther."""
    beat_s = BEAT_M / SPEED_M_S

    def pose(t: float) -> Transform:
        return path.pose(SPEED_M_S * t + plan.car_ahead_m - np.sin(np.pi * t / beat_s), LANE_LEFT_M[1])

    return car_actor(plan, 1, pose)


def oncoming(plan: Plan, path: ClosedPath, time_s: float) -> Iterator[Actor]:
    """Cars in both oncoming lanes, timed to pass the crossings when nobody crosses there."""
    for lane, passes_s in zip((2, 3), plan.oncoming_s, strict=True):
        for i in range(BEATS // 2):
            start = 2 * plan.first_crossing_m + SPEED_M_S * passes_s + 2 * BEAT_M * i
            if in_sight(start - SPEED_M_S * time_s, time_s, CAR_AHEAD_M):
                pose = partial(along_pose, path, start, -SPEED_M_S, LANE_LEFT_M[lane], 0.0)
                yield car_actor(plan, 10 * lane + i, pose)


def walkers(plan: Plan, path: ClosedPath, time_s: float) -> Iterator[Actor]:
    """People on both pavements, some with us, some against."""
    for side in (1, -1):
        for i in range(plan.walkers):
            object_id = 100 + 100 * (side > 0) + i
            start = path.length_m / plan.walkers * (i + plan.walker_shift(object_id)) + 4 * side
            with_us = i % 3 == 0
            speed, aside = plan.walking_m_s[not with_us], 1.3 if with_us else 2.2
            if in_sight(start + speed * time_s, time_s, PERSON_AHEAD_M):
                left = side * (KERB_M + aside)
                pose = partial(along_pose, path, start, speed, left, PAVEMENT_HEIGHT_M)
                yield walker(plan, object_id, 5.0, pose)


def along_pose(
    path: ClosedPath, start_m: float, speed_m_s: float, left_m: float, height_m: float, time_s: float
) -> Transform:
    """Returns a pose that moves along the street at constant speed, facing the way it goes."""
    return path.pose(start_m + speed_m_s * time_s, left_m, height_m, 0.0 if speed_m_s > 0 else np.pi)


def crossing_traffic(plan: Plan, path: ClosedPath, crossing: int, time_s: float) -> Iterator[Actor]:
    """Who crosses at a crossing, in time with the vehicle's arrival there: a car from a side street, or people."""
    here_m = plan.crossing_m(crossing)
    arrival_s, first_id = here_m / SPEED_M_S, 1000 + 4 * (crossing % 10000)
    if plan.is_side_street(crossing):
        centre_s = arrival_s + plan.car_crosses_s
        if abs(CROSSING_CAR_M_S * (time_s - centre_s)) < SIDE_STREET_LENGTH_M:
            yield car_actor(plan, first_id, partial(across_pose, path, here_m, CROSSING_CAR_M_S, centre_s))
        return
    for i, (relative_s, beside_m) in enumerate(zip(plan.people_cross_s, BESIDE_M, strict=False)):
        centre_s = arrival_s + relative_s
        if abs(CROSSING_PERSON_M_S * (time_s - centre_s)) < WALL_M:
            pose = partial(across_pose, path, here_m + beside_m, CROSSING_PERSON_M_S, centre_s)
            yield walker(plan, first_id + 1 + i, 7.0 + 0.3 * i, pose)


def across_pose(path: ClosedPath, along_m: float, speed_m_s: float, centre_s: float, time_s: float) -> Transform:
    """Straight across the road, on its centre line at the time `centre_s`."""
    return path.pose(along_m, speed_m_s * (time_s - centre_s), yaw_rad=np.pi / 2 if speed_m_s > 0 else -np.pi / 2)
