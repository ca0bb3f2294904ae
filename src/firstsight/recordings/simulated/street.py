"""The street: a drive round a block of houses, with traffic.

The road is a closed loop, so a long drive comes back and the world stays small. Its plan repeats every BEAT_M metres, and all
traffic keeps the beat: whoever crosses does so just before the vehicle arrives, and nobody runs into anybody.
Positions are (s, left): metres along the loop and to the left of the centre line. The vehicle keeps the outer right lane.
"""

from functools import partial

import numpy as np
from jaxtyping import Float64

from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA
from firstsight.recordings.simulated.actors import Motion, leg, person, person_actor, rigid_actor
from firstsight.recordings.simulated.path import ClosedPath
from firstsight.recordings.simulated.scene import Actor, Landmark, Light, OdometryNoise, Viewpoint, World
from firstsight.recordings.simulated.street_things import (
    CAR_COLOURS,
    CAR_SIZE_M,
    COAT_COLOURS,
    WALL_COLOURS,
    WINDOW_COLUMN_M,
    car,
    house,
    lamp_post,
    tree,
)
from firstsight.recordings.simulated.surface import (
    Colour,
    Material,
    Surface,
    Transform,
    box,
    joined,
    moved,
    strip,
    tilted,
)

BEAT_M, BEATS = 24.0, 16
SPEED_M_S = 5.0
WALKERS = 24  # on each pavement
FIRST_CROSSING_M = 11.0  # s of crossing 0; crossing k lies k beats on
SIDE_STREET_EVERY, SIDE_STREET_PHASE = 4, 1  # crossings 1, 5, 9, ... are side streets, the others zebra crossings
LANE_LEFT_M = (-4.5, -1.5, 1.5, 4.5)  # ours, ours for overtaking, oncoming, oncoming
SIDE_STREET_HALF_M = 5.0
KERB_M, WALL_M, PAVEMENT_HEIGHT_M = 8.2, 11.2, 0.12
AHEAD_M, BEHIND_M = {"car": 75.0, "pedestrian": 45.0}, 20.0  # traffic farther away than this is left out
PLAN = np.array(
    [[0, 0], [40, 1], [78, -4], [112, 6], [128, 38], [116, 70], [76, 80], [36, 76], [-8, 78], [-30, 44], [-24, 10]]
)


def street(seed: int) -> World:
    path = ClosedPath(PLAN.astype(np.float64), BEAT_M * BEATS, LANE_LEFT_M[0])
    generator = np.random.default_rng((seed, 1))
    parked = parked_cars(path, generator)
    shapes = {f"car {i}": car(colour) for i, colour in enumerate(CAR_COLOURS)}
    shapes |= {f"person {i}": person(coat) for i, coat in enumerate(COAT_COLOURS)} | {"leg": leg()}
    cars = [shapes[f"car {i % len(CAR_COLOURS)}"].placed(pose) for i, pose in enumerate(parked)]
    return World(
        name="street",
        static=joined([*ground(path), *side_streets(path), *houses(path, generator), *cars, *trees(path, generator)]),
        shapes=shapes,
        actors=partial(traffic, path),
        landmarks=[
            Landmark(
                object_id=40000 + i, label="car", size_m=CAR_SIZE_M, world_from_box=pose @ moved(z=CAR_SIZE_M[2] / 2)
            )
            for i, pose in enumerate(parked)
        ],
        world_from_body=partial(drive, path),
        light=Light(towards_sun=(-0.35, 0.5, 0.75), sun=(0.95, 0.9, 0.8), ambient=(0.42, 0.46, 0.52), haze_m=500.0),
        viewpoint=Viewpoint(
            size=(192, 640),
            horizontal_fov_rad=np.deg2rad(84),
            baseline_m=0.5,
            body_from_camera=moved(1.2, 0.25, 1.65) @ BODY_FROM_FORWARD_CAMERA,
            body_from_lidar=moved(0.6, 0.0, 1.85),
            rate_hz=10.0,
            frames=60,
        ),
        odometry=OdometryNoise(scale=0.08, yaw_rad_per_m=0.012, translation_m=0.02, yaw_rad=0.004),
        obstacle_height_m=(0.3, 2.5),
        cell_size_m=0.2,
    )


def drive(path: ClosedPath, times_s: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4 4"]:
    """The vehicle's poses: along its lane, swaying, pitching and rolling a little on its springs."""
    sway = 0.12 * (1 - np.cos(0.5 * times_s))
    pitch, roll = 0.006 * np.sin(3.1 * times_s), 0.008 * np.sin(2.3 * times_s)
    poses = path.poses(SPEED_M_S * times_s, LANE_LEFT_M[0] + sway)
    return np.stack([pose @ tilted(1, p) @ tilted(0, r) for pose, p, r in zip(poses, pitch, roll, strict=True)])


# What stands still


def is_side_street(crossing: int) -> bool:
    return crossing % SIDE_STREET_EVERY == SIDE_STREET_PHASE


def crossing_m(crossing: int) -> float:
    return FIRST_CROSSING_M + BEAT_M * crossing


def gap_m(path: ClosedPath, along_m: float, side_streets_only: bool = False) -> float:
    """Distance along the road to the nearest crossing."""
    crossings = [crossing_m(k) for k in range(BEATS) if is_side_street(k) or not side_streets_only]
    apart = np.abs(np.asarray(crossings) - along_m) % path.length_m
    return float(np.minimum(apart, path.length_m - apart).min())


def ribbon(
    path: ClosedPath,
    ends_m: tuple[float, float],
    left_m: tuple[float, float],
    z_m: float,
    colour: Colour,
    material: Material,
) -> Surface:
    """A strip of road from one arc length to another, between two distances from the centre line."""
    along = samples(ends_m)
    left, right = (lifted(path.poses(along, left)[:, :3, 3], z_m) for left in left_m)
    return strip(left, right, along, left_m, colour, material)


def ground(path: ClosedPath) -> list[Surface]:
    """Grass below everything, the road with its zebra crossings, and pavements with kerbs between the side streets."""
    asphalt, stone = (0.16, 0.16, 0.165), (0.36, 0.35, 0.33)
    meadow = box((500.0, 500.0, 1.0), (0.14, 0.2, 0.06), Material.LEAVES).placed(moved(z=-1.03))
    surfaces = [meadow, ribbon(path, (0.0, path.length_m), (KERB_M, -KERB_M), 0.0, asphalt, Material.ROAD)]
    for k in range(BEATS):
        if not is_side_street(k):
            ends = crossing_m(k) - 1.5, crossing_m(k) + 1.5
            surfaces.append(ribbon(path, ends, (KERB_M - 0.3, 0.3 - KERB_M), 0.006, asphalt, Material.STRIPES))
            continue
        ends = crossing_m(k) + SIDE_STREET_HALF_M, crossing_m(k + SIDE_STREET_EVERY) - SIDE_STREET_HALF_M
        for side in (1, -1):
            inner, outer = side * KERB_M, side * (WALL_M + 0.3)
            surfaces.append(ribbon(path, ends, (inner, outer), PAVEMENT_HEIGHT_M, stone, Material.TILES))
            surfaces.append(kerb(path, ends, inner))
    return surfaces


def kerb(path: ClosedPath, ends_m: tuple[float, float], left_m: float) -> Surface:
    along = samples(ends_m)
    line = path.poses(along, left_m)[:, :3, 3]
    top = lifted(line, PAVEMENT_HEIGHT_M)
    return strip(top, line, along, (PAVEMENT_HEIGHT_M, 0.0), (0.45, 0.45, 0.43), Material.PLAIN)


def samples(ends_m: tuple[float, float]) -> Float64[np.ndarray, " n"]:
    """Arc lengths close enough to follow every bend."""
    return np.linspace(*ends_m, max(2, int((ends_m[1] - ends_m[0]) / 1.5)))


def lifted(points: Float64[np.ndarray, "n 3"], z_m: float) -> Float64[np.ndarray, "n 3"]:
    return points + np.array([0, 0, z_m])


def side_streets(path: ClosedPath) -> list[Surface]:
    """Streets that leave to both sides and end at a house."""
    surfaces = []
    for k in filter(is_side_street, range(BEATS)):
        for yaw in (np.pi / 2, -np.pi / 2):
            world_from_street = path.pose(crossing_m(k), yaw_rad=yaw)
            road = box((22.0, 9.0, 0.5), (0.16, 0.16, 0.165)).placed(moved(x=KERB_M + 10.8, z=-0.496))
            end = house(4, 3, 6.0, WALL_COLOURS[k % len(WALL_COLOURS)], k).placed(moved(x=26.0, yaw_rad=-np.pi / 2))
            surfaces += [road.placed(world_from_street), end.placed(world_from_street)]
    return surfaces


def houses(path: ClosedPath, generator: np.random.Generator) -> list[Surface]:
    """Rows of houses on both sides, interrupted by the side streets."""
    surfaces = []
    for side in (1, -1):
        along = 0.0
        while along < path.length_m - 3:
            columns = widest_front(path, along, side, int(generator.integers(3, 6)))
            if columns == 0:
                along += 1.0
                continue
            middle = along + columns * column_m(path, along, side) / 2
            storeys, colour, shift = generator.integers((2, 0, 0), (5, len(WALL_COLOURS), 50)).tolist()
            front = house(columns, storeys, 7.0, WALL_COLOURS[colour], shift)
            recess = WALL_M + generator.uniform(0, 0.8)
            surfaces.append(front.placed(path.pose(middle, side * recess, yaw_rad=0.0 if side > 0 else np.pi)))
            along += columns * column_m(path, along, side)
    return surfaces


def column_m(path: ClosedPath, along_m: float, side: int) -> float:
    """Metres of centre line that one column of windows takes: more than its width on the inside of a bend."""
    ends = path.poses(np.array([along_m, along_m + 8.0]), side * WALL_M)[:, :3, 3]
    return WINDOW_COLUMN_M * 8.0 / float(np.linalg.norm(ends[1] - ends[0]))


def widest_front(path: ClosedPath, along_m: float, side: int, columns: int) -> int:
    """How many columns of windows, at most `columns`, fit before the next side street; 0 for less than two."""
    for count in range(columns, 1, -1):
        half = count * column_m(path, along_m, side) / 2
        if gap_m(path, along_m + half, side_streets_only=True) >= SIDE_STREET_HALF_M + half:
            return count
    return 0


def trees(path: ClosedPath, generator: np.random.Generator) -> list[Surface]:
    """Trees and lamp posts in turn along the kerbs."""
    kinds = [tree(generator) for _ in range(4)]
    surfaces = []
    for side in (1, -1):
        for i, along in enumerate(np.arange(5.0 + 2 * side, path.length_m, 6.0)):
            if gap_m(path, along) < 3.5 or (gap_m(path, along, side_streets_only=True) < 7):
                continue
            yaw = (np.pi if side > 0 else 0.0) + (generator.uniform(-3, 3) if i % 2 else 0.0)
            thing = kinds[generator.integers(len(kinds))] if i % 2 else lamp_post()
            surfaces.append(thing.placed(path.pose(float(along), side * (KERB_M + 0.6), PAVEMENT_HEIGHT_M, yaw)))
    return surfaces


def parked_cars(path: ClosedPath, generator: np.random.Generator) -> list[Transform]:
    poses = []
    for side in (1, -1):
        for along in np.arange(3.0, path.length_m - 3, 5.6):
            if gap_m(path, along) > 5.5 and generator.random() < 0.55:
                yaw = (np.pi if side > 0 else 0.0) + generator.uniform(-0.03, 0.03)
                poses.append(path.pose(float(along), side * (KERB_M - 1.05), yaw_rad=yaw))
    return poses


# What moves


def traffic(path: ClosedPath, time_s: float) -> list[Actor]:
    """The things that move within sight of the vehicle."""
    here = SPEED_M_S * time_s
    actors = [car_ahead(path), *oncoming(path), *walkers(path)]
    beat = int(np.floor((here - FIRST_CROSSING_M) / BEAT_M))
    for k in range(max(beat - 1, 0), beat + 4):
        actors += crossing_traffic(path, k)
    body_from_world = np.linalg.inv(drive(path, np.array([time_s]))[0])
    return [actor for actor in actors if in_sight(body_from_world @ actor.world_from_box(time_s), actor.label)]


def in_sight(body_from_box: Transform, label: str) -> bool:
    x, y = body_from_box[:2, 3]
    return bool(-BEHIND_M < x < AHEAD_M[label] and abs(y) < AHEAD_M[label])


def car_actor(object_id: int, world_from_car: Motion) -> Actor:
    return rigid_actor(object_id, "car", f"car {object_id % len(CAR_COLOURS)}", CAR_SIZE_M, world_from_car)


def walker(object_id: int, stride_rad_s: float, world_from_person: Motion) -> Actor:
    return person_actor(object_id, f"person {object_id % len(COAT_COLOURS)}", stride_rad_s, world_from_person)


def car_ahead(path: ClosedPath) -> Actor:
    """In the overtaking lane, now nearer, now farther."""
    beat_s = BEAT_M / SPEED_M_S
    return car_actor(1, lambda t: path.pose(SPEED_M_S * t + 11 - np.sin(np.pi * t / beat_s), LANE_LEFT_M[1]))


def oncoming(path: ClosedPath) -> list[Actor]:
    """Cars in both oncoming lanes, as fast as the vehicle, two beats apart, timed to pass crossings when they are free."""
    actors = []
    for lane, start_m in ((2, FIRST_CROSSING_M - 14.0), (3, FIRST_CROSSING_M - 5.0)):
        for i in range(BEATS // 2):
            along = start_m + 2 * BEAT_M * i
            actors.append(car_actor(10 * lane + i, partial(oncoming_pose, path, along, LANE_LEFT_M[lane])))
    return actors


def oncoming_pose(path: ClosedPath, start_m: float, left_m: float, time_s: float) -> Transform:
    return path.pose(start_m - SPEED_M_S * time_s, left_m, yaw_rad=np.pi)


def walkers(path: ClosedPath) -> list[Actor]:
    """People on both pavements, some with us, some against."""
    actors = []
    for side in (1, -1):
        for i in range(WALKERS):
            speed = 1.3 if i % 3 == 0 else -1.1
            pose = partial(
                walker_pose, path, path.length_m / WALKERS * i + 4 * side, speed, side * (KERB_M + 1.5 + 0.25 * (i % 4))
            )
            actors.append(walker(100 + 100 * (side > 0) + i, 5.0, pose))
    return actors


def walker_pose(path: ClosedPath, start_m: float, speed_m_s: float, left_m: float, time_s: float) -> Transform:
    facing = 0.0 if speed_m_s > 0 else np.pi
    return path.pose(start_m + speed_m_s * time_s, left_m, PAVEMENT_HEIGHT_M, facing)


def crossing_traffic(path: ClosedPath, crossing: int) -> list[Actor]:
    """Who crosses at a crossing, in time with the vehicle's arrival there."""
    arrival_s = crossing_m(crossing) / SPEED_M_S
    first_id = 1000 + 4 * (crossing % 10000)
    if is_side_street(crossing):
        return [car_actor(first_id, partial(crossing_pose, path, crossing, -5.0, arrival_s - 3.6, 0.0))]
    ahead = partial(crossing_pose, path, crossing, 1.4, arrival_s + 0.6, -0.7)
    behind = partial(crossing_pose, path, crossing, 1.4, arrival_s + 1.1, 0.6)
    return [walker(first_id + 1, 7.0, ahead), walker(first_id + 2, 7.3, behind)]


def crossing_pose(
    path: ClosedPath, crossing: int, speed_m_s: float, centre_s: float, beside_m: float, time_s: float
) -> Transform:
    """Straight across the road, to the left where the speed is positive, on the centre line at `centre_s`."""
    left = speed_m_s * (time_s - centre_s)
    facing = np.pi / 2 if speed_m_s > 0 else -np.pi / 2
    return path.pose(crossing_m(crossing) + beside_m, left, yaw_rad=facing)
