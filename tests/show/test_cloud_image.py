"""The cloud's image: what is near hides what is far, everything asked for is in it."""

import math

import numpy as np
import pytest

from firstsight.show.cloud_image import (
    BACKGROUND,
    Lens,
    ceiling,
    draw_cloud,
    eye_dome,
    into_camera,
    near_track,
    overview,
    splat,
)


def slow_splat(points: np.ndarray, colours: np.ndarray, lens: Lens, size: tuple[int, int]) -> np.ndarray:
    """One point at a time, one pixel each, nearest wins."""
    image, depth = np.full((*size, 3), BACKGROUND, np.uint8), np.full(size, np.inf)
    for point, colour in zip(points, colours, strict=True):
        if point[2] <= 0.05:
            continue
        column, row = (math.floor(float(v) + 0.5) for v in lens(point[None])[0])
        if 0 <= row < size[0] and 0 <= column < size[1] and point[2] < depth[row, column]:
            image[row, column], depth[row, column] = colour, point[2]
    return image


def test_splat_of_dense_points_equals_the_loop() -> None:
    rng = np.random.default_rng(0)
    # so dense that each point is drawn one pixel wide
    points = np.concatenate([rng.uniform([-0.2, -0.2, 1], [0.2, 0.2, 3], (4000, 3)), [[0, 0, -1.0]]])
    colours = rng.integers(0, 255, (len(points), 3), dtype=np.uint8)
    lens, size = Lens(12.0, np.array([8.0, 6.0])), (12, 16)
    image, _ = splat(points, colours, lens, size)
    np.testing.assert_array_equal(image, slow_splat(points, colours, lens, size))


def test_sparse_surface_is_drawn_closed_and_hides_what_lies_behind() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)), -1).reshape(-1, 2)
    wall = np.column_stack([grid, np.full(len(grid), 4.0)])
    behind = wall * [1, 1, 2]
    colours = np.concatenate([np.full((len(wall), 3), 200), np.full((len(behind), 3), 20)]).astype(np.uint8)
    image, depth = splat(np.concatenate([wall, behind]), colours, Lens(200.0, np.array([50.0, 50.0])), (100, 100))
    assert (image[15:85, 15:85] == 200).all()
    np.testing.assert_allclose(depth[15:85, 15:85], 4)


def test_eye_dome_darkens_the_far_side_of_an_edge_alone() -> None:
    depth = np.full((20, 20), 8, np.float32)
    depth[:, :10] = 4
    light = eye_dome(depth)
    assert (light[2:-2, 10:12] < 0.9).all()
    assert (light[2:-2, 2:10] == 1).all()
    assert (light[2:-2, 12:-2] == 1).all()


def test_overview_sees_everything_from_above() -> None:
    rng = np.random.default_rng(1)
    seen = rng.uniform([-10, -4, 0], [30, 4, 3], (500, 3))
    for ahead in ([1.0, 0.2, 0.1], [0.0, 0.0, 1.0]):
        inside = into_camera(seen, overview(seen, np.array(ahead)))
        assert (inside[:, 2] > 0).all()
    rotation = overview(seen, np.array([0.0, 1.0, 0.0]))[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert (rotation @ [0, 0, 1])[1] < 0, "up in the world is up in the image"
    assert (rotation @ [0, 1, 0])[2] > 0, "ahead leads away from the viewer"


def test_ceiling_is_cut_and_open_sky_is_not() -> None:
    rng = np.random.default_rng(2)
    track = np.column_stack([np.linspace(0, 5, 20), np.zeros(20), np.full(20, 1.5)])
    floor = rng.uniform([-2, -2, 0], [7, 2, 0.02], (20_000, 3))
    roof = floor + np.array([0, 0, 2.6])
    room = np.concatenate([floor, roof]).astype(np.float32)
    assert 2.3 < ceiling(room, track) < 2.65
    assert ceiling(floor.astype(np.float32), track) == np.inf
    kept, _ = near_track(room, np.zeros((len(room), 3), np.uint8), track)
    assert kept[:, 2].max() < 2.6


def test_image_shows_points_and_the_way_and_survives_few_points() -> None:
    rng = np.random.default_rng(3)
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = np.arange(5)
    points = rng.uniform([-3, -3, -1], [8, 3, 1], (5000, 3)).astype(np.float32)
    colours = np.full((5000, 3), (40, 200, 40), np.uint8)
    image = draw_cloud(points, colours, poses, (120, 200))
    green = (image[:, :, 1] > image[:, :, 0]).mean()
    red = (image[:, :, 0] > 200).any()
    assert green > 0.2
    assert red
    assert draw_cloud(points[:1], colours[:1], poses[:1], (120, 200)).shape == (120, 200, 3)
    assert draw_cloud(points[:0], colours[:0], poses, (120, 200)).shape == (120, 200, 3)
