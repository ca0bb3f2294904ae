"""The worlds of a seed stay: figures that were stated of one are of what stands, moves and is seen there.

Of many triangles or poses a `mark` is compared: a sum in which every number has a weight of its own.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated.indoors.flat import flat_of
from firstsight.recordings.simulated.indoors.playing import playing_of
from firstsight.recordings.simulated.scene import OdometryNoise, World
from firstsight.recordings.simulated.simulate import WORLDS, image_size, recorded, rig_of
from firstsight.recordings.simulated.street.plan import ahead_m, plan_of
from firstsight.recordings.simulated.surface import Material, Surface, joined

Marks = dict[str, tuple[int, float, float]]


class Told(NamedTuple):
    """What is known of a world.

    `standing` and `shapes`: by material the number of triangles, their area in m^2, and the mark of where they are, their
    colours, their textures and their normals, by area. `moving` at 0 and 7.3 s: how many actors, the sum of their ids, the
    marks of their boxes, their parts and their sizes, and which shapes the parts have. `landmarks`: how many, and the mark of
    their boxes. `way`: the mark of the vehicle's poses at 0.7 and 5.9 s. `light`: that of its directions, colours and lamps.
    """

    standing: Marks
    shapes: Marks
    moving: tuple[tuple[int, int, float, float, float, int], ...]
    landmarks: tuple[int, float]
    way: float
    light: float


TOLD = {
    ("street", 0): Told(
        standing={
            "PLAIN": (14556, 5439.184723, 620098.807671),
            "ROAD": (510, 6296.376551, 3855268.517537),
            "FACADE": (912, 33426.4, 9909889.907041),
            "TILES": (896, 2269.911154, 1606462.46365),
            "LEAVES": (56772, 505911.698188, 420762.234024),
            "STRIPES": (24, 568.359008, 356791.415903),
            "BRICKS": (608, 14971.147093, 1794912.210626),
        },
        shapes={"PLAIN": (2636, 297.276642, 834.952457)},
        moving=(
            (16, 4342, 1093.32414, 2105.993581, 106.32416, 5785),
            (19, 6557, 1969.988979, 4527.0113, 121.222818, 9118),
        ),
        landmarks=(37, 8052.291839),
        way=71.640298,
        light=6.911402,
    ),
    ("rooms", 0): Told(
        standing={
            "PLAIN": (2372, 358.929215, 3602.349564),
            "TILES": (36, 283.68, 2796.072783),
            "PLANKS": (180, 139.714, 923.318499),
            "LEAVES": (3840, 7.132313, 41.703343),
            "PICTURE": (240, 27.867135, 1729.917917),
            "CHECKS": (48, 8.0584, 87.445539),
            "BRICKS": (12, 50.672, 800.245417),
            "BOOKS": (48, 20.6672, 162.193766),
        },
        shapes={
            "PLAIN": (972, 6.377432, 24.863448),
            "PLANKS": (12, 3.48, 22.265654),
            "CHECKS": (332, 1.179594, 3.12521),
        },
        moving=((6, 21, 98.832272, 122.511518, 21.729862, 167), (6, 21, 85.734416, 106.593927, 21.729862, 167)),
        landmarks=(1, 4.277205),
        way=22.34806,
        light=36.008114,
    ),
    ("objects", 0): Told(
        standing={
            "PLAIN": (636, 184.507102, 1768.694429),
            "PLANKS": (24, 298.06, 705.492135),
            "LEAVES": (1280, 2.377438, 7.834945),
            "PICTURE": (48, 3.1494, 224.854942),
            "CHECKS": (516, 0.336334, 1.377967),
            "STRIPES": (36, 0.4227, 2.062632),
            "BRICKS": (12, 75.6, 1040.691145),
            "BOOKS": (12, 7.6968, 96.265313),
        },
        shapes={
            "PLAIN": (752, 0.640369, 0.784175),
            "PICTURE": (12, 0.1014, 1.586546),
            "CHECKS": (476, 0.313374, 0.566995),
        },
        moving=((5, 15, 51.635547, 73.150417, 3.926146, 95), (5, 15, 43.315893, 63.084775, 3.926146, 95)),
        landmarks=(3, 34.080264),
        way=12.030341,
        light=5.675157,
    ),
    ("rooms", 3): Told(
        standing={
            "PLAIN": (2480, 381.603454, 1833.660958),
            "TILES": (36, 336.342942, 901.424939),
            "PLANKS": (132, 138.412806, -373.000121),
            "LEAVES": (7680, 14.264626, -9.227873),
            "PICTURE": (240, 27.013719, 1616.296676),
            "CHECKS": (48, 8.0584, -13.805497),
            "BRICKS": (12, 57.723806, -221.090652),
            "BOOKS": (60, 12.966104, 55.084063),
        },
        shapes={
            "PLAIN": (972, 6.377432, 24.766131),
            "PLANKS": (12, 3.48, 22.265654),
            "CHECKS": (332, 1.179594, 3.12521),
        },
        moving=((6, 21, -17.755839, -19.836692, 21.729862, 167), (6, 21, -24.33068, -57.103285, 21.729862, 167)),
        landmarks=(1, 8.148284),
        way=10.965268,
        light=7.294836,
    ),
    ("objects", 3): Told(
        standing={
            "PLAIN": (636, 184.507102, 1768.767462),
            "PLANKS": (24, 298.06, 705.492135),
            "LEAVES": (1280, 2.377438, 7.834945),
            "PICTURE": (48, 3.1494, 203.918976),
            "CHECKS": (516, 0.336334, 1.372421),
            "STRIPES": (36, 0.4227, 2.062632),
            "BRICKS": (12, 75.6, 1040.691145),
            "BOOKS": (12, 7.6968, 96.265313),
        },
        shapes={
            "PLAIN": (752, 0.640369, 0.960552),
            "PICTURE": (12, 0.1014, 3.953514),
            "CHECKS": (476, 0.313374, 0.639347),
        },
        moving=((5, 15, 40.909591, 56.723608, 3.926146, 95), (5, 15, 43.195993, 62.434029, 3.926146, 95)),
        landmarks=(3, 34.206261),
        way=12.135862,
        light=5.07186,
    ),
}


@cache
def world_of(name: str, seed: int = 0) -> World:
    return WORLDS[name](seed)


def recording_of(name: str, frames: int, height: int) -> Recording:
    world = world_of(name)
    return recorded(world, rig_of(world.viewpoint, image_size(world.viewpoint.size, height, None)), frames, 0)


def mark(values, weights=1.0) -> float:
    rows = np.asarray(values, dtype=np.float64)
    rows = rows.reshape(len(rows), -1)
    return float((weights * (rows @ np.sqrt(1 + np.arange(rows.shape[1])))).sum())


def marks(surface: Surface) -> Marks:
    a, b, c = np.moveaxis(surface.corners, 1, 0)
    area, middle = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2, (a + b + c) / 3
    texture = np.einsum("nij,nj->ni", surface.chart[:, :, :3], middle) + surface.chart[:, :, 3]
    told = np.concatenate([middle, surface.paint, texture, surface.normals.mean(1)], 1)
    of = {Material(number).name: surface.material == number for number in np.unique(surface.material)}
    return {name: (int(w.sum()), float(area[w].sum()), mark(told[w], area[w])) for name, w in of.items()}


def same(found: Marks, expected: Marks) -> None:
    assert list(found) == list(expected)
    for name, numbers in expected.items():
        assert found[name] == pytest.approx(numbers, rel=1e-8, abs=2e-6), name


@pytest.mark.parametrize(("name", "seed"), TOLD)
def test_what_stands_and_moves_in_the_world_of_a_seed(name: str, seed: int):
    world, told = world_of(name, seed), TOLD[name, seed]
    same(marks(world.static), told.standing)
    same(marks(joined(list(world.shapes.values()))), told.shapes)
    names = list(world.shapes)
    for time_s, expected in zip((0.0, 7.3), told.moving, strict=True):
        actors = world.actors(time_s)
        parts = [part for actor in actors for part in actor.parts]
        found = (
            len(actors),
            sum(actor.object_id for actor in actors),
            mark([actor.world_from_box(time_s)[:3] for actor in actors]),
            mark([pose[:3] for actor in actors for pose in actor.world_from_parts(time_s)]),
            mark([actor.size_m for actor in actors]),
            sum((k + 1) * names.index(part) for k, part in enumerate(parts)),
        )
        assert found == pytest.approx(expected, rel=1e-8, abs=2e-6)
    boxes = [landmark.world_from_box[:3] for landmark in world.landmarks]
    assert (len(boxes), mark(boxes)) == pytest.approx(told.landmarks, abs=2e-6)
    assert mark(world.world_from_body(np.array([0.7, 5.9]))[:, :3]) == pytest.approx(told.way, abs=2e-6)
    light = world.light
    assert mark([light.towards_sun, light.sun, light.ambient, light.lamp, *light.lamps_m]) == pytest.approx(
        told.light, abs=2e-6
    )


@pytest.mark.parametrize(
    ("name", "size", "fov_deg", "baseline_m", "camera_at", "camera_down_rad", "lidar_at", "rate_hz", "frames"),
    [
        ("street", (192, 640), 84, 0.5, (1.2, 0.25, 1.65), 0.0, (0.6, 0.0, 1.85), 10.0, 60),
        ("rooms", (240, 320), 80, 0.12, (0.1, 0.06, 1.15), 0.08, None, 10.0, 320),
        ("objects", (240, 320), 62, 0.08, (0.0, 0.04, 1.42), 0.5, None, 15.0, 120),
    ],
)
def test_the_sensors_of_a_world(
    name: str, size, fov_deg: float, baseline_m: float, camera_at, camera_down_rad: float, lidar_at, rate_hz, frames
):
    view = world_of(name).viewpoint
    assert (view.size, view.rate_hz, view.frames) == (size, rate_hz, frames)
    assert (np.degrees(view.horizontal_fov_rad), view.baseline_m) == pytest.approx((fov_deg, baseline_m))
    assert tuple(view.body_from_camera[:3, 3]) == pytest.approx(camera_at)
    sine, cosine = np.sin(camera_down_rad), np.cos(camera_down_rad)
    expected = [[0, -sine, cosine], [-1, 0, 0], [0, -cosine, -sine]]
    np.testing.assert_allclose(view.body_from_camera[:3, :3], expected, atol=1e-12)
    assert (view.body_from_lidar is None) == (lidar_at is None)
    if view.body_from_lidar is not None:
        assert tuple(view.body_from_lidar[:3, 3]) == pytest.approx(lidar_at)
        np.testing.assert_array_equal(view.body_from_lidar[:3, :3], np.eye(3))


def test_the_odometry_and_the_occupancy_of_a_world():
    street, rooms, objects = (world_of(name) for name in ("street", "rooms", "objects"))
    assert street.odometry == OdometryNoise(scale=0.1, yaw_rad_per_m=0.02, translation_m=0.02, yaw_rad=0.004)
    assert rooms.odometry == OdometryNoise(scale=0.03, yaw_rad_per_m=0.02, translation_m=0.01, yaw_rad=0.01)
    assert objects.odometry == OdometryNoise(scale=0.08, yaw_rad_per_m=0.2, translation_m=0.03, yaw_rad=0.03)
    assert [(w.obstacle_height_m, w.cell_size_m) for w in (street, rooms, objects)] == [
        ((0.3, 2.5), 0.2),
        ((0.1, 2.0), 0.05),
        ((0.1, 2.0), 0.05),
    ]
    assert (street.light.haze_m, rooms.light.haze_m, objects.light.haze_m) == (500.0, 1e6, 1e6)


@pytest.mark.parametrize(
    ("name", "left", "spread", "right", "depth_m", "moving", "odometry_mark", "occupied", "stamps_ns"),
    [
        ("street", (115.29, 117.51, 117.1), (46.25, 44.82, 53.97), (115.3, 118.56, 118.68), 9.794317, 648, 148.390593,
         (675, 1047, 27054), (100_000_000, 1_100_000_000)),
        ("rooms", (118.43, 108.0, 98.43), (26.55, 28.31, 28.83), (118.82, 109.5, 99.93), 3.143948, 246, 90.468718,
         (188, 204, 9968), (100_000_000, 1_100_000_000)),
        ("objects", (112.61, 93.33, 72.57), (34.9, 26.65, 22.8), (112.36, 93.28, 72.56), 1.373895, 187, 80.345006,
         (241, 241, 4387), (66_666_667, 733_333_333)),
    ],
)  # fmt: skip
def test_what_is_seen_in_the_world_of_seed_0(
    name: str, left, spread, right, depth_m: float, moving: int, odometry_mark: float, occupied, stamps_ns
):
    """Means and spreads of the fourth frame's red, green and blue, its depth and what moves; odometry; cells; stamps since 2026-01-01 00:00 UTC."""
    recording = recording_of(name, frames=12, height=48)
    image = recording.images["left"][3].astype(float)
    assert image.mean((0, 1)) == pytest.approx(left, abs=0.02)
    assert image.std((0, 1)) == pytest.approx(spread, abs=0.02)
    assert recording.images["right"][3].astype(float).mean((0, 1)) == pytest.approx(right, abs=0.02)
    truth = recording.truth
    assert truth.depth is not None
    assert truth.moving is not None
    assert np.median(truth.depth[3].depth) == pytest.approx(depth_m, abs=1e-4)
    assert (truth.moving[3] > 0).sum() == moving
    assert recording.odometry is not None
    assert mark(recording.odometry[:, :3]) == pytest.approx(odometry_mark, abs=2e-6)
    cells = truth.occupancy
    assert cells is not None
    assert (*cells.occupied.shape, int(cells.occupied.sum())) == occupied
    since_2026 = recording.stamps_ns - 1_767_225_600_000_000_000
    assert (since_2026[0], since_2026[1], since_2026[-1]) == (0, *stamps_ns)


def test_what_the_lidar_of_the_street_of_seed_0_measures():
    scans = recording_of("street", frames=4, height=16).scans
    assert scans is not None
    scan = scans[3]
    assert scan is not None
    assert scan.intensity is not None
    assert len(scan.points) == 114502
    assert scan.points.mean(0) == pytest.approx((-0.446184, 1.704739, -1.250902), abs=1e-4)
    assert scan.intensity.mean() == pytest.approx(0.178252, abs=1e-5)


def test_the_plan_of_another_street():
    """Crossings are 24 m apart on a loop of 384 m, every fourth of them a side street."""
    plan = plan_of(3)
    assert plan.first_crossing_m == pytest.approx(9.18331854)
    assert (plan.parked_share, plan.sun_yaw_rad) == pytest.approx((0.40052117, -2.32706143))
    assert (plan.car_ahead_m, *plan.oncoming_s) == pytest.approx((11.31693247, 4.85497319, 2.30401522))
    assert plan.people_cross_s == pytest.approx((-4.07792902, -3.99359312, -3.52263906))
    assert (plan.car_crosses_s, *plan.walking_m_s) == pytest.approx((-4.5073939, 1.20240752, -1.36230226))
    assert (plan.walkers, plan.walkers_spread, plan.absent_share, plan.colours) == (22, 0.5, 0.2, 99)
    assert plan.controls_m[[0, -1]] == pytest.approx(np.array([[113.9636, 68.3334], [123.9921, 36.3177]]), abs=1e-4)
    assert [crossing for crossing in range(16) if plan.is_side_street(crossing)] == [3, 7, 11, 15]
    assert plan.crossing_m(2) == pytest.approx(57.18331854)
    assert plan.gap_m(100.0) == pytest.approx(5.18331854)
    assert plan.gap_m(100.0, side_streets_only=True) == pytest.approx(18.81668146)
    assert plan.gap_m(383.0) == pytest.approx(10.18331854)
    assert [i for i in range(1, 40) if not plan.takes_part(i)] == [9, 28, 33]
    assert (plan.walker_shift(101), plan.walker_shift(207)) == pytest.approx((-0.24323021, 0.0816915))
    assert [ahead_m(float(there), float(here)) for there, here in ((10, 380), (380, 10), (200, 9), (192, 0))] == [
        14,
        -14,
        191,
        -192,
    ]


def test_about_half_of_the_worlds_are_the_other_way_round():
    flats, tables = [flat_of(seed) for seed in range(1, 61)], [playing_of(seed) for seed in range(1, 61)]
    assert sum(flat.backwards for flat in flats) == 34
    assert sum(table.swapped for table in tables) == 30
    assert sum(table.side > 0 for table in tables) == 35
    assert sum(table.swing_rad > 0 for table in tables) == 36
    assert sum(table.nearer_m > 0 for table in tables) == 28
