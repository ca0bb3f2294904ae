import numpy as np
import torch

from firstsight.geometry.camera import unproject
from firstsight.mapping.point_cloud import Config, PointCloudMap, accumulate, empty_voxels, sample_pixels
from firstsight.roles import Depth, Observation

WALL = [(8.0, 9.0, -20.0, 20.0, 4.0)]


def slow_means(samples: np.ndarray, voxel_size: float) -> dict[tuple[int, int, int], np.ndarray]:
    """Mean of the samples in each voxel."""
    members: dict[tuple[int, int, int], list[np.ndarray]] = {}
    for sample in samples:
        members.setdefault(tuple(np.floor(sample[:3].astype(np.float64) / voxel_size).astype(int)), []).append(sample)
    return {key: np.mean(rows, axis=0) for key, rows in members.items()}


def test_voxels_hold_the_means_of_what_fell_into_them():
    samples = np.random.default_rng(0).normal(0, 2, (5000, 6)).astype(np.float32)
    voxels = empty_voxels(8192)
    used = accumulate(samples[:3000], 1, 0.5, 0, voxels)
    used = accumulate(samples[3000:], 2, 0.5, used, voxels)
    expected = slow_means(samples, 0.5)
    assert used == len(expected)
    for mean in voxels.means[:used]:
        np.testing.assert_allclose(mean, expected[tuple(np.floor(mean[:3] / 0.5).astype(int))], atol=1e-4)
    assert voxels.seen[:used, 0].sum() == len(samples)
    assert set(voxels.seen[:used, 1]) == {1, 2}


def test_points_too_far_for_a_key_are_left_out():
    voxels = empty_voxels(16)
    far = np.array([[1e9, 0, 0, 0, 0, 0], [1, 2, 3, 0, 0, 0]], np.float32)
    assert accumulate(far, 1, 0.1, 0, voxels) == 1
    np.testing.assert_allclose(voxels.means[0, :3], [1, 2, 3])


def test_sampled_pixels_are_unprojected_points(see, world_from_camera):
    observation = see(world_from_camera(), [])
    assert observation.depth is not None
    depth, valid = (value[0, 0].numpy() for value in observation.depth[:2])
    intrinsics = observation.intrinsics.numpy()
    samples = sample_pixels(depth, valid, observation.image[0].numpy(), intrinsics, 1, 30.0, 0.05)
    points = unproject(observation.depth.depth, observation.intrinsics[None])[0].permute(1, 2, 0).numpy()
    inner = np.zeros_like(valid)
    inner[1:-1, 1:-1] = valid[1:-1, 1:-1] & valid[:-2, 1:-1] & (depth[1:-1, 1:-1] < 30)
    np.testing.assert_allclose(samples[:, :3], points[inner], rtol=1e-5)
    np.testing.assert_allclose(samples[:, 3:], 0.5)


def test_pixels_at_depth_edges_are_dropped(see, world_from_camera):
    observation = see(world_from_camera(), [(5.0, 6.0, -1.0, 1.0, 3.0), *WALL])
    assert observation.depth is not None
    depth, valid = (value[0, 0].numpy() for value in observation.depth[:2])
    mixed = depth.copy()
    edge = int(np.flatnonzero(np.abs(np.diff(depth[20])) > 1)[0])
    mixed[:, edge] = (depth[:, edge - 1] + depth[:, edge + 1]) / 2
    samples = sample_pixels(
        mixed, valid, np.zeros((3, *depth.shape), np.float32), observation.intrinsics.numpy(), 1, 60.0, 0.05
    )
    upper = samples[samples[:, 1] < 0.9]  # lower down the ground leads from one depth to the other
    assert not ((upper[:, 2] > 5.2) & (upper[:, 2] < 7.8)).any()


def test_a_wall_seen_twice_stays_a_wall(see, world_from_camera):
    cloud = PointCloudMap(Config(voxel_size_m=0.2, max_range_m=20.0))
    red = torch.zeros(1, 3, 48, 64)
    red[:, 0] = 0.8
    for x in (0.0, 1.0):
        pose = world_from_camera(x, 0.3 * x, 0.1 * x)
        cloud.integrate(see(pose, WALL, red), pose)
    points, colours = cloud.points()
    assert len(points) > 100
    on_wall, on_ground = np.abs(points[:, 0] - 8) < 0.02, np.abs(points[:, 2]) < 0.02
    assert (on_wall | on_ground).mean() > 0.99
    assert on_wall.sum() > 30
    assert np.all(colours == [204, 0, 0])


def test_what_one_frame_saw_is_left_out(see, world_from_camera):
    cloud = PointCloudMap(Config(voxel_size_m=0.2, max_range_m=20.0))
    pose = world_from_camera()
    cloud.integrate(see(pose, WALL), pose)
    assert len(cloud.points()[0]) > 0, "a single frame is all there is"
    cloud.integrate(see(pose, WALL), pose)
    cloud.integrate(see(pose, [(4.0, 5.0, -1.0, 1.0, 2.0), *WALL]), pose)
    points, _ = cloud.points()
    assert not ((points[:, 0] < 5.5) & (points[:, 2] > 0.3)).any()


def test_memory_is_bounded(see, world_from_camera):
    cloud = PointCloudMap(Config(voxel_size_m=0.02, max_range_m=20.0, max_voxels=1500, pixel_stride=1))
    for i in range(30):
        pose = world_from_camera(0.2 * i)
        cloud.integrate(see(pose, [(16.0, 17.0, -20.0, 20.0, 4.0)]), pose)
        assert cloud.used <= 1500
    assert cloud.voxel_size_m > 0.02
    points, _ = cloud.points()
    assert np.abs(points[:, 0] - 16).min() < 0.1, "what was seen first is still there"
    assert points[:, 0].min() < 5
    assert len(cloud.voxels.keys) <= 1 << 16


def test_stopped_and_restored_it_goes_on_to_the_same_bits(see, world_from_camera, carried_on):
    pose = world_from_camera()
    direct = PointCloudMap()
    direct.integrate(see(pose, WALL), pose)
    resumed = carried_on(direct, PointCloudMap())
    for cloud in (direct, resumed):
        cloud.integrate(see(world_from_camera(0.5), WALL), world_from_camera(0.5))
    for a, b in zip(direct.points(), resumed.points(), strict=True):
        assert np.array_equal(a, b)


def test_lidar_points_do_where_there_is_no_depth(world_from_camera):
    cloud = PointCloudMap(Config(voxel_size_m=0.1))
    scan = Observation(0, points_lidar=torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]]))
    world_from_lidar = torch.eye(4, dtype=torch.float64)
    world_from_lidar[0, 3] = 10
    cloud.integrate(scan, world_from_lidar)
    points, _ = cloud.points()
    np.testing.assert_allclose(np.sort(points[:, 0]), [11, 12, 13])


def test_a_frame_without_anything_changes_nothing(see, world_from_camera):
    cloud = PointCloudMap()
    cloud.integrate(Observation(0), world_from_camera())
    observation = see(world_from_camera(), WALL)
    nothing = Depth(observation.depth.depth, torch.zeros_like(observation.depth.valid))
    cloud.integrate(observation._replace(depth=nothing), world_from_camera())
    assert [len(values) for values in cloud.points()] == [0, 0]
