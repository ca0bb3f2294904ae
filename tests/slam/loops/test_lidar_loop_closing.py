"""Loops of a LiDAR of 28 beams among boxes: a block walked round, a street there and back, look-alikes, nothing to close."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from firstsight.formats.storage.state import read_state, write_state
from firstsight.geometry.se3 import se3_exp, se3_log
from firstsight.roles import Observation
from firstsight.slam.loops import scan_registration
from firstsight.slam.loops.lidar_loop_closing import Config, LidarLoopClosing
from firstsight.slam.loops.loop_graph import Loop
from firstsight.slam.loops.scan_places import guess, proposed, rotation, verified
from firstsight.slam.loops.scan_views import (
    ScanConfig,
    ScanView,
    clearest_spacing,
    deskewed,
    distance_of,
    local_map,
    scans_of,
    view_of,
)
from firstsight.slam.loops.travelled import path_length

HEIGHT_M, RANGE_M = 1.7, 60.0
BEAMS, COLUMNS = 28, 220
Boxes = np.ndarray  # (n, 2, 3): lowest and highest corner


def scan(boxes: Boxes, world_from_lidar: np.ndarray, rng: np.random.Generator, sigma_m: float = 0.02) -> np.ndarray:
    """Points in the LiDAR frame, which stands upright; the ground is at z = 0."""
    elevation = np.deg2rad(np.linspace(-24, 12, BEAMS))[:, None]
    azimuth = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    level = np.cos(elevation)
    rays = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation) + 0 * azimuth], -1)
    rotated, origin = rays @ world_from_lidar[:3, :3].T, world_from_lidar[:3, 3]
    rotated = np.where(np.abs(rotated) < 1e-9, 1e-9, rotated)
    heading = azimuth + np.arctan2(world_from_lidar[1, 0], world_from_lidar[0, 0])
    ranges = np.where(rotated[..., 2] < 0, -origin[2] / rotated[..., 2], np.inf)
    for low, high in boxes[np.linalg.norm(boxes.mean(1)[:, :2] - origin[:2], axis=1) < RANGE_M + 10]:
        columns = np.flatnonzero(facing(low - origin, high - origin, heading))
        first, second = ((corner - origin) / rotated[:, columns] for corner in (low, high))
        enters, leaves = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
        met = np.where((enters <= leaves) & (enters > 0), enters, np.inf)
        ranges[:, columns] = np.minimum(ranges[:, columns], met)
    seen = ranges < RANGE_M
    return rays[seen] * (ranges[seen] + rng.normal(0, sigma_m, seen.sum()))[:, None]


def facing(low: np.ndarray, high: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Columns within the angle that a box fills; its corners are seen from the sensor."""
    middle = np.arctan2(low[1] + high[1], low[0] + high[0])
    corners = np.array([np.arctan2(y, x) for x in (low[0], high[0]) for y in (low[1], high[1])])
    widest = np.abs((corners - middle + np.pi) % (2 * np.pi) - np.pi).max()
    return np.abs((heading - middle + np.pi) % (2 * np.pi) - np.pi) <= widest + 1e-6


def box(x: float, y: float, size: tuple[float, float, float]) -> np.ndarray:
    half = np.array(size) / 2
    return np.array([[x - half[0], y - half[1], 0.0], [x + half[0], y + half[1], size[2]]])


def row(start: np.ndarray, along: np.ndarray, left: np.ndarray, length_m: float, rng: np.random.Generator) -> list:
    """Houses to one side of a street, then cars and posts before them."""
    found, at = [], 0.0
    while at < length_m:
        front, depth, height, set_back = rng.uniform([4, 4, 3, 5], [10, 8, 12, 9])
        middle = start + along * (at + front / 2) + left * (set_back + depth / 2)
        size = np.abs(along) * front + np.abs(left) * depth
        found.append(box(middle[0], middle[1], (size[0], size[1], height)))
        at += front + rng.uniform(0.5, 4)
    for kind in ((4.2, 1.8, 1.5), (0.3, 0.3, 4.0)):
        for at in np.sort(rng.uniform(0, length_m, int(length_m / 8))):
            middle = start + along * at + left * rng.uniform(3.6, 4.4)
            size = np.abs(along) * kind[0] + np.abs(left) * kind[1]
            found.append(box(middle[0], middle[1], (size[0], size[1], kind[2])))
    return found


def street(length_m: float, rng: np.random.Generator) -> Boxes:
    """Along x, both sides."""
    along, left = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    start = np.array([-30.0, 0.0])
    return np.array([item for side in (left, -left) for item in row(start, along, side, length_m + 60, rng)])


def block(side_m: float, rng: np.random.Generator) -> Boxes:
    """Streets round a square block that has a corner at the origin, houses within and without."""
    found = []
    for k in range(4):
        along, left = (np.round([np.cos(turn), np.sin(turn)]) for turn in (k * np.pi / 2, (k + 1) * np.pi / 2))
        corner = [np.array(c, float) * side_m for c in ((0, 0), (1, 0), (1, 1), (0, 1))][k]
        found += row(corner + 14 * along, along, left, side_m - 32, rng)
        found += row(corner - 4 * along, along, -left, side_m + 4, rng)
    return np.array(found)


def corridor(length_m: float) -> Boxes:
    """Walls at 2 m to both sides with equal niches every 5 m; it looks the same from 5 m further on."""
    along = np.arange(-60.0, length_m + 60, 5.0)
    parts = [box(x, side * 2.5, (4.0, 1.0, 3.0)) for x in along for side in (-1, 1)]
    back = [box(x + 2.5, side * 3.5, (1.0, 1.0, 3.0)) for x in along for side in (-1, 1)]
    return np.array(parts + back)


def pose(x: float, y: float, yaw_rad: float) -> np.ndarray:
    out = np.eye(4)
    out[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    out[:3, 3] = [x, y, HEIGHT_M]
    return out


def round_the_block(side_m: float, ways_m: np.ndarray) -> np.ndarray:
    """World poses at distances walked from the origin, turning in a quarter circle of 4 m at each corner."""
    radius, quarter = 4.0, 4.0 * np.pi / 2
    straight = side_m - 2 * radius
    out = []
    for way in ways_m:
        k, rest = divmod(way, straight + quarter)
        turn = k * np.pi / 2
        if rest < straight:
            local = np.array([radius + rest, 0.0])
        else:
            angle = (rest - straight) / radius
            local = np.array([radius + straight + radius * np.sin(angle), radius * (1 - np.cos(angle))])
            turn += angle
        centre = np.full(2, side_m / 2)
        corner = k * np.pi / 2
        spin = np.array([[np.cos(corner), -np.sin(corner)], [np.sin(corner), np.cos(corner)]])
        x, y = centre + spin @ (local - centre)
        out.append(pose(x, y, turn))
    return np.array(out)


def dead_reckoned(true: np.ndarray, turn_rad: float, stretch: float = 1.0) -> np.ndarray:
    """As odometry would say that turns too far by so much, and goes so many times too far, at every step."""
    drifted, bias = [true[0]], pose(0, 0, turn_rad)
    bias[2, 3] = 0
    for before, after in pairwise(true):
        step = np.linalg.inv(before) @ after
        step[:3, 3] *= stretch
        drifted.append(drifted[-1] @ step @ bias)
    return np.array(drifted)


def walked(boxes: Boxes, true: np.ndarray, drifted: np.ndarray, rng: np.random.Generator) -> LidarLoopClosing:
    closing = LidarLoopClosing()
    for i, (here, thought) in enumerate(zip(true, drifted, strict=True)):
        if closing.should_add(thought):
            points = torch.from_numpy(scan(boxes, here, rng)).float()
            closing.integrate(Observation(i * 10**8, points_lidar=points), thought)
        else:
            closing.skip(i * 10**8, thought)
    return closing


def agreed(views: list[ScanView], a: int, b: int, a_from_b: np.ndarray) -> Loop | None:
    """The loop that the maps around two scans agree on."""
    scans, config = scans_of(views, ScanConfig()), Config()
    maps = local_map(scans, a, config.registration), local_map(scans, b, config.registration)
    return verified(maps, guess(a, b, a_from_b, scans.unit_m), scans.unit_m, config.registration, config.verification)


def ate_m(poses: np.ndarray, true: np.ndarray) -> float:
    """Without alignment: the first pose is known."""
    return float(np.sqrt((np.linalg.norm(poses[:, :3, 3] - true[:, :3, 3], axis=1) ** 2).mean()))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_walk_round_a_block_closes(rng: np.random.Generator, tmp_path: Path):
    true = round_the_block(48.0, np.arange(0, 200, 1.5))
    drifted = dead_reckoned(true, 0.0006, 1.003)
    write_state(tmp_path / "state.npz", walked(block(48.0, rng), true, drifted, rng).state())
    closing = LidarLoopClosing()
    closing.restore(read_state(tmp_path / "state.npz"))
    closed = closing.close()
    assert len(closed.loops) >= 4
    apart = np.linalg.norm(true[closed.loops[:, 0], :3, 3] - true[closed.loops[:, 1], :3, 3], axis=1)
    assert apart.max() < 3
    assert closed.tried < 60
    assert ate_m(drifted, true) > 1
    assert ate_m(closed.world_from_sensor, true) < ate_m(drifted, true) / 3
    np.testing.assert_allclose(closed.world_from_sensor[0], true[0], atol=1e-6)


@pytest.fixture(scope="module")
def there_and_back() -> tuple[list[ScanView], np.ndarray]:
    """A street on its right side, and back on what is then the right side; and where each view truly was."""
    rng = np.random.default_rng(4)
    along = np.concatenate([np.arange(0, 30, 1.5), np.arange(28.5, 0, -1.5)])
    true = np.array([pose(x, -0.8 if k < 20 else 0.8, 0.0 if k < 20 else np.pi) for k, x in enumerate(along)])
    closing = walked(street(30.0, rng), true, dead_reckoned(true, 0.0005, 1.004), rng)
    return closing.travelled.views, true[closing.travelled.frames]


def test_a_place_is_found_from_the_opposite_direction(there_and_back: tuple[list[ScanView], np.ndarray]):
    """From the other lane too: 1.6 m aside, rotated by half a turn."""
    views, true = there_and_back
    scans = scans_of(views, ScanConfig())
    alike = proposed(scans, path_length(scans.world_from_lidar, scans.distance), Config().places)
    right = 0
    late = np.unique(alike.pairs[alike.pairs[:, 1] >= 24, 1])
    assert len(late) >= 10
    for b in late:
        first = np.flatnonzero(alike.pairs[:, 1] == b)[0]
        error = np.linalg.inv(np.linalg.inv(true[alike.pairs[first, 0]]) @ true[b]) @ alike.a_from_b[first]
        right += bool(np.linalg.norm(error[:3, 3]) < 1.5 and abs(np.arctan2(error[1, 0], error[0, 0])) < 0.15)
    assert right >= 0.8 * len(late)


def test_views_of_opposite_directions_are_registered_to_a_centimetre(there_and_back: tuple[list[ScanView], np.ndarray]):
    views, true = there_and_back
    a, b = 9, 29
    loop = agreed(views, a, b, rotation(np.pi))
    assert loop is not None
    truth = np.linalg.inv(true[a]) @ true[b]
    error = se3_log(torch.from_numpy(np.linalg.inv(truth) @ loop.a_from_b)).numpy()
    assert np.linalg.norm(error[:3]) < 0.02
    assert error @ loop.information @ error < 12.6  # 95 % of chi-square with 6 degrees of freedom


def test_a_restored_one_takes_the_next_sweep_to_the_same_bits(rng: np.random.Generator, tmp_path: Path):
    """A sweep that is put right by the motion, and the time, since the frame before."""
    true = np.array([pose(x, 0, 0.02 * x) for x in np.arange(0, 9, 1.5)])
    closing = walked(street(20.0, rng), true[:-1], true[:-1], rng)
    write_state(tmp_path / "state.npz", closing.state())
    again = LidarLoopClosing()
    again.restore(read_state(tmp_path / "state.npz"))
    points = torch.from_numpy(scan(street(20.0, rng), true[-1], rng)).float()
    times = torch.linspace(-0.1, 0.0, len(points), dtype=torch.float64)
    for one in (closing, again):
        one.integrate(Observation(5 * 10**8, points_lidar=points, point_times_s=times), true[-1])
    last, same = closing.state(), again.state()
    assert [kept["frame"] for kept in same["grows"]] == [kept["frame"] for kept in last["grows"]]
    assert same["grows"][-1]["frame"] == 5
    np.testing.assert_array_equal(same["grows"][-1]["points"], last["grows"][-1]["points"])
    assert same["grows"][-1]["points"].dtype == np.float32
    assert same["grows"][-1]["distance_m"] == last["grows"][-1]["distance_m"]
    assert same["stamp_ns"] == last["stamp_ns"] == 5 * 10**8


def test_without_a_loop_nothing_changes(rng: np.random.Generator):
    true = np.array([pose(x, 0, 0) for x in np.arange(0, 60, 1.5)])
    drifted = dead_reckoned(true, 0.0005, 1.004)
    closed = walked(street(60.0, rng), true, drifted, rng).close()
    assert len(closed.loops) == 0
    np.testing.assert_array_equal(closed.world_from_sensor, drifted)


def test_look_alikes_are_refused_by_odometry(rng: np.random.Generator):
    """Scans 5 m apart in a corridor that repeats itself lie on each other: only odometry knows better."""
    true = np.array([pose(x, 0, 0) for x in np.arange(0, 30, 1.0)])
    drifted = dead_reckoned(true, 0.0005, 1.004)
    closing = walked(corridor(40.0), true, drifted, rng)
    a, b = closing.travelled.frames.index(10), closing.travelled.frames.index(15)
    assert agreed(closing.travelled.views, a, b, np.eye(4)) is not None
    closed = closing.close()
    assert len(closed.loops) == 0
    np.testing.assert_array_equal(closed.world_from_sensor, drifted)


def test_other_places_do_not_lie_on_each_other(rng: np.random.Generator):
    boxes = block(48.0, rng)
    true = round_the_block(48.0, np.concatenate([np.arange(s, s + 10.5, 1.5) for s in (15.0, 58.0, 101.0)]))
    scans = scans_of([view_of(scan(boxes, here, rng), here, ScanConfig()) for here in true], ScanConfig(map_views=3))
    maps = [local_map(scans, k, Config().registration) for k in (3, 10, 17)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        for yaw in (0.0, np.pi):
            found = scan_registration.registered(maps[b], maps[a], rotation(yaw), Config().registration)
            assert found is None or found.overlap < 0.4


def test_noise_of_ranges_in_a_small_place_makes_points_lie_farther_apart(rng: np.random.Generator):
    """Noise that does not show in a street blurs a room of a fifth its size."""
    boxes, true = street(20.0, rng), np.array([pose(x, 0, 0) for x in np.arange(0, 12, 1.5)])
    clear, blurred = (
        scans_of([view_of(scan(boxes, here, rng, sigma_m), here, ScanConfig()) for here in true], ScanConfig())
        for sigma_m in (0.02, 0.1)
    )
    assert clearest_spacing(clear, Config().registration) == pytest.approx(0.02)
    assert clearest_spacing(blurred, Config().registration) > 0.035


def test_a_sweep_is_put_right(rng: np.random.Generator):
    """Points of a wall, each measured at its own instant while the sensor moved and rotated."""
    before_from_now = se3_exp(torch.tensor([1.2, 0.1, 0.02, 0.01, -0.02, 0.15], dtype=torch.float64))
    times = torch.linspace(-0.1, 0.0, 2000, dtype=torch.float64)
    truth = rng.uniform(-20, 20, (2000, 3))
    instant_from_end = se3_exp(-times[:, None] / 0.1 * se3_log(before_from_now)).numpy()
    measured = np.einsum("nij,nj->ni", instant_from_end[:, :3, :3], truth) + instant_from_end[:, :3, 3]
    put_right = deskewed(measured, times, before_from_now.numpy(), 0.1)
    assert np.linalg.norm(measured - truth, axis=1).max() > 1
    assert np.linalg.norm(put_right - truth, axis=1).max() < 0.05
    np.testing.assert_array_equal(
        deskewed(measured, torch.zeros(2000).double(), before_from_now.numpy(), 0.1), measured
    )


def test_how_far_away_things_are_is_not_led_by_the_ground(rng: np.random.Generator):
    """Posts 12 m away on a plain whose points crowd about the sensor."""
    angle, near = rng.uniform(0, 2 * np.pi, 20000), rng.exponential(4.0, 20000)
    ground = np.stack([near * np.cos(angle), near * np.sin(angle), np.full(20000, -1.7)], 1)
    turn, z = rng.uniform(0, 2 * np.pi, 20000), rng.uniform(-1.7, 3, 20000)
    posts = np.stack([12 * np.cos(turn), 12 * np.sin(turn), z], 1)
    assert distance_of(np.concatenate([ground, posts])) == pytest.approx(12, rel=0.05)


def test_scans_without_points_are_passed_by():
    closing = LidarLoopClosing()
    for i, points in enumerate((torch.zeros(0, 3), torch.full((500, 3), torch.nan), torch.zeros(500, 3))):
        closing.integrate(Observation(i, points_lidar=points), pose(3.0 * i, 0, 0))
    closed = closing.close()
    assert len(closing.travelled.views) == 0
    assert len(closed.loops) == 0
    assert closed.world_from_sensor.shape == (3, 4, 4)
    assert LidarLoopClosing().close().world_from_sensor.shape == (0, 4, 4)
