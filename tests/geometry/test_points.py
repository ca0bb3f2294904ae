import numpy as np

from firstsight.geometry.points import (
    move_points,
    normalise_pixels,
    project_points,
    project_to_depth,
    unproject_pixels,
)

INTRINSICS = np.array([[200.0, 0, 160], [0, 100, 120], [0, 0, 1]])


def z_buffer_by_loop(points, intrinsics, height, width):
    depth, valid = np.zeros((height, width), np.float32), np.zeros((height, width), bool)
    for x, y, z in points.astype(np.float64):
        if z <= 1e-6:
            continue
        column = round(intrinsics[0, 0] * x / z + intrinsics[0, 2])
        row = round(intrinsics[1, 1] * y / z + intrinsics[1, 2])
        if not (0 <= column < width and 0 <= row < height):
            continue
        if not valid[row, column] or z < depth[row, column]:
            depth[row, column], valid[row, column] = z, True
    return depth, valid


def test_projection_equals_a_loop_over_points():
    rng = np.random.default_rng(0)
    points = rng.uniform((-6, -4, -3), (6, 4, 20), (4000, 3)).astype(np.float32)
    intrinsics = np.array([[20.0, 0.0, 15.3], [0.0, 22.0, 9.7], [0.0, 0.0, 1.0]])
    depth, valid = project_to_depth(points, intrinsics, 20, 30)
    expected_depth, expected_valid = z_buffer_by_loop(points, intrinsics, 20, 30)
    assert expected_valid.sum() > 300
    np.testing.assert_array_equal(valid, expected_valid)
    np.testing.assert_array_equal(depth, expected_depth)


def test_the_nearest_return_of_a_pixel_wins_whatever_the_order():
    points = np.array([[0, 0, 5], [0, 0, 3], [0, 0, 4]], np.float32)
    depth, valid = project_to_depth(points, np.eye(3), 1, 1)
    assert valid.all()
    assert depth[0, 0] == 3


def test_points_behind_or_in_the_camera_plane_are_left_out():
    points = np.array([[0, 0, -2], [1, 1, 0], [0, 0, 0]], np.float32)
    _, valid = project_to_depth(points, np.eye(3), 3, 3)
    assert not valid.any()


def test_no_points_give_no_depth():
    depth, valid = project_to_depth(np.empty((0, 3), np.float32), np.eye(3), 2, 3)
    assert depth.shape == valid.shape == (2, 3)
    assert not valid.any()


def test_a_point_is_seen_where_its_ray_passes_and_found_there_again():
    """Counted by hand: 200 * 1 / 4 + 160 and 100 * -2 / 4 + 120."""
    point = np.array([[1.0, -2, 4]])
    np.testing.assert_array_equal(project_points(point, INTRINSICS), [[210, 70]])
    np.testing.assert_array_equal(normalise_pixels(np.array([[210.0, 70]]), INTRINSICS), [[0.25, -0.5]])
    np.testing.assert_array_equal(unproject_pixels(np.array([[210.0, 70]]), np.array([4.0]), INTRINSICS), point)


def test_points_behind_the_camera_give_finite_pixels():
    assert np.isfinite(project_points(np.array([[1.0, 1, -2], [1, 1, 0]]), INTRINSICS)).all()


def test_points_move_with_their_frame():
    a_from_b = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    np.testing.assert_array_equal(move_points(np.array([[1.0, 2, 3]]), a_from_b), [[3, 7, 10]])
