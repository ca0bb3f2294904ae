"""Photos of a table with things on it, taken by somebody who walks about before it: known poses, unknown order."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

from firstsight.recordings.simulated.indoors.objects import DISTANCE_M, objects
from firstsight.recordings.simulated.simulate import recorded, rig_of

SIZE = (360, 480)
LOOKED_AT_M = np.array([DISTANCE_M + 0.25, 0.0, 0.8])
REACH_RAD = 0.9
NEAR_M, FAR_M = 1.15, 1.9
LOW_M, HIGH_M = 1.1, 1.9
# How far beside the middle the photographer points.
AIM_M = 0.2


class PhotoSet(NamedTuple):
    photos: list[UInt8[np.ndarray, "height width 3"]]
    world_from_camera: Float64[np.ndarray, "photos 4 4"]
    intrinsics: Float64[np.ndarray, "3 3"]


def photo_set(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> PhotoSet:
    """The world of `sim:objects`, in which nothing moves, from places all about the near side of the table."""
    rng = np.random.default_rng((seed, 7))
    poses = np.stack([standing(rng) for _ in range(count)])
    world = objects(seed)
    body_from_camera = world.viewpoint.body_from_camera
    bodies = poses @ np.linalg.inv(body_from_camera)

    def placed(times_s: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4 4"]:
        return bodies[np.clip(np.rint(times_s * world.viewpoint.rate_hz).astype(int), 0, count - 1)]

    still = replace(world, actors=lambda _: (), world_from_body=placed)
    rig = rig_of(still.viewpoint, size)
    recording = recorded(still, rig, count, seed)
    return PhotoSet([recording.images["left"][i] for i in range(count)], poses, rig.cameras[0].intrinsics)


def standing(rng: np.random.Generator) -> Float64[np.ndarray, "4 4"]:
    """world_from_camera of one photo, held nearly level."""
    angle, distance = rng.uniform(-REACH_RAD, REACH_RAD), rng.uniform(NEAR_M, FAR_M)
    centre = [DISTANCE_M - distance * np.cos(angle), distance * np.sin(angle), rng.uniform(LOW_M, HIGH_M)]
    forward = LOOKED_AT_M + rng.uniform(-AIM_M, AIM_M, 3) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [rng.normal(0, 0.03), rng.normal(0, 0.03), 1.0])
    right /= np.linalg.norm(right)
    world_from_camera = np.eye(4)
    world_from_camera[:3] = np.column_stack([right, np.cross(forward, right), forward, centre])
    return world_from_camera
