import numpy as np

from firstsight.geometry.points import project_to_depth


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
