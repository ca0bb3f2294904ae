"""Against the papers' rules voxel by voxel, on shapes whose surface is known, and on things that move."""

import numpy as np
import pytest
import torch
import trimesh

from firstsight.formats.mesh import Mesh
from firstsight.mapping.depth_edges import limits, usable_inverse_depth
from firstsight.mapping.marching_cubes import SAMPLES, SIDE
from firstsight.mapping.tsdf import Config, Tsdf, empty_voxels, places_of
from firstsight.mapping.tsdf_kernels import FULL_COLOUR, integrate_depth, may_change
from firstsight.mapping.voxel_hash import place_of
from firstsight.roles import Depth, Observation

WALL = (6.0, 6.5, -8.0, 8.0, 3.0)
COARSE = Config(voxel_size_m=0.1, max_range_m=12.0)
PIXELS = 96
INTRINSICS = np.array([[90.0, 0, (PIXELS - 1) / 2], [0, 90.0, (PIXELS - 1) / 2], [0, 0, 1]])


def rays() -> np.ndarray:
    """(h, w, 3) with z = 1, of a square image."""
    v, u = np.mgrid[:PIXELS, :PIXELS].astype(np.float64)
    return np.stack([(u - INTRINSICS[0, 2]) / 90, (v - INTRINSICS[1, 2]) / 90, np.ones(u.shape)], -1)


def frame(depth: np.ndarray, colour: tuple[float, float, float] = (0.5, 0.5, 0.5)) -> Observation:
    """An observation of a depth image, invalid where it is not finite."""
    image = torch.tensor(colour, dtype=torch.float32)[None, :, None, None].expand(1, 3, *depth.shape)
    known = torch.from_numpy(np.isfinite(depth))[None, None]
    values = torch.from_numpy(np.nan_to_num(depth, posinf=0.0).astype(np.float32))[None, None]
    return Observation(0, image, torch.from_numpy(INTRINSICS), Depth(values, known))


def looking_at(eye: np.ndarray) -> np.ndarray:
    """world_from_camera of a camera that looks at the origin."""
    forward = -eye / np.linalg.norm(eye)
    right = np.cross(forward, [0.1, 0.2, 0.97])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(forward, right), forward], 1), eye
    return pose


def around(views: int, distance: float) -> list[np.ndarray]:
    """Cameras on a spiral over a sphere around the origin."""
    height = 1 - 2 * (np.arange(views) + 0.5) / views
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(views)
    radius = np.sqrt(1 - height**2)
    return [looking_at(eye) for eye in distance * np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1)]


def sphere_depth(pose: np.ndarray, radius: float) -> np.ndarray:
    directions, eye = rays() @ pose[:3, :3].T, pose[:3, 3]
    a, b, c = (directions**2).sum(-1), directions @ eye, eye @ eye - radius**2
    with np.errstate(invalid="ignore"):
        return (-b - np.sqrt(b**2 - a * c)) / a


def box_depth(pose: np.ndarray, half: np.ndarray) -> np.ndarray:
    directions, eye = rays() @ pose[:3, :3].T, pose[:3, 3]
    first, second = (-half - eye) / directions, (half - eye) / directions
    near, far = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
    return np.where(near < far, near, np.inf)


def fused(depths: list[np.ndarray], poses: list[np.ndarray], config: Config) -> Tsdf:
    tsdf = Tsdf(config)
    for depth, pose in zip(depths, poses, strict=True):
        tsdf.integrate(frame(depth), torch.from_numpy(pose))
    return tsdf


def triangles(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.astype(np.float64), mesh.faces, process=False)


def box_distance(points: np.ndarray, half: np.ndarray) -> np.ndarray:
    beyond = np.abs(points) - half
    return np.abs(np.linalg.norm(beyond.clip(0), axis=1) + beyond.max(1).clip(max=0))


def slow_integrate(inverse_depth, image, intrinsics, camera_from_world, scales, max_weight, carve, keys, voxels):
    """Curless and Levoy's mean with KinectFusion's distance along the ray, one voxel at a time."""
    size, mu, sure = scales
    height, width = inverse_depth.shape
    for row, key in enumerate(keys):
        for sample in range(SAMPLES):
            within = np.array(np.unravel_index(sample, (SIDE,) * 3))
            world = (SIDE * np.array(place_of(key)) + within + 0.5) * size
            camera = camera_from_world[:3, :3] @ world + camera_from_world[:3, 3]
            if camera[2] <= 0:
                continue
            ray = camera / camera[2]
            u, v, _ = intrinsics @ ray
            x, y = int(np.floor(u)), int(np.floor(v))
            if not (0 <= x < width - 1 and 0 <= y < height - 1):
                continue
            four = inverse_depth[y : y + 2, x : x + 2].astype(np.float64)
            if (four > 0).all():
                seen = 1 / (np.array([1 - v + y, v - y]) @ four @ np.array([1 - u + x, u - x]))
            elif inverse_depth[int(v + 0.5), int(u + 0.5)] > 0:
                seen = 1 / inverse_depth[int(v + 0.5), int(u + 0.5)]
            else:
                continue
            d = np.linalg.norm(ray) * (seen - camera[2])
            if d < -mu or (d > mu and not carve):
                continue
            w = min(1, (sure / seen) ** 2) * min(1, (d + mu) / (mu - size))
            old = voxels.weight[row, sample]
            mean = (old * voxels.distance[row, sample] + w * min(d, mu)) / (old + w)
            if d <= mu:
                new = 1 + (FULL_COLOUR - 1) * image[:, int(v + 0.5), int(u + 0.5)].astype(np.float64)
                before = voxels.colour[row, sample].astype(np.float64)
                mixed = new if not before.any() else (old * before + w * new) / (old + w)
                voxels.colour[row, sample] = np.floor(mixed + 0.5)
            voxels.distance[row, sample], voxels.weight[row, sample] = mean, min(old + w, max_weight)


@pytest.mark.parametrize("carve", [True, False])
def test_frames_are_averaged_as_the_papers_say(carve):
    rng = np.random.default_rng(0)
    keys = np.array([((x + 2**20) << 42) | ((y + 2**20) << 21) | (z + 2**20) for x, y, z in np.ndindex(2, 2, 3)]) - (
        (1 << 42) + (1 << 21)
    )
    assert places_of(keys).min(0).tolist() == [-1, -1, 0]
    fast, slow = empty_voxels(len(keys)), empty_voxels(len(keys))
    for shift in (0.0, 0.05, 0.4):
        depth = (1.5 + shift + 0.2 * rng.random((PIXELS, PIXELS))).astype(np.float32)
        inverse_depth = np.where(rng.random(depth.shape) < 0.9, 1 / depth, 0).astype(np.float32)
        image = rng.random((3, PIXELS, PIXELS)).astype(np.float32)
        camera_from_world = np.linalg.inv(looking_at(np.array([0.3, -0.2, -1.0])))
        arguments = (inverse_depth, image, INTRINSICS, camera_from_world, (0.1, 0.4, 1.6), 1.9, carve, keys)
        integrate_depth(*arguments, fast)
        slow_integrate(*arguments, slow)
    assert (fast.weight > 0).mean() > 0.1
    assert (fast.weight == np.float32(1.9)).any()
    np.testing.assert_allclose(fast.weight, slow.weight, atol=1e-5)
    np.testing.assert_allclose(fast.distance, slow.distance, atol=1e-5)
    assert np.abs(fast.colour.astype(int) - slow.colour).max() <= 1


def test_blocks_that_could_change_are_never_left_out():
    rng = np.random.default_rng(1)
    tiles = np.full((6, 6), np.inf, np.float32)
    tiles[2, 3] = 1 / 2.0  # pixels 48 to 63 across, 32 to 47 down, see a surface 2 m away
    for _ in range(3000):
        middle = rng.uniform([-1.5, -1.5, -0.5], [1.5, 1.5, 3.5])
        offsets = rng.normal(size=(200, 3))
        points = middle + 0.2 * offsets / np.linalg.norm(offsets, axis=1, keepdims=True)
        points = points[(points[:, 2] > 0.01) & (points[:, 2] < 2.1)]
        u, v = (points[:, :2] / points[:, 2:] * 90 + (PIXELS - 1) / 2).T
        touched = bool(((u > 47) & (u < 64) & (v > 31) & (v < 48)).any())
        assert may_change(*middle, 0.2, INTRINSICS, tiles, 0.1) or not touched
    assert not may_change(0.0, 0.0, -1.0, 0.2, INTRINSICS, tiles, 0.1)
    assert not may_change(0.1, -0.1, 3.0, 0.2, INTRINSICS, tiles, 0.1), "hidden"
    assert not may_change(-0.9, 0.0, 1.5, 0.2, INTRINSICS, tiles, 0.1), "beside"


def test_depth_that_is_not_to_be_trusted_is_left_out():
    depth = np.full((9, 9), 2.0, np.float32)
    valid = np.ones(depth.shape, bool)
    whole = usable_inverse_depth(depth, valid, 10.0, 0.05)
    assert (whole > 0).sum() == 49, "all but the border"
    for value in (np.nan, np.inf, 0.0, -1.0):
        depth[4, 4] = value
        assert (usable_inverse_depth(depth, valid, 10.0, 0.05) > 0).sum() == 44
    depth[4, 4] = 2.0
    valid[4, 4] = False
    assert (usable_inverse_depth(depth, valid, 10.0, 0.05) > 0).sum() == 44
    assert not usable_inverse_depth(depth, valid, 1.9, 0.05).any()
    depth[:, 5:] = 3.0
    assert not usable_inverse_depth(depth, ~np.zeros_like(valid), 10.0, 0.05)[:, 4:6].any(), "beside an edge"


@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_a_plane_is_exact(tilt):
    """z = 2 + tilt x + tilt y / 2 in the camera's frame: inverse depth is linear in the image."""
    depth = 2 / (1 - rays()[..., :2] @ [tilt, tilt / 2])
    tsdf = fused([depth], [np.eye(4)], Config(voxel_size_m=0.05, max_range_m=9.0))
    vertices = tsdf.mesh().vertices.astype(np.float64)
    inside = (
        np.abs(vertices[:, :2] / vertices[:, 2:] * 90).max(1) < PIXELS / 2 - 4
    )  # the outermost pixels have no depth
    vertices = vertices[inside]
    off = (vertices @ [-tilt, -tilt / 2, 1] - 2) / np.linalg.norm([-tilt, -tilt / 2, 1])
    assert len(vertices) > 1000
    assert np.abs(off).max() / 0.05 < 0.01
    assert (triangles(tsdf.mesh()).face_normals[:, 2] < 0).mean() > 0.999, "towards the camera"


def test_a_sphere_from_all_around_is_closed():
    size, radius, poses = 0.05, 0.7, around(30, 2.0)
    tsdf = fused([sphere_depth(pose, radius) for pose in poses], poses, Config(voxel_size_m=size, max_range_m=4.0))
    mesh = triangles(tsdf.mesh())
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    off = np.linalg.norm(mesh.vertices, axis=1) - radius
    assert np.abs(off).mean() / size < 0.05
    assert mesh.area == pytest.approx(4 * np.pi * radius**2, rel=0.01)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)


def test_a_box_from_twenty_views():
    size, half, poses = 0.04, np.array([0.5, 0.35, 0.6]), around(20, 2.0)
    tsdf = fused([box_depth(pose, half) for pose in poses], poses, Config(voxel_size_m=size, max_range_m=4.0))
    mesh = triangles(tsdf.mesh())
    assert box_distance(mesh.vertices, half).mean() / size < 0.1
    assert box_distance(mesh.vertices, half).max() / size < 1.5
    assert mesh.area == pytest.approx(8 * (half[0] * half[1] + half[1] * half[2] + half[2] * half[0]), rel=0.05)


def test_noise_averages_out():
    rng, size = np.random.default_rng(2), 0.05
    depths = [2 + rng.normal(0, 0.02, (PIXELS, PIXELS)) for _ in range(25)]
    config = Config(voxel_size_m=size, max_range_m=9.0, edge=1.0)

    def off(frames: int) -> float:
        vertices = fused(depths[:frames], [np.eye(4)] * frames, config).mesh().vertices
        return float(np.sqrt(((vertices[:, 2] - 2) ** 2).mean()))

    assert off(25) < 0.3 * off(1)


def test_near_depth_counts_for_more():
    """Stereo's errors grow with the square of the distance."""
    near, far = frame(np.full((PIXELS, PIXELS), 2.0)), frame(np.full((PIXELS, PIXELS), 4.1))
    back = torch.eye(4, dtype=torch.float64)
    back[2, 3] = -2.0
    for weighting, expected in (
        ("constant", 2.05),
        ("inverse_square", 2 + 0.1 * (2 / 4.1) ** 2 / (1 + (2 / 4.1) ** 2)),
    ):
        tsdf = Tsdf(Config(voxel_size_m=0.1, max_range_m=9.0, weighting=weighting, min_weight=1.1))
        tsdf.integrate(near, torch.eye(4, dtype=torch.float64))
        tsdf.integrate(far, back)
        z = tsdf.mesh().vertices[:, 2]
        assert float(np.median(z)) == pytest.approx(expected, abs=0.01)


def test_colours_are_those_of_the_surface():
    """Nothing of voxels that were seen empty before mixes in, nor of what was there long ago."""
    tsdf, pose = Tsdf(Config(voxel_size_m=0.1, max_range_m=12.0, max_weight=4.0)), torch.eye(4, dtype=torch.float64)
    for _ in range(5):
        tsdf.integrate(frame(np.full((PIXELS, PIXELS), 3.15), (0.1, 0.1, 0.9)), pose)
    assert np.abs(tsdf.mesh().colours - np.array([25.5, 25.5, 229.5])).max() <= 1
    for _ in range(40):
        tsdf.integrate(frame(np.full((PIXELS, PIXELS), 2.55), (0.8, 0.4, 0.0)), pose)
    vertices, colours, _ = tsdf.mesh()
    front = vertices[:, 2] < 2.6
    assert front.mean() > 0.2
    assert np.abs(colours[front] - np.array([204.0, 102, 0])).max() <= 1


def crossing(see, world_from_camera, config: Config, leave_out: bool) -> Tsdf:
    """A box crosses a static room during 20 scans, and is gone in 10 more."""
    tsdf, pose = Tsdf(config), world_from_camera()
    empty = see(pose, [WALL])
    for i in range(30):
        left = -3.0 + 0.3 * i
        observation = see(pose, [WALL, (4.0, 4.6, left, left + 0.8, 1.6)] if i < 20 else [WALL])
        if leave_out:
            static = (observation.depth.depth - empty.depth.depth).abs() < 1e-3
            observation = observation._replace(depth=Depth(observation.depth.depth, observation.depth.valid & static))
        tsdf.integrate(observation, pose)
    return tsdf


def ghost_area_m2(tsdf: Tsdf) -> float:
    """Of the triangles that hang over the ground before the wall."""
    mesh = triangles(tsdf.mesh())
    x, _, z = mesh.triangles_center.T
    return float(mesh.area_faces[(x < 5.5) & (z > 0.3)].sum())


def test_a_moving_box_leaves_a_smear_unless_it_is_carved_away_or_left_out(see, world_from_camera):
    """The mean of distances smears what moves where no empty space is averaged in (Curless and Levoy's band alone)."""
    averaged = Config(voxel_size_m=0.1, max_range_m=12.0, carve=False)
    smeared = ghost_area_m2(crossing(see, world_from_camera, averaged, leave_out=False))
    carved = ghost_area_m2(crossing(see, world_from_camera, COARSE, leave_out=False))
    left_out = ghost_area_m2(crossing(see, world_from_camera, averaged, leave_out=True))
    assert smeared > 3
    assert carved < 0.05 * smeared
    assert left_out == 0


def test_the_map_changes_its_mind_within_its_bound(see, world_from_camera):
    """A box stood for 60 frames; with a bound of 4 it is gone soon after it leaves, whatever the time it stood."""
    pose = world_from_camera()
    with_box, without = see(pose, [WALL, (4.0, 4.6, -0.5, 0.5, 1.6)]), see(pose, [WALL])

    def frames_until_gone(max_weight: float) -> int:
        tsdf = Tsdf(Config(voxel_size_m=0.1, max_range_m=12.0, max_weight=max_weight))
        for _ in range(60):
            tsdf.integrate(with_box, pose)
        for frames in range(1, 40):
            tsdf.integrate(without, pose)
            if ghost_area_m2(tsdf) < 0.02:
                return frames
        return 40

    assert frames_until_gone(4.0) < 10
    assert frames_until_gone(40.0) > 15


def test_memory_is_bounded(see, world_from_camera):
    tsdf = Tsdf(Config(voxel_size_m=0.05, max_range_m=12.0, max_blocks=900))
    for i in range(25):
        pose = world_from_camera(0.4 * i)
        tsdf.integrate(see(pose, [(16.0, 17.0, -20.0, 20.0, 4.0)]), pose)
        assert tsdf.used <= 900
        assert len(tsdf.voxels.weight) <= 900
    assert tsdf.voxel_size_m > 0.05
    vertices = tsdf.mesh().vertices
    ground = vertices[(vertices[:, 0] < 14) & (vertices[:, 0] > 3) & (np.abs(vertices[:, 1]) < 2)]
    assert len(ground) > 50
    assert np.abs(ground[:, 2]).mean() < 0.3 * tsdf.voxel_size_m
    assert vertices[:, 0].min() < 5, "what was seen first is still there"


def test_voxels_that_double_keep_the_surface():
    """Nearly all of it at once, although the band is then half as many voxels wide; all when it is seen again."""
    radius, poses = 0.7, around(30, 2.0)
    depths = [sphere_depth(pose, radius) for pose in poses]
    tsdf = fused(depths, poses, Config(voxel_size_m=0.025, max_range_m=4.0))
    before, blocks = triangles(tsdf.mesh()), tsdf.used
    tsdf._halve()
    after = triangles(tsdf.mesh())
    assert tsdf.voxel_size_m == 0.05
    assert tsdf.used < blocks / 2
    assert after.area > 0.97 * before.area
    assert np.abs(np.linalg.norm(after.vertices, axis=1) - radius).max() < 0.3 * 0.05
    for depth, pose in zip(depths, poses, strict=True):
        tsdf.integrate(frame(depth), torch.from_numpy(pose))
    again = triangles(tsdf.mesh())
    assert again.is_watertight
    assert again.euler_number == 2
    assert again.volume == pytest.approx(before.volume, rel=0.01)


def test_stopped_and_restored_it_goes_on_to_the_same_bits(see, world_from_camera, carried_on):
    direct = Tsdf(COARSE)
    direct.integrate(see(world_from_camera(), [WALL]), world_from_camera())
    resumed = carried_on(direct, Tsdf(COARSE))
    for i in (1, 2):
        for tsdf in (direct, resumed):
            tsdf.integrate(see(world_from_camera(0.5 * i), [WALL]), world_from_camera(0.5 * i))
    assert len(direct.mesh().faces) > 1000
    for a, b in zip(direct.mesh(), resumed.mesh(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_sizes_follow_from_the_first_frame(see, world_from_camera):
    tsdf, observation = Tsdf(), see(world_from_camera(), [WALL])
    tsdf.integrate(observation, world_from_camera())
    median = float(observation.depth.depth[observation.depth.valid].median())
    assert tsdf.voxel_size_m == pytest.approx(median / 100)
    assert tsdf.max_range_m == pytest.approx(2 * median)


def test_what_one_frame_saw_is_left_out_unless_it_is_all(see, world_from_camera):
    tsdf, pose = Tsdf(COARSE), world_from_camera()
    tsdf.integrate(see(pose, [WALL]), pose)
    assert len(tsdf.mesh().faces) > 1000, "a single frame is all there is"
    tsdf.integrate(see(pose, [WALL]), pose)
    rotated = world_from_camera(yaw_rad=np.pi)
    tsdf.integrate(see(rotated, []), rotated)
    assert tsdf.mesh().vertices[:, 0].min() > 0


def test_a_frame_without_anything_changes_nothing(see, world_from_camera):
    tsdf, pose = Tsdf(), world_from_camera()
    observation = see(pose, [WALL])
    nothing = Depth(observation.depth.depth, torch.zeros_like(observation.depth.valid))
    not_finite = Depth(torch.full_like(observation.depth.depth, torch.nan), observation.depth.valid)
    lidar = Observation(0, points_lidar=torch.tensor([[1.0, 0, 0]]))
    for empty in (Observation(0), observation._replace(depth=nothing), lidar):
        tsdf.integrate(empty, pose)
    assert [len(part) for part in tsdf.mesh()] == [0, 0, 0]
    tsdf.integrate(observation, pose)
    before = tsdf.voxels.weight.copy()
    tsdf.integrate(observation._replace(depth=not_finite), pose)
    np.testing.assert_array_equal(tsdf.voxels.weight, before)


def steps_seen(noise: float, near_m: float) -> Mesh:
    """A wall at 3 m, a panel before its right half, seen twelve times from places 2 cm apart with relative noise of depth."""
    rng, fused = np.random.default_rng(0), Tsdf(Config(voxel_size_m=0.03, max_range_m=6.0))
    for k in range(12):
        pose = np.eye(4)
        pose[0, 3] = 0.02 * k
        across = rays()[..., 0] * near_m + pose[0, 3]
        panel = across > 0.1
        depth = np.where(panel, near_m, 3.0)
        depth *= 1 + noise * rng.normal(size=(PIXELS, PIXELS))
        fused.integrate(frame(depth), torch.from_numpy(pose))
    return fused.mesh()


@pytest.mark.parametrize(
    ("noise", "near_m", "share"), [(0.0, 2.5, 0.95), (0.005, 2.5, 0.95), (0.015, 2.0, 0.95), (0.024, 2.0, 0.95)]
)
def test_noise_keeps_the_wall(noise, near_m, share):
    """The wall's left part is 1.6 x 3.2 m; nothing lies between it and the panel."""
    mesh = steps_seen(noise, near_m)
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle, area = corners.mean(1), np.abs(normal[:, 2]) / 2
    between = (middle[:, 2] > near_m + 0.12 + 2 * noise * near_m) & (middle[:, 2] < 2.88 - 6 * noise)
    left = (middle[:, 0] < -0.1) & (np.abs(middle[:, 0]) < 1.4) & (np.abs(middle[:, 1]) < 1.4)
    assert area[left].sum() > share * 1.3 * 2.8
    assert area[between].sum() < 0.01


def test_the_kink_of_a_surface_follows_its_neighbourhood():
    """Kinks of 0.02 everywhere allow 3.3 times as much; of 0.001, no less than `edge`; of 0.9, no more than four times `edge`."""
    kink = np.full((48, 112), 0.02, np.float32)
    kink[:, :48], kink[:, 80:] = 0.001, 0.9
    kink[5, 52] = -1
    assert limits(kink, 0.05)[:, [0, 3, 6]] == pytest.approx(np.tile([0.05, 0.066, 0.2], (3, 1)))


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.015, 0.024])
def test_beside_an_edge_no_pixel_is_usable_however_noisy_the_surfaces(noise):
    rng = np.random.default_rng(1)
    depth = np.where(np.arange(96) < 41, 3.0, 1.8)[None].repeat(64, 0) * (1 + noise * rng.normal(size=(64, 96)))
    usable = usable_inverse_depth(depth.astype(np.float32), np.ones(depth.shape, bool), 10.0, 0.05) > 0
    assert not usable[:, 40:42].any()
    assert usable[1:-1, 1:40].mean() > 0.97
    assert usable[1:-1, 42:-1].mean() > 0.97


def test_of_each_block_it_is_kept_how_often_and_when_it_was_seen_last():
    """A wall 4 m ahead twice, then one 8 m ahead: the blocks of the first were seen in two frames, last in the second."""
    tsdf = fused([np.full((PIXELS, PIXELS), 4.0)] * 2, [np.eye(4)] * 2, COARSE)
    first = tsdf.used
    assert first > 0
    assert tsdf.table.seen[:first, 1:].tolist() == [[2, 2]] * first
    tsdf.integrate(frame(np.full((PIXELS, PIXELS), 8.0)), torch.eye(4, dtype=torch.float64))
    assert tsdf.used > first
    assert tsdf.table.seen[:first, 1:].tolist() == [[2, 2]] * first
    assert tsdf.table.seen[first : tsdf.used, 1:].tolist() == [[1, 3]] * (tsdf.used - first)
