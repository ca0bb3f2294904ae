"""Things that move by themselves, in every world: rigid ones, rolling balls, walking people."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from firstsight.recordings.simulated.scene import Actor
from firstsight.recordings.simulated.surface import (
    Colour,
    Surface,
    Transform,
    box,
    cylinder,
    ellipsoid,
    joined,
    moved,
    tilted,
)

Motion = Callable[[float], Transform]  # world_from_thing at a time in seconds

PERSON_SIZE_M = (1.0, 0.6, 1.8)  # a stride long
HIP_M = 0.88


def rigid_actor(
    object_id: int, label: str, shape: str, size_m: tuple[float, float, float], world_from_thing: Motion
) -> Actor:
    """A thing of one part whose origin is in the middle of its underside."""
    return Actor(
        object_id=object_id,
        label=label,
        size_m=size_m,
        parts=(shape,),
        world_from_box=lambda t: world_from_thing(t) @ moved(z=size_m[2] / 2),
        world_from_parts=lambda t: [world_from_thing(t)],
    )


def ball_actor(
    object_id: int, shape: str, radius_m: float, speed_m_s: float, track: Callable[[float], Transform]
) -> Actor:
    """A ball, its origin in its middle, that rolls along a track (a pose for each arc length) without slipping."""

    def world_from_ball(t: float) -> Transform:
        return track(speed_m_s * t) @ moved(z=radius_m) @ tilted(1, speed_m_s * t / radius_m)

    return Actor(
        object_id=object_id,
        label="ball",
        size_m=(2 * radius_m, 2 * radius_m, 2 * radius_m),
        parts=(shape,),
        world_from_box=world_from_ball,
        world_from_parts=lambda t: [world_from_ball(t)],
    )


def person_actor(object_id: int, shape: str, stride_rad_s: float, world_from_person: Motion) -> Actor:
    """A walking person; the shape is a `person`, the legs are the world's shape "leg"."""
    return Actor(
        object_id=object_id,
        label="pedestrian",
        size_m=PERSON_SIZE_M,
        parts=(shape, "leg", "leg"),
        world_from_box=lambda t: world_from_person(t) @ moved(z=PERSON_SIZE_M[2] / 2),
        world_from_parts=lambda t: walking(world_from_person(t), stride_rad_s * t + object_id),
    )


def walking(world_from_person: Transform, phase_rad: float) -> list[Transform]:
    """World poses of the trunk and of both legs, which swing."""
    swing = 0.35 * np.sin(phase_rad)
    legs = [world_from_person @ moved(y=0.1 * side, z=HIP_M) @ tilted(1, side * swing) for side in (1, -1)]
    return [world_from_person, *legs]


def person(coat: Colour) -> Surface:
    """Trunk, arms and head; the legs are `leg`."""
    skin, hair = (0.55, 0.36, 0.26), (0.06, 0.04, 0.02)
    head = ellipsoid((0.11, 0.1, 0.14), skin, subdivisions=1)
    middle = head.corners.mean(1)
    haired = middle[:, 2] > 0.03 + 0.6 * middle[:, 0]
    head = replace(head, paint=np.where(haired[:, None], hair, skin))
    parts = [
        ellipsoid((0.16, 0.22, 0.38), coat, subdivisions=1).placed(moved(z=1.16)),
        head.placed(moved(x=0.02, z=1.64)),
    ]
    for side in (-1, 1):
        parts.append(cylinder(0.055, 0.66, coat, sections=5, smooth=True).placed(moved(0.0, side * 0.22, 0.78)))
    return joined(parts)


def leg() -> Surface:
    """A leg that hangs from the origin."""
    shoe = box((0.26, 0.1, 0.08), (0.04, 0.03, 0.03)).placed(moved(0.05, z=-HIP_M))
    return joined([cylinder(0.09, HIP_M, (0.07, 0.08, 0.16), sections=6, smooth=True).placed(moved(z=-HIP_M)), shoe])
