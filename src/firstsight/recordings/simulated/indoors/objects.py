"""Objects: a table of toys, some of which move, seen by a stereo camera that swings slowly round it.

The plan's origin is the table's middle, on the floor. Toys that move keep to closed tracks, which are apart from each other and
from what stands still; of most there is one like it that does not move.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import trimesh
from jaxtyping import Float64

from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA
from firstsight.recordings.simulated.actors import ball_actor, rigid_actor
from firstsight.recordings.simulated.indoors.playing import Playing, playing_of
from firstsight.recordings.simulated.indoors.things import ball, bookcase, picture, plant, table, wall, window
from firstsight.recordings.simulated.path import elliptic_track
from firstsight.recordings.simulated.scene import Actor, Landmark, Light, OdometryNoise, Viewpoint, World
from firstsight.recordings.simulated.street.things import CAR_SIZE_M, car
from firstsight.recordings.simulated.surface import (
    Material,
    Surface,
    Transform,
    box,
    cylinder,
    joined,
    moved,
    painted,
    tilted,
)

TABLE_SIZE_M = (1.9, 1.3, 0.75)
DISTANCE_M = 1.2  # of the camera's carrier from the middle of the table
CAR_SCALE = 1 / 14
CAR_MODEL_M = (CAR_SCALE * CAR_SIZE_M[0], CAR_SCALE * CAR_SIZE_M[1], CAR_SCALE * CAR_SIZE_M[2])
BALL_M, CUBE_M, TOP_SIZE_M = 0.075, 0.13, (0.2, 0.2, 0.19)
WAGON_M, TRAIN_SIZE_M = (0.15, 0.09, 0.14), (0.56, 0.3, 0.17)


def objects(seed: int) -> World:
    """The world of a seed: which toys lie where, how they move and look, and the camera's swing are its own."""
    playing = playing_of(seed)
    generator = np.random.default_rng((seed, 3))
    world_from_plan = moved(x=DISTANCE_M)
    side, shift, top_m = playing.side, playing.shift_m, TABLE_SIZE_M[2]
    standing = [
        ("car", "car standing", CAR_MODEL_M, moved(0.12 + shift, side * 0.74, top_m, side * 1.1)),
        ("ball", "ball", (2 * BALL_M, 2 * BALL_M, 2 * BALL_M), moved(-0.5 + shift, side * -0.78, top_m + BALL_M)),
        ("block", "block", (CUBE_M, CUBE_M, CUBE_M), moved(0.5 + shift, side * -0.32, top_m, 0.4)),
    ]
    shapes = toys(playing)
    static = [*room(playing, generator), *still_life(playing, generator)]
    static += [shapes[shape].placed(plan_from_toy) for _, shape, _, plan_from_toy in standing]
    actors = moving_toys(playing, world_from_plan @ moved(z=TABLE_SIZE_M[2]))
    return World(
        name="objects",
        static=joined(static).placed(world_from_plan),
        shapes=shapes,
        actors=lambda _: actors,
        landmarks=[
            Landmark(
                object_id=40000 + i,
                label=label,
                size_m=size,
                world_from_box=world_from_plan @ pose @ moved(z=0.0 if label == "ball" else size[2] / 2),
            )
            for i, (label, _, size, pose) in enumerate(standing)
        ],
        world_from_body=partial(swing, playing),
        light=Light(towards_sun=towards_sun(playing.sun_yaw_rad), sun=(0.62, 0.6, 0.54), ambient=(0.36, 0.37, 0.4)),
        viewpoint=Viewpoint(
            size=(240, 320),
            horizontal_fov_rad=np.deg2rad(62),
            baseline_m=0.08,
            body_from_camera=moved(0.0, 0.04, 1.42) @ tilted(1, 0.5) @ BODY_FROM_FORWARD_CAMERA,
            body_from_lidar=None,
            rate_hz=15.0,
            frames=120,
        ),
        odometry=OdometryNoise(scale=0.08, yaw_rad_per_m=0.2, translation_m=0.03, yaw_rad=0.03),
        obstacle_height_m=(0.1, 2.0),
        cell_size_m=0.05,
    )


def towards_sun(yaw_rad: float) -> tuple[float, float, float]:
    """The direction of the light, turned about the vertical."""
    x, y, z = moved(yaw_rad=yaw_rad)[:3, :3] @ (-0.5, 0.45, 0.9)
    return float(x), float(y), float(z)


def swing(playing: Playing, times_s: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4 4"]:
    """The carrier moves to and fro on an arc round the table, facing its middle, now a little nearer, now farther."""
    angle = playing.swing_rad * np.sin(playing.swing_rad_s * times_s)
    nearer = playing.nearer_m * np.sin(playing.nearer_rad_s * times_s)
    return np.stack(
        [moved(DISTANCE_M) @ moved(yaw_rad=a) @ moved(near - DISTANCE_M) for a, near in zip(angle, nearer, strict=True)]
    )


# What stands still, in the plan's frame


def room(playing: Playing, generator: np.random.Generator) -> list[Surface]:
    """A floor, three walls with pictures, a window and a bookcase, and the table."""
    far, side = 2.4, 2.6
    mirrored = playing.side
    surfaces = [
        box((12.0, 12.0, 0.1), (0.3, 0.18, 0.09), Material.PLANKS).placed(moved(z=-0.1)),
        wall(12.0, 3.0, (0.45, 0.52, 0.42)).placed(moved(x=far, yaw_rad=np.pi / 2)),
        wall(12.0, 3.0, (0.5, 0.3, 0.22), Material.BRICKS).placed(moved(y=side)),
        wall(12.0, 3.0, (0.55, 0.48, 0.34)).placed(moved(y=-side)),
        bookcase(1.6, 2.0).placed(moved(far - 0.08, mirrored * 0.7, yaw_rad=-np.pi / 2)),
        plant(1.3).placed(moved(far - 0.1, mirrored * -1.6, yaw_rad=-np.pi / 2)),
        window(1.2, 1.2).placed(moved(0.6, -side + 0.06, 1.0, np.pi)),
        table(*TABLE_SIZE_M).placed(moved(TABLE_SIZE_M[1] / 2, yaw_rad=-np.pi / 2)),
    ]
    for x, y, turn in ((far - 0.06, mirrored * -0.7, -np.pi / 2), (0.8, side - 0.06, 0.0), (-0.6, side - 0.06, 0.0)):
        shown = picture(0.8, 0.6, tuple(generator.uniform(0, 20, 2)))
        surfaces.append(shown.placed(moved(x, y, 1.1, turn)))
    return surfaces


def still_life(playing: Playing, generator: np.random.Generator) -> list[Surface]:
    """A pile of books, cups, and a tower of blocks on the table."""
    surfaces, side = [], playing.side
    for i, colour in enumerate([(0.45, 0.1, 0.08), (0.08, 0.2, 0.4), (0.5, 0.42, 0.15)]):
        book = box((0.2, 0.27, 0.035), colour, Material.STRIPES)
        surfaces.append(book.placed(moved(0.3, side * 0.17, 0.035 * i, generator.uniform(-0.4, 0.4))))
    for i, colour in enumerate([(0.5, 0.1, 0.1), (0.55, 0.5, 0.1), (0.1, 0.35, 0.15)]):
        block = box((0.1, 0.1, 0.1), colour, Material.CHECKS)
        surfaces.append(block.placed(moved(0.3, side * -0.05, 0.1 * i, generator.uniform(-0.5, 0.5))))
    cup = cylinder(0.045, 0.11, (0.15, 0.35, 0.5), Material.CHECKS, sections=20)
    surfaces += [cup.placed(moved(x, side * y)) for x, y in ((-0.15, -0.8), (-0.2, -0.66))]
    return [surface.placed(moved(z=TABLE_SIZE_M[2])) for surface in surfaces]


def toys(playing: Playing) -> dict[str, Surface]:
    """The shapes of all toys by name."""
    wagon = box(WAGON_M, playing.wagon, Material.CHECKS)
    engine = joined(
        [
            box((0.15, 0.09, 0.06), (0.08, 0.08, 0.1)),
            cylinder(0.035, 0.11, playing.engine).placed(moved(-0.02, z=0.085) @ tilted(1, np.pi / 2)),
            box((0.05, 0.09, 0.13), playing.engine).placed(moved(-0.05)),
            cylinder(0.014, 0.06, (0.05, 0.05, 0.05), sections=8).placed(moved(0.06, z=0.11)),
        ]
    )
    top = joined(
        [
            painted(trimesh.creation.cone(0.1, 0.1, sections=24), (0.55, 0.4, 0.05), Material.CHECKS).placed(
                moved(z=0.1) @ tilted(0, np.pi)
            ),
            cylinder(0.1, 0.02, (0.5, 0.08, 0.3), Material.CHECKS, sections=24).placed(moved(z=0.1)),
            cylinder(0.012, 0.07, (0.6, 0.6, 0.6), sections=8).placed(moved(z=0.12)),
        ]
    )
    return {
        "car driving": car(playing.cars[0]).scaled(CAR_SCALE),
        "car standing": car(playing.cars[1]).scaled(CAR_SCALE),
        "ball": ball(BALL_M, playing.ball),
        "block": box((CUBE_M, CUBE_M, CUBE_M), (0.1, 0.2, 0.5), Material.PICTURE, shift=playing.block_picture),
        "wagon": wagon,
        "engine": engine,
        "top": top,
    }


# What moves, in the frame of the table top


def moving_toys(playing: Playing, world_from_top: Transform) -> list[Actor]:
    """A train, a car, a rolling ball, a block pushed about, and a spinning top; all are there at any time."""

    def track(place: int, x: float, y: float, half_x: float, half_y: float) -> Callable[[float], Transform]:
        ellipse = elliptic_track(world_from_top @ moved(x, playing.side * y), half_x, half_y)
        return lambda along_m: ellipse(along_m + playing.begin_m[place])

    left, right = (-0.3, 0.42, 0.22, 0.26), (-0.32, -0.28, 0.18, 0.28)
    if playing.swapped:  # a car is longer than a ball
        left, right = (-0.32, -0.28, 0.15, 0.24), left
    railway, circuit, rolling = track(0, 0.3, 0.08, 0.29, 0.32), track(1, *left), track(2, *right)
    pushed, turning = track(3, 0.25, -0.62, 0.28, 0.12), track(4, 0.4, 0.72, 0.08, 0.06)
    train_m_s, car_m_s, ball_m_s, block_m_s, top_m_s = np.array([0.2, 0.25, 0.25, 0.14, 0.05]) * playing.faster
    return [
        train(1, lambda t: railway(train_m_s * t), 0.17 / train_m_s),
        rigid_actor(2, "car", "car driving", CAR_MODEL_M, lambda t: circuit(car_m_s * t)),
        ball_actor(3, "ball", BALL_M, ball_m_s, rolling),
        rigid_actor(4, "block", "block", (CUBE_M, CUBE_M, CUBE_M), lambda t: pushed(block_m_s * t)),
        rigid_actor(5, "top", "top", TOP_SIZE_M, lambda t: turning(top_m_s * t) @ moved(yaw_rad=3.0 * t)),
    ]


def train(object_id: int, track: Callable[[float], Transform], lag_s: float) -> Actor:
    """An engine and two wagons, each `lag_s` behind the one before it."""
    lags_s = (0.0, lag_s, 2 * lag_s)
    return Actor(
        object_id=object_id,
        label="train",
        size_m=TRAIN_SIZE_M,
        parts=("engine", "wagon", "wagon"),
        world_from_box=lambda t: track(t - lags_s[1]) @ moved(z=TRAIN_SIZE_M[2] / 2),
        world_from_parts=lambda t: [track(t - lag) for lag in lags_s],
    )
