"""What the simulated worlds are built of: textures on triangles, paths, rays, occupancy cells."""

from dataclasses import replace

import numpy as np
import pytest

from firstsight.recordings.simulated.indoors.objects import DISTANCE_M, TABLE_SIZE_M, objects
from firstsight.recordings.simulated.path import ClosedPath, elliptic_track
from firstsight.recordings.simulated.scene import OdometryNoise, World
from firstsight.recordings.simulated.sensing.occupancy import rasterised
from firstsight.recordings.simulated.sensing.odometry import measured
from firstsight.recordings.simulated.sensing.raycast import Caster
from firstsight.recordings.simulated.surface import (
    Material,
    affine_chart,
    box,
    cylinder,
    ellipsoid,
    joined,
    moved,
    prism,
    tilted,
)
from firstsight.recordings.simulated.textures import between, fractal_noise, noise_table

GREY = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def world() -> World:
    return objects(0)


def test_a_chart_meets_the_corners():
    generator = np.random.default_rng(0)
    corners, texture = generator.normal(size=(20, 3, 3)), generator.normal(size=(20, 3, 2))
    chart = affine_chart(corners, texture)
    reached = np.einsum("nij,nkj->nki", chart, np.concatenate([corners, np.ones((20, 3, 1))], 2))
    np.testing.assert_allclose(reached, texture, atol=1e-9)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    np.testing.assert_allclose(np.einsum("nij,nj->ni", chart[:, :, :3], normals), 0, atol=1e-9)


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_texture_moves_with_the_surface_and_keeps_its_scale(factor: float):
    shape = cylinder(0.4, 1.3, (0.1, 0.2, 0.3), Material.TILES)
    a_from_b = moved(3.0, -2.0, 0.5, 0.7) @ tilted(0, 0.4)
    placed = shape.scaled(factor).placed(a_from_b)

    def texture(surface, points):
        return np.einsum("nij,nkj->nki", surface.chart[:, :, :3], points) + surface.chart[:, None, :, 3]

    np.testing.assert_allclose(texture(placed, placed.corners), factor * texture(shape, shape.corners), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(placed.normals, axis=2), 1)


@pytest.mark.parametrize(
    "shape",
    [
        box((1.0, 2.0, 3.0), GREY),
        cylinder(0.5, 1.0, GREY),
        ellipsoid((1.0, 2.0, 0.5), GREY),
        prism(np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 1.5]]), 0.7, GREY),
    ],
    ids=["box", "cylinder", "ellipsoid", "prism"],
)
def test_shapes_are_closed_and_look_outward(shape):
    """The divergence theorem: the flux of x through the surface is three times the (positive) volume."""
    a, b, c = np.moveaxis(shape.corners, 1, 0)
    area = np.cross(b - a, c - a) / 2
    np.testing.assert_allclose(area.sum(0), 0, atol=1e-9)
    assert np.einsum("ni,ni->", area, a) > 0
    assert (np.einsum("ni,nki->nk", area, shape.normals) > 0).all()


def test_a_path_is_run_at_unit_speed_and_closes():
    path = ClosedPath(np.array([[0.0, 0.0], [3.0, 0.5], [4.0, 3.0], [1.0, 4.0]]), 30.0, anchor_left_m=-1.0)
    np.testing.assert_allclose(path.pose(0.0, -1.0), np.eye(4), atol=1e-12)
    along = np.linspace(0, 30, 3001)
    places = path.poses(along)[:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(np.diff(places, axis=0), axis=1), 0.01, rtol=0.01)
    np.testing.assert_allclose(path.pose(37.0), path.pose(7.0), atol=1e-9)
    heading = path.poses(along)[1:-1, :3, 0]
    travelled = (places[2:] - places[:-2]) / 0.02
    np.testing.assert_allclose(heading, travelled, atol=0.01)


def test_an_elliptic_track_stays_on_its_ellipse():
    track = elliptic_track(moved(2.0, 1.0), 0.5, 0.3)
    places = np.stack([track(s)[:3, 3] for s in np.linspace(0, 2, 50)]) - [2, 1, 0]
    np.testing.assert_allclose((places[:, 0] / 0.5) ** 2 + (places[:, 1] / 0.3) ** 2, 1, atol=0.02)


# Textures


@pytest.mark.parametrize("footprint_m", [0.004, 0.05, 0.6, 3.0])
def test_noise_is_detailed_but_does_not_alias(footprint_m: float):
    table, steps = noise_table(), np.arange(4000) * footprint_m
    row = np.array([fractal_noise(table, s, 7.3, footprint_m / 2, 0.0, footprint_m) for s in steps])
    between_pixels = np.array(
        [fractal_noise(table, s, 7.3, footprint_m / 2, 0.0, footprint_m) for s in steps + footprint_m / 2]
    )
    assert row.std() > 0.2
    # Half-way values are close to the mean of their neighbours: the pixels sample the texture finely enough.
    assert np.std(between_pixels[:-1] - (row[:-1] + row[1:]) / 2) < 0.35 * row.std()
    assert np.corrcoef(row[:-1], row[1:])[0, 1] > 0.6


def test_noise_changes_smoothly_with_the_footprint():
    """An octave fades in, so coming closer never makes the texture jump."""
    table, footprints = noise_table(), np.geomspace(0.01, 1.0, 2000)
    values = np.array([fractal_noise(table, 1.234, 5.678, f / 2, 0.0, f) for f in footprints])
    assert np.abs(np.diff(values)).max() < 0.03


def test_a_step_is_as_wide_as_the_blur():
    x = np.linspace(-1, 2, 3001)
    values = np.array([between(v, 0.0, 1.0, 0.2) for v in x])
    np.testing.assert_allclose(values.sum() * 0.001, 1.0, atol=2e-3)
    assert values[np.abs(x) < 0.0005][0] == pytest.approx(0.5, abs=0.01)
    assert (values[(x < -0.1) | (x > 1.1)] == 0).all()


# Rays


def first_distance(corners: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> float:
    """Moeller and Trumbore 1997, against every triangle."""
    ab, ac = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(direction, ac)
    det = np.einsum("ni,ni->n", ab, p)
    safe = np.where(np.abs(det) < 1e-12, np.nan, det)
    s = origin - corners[:, 0]
    q = np.cross(s, ab)
    u, v = np.einsum("ni,ni->n", s, p) / safe, q @ direction / safe
    t = np.einsum("ni,ni->n", ac, q) / safe
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return float(t[hit].min(initial=np.inf))


def test_rays_meet_the_nearest_surface_static_or_moving(world: World):
    caster, time_s = Caster(world), 2.0
    instant = caster.instant(time_s)
    moving = [
        world.shapes[name].placed(pose)
        for actor in world.actors(time_s)
        for name, pose in zip(actor.parts, actor.world_from_parts(time_s), strict=True)
    ]
    corners = joined([world.static, *moving]).corners
    generator = np.random.default_rng(0)
    origin = np.array([0.0, 0.0, 1.4])
    targets = generator.uniform([0.5, -0.8, 0.6], [2.0, 0.8, 1.0], (150, 3))
    met = caster.meet(origin, (targets - origin).astype(np.float32), instant)
    expected = [first_distance(corners, origin, direction) for direction in targets - origin]
    np.testing.assert_allclose(met.hits.distance, expected, rtol=1e-4)
    assert (met.hits.slot > 0).sum() > 5
    assert (np.einsum("ni,ni->n", met.normals, targets - origin) < 0).all()
    np.testing.assert_allclose(np.linalg.norm(met.normals, axis=1), 1, atol=1e-5)


def test_the_table_hides_and_shades_what_is_under_it(world: World):
    caster = Caster(world)
    instant = caster.instant(0.0)
    under, above = ([DISTANCE_M - 0.1, 0.02, TABLE_SIZE_M[2] + z] for z in (-0.4, 0.4))
    seen = caster.visible(np.array([under, above]), np.array([0.0, 0.0, 1.8]), instant)
    np.testing.assert_array_equal(seen, [False, True])
    downward = np.array([[0, 0, -1]], np.float32)
    sun = np.array(world.light.towards_sun)
    lit = [caster.sunlit(caster.meet(np.array(place), downward, instant), sun, instant)[0] for place in (under, above)]
    assert lit == [False, True]


# Occupancy and odometry


def test_cells_are_those_under_walls_at_obstacle_height(world: World):
    high_wall = box((4.0, 0.2, 2.0), GREY).placed(moved(0.05, 1.1))
    low_step = box((1.0, 1.0, 0.08), GREY).placed(moved(0.0, -3.0))
    lintel = box((1.0, 1.0, 0.4), GREY).placed(moved(5.0, 1.1, 2.2))
    static = joined([high_wall, low_step, lintel])
    truth = rasterised(replace(world, static=static, obstacle_height_m=(0.1, 2.1), cell_size_m=0.1))
    rows, columns = np.nonzero(truth.occupied)
    x, y = truth.origin_m[0] + 0.1 * (columns + 0.5), truth.origin_m[1] + 0.1 * (rows + 0.5)
    assert len(x) >= 2 * 40
    assert ((x > -2.05) & (x < 2.15) & (y > 0.9) & (y < 1.3)).all()
    for wall_y in (1.05, 1.15):  # both faces, without a hole
        assert len(np.unique(columns[np.abs(y - wall_y) < 0.051])) >= 40


def test_odometry_without_errors_is_the_truth():
    path = ClosedPath(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0], [0.0, 3.0]]), 12.0)
    true = path.poses(np.linspace(0, 8, 30))
    exact = OdometryNoise(scale=0.0, yaw_rad_per_m=0.0, translation_m=0.0, yaw_rad=0.0)
    np.testing.assert_allclose(measured(true, exact, 0), true, atol=1e-12)
    longer = OdometryNoise(scale=0.1, yaw_rad_per_m=0.0, translation_m=0.0, yaw_rad=0.0)
    steps = [np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) for poses in (measured(true, longer, 0), true)]
    np.testing.assert_allclose(steps[0], 1.1 * steps[1], rtol=0.01)
