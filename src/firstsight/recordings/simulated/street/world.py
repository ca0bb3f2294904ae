"""The street: a drive round a block of houses, with traffic.

The road is a closed loop, so a long drive comes back and the world stays small; its plan repeats every beat (plan.py).
The vehicle keeps the outer right lane.
"""

from functools import partial

import numpy as np
from jaxtyping import Float64

from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA
from firstsight.recordings.simulated.actors import leg, person
from firstsight.recordings.simulated.path import ClosedPath
from firstsight.recordings.simulated.scene import Landmark, Light, OdometryNoise, Viewpoint, World
from firstsight.recordings.simulated.street.plan import (
    BEATS,
    KERB_M,
    LANE_LEFT_M,
    PAVEMENT_HEIGHT_M,
    SIDE_STREET_EVERY,
    SIDE_STREET_HALF_M,
    SIDE_STREET_LENGTH_M,
    SPEED_M_S,
    WALL_M,
    Plan,
    plan_of,
)
from firstsight.recordings.simulated.street.things import (
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
from firstsight.recordings.simulated.street.traffic import traffic
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


def street(seed: int) -> World:
    """The world of a seed: its loop, houses, traffic and light are its own."""
    plan = plan_of(seed)
    path = plan.centre_line()
    generator = np.random.default_rng((seed, 1))
    parked = parked_cars(plan, path, generator)
    shapes = {f"car {i}": car(colour) for i, colour in enumerate(CAR_COLOURS)}
    shapes |= {f"person {i}": person(coat) for i, coat in enumerate(COAT_COLOURS)} | {"leg": leg()}
    cars = [shapes[f"car {i % len(CAR_COLOURS)}"].placed(pose) for i, pose in enumerate(parked)]
    return World(
        name="street",
        static=joined(
            [
                *ground(plan, path),
                *side_streets(plan, path),
                *houses(plan, path, generator),
                *cars,
                *trees(plan, path, generator),
            ]
        ),
        shapes=shapes,
        actors=partial(traffic, plan, path),
        landmarks=[
            Landmark(
                object_id=40000 + i, label="car", size_m=CAR_SIZE_M, world_from_box=pose @ moved(z=CAR_SIZE_M[2] / 2)
            )
            for i, pose in enumerate(parked)
        ],
        world_from_body=partial(drive, path),
        light=sunlight(plan.sun_yaw_rad),
        viewpoint=Viewpoint(
            size=(192, 640),
            horizontal_fov_rad=np.deg2rad(84),
            baseline_m=0.5,
            body_from_camera=moved(1.2, 0.25, 1.65) @ BODY_FROM_FORWARD_CAMERA,
            body_from_lidar=moved(0.6, 0.0, 1.85),
            rate_hz=10.0,
            frames=60,
        ),
        odometry=OdometryNoise(scale=0.1, yaw_rad_per_m=0.02, translation_m=0.02, yaw_rad=0.004),
        obstacle_height_m=(0.3, 2.5),
        cell_size_m=0.2,
    )


def sunlight(yaw_rad: float) -> Light:
    """A sun above the houses, turned about the vertical."""
    towards_sun = moved(yaw_rad=yaw_rad)[:3, :3] @ (-0.35, 0.5, 0.75)
    x, y, z = (float(v) for v in towards_sun)
    return Light(towards_sun=(x, y, z), sun=(0.8, 0.76, 0.68), ambient=(0.48, 0.52, 0.57), haze_m=500.0)


def drive(path: ClosedPath, times_s: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4 4"]:
    """The vehicle's poses: along its lane, swaying, pitching and rolling a little on its springs."""
    sway = 0.12 * (1 - np.cos(0.5 * times_s))
    pitch, roll = 0.006 * np.sin(3.1 * times_s), 0.008 * np.sin(2.3 * times_s)
    poses = path.poses(SPEED_M_S * times_s, LANE_LEFT_M[0] + sway)
    return np.stack([pose @ tilted(1, p) @ tilted(0, r) for pose, p, r in zip(poses, pitch, roll, strict=True)])


# What stands still


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


def ground(plan: Plan, path: ClosedPath) -> list[Surface]:
    """Grass below everything, the road with its zebra crossings, and pavements with kerbs between the side streets."""
    asphalt, stone = (0.16, 0.16, 0.165), (0.36, 0.35, 0.33)
    meadow = box((500.0, 500.0, 1.0), (0.14, 0.2, 0.06), Material.LEAVES).placed(moved(z=-1.03))
    surfaces = [meadow, ribbon(path, (0.0, path.length_m), (KERB_M, -KERB_M), 0.0, asphalt, Material.ROAD)]
    for k in range(BEATS):
        if not plan.is_side_street(k):
            ends = plan.crossing_m(k) - 1.5, plan.crossing_m(k) + 1.5
            surfaces.append(ribbon(path, ends, (KERB_M - 0.3, 0.3 - KERB_M), 0.006, asphalt, Material.STRIPES))
            continue
        ends = plan.crossing_m(k) + SIDE_STREET_HALF_M, plan.crossing_m(k + SIDE_STREET_EVERY) - SIDE_STREET_HALF_M
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


def side_streets(plan: Plan, path: ClosedPath) -> list[Surface]:
    """Streets that leave to both sides and end at a house."""
    surfaces = []
    for k in filter(plan.is_side_street, range(BEATS)):
        for yaw in (np.pi / 2, -np.pi / 2):
            world_from_street = path.pose(plan.crossing_m(k), yaw_rad=yaw)
            road = box((22.0, 9.0, 0.5), (0.16, 0.16, 0.165)).placed(moved(x=KERB_M + 10.8, z=-0.496))
            end = house(4, 3, 6.0, WALL_COLOURS[k % len(WALL_COLOURS)], k).placed(
                moved(x=SIDE_STREET_LENGTH_M, yaw_rad=-np.pi / 2)
            )
            surfaces += [road.placed(world_from_street), end.placed(world_from_street)]
    return surfaces


def houses(plan: Plan, path: ClosedPath, generator: np.random.Generator) -> list[Surface]:
    """Rows of houses on both sides, interrupted by the side streets."""
    surfaces = []
    for side in (1, -1):
        along = 0.0
        while along < path.length_m - 3:
            columns = widest_front(plan, path, along, side, int(generator.integers(3, 6)))
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


def widest_front(plan: Plan, path: ClosedPath, along_m: float, side: int, columns: int) -> int:
    """How many columns of windows, at most `columns`, fit before the next side street; 0 for less than two."""
    for count in range(columns, 1, -1):
        half = count * column_m(path, along_m, side) / 2
        if plan.gap_m(along_m + half, side_streets_only=True) >= SIDE_STREET_HALF_M + half:
            return count
    return 0


def trees(plan: Plan, path: ClosedPath, generator: np.random.Generator) -> list[Surface]:
    """Trees and lamp posts in turn along the kerbs."""
    kinds = [tree(generator) for _ in range(4)]
    surfaces = []
    for side in (1, -1):
        for i, along in enumerate(np.arange(5.0 + 2 * side, path.length_m, 6.0)):
            if plan.gap_m(along) < 3.5 or (plan.gap_m(along, side_streets_only=True) < 7):
                continue
            yaw = (np.pi if side > 0 else 0.0) + (generator.uniform(-3, 3) if i % 2 else 0.0)
            thing = kinds[generator.integers(len(kinds))] if i % 2 else lamp_post()
            surfaces.append(thing.placed(path.pose(float(along), side * (KERB_M + 0.6), PAVEMENT_HEIGHT_M, yaw)))
    return surfaces


def parked_cars(plan: Plan, path: ClosedPath, generator: np.random.Generator) -> list[Transform]:
    poses = []
    for side in (1, -1):
        for along in np.arange(3.0, path.length_m - 3, 5.6):
            if plan.gap_m(along) > 5.5 and generator.random() < plan.parked_share:
                yaw = (np.pi if side > 0 else 0.0) + generator.uniform(-0.03, 0.03)
                poses.append(path.pose(float(along), side * (KERB_M - 1.05), yaw_rad=yaw))
    return poses
