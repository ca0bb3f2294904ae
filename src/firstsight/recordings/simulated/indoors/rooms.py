"""Rooms: a walk through a flat of four rooms that comes back to where it began, once every LAP_M metres (flat.py).

Plan (metres, before it is moved so that the walk starts at the origin): the rooms lie around (0, 0), where the inner walls
cross, each with a door to its two neighbours; furniture stands along the outer walls, and things move between it and the walk.
"""

from functools import partial

import numpy as np
from jaxtyping import Float64

from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA
from firstsight.recordings.simulated.actors import ball_actor, leg, person, person_actor, rigid_actor
from firstsight.recordings.simulated.indoors.flat import (
    COAT_COLOURS,
    DOOR_HEIGHT_M,
    DOOR_M,
    DOOR_WIDTH_M,
    HEIGHT_M,
    OUTER_COLOURS,
    Flat,
    flat_of,
)
from firstsight.recordings.simulated.indoors.things import (
    BALL_RADIUS_M,
    ROBOT_SIZE_M,
    ball,
    bed,
    bookcase,
    cabinet,
    chair,
    door_leaf,
    picture,
    plant,
    robot,
    sofa,
    table,
    wall,
    window,
)
from firstsight.recordings.simulated.path import ClosedPath, elliptic_track
from firstsight.recordings.simulated.scene import Actor, Landmark, Light, OdometryNoise, Viewpoint, World
from firstsight.recordings.simulated.surface import Material, Surface, Transform, box, joined, moved, tilted

SPEED_M_S = 0.6
OAK_LIGHT = (0.42, 0.28, 0.15)
# Turns furniture's back to that outer wall.
NORTH, SOUTH = 0.0, np.pi
EAST, WEST = -np.pi / 2, np.pi / 2


def rooms(seed: int) -> World:
    """The world of a seed: the flat, where the walk begins, the furniture and who is there are its own."""
    flat = flat_of(seed)
    generator = np.random.default_rng((seed, 2))
    path = flat.path()
    world_from_plan = flat.world_from_plan(path)
    standing_robot = world_from_plan @ moved(-3.6, -1.0, yaw_rad=1.0)
    static = [*shell(flat), *furniture(flat), *decoration(flat, generator)]
    shapes = {name: person(COAT_COLOURS[i]) for name, i in zip(("person", "visitor"), flat.coats, strict=True)}
    shapes |= {"leg": leg(), "robot": robot(), "ball": ball(BALL_RADIUS_M, (0.6, 0.08, 0.05)), "door": door_leaf()}
    actors = inhabitants(flat, path, world_from_plan)
    return World(
        name="rooms",
        static=joined([joined(static).placed(world_from_plan), shapes["robot"].placed(standing_robot)]),
        shapes=shapes,
        actors=lambda _: actors,
        landmarks=[
            Landmark(
                object_id=40000,
                label="robot",
                size_m=ROBOT_SIZE_M,
                world_from_box=standing_robot @ moved(z=ROBOT_SIZE_M[2] / 2),
            )
        ],
        world_from_body=partial(walk, flat, path),
        light=Light(ambient=(0.26, 0.26, 0.28), lamp=(1.0, 0.92, 0.78), lamps_m=lamps(world_from_plan)),
        viewpoint=Viewpoint(
            size=(240, 320),
            horizontal_fov_rad=np.deg2rad(80),
            baseline_m=0.12,
            body_from_camera=moved(0.1, 0.06, 1.15) @ tilted(1, 0.08) @ BODY_FROM_FORWARD_CAMERA,
            body_from_lidar=None,
            rate_hz=10.0,
            frames=320,
        ),
        odometry=OdometryNoise(scale=0.03, yaw_rad_per_m=0.02, translation_m=0.01, yaw_rad=0.01),
        obstacle_height_m=(0.1, 2.0),
        cell_size_m=0.05,
    )


def walk(flat: Flat, path: ClosedPath, times_s: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4 4"]:
    """The camera carrier's poses: along the loop with a slight sway."""
    pitch, roll = 0.01 * np.sin(2.9 * times_s), 0.008 * np.sin(1.9 * times_s)
    poses = path.poses(SPEED_M_S * times_s + flat.begin_m)
    return np.stack([pose @ tilted(1, p) @ tilted(0, r) for pose, p, r in zip(poses, pitch, roll, strict=True)])


def lamps(world_from_plan: Transform) -> tuple[tuple[float, float, float], ...]:
    """One below each room's ceiling."""
    places = [world_from_plan @ [x, y, HEIGHT_M - 0.3, 1] for x in (-2.4, 2.4) for y in (-2.2, 2.2)]
    return tuple((float(x), float(y), float(z)) for x, y, z, _ in places)


# What stands still, in the plan's frame


def shell(flat: Flat) -> list[Surface]:
    """Floors, ceiling, outer walls, and inner walls with doorways."""
    ceiling = box((2 * flat.half_x_m, 2 * flat.half_y_m, 0.1), (0.6, 0.6, 0.58), Material.TILES).placed(
        moved(z=HEIGHT_M)
    )
    surfaces = [ceiling]
    floors = [
        (-1, -1, (0.4, 0.24, 0.12), Material.PLANKS),
        (1, -1, (0.42, 0.4, 0.37), Material.TILES),
        (1, 1, (0.28, 0.16, 0.08), Material.PLANKS),
        (-1, 1, (0.3, 0.34, 0.36), Material.TILES),
    ]
    for x, y, colour, material in floors:
        floor = box((flat.half_x_m, flat.half_y_m, 0.1), colour, material)
        surfaces.append(floor.placed(moved(x * flat.half_x_m / 2, y * flat.half_y_m / 2, -0.1)))
    south_west, south_east, north_west, north_east = (OUTER_COLOURS[i] for i in flat.outer)
    for x, colour in ((-1, south_west), (1, south_east)):
        surfaces.append(wall(flat.half_x_m, HEIGHT_M, colour).placed(moved(x * flat.half_x_m / 2, -flat.half_y_m)))
    for x, colour in ((-1, north_west), (1, north_east)):
        surfaces.append(wall(flat.half_x_m, HEIGHT_M, colour).placed(moved(x * flat.half_x_m / 2, flat.half_y_m)))
    brick = wall(2 * flat.half_y_m, HEIGHT_M, (0.42, 0.2, 0.14), Material.BRICKS)
    plaster = wall(2 * flat.half_y_m, HEIGHT_M, (0.5, 0.47, 0.4))
    surfaces += [brick.placed(moved(flat.half_x_m, yaw_rad=EAST)), plaster.placed(moved(-flat.half_x_m, yaw_rad=WEST))]
    for turn, half in (
        (0.0, flat.half_x_m),
        (np.pi / 2, flat.half_y_m),
        (np.pi, flat.half_x_m),
        (-np.pi / 2, flat.half_y_m),
    ):
        surfaces.append(inner_wall(half).placed(moved(yaw_rad=turn)))
    return surfaces


def inner_wall(length_m: float) -> Surface:
    """A wall from the middle of the flat along x, with a framed doorway."""
    colour, trim = (0.55, 0.53, 0.48), (0.32, 0.2, 0.12)
    start, stop = DOOR_M - DOOR_WIDTH_M / 2, DOOR_M + DOOR_WIDTH_M / 2
    lintel = box((DOOR_WIDTH_M, 0.12, HEIGHT_M - DOOR_HEIGHT_M), colour).placed(moved(DOOR_M, z=DOOR_HEIGHT_M))
    posts = [box((0.08, 0.18, DOOR_HEIGHT_M + 0.04), trim).placed(moved(x)) for x in (start, stop)]
    beam = box((DOOR_WIDTH_M, 0.18, 0.08), trim).placed(moved(DOOR_M, z=DOOR_HEIGHT_M - 0.04))
    inner = wall(start, HEIGHT_M, colour).placed(moved(start / 2))
    outer = wall(length_m - stop, HEIGHT_M, colour).placed(moved((stop + length_m) / 2))
    return joined([inner, outer, lintel, *posts, beam])


def furniture(flat: Flat) -> list[Surface]:
    """(thing, x, y, which way its back points); what may be something else in another flat stands in a numbered place."""
    east, north = flat.half_x_m - 0.08, flat.half_y_m - 0.08
    shift, stands = flat.shift_m, flat.stands
    placed = [
        (sofa(flat.sofa), -2.6 + shift(0), -north, SOUTH),
        (stands(1, bookcase(1.4, 1.9), 1.6), -east, -2.6 + shift(1), WEST),
        (plant(1.2), -4.5, -4.1, SOUTH),
        (stands(2, cabinet(1.0, 0.9, OAK_LIGHT), 1.0), -0.08, -0.9, EAST),
        (table(1.5, 0.8, 0.75), 2.7, -3.75, SOUTH),
        (chair(), 2.3, -3.1, NORTH),
        (stands(3, cabinet(1.6, 0.95, (0.5, 0.5, 0.46)), 1.6), east, -2.2 + shift(3), EAST),
        (stands(4, cabinet(0.8, 1.9, (0.55, 0.54, 0.5)), 0.9), east, -3.9, EAST),
        (stands(5, bookcase(0.9, 1.5), 1.0), 0.08, -0.8, WEST),
        (bed(), 3.6, north, NORTH),
        (stands(6, cabinet(1.0, 2.0, (0.3, 0.18, 0.1)), 1.2), 1.2 + shift(6), north, NORTH),
        (plant(1.5), 4.6, 0.9, EAST),
        (stands(7, bookcase(1.0, 1.1), 1.0), 0.9, 0.08, SOUTH),
        (table(1.4, 0.7, 0.74, (0.2, 0.12, 0.07)), -2.4, north, NORTH),
        (chair((0.5, 0.1, 0.08)), -2.4, north - 1.22, SOUTH),
        (stands(8, bookcase(1.6, 2.0), 1.6), -east, 2.4 + shift(8), WEST),
        (plant(0.9), -0.5, 4.2, NORTH),
        (stands(9, cabinet(0.9, 0.8, OAK_LIGHT), 1.0), -0.8, 0.08, SOUTH),
    ]
    return [thing.placed(moved(x, y, yaw_rad=turn)) for thing, x, y, turn in placed]


def decoration(flat: Flat, generator: np.random.Generator) -> list[Surface]:
    """Pictures and windows on the walls, rugs on the floors."""
    east, north = flat.half_x_m - 0.06, flat.half_y_m - 0.06
    places = [
        (-2.6, -north, SOUTH), (1.3, -north, SOUTH), (4.1, -north, SOUTH), (-east, -0.9, WEST), (east, -0.9, EAST),
        (east, 2.4, EAST), (-4.1, north, NORTH), (-1.0, north, NORTH), (2.3, north, NORTH), (-east, 4.0, WEST),
        (-0.06, -1.0, EAST), (0.06, -3.8, WEST), (0.06, 1.0, WEST), (-0.06, 3.8, EAST),
        (-1.0, 0.06, SOUTH), (3.9, 0.06, SOUTH), (1.0, -0.06, NORTH), (-3.9, -0.06, NORTH),
    ]  # fmt: skip
    surfaces = []
    for x, y, turn in places:
        width, height = generator.uniform((0.5, 0.45), (0.9, 0.7))
        shown = picture(width, height, tuple(generator.uniform(0, 20, 2)))
        surfaces.append(shown.placed(moved(x, y, 1.25, turn)))
    for x, y, turn in ((east, -2.2, EAST), (2.7, -north, SOUTH), (-2.5, north, NORTH), (east, 3.9, EAST)):
        surfaces.append(window(1.1, 1.0).placed(moved(x, y, 1.1, turn)))
    for x, y in ((-2.6, -2.4), (2.6, 2.4)):
        rug = box((2.2, 1.5, 0.012), (0.4, 0.1, 0.1), Material.PICTURE, shift=tuple(generator.uniform(0, 20, 2)))
        surfaces.append(rug.placed(moved(x, y)))
    return surfaces


# What moves


def inhabitants(flat: Flat, path: ClosedPath, world_from_plan: Transform) -> list[Actor]:
    """A person who walks ahead, one who paces, two robots, a rolling ball and a swinging door."""
    rounds = [
        (-2.5, -3.5, 1.4, 0.22),
        (3.75, -2.3, 0.22, 1.3),
        (-3.8, 2.3, 0.22, 1.3),
        (2.2, 3.05, 1.2, 0.25),
    ]
    tracks = [elliptic_track(world_from_plan @ moved(x, y), half_x, half_y) for x, y, half_x, half_y in rounds]

    def along(i: int, speed_m_s: float, time_s: float) -> Transform:
        return tracks[i](flat.faster[i] * speed_m_s * time_s + flat.start_m[i])

    ball_m_s = 1.1 * flat.faster[3]
    return [
        person_actor(1, "person", 5.0, partial(ahead, flat, path)),
        person_actor(2, "visitor", 5.0, partial(along, 0, 0.9)),
        rigid_actor(3, "robot", "robot", ROBOT_SIZE_M, partial(along, 1, 0.8)),
        rigid_actor(4, "robot", "robot", ROBOT_SIZE_M, partial(along, 2, 0.8)),
        ball_actor(5, "ball", BALL_RADIUS_M, ball_m_s, lambda s: tracks[3](s + flat.start_m[3])),
        door_actor(6, world_from_plan @ moved(flat.half_x_m - 0.12, 2.2, yaw_rad=np.pi), flat.door_start_s),
    ]


def ahead(flat: Flat, path: ClosedPath, time_s: float) -> Transform:
    """The pose of the person who walks before the camera."""
    along = flat.begin_m + SPEED_M_S * time_s + flat.person_ahead_m + 0.5 * np.sin(0.8 * time_s)
    return path.pose(along, 0.25 * np.sin(2.0 * time_s))


def door_actor(object_id: int, world_from_hinge: Transform, start_s: float) -> Actor:
    """A door that swings to and fro."""

    def world_from_leaf(t: float) -> Transform:
        return world_from_hinge @ moved(yaw_rad=0.7 * np.sin(1.3 * (t + start_s)))

    return Actor(
        object_id=object_id,
        label="door",
        size_m=(0.8, 0.12, 2.0),
        parts=("door",),
        world_from_box=lambda t: world_from_leaf(t) @ moved(x=0.4, z=1.0),
        world_from_parts=lambda t: [world_from_leaf(t)],
    )
