import numpy as np
import pytest
import torch

from firstsight.mapping.occupancy import BEARINGS, Config, OccupancyGrid, OccupancyMap, ground_plane, round_size, update
from firstsight.roles import Depth, Observation

WALL = (10.0, 10.5, -6.0, 6.0, 3.0)
CONFIG = Config(cell_size_m=0.25, max_range_m=15.0, support=1)


def at(grid: OccupancyMap, x: float, y: float) -> str:
    column, row = ((np.array([x, y]) - grid.origin_m) // grid.cell_size_m).astype(int)
    rows, columns = grid.occupied.shape
    if not (0 <= row < rows and 0 <= column < columns):
        return "unknown"
    return "occupied" if grid.occupied[row, column] else "free" if grid.free[row, column] else "unknown"


def slow_update(log_odds, points, is_obstacle, origin, support, change, bounds):
    """Cell by cell: hit if enough obstacle points lie in it, else crossed if a ray of some bearing passes it short of its reach."""
    rows, columns = log_odds.shape
    hits = {}
    for (x, y), obstacle in zip(points, is_obstacle, strict=True):
        hits[int(y), int(x)] = hits.get((int(y), int(x)), 0) + int(obstacle)
    reach = {}
    for b in range(BEARINGS):
        near, far = [], [0.0]
        for (x, y), obstacle in zip(points, is_obstacle, strict=True):
            angle = np.arctan2(y - origin[1], x - origin[0])
            if int((angle / (2 * np.pi) + 0.5) * BEARINGS) % BEARINGS != b:
                continue
            distance = np.hypot(x - origin[0], y - origin[1])
            if not obstacle:
                far.append(distance)
            elif hits[int(y), int(x)] >= support:
                near.append(distance)
        reach[b] = min(near) if near else max(far)
    result = log_odds.copy()
    for row in range(rows):
        for column in range(columns):
            crossed = any(
                int(origin[0] + s / 2 * np.cos(angle)) == column and int(origin[1] + s / 2 * np.sin(angle)) == row
                for b in range(BEARINGS)
                for rays in [int(np.ceil(4 * np.pi * reach[b] / BEARINGS))]
                for ray in range(rays)
                for angle in [((b + (ray + 0.5) / rays) / BEARINGS - 0.5) * 2 * np.pi]
                for s in range(int(2 * reach[b]))
            )
            if hits.get((row, column), 0) >= support:
                result[row, column] = min(log_odds[row, column] + change[0], bounds[1])
            elif crossed:
                result[row, column] = max(log_odds[row, column] + change[1], bounds[0])
    return result


def test_one_frame_equals_the_slow_rule():
    generator = np.random.default_rng(0)
    points = generator.uniform(0.01, 9.99, (40, 2))
    is_obstacle = generator.random(40) < 0.6
    log_odds = generator.uniform(-1, 1, (10, 10)).astype(np.float32)
    arguments = (points, is_obstacle, np.array([5.2, 4.7]), 2, (0.85, -0.4), (-1.1, 1.3))
    expected = slow_update(log_odds, *arguments)
    update(log_odds, *arguments)
    np.testing.assert_allclose(log_odds, expected, atol=1e-6)


@pytest.mark.parametrize(("range_m", "cell_m"), [(90.0, 0.2), (30.0, 0.05)])
def test_free_space_has_no_holes_however_far_it_reaches(range_m, cell_m):
    """A ring of obstacles round (5.03, 3.07): every cell whose middle lies 2 cells before it is free, none beyond."""
    angle = np.linspace(0, 2 * np.pi, 40_000, endpoint=False)
    ring = np.array([5.03, 3.07, 1.49]) + range_m * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
    grid = OccupancyGrid(Config(cell_size_m=cell_m, max_range_m=2 * range_m, support=1))
    grid.camera_height_m = 1.5
    grid.integrate_points(ring, np.array([5.03, 3.07, 1.5]))
    found = grid.occupancy()
    rows, columns = np.indices(found.free.shape)
    x, y = found.origin_m[0] + (columns + 0.5) * cell_m, found.origin_m[1] + (rows + 0.5) * cell_m
    away = np.hypot(x - 5.03, y - 3.07)
    assert found.free[away < range_m - 2 * cell_m].all()
    assert not found.free[away > range_m + cell_m].any()
    assert found.occupied.sum() > 6 * range_m / cell_m


def test_the_map_lies_where_it_was_seen_from():
    """From (5, 3), 1.5 m above the ground: a post of 6 points at (8.1, 3.1), seen twice; points above the band say nothing."""
    post = np.array([[8.1, 3.1, 0.4 + 0.1 * k] for k in range(6)])
    above = np.array([[5.1, 6.1, 2.4 + 0.1 * k] for k in range(6)])
    grid = OccupancyGrid(Config(cell_size_m=0.5, max_range_m=20.0))
    grid.camera_height_m = 1.5
    for _ in range(2):
        grid.integrate_points(np.vstack([post, above]), np.array([5.0, 3.0, 1.5]))
    found = grid.occupancy()
    assert found.origin_m == (5.0, 3.0)
    assert found.occupied.tolist() == [[False] * 6 + [True]]
    assert found.free.tolist() == [[True] * 6 + [False]]
    np.testing.assert_allclose(grid.log_odds, [[-0.8] * 6 + [1.7]], atol=1e-6)


def test_four_cells_become_one_about_an_odd_corner():
    """Column 3, row -1 is the corner: the pairs begin at even numbers, so an empty column and an empty row are put before."""
    grid = OccupancyGrid(Config(cell_size_m=0.5, max_range_m=20.0))
    grid.cell_size_m, grid.corner = 0.5, np.array([3, -1])
    grid.log_odds = np.array([[-1.0, 0.5, -0.25], [-0.5, -2.0, -0.75], [0.0, -1.5, 3.0]], np.float32)
    grid._coarsen()
    assert grid.corner.tolist() == [1, -1]
    assert grid.cell_size_m == 1.0
    np.testing.assert_array_equal(grid.log_odds, [[-1.0, 0.5], [-0.5, 3.0]])


def test_a_wall_is_occupied_the_way_to_it_free_and_behind_it_unknown(see, world_from_camera):
    grid = OccupancyGrid(CONFIG)
    for _ in range(2):
        grid.integrate(see(world_from_camera(), [WALL]), world_from_camera())
    result = grid.occupancy()
    for y in (-2.0, 0.0, 3.0):
        assert at(result, 10.05, y) == "occupied"
        assert at(result, 5.0, y / 2) == "free"
        assert at(result, 12.0, y) == "unknown"
    assert at(result, -1.0, 0.0) == "unknown"


def test_rows_grow_with_y(see, world_from_camera):
    grid = OccupancyGrid(CONFIG)
    for _ in range(2):
        grid.integrate(see(world_from_camera(), [(6.0, 7.0, 2.0, 3.0, 2.0)]), world_from_camera())
    result = grid.occupancy()
    assert at(result, 6.05, 2.5) == "occupied"
    assert at(result, 6.05, -2.5) == "free"
    rows = np.flatnonzero(result.occupied.any(1))
    assert result.origin_m[1] + (rows.min() + 0.5) * result.cell_size_m > 1.5


def test_a_moving_box_leaves_a_smear_unless_it_is_left_out(see, world_from_camera):
    """Averaging smears what moves (Moravec and Elfes assume a static world)."""
    smeared, clean = OccupancyGrid(CONFIG), OccupancyGrid(CONFIG)
    pose = world_from_camera()
    empty = see(pose, [WALL])
    for i in range(20):
        left = -4.0 + 0.4 * i
        observation = see(pose, [WALL, (7.0, 8.0, left, left + 1.0, 1.6)])
        smeared.integrate(observation, pose)
        static = (observation.depth.depth - empty.depth.depth).abs() < 1e-3
        clean.integrate(
            observation._replace(depth=Depth(observation.depth.depth, observation.depth.valid & static)), pose
        )

    def false_cells(grid: OccupancyGrid) -> int:
        result = grid.occupancy()
        x = result.origin_m[0] + (np.arange(result.occupied.shape[1]) + 0.5) * result.cell_size_m
        return int(result.occupied[:, x < 9].sum())

    assert false_cells(smeared) >= 3
    assert false_cells(clean) == 0
    assert at(clean.occupancy(), 10.05, 0.0) == "occupied"


def test_the_ground_is_found_although_it_slopes():
    generator = np.random.default_rng(1)
    x, y = generator.uniform(2, 15, 2000), generator.uniform(-5, 5, 2000)
    ground = np.column_stack([x, y, -1.5 + 0.02 * x - 0.01 * y + generator.normal(0, 0.02, 2000)])
    wall = np.column_stack([np.full(1500, 12.0), generator.uniform(-5, 5, 1500), generator.uniform(-1.4, 2, 1500)])
    found = ground_plane(np.vstack([ground, wall]), np.zeros(3), 0.1)
    assert found is not None
    np.testing.assert_allclose(found.slope, [0.02, -0.01], atol=3e-3)
    assert found.height_m == pytest.approx(-1.5, abs=0.03)


def test_no_ground_where_nothing_is_level():
    points = np.random.default_rng(2).uniform([3, -3, -3], [4, 3, 3], (2000, 3))
    assert ground_plane(points, np.zeros(3), 0.05) is None
    assert ground_plane(points[:10], np.zeros(3), 0.05) is None


def test_the_grid_grows_and_coarsens_within_its_bound(see, world_from_camera):
    grid = OccupancyGrid(Config(cell_size_m=0.25, max_range_m=15.0, support=1, max_cells=6000))
    for _ in range(2):
        grid.integrate(see(world_from_camera(), [WALL]), world_from_camera())
    assert grid.cell_size_m == 0.25
    far = world_from_camera(x=40.0)
    for _ in range(2):
        grid.integrate(see(far, [(50.0, 50.5, -6.0, 6.0, 3.0)]), far)
    result = grid.occupancy()
    assert result.cell_size_m > 0.25
    assert result.occupied.size <= 6000
    assert at(result, 10.05, 0.0) == "occupied", "what was mapped before coarsening stays"
    assert at(result, 50.05, 0.0) == "occupied"
    assert at(result, 45.0, 0.0) == "free"


def test_sizes_follow_from_the_first_frame(see, world_from_camera):
    grid = OccupancyGrid()
    observation = see(world_from_camera(), [WALL])
    grid.integrate(observation, world_from_camera())
    median = float(observation.depth.depth[observation.depth.valid].median())
    assert grid.cell_size_m == round_size(median / 40)
    assert grid.max_range_m == pytest.approx(1.5 * median)
    assert [round_size(size) for size in (0.3, 0.0625, 1.0, 9.9)] == pytest.approx([0.2, 0.05, 1.0, 5.0])


def test_lidar_points_do_where_there_is_no_depth():
    angles = np.linspace(-np.pi, np.pi, 720, endpoint=False)
    rings = [
        np.column_stack([r * np.cos(angles), r * np.sin(angles), np.full(720, z)])
        for r, z in ((5, -1.5), (6, -1.5), (8, 0.0))
    ]
    grid = OccupancyGrid(Config(cell_size_m=0.5, support=2))
    for _ in range(2):
        grid.integrate(
            Observation(0, points_lidar=torch.from_numpy(np.vstack(rings).astype(np.float32))),
            torch.eye(4, dtype=torch.float64),
        )
    result = grid.occupancy()
    assert at(result, 0.1, 7.9) == "occupied"
    assert at(result, -5.0, 0.1) == "free"
    assert at(result, 9.0, 0.1) == "unknown"


def test_stopped_and_restored_it_goes_on_to_the_same_bits(see, world_from_camera, carried_on):
    direct = OccupancyGrid()
    direct.integrate(see(world_from_camera(), [WALL]), world_from_camera())
    resumed = carried_on(direct, OccupancyGrid())
    for grid in (direct, resumed):
        grid.integrate(see(world_from_camera(1.0), [WALL]), world_from_camera(1.0))
    assert np.array_equal(direct.log_odds, resumed.log_odds)
    assert direct.occupancy().origin_m == resumed.occupancy().origin_m


def test_a_frame_without_anything_changes_nothing(see, world_from_camera):
    grid = OccupancyGrid()
    grid.integrate(Observation(0), world_from_camera())
    result = grid.occupancy()
    assert result.occupied.size == 0
    grid.integrate(see(world_from_camera(), [WALL]), world_from_camera())
    before = grid.log_odds.copy()
    grid.integrate(Observation(0), world_from_camera())
    assert np.array_equal(grid.log_odds, before)
