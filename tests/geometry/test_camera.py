import cv2
import numpy as np
import pytest
import torch

from firstsight.geometry import camera

INTRINSICS = torch.tensor([[300.0, 0, 160.5], [0, 290.0, 118.0], [0, 0, 1]], dtype=torch.float64)


def points_in_front(count: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 4 - 2
    points[:, 2] = points[:, 2].abs() + 1
    return points


def opencv_project(points: torch.Tensor, distortion: list[float]) -> torch.Tensor:
    pixels, _ = cv2.projectPoints(points.numpy(), np.zeros(3), np.zeros(3), INTRINSICS.numpy(), np.array(distortion))
    return torch.from_numpy(pixels[:, 0])


def test_project_agrees_with_opencv():
    points = points_in_front()
    torch.testing.assert_close(camera.project(points, INTRINSICS), opencv_project(points, []))


@pytest.mark.parametrize("coefficients", [[-0.28, 0.07, 2e-4, 1.8e-5], [-0.37, 0.2, 2e-3, 1e-3, -0.07]])
def test_radial_tangential_agrees_with_opencv(coefficients):
    points = points_in_front()
    plane = points[:, :2] / points[:, 2:]
    bent = camera.distort_radial_tangential(plane, torch.tensor(coefficients, dtype=torch.float64))
    torch.testing.assert_close(camera.apply_intrinsics(bent, INTRINSICS), opencv_project(points, coefficients))


def test_equidistant_agrees_with_opencv():
    points = torch.cat([points_in_front(), torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64)])
    coefficients = [0.01, -0.02, 0.003, -0.001]
    pixels, _ = cv2.fisheye.projectPoints(
        points.numpy()[:, None], np.zeros(3), np.zeros(3), INTRINSICS.numpy(), np.array(coefficients)
    )
    bent = camera.distort_equidistant(points[:, :2] / points[:, 2:], torch.tensor(coefficients, dtype=torch.float64))
    torch.testing.assert_close(camera.apply_intrinsics(bent, INTRINSICS), torch.from_numpy(pixels[:, 0]))


def test_unproject_inverts_project():
    depth = torch.rand(2, 1, 12, 17, dtype=torch.float64) + 0.5
    points = camera.unproject(depth, INTRINSICS.expand(2, 3, 3))
    pixels = camera.project(points.flatten(-2).mT, INTRINSICS)
    grid = camera.pixel_grid(12, 17, torch.float64).flatten(-2).mT
    torch.testing.assert_close(pixels, grid.expand(2, -1, -1), atol=1e-9, rtol=0)
    torch.testing.assert_close(points[:, 2:], depth)


def test_project_gradient_and_points_behind():
    points = points_in_front(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: camera.project(p, INTRINSICS), points)
    behind = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, -2.0]], dtype=torch.float64)
    assert camera.project(behind, INTRINSICS).isfinite().all()


def test_scaled_intrinsics_project_onto_the_resized_image():
    """Half the size: the corner (-0.5, -0.5) stays where it is, so pixel 0's centre moves to -0.25."""
    half = camera.scale_intrinsics(INTRINSICS, 0.5, 0.5)
    points = points_in_front()
    torch.testing.assert_close(camera.project(points, half), (camera.project(points, INTRINSICS) + 0.5) * 0.5 - 0.5)


def test_field_of_view_spans_the_image_edges():
    intrinsics = camera.field_of_view_intrinsics(480, 640, np.deg2rad(90))
    edge = torch.tensor([[1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(camera.project(edge, intrinsics)[:, 0], torch.tensor([639.5, -0.5], dtype=torch.float64))


def test_kitti_calibration_by_hand():
    """A point 10 m ahead of the velodyne of 2011-09-26, 1 m left, 1 m down, worked out by hand with KITTI's numbers.

    velo_to_cam: x_cam = 0.007533745*10 - 0.9999714*1 - 0.000616602*(-1) - 0.004069766 = -0.9280870
                 y_cam = 0.01480249*10 + 0.0007280733*1 - 0.9998902*(-1) - 0.07631618  =  1.0723270
                 z_cam = 0.9998621*10 + 0.00752379*1 + 0.01480755*(-1) - 0.2717806     =  9.7195566
    """
    camera_from_lidar = torch.tensor(
        [
            [7.533745e-03, -9.999714e-01, -6.166020e-04, -4.069766e-03],
            [1.480249e-02, 7.280733e-04, -9.998902e-01, -7.631618e-02],
            [9.998621e-01, 7.523790e-03, 1.480755e-02, -2.717806e-01],
            [0, 0, 0, 1],
        ],
        dtype=torch.float64,
    )
    from firstsight.geometry.se3 import transform

    point = transform(camera_from_lidar, torch.tensor([[10.0, 1.0, -1.0]], dtype=torch.float64))
    by_hand = torch.tensor([[-0.9280870, 1.0723270, 9.7195566]], dtype=torch.float64)
    torch.testing.assert_close(point, by_hand, atol=1e-6, rtol=0)
    intrinsics = torch.tensor([[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1]], dtype=torch.float64)
    pixel = camera.project(point, intrinsics)  # 721.5377 * -0.9280870 / 9.7195566 + 609.5593 = 540.6623
    torch.testing.assert_close(pixel, torch.tensor([[540.6623, 252.4591]], dtype=torch.float64), atol=1e-3, rtol=0)
