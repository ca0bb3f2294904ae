"""The simulated worlds: the same every time, and true in every part of their truth."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.geometry.camera import project
from firstsight.geometry.images import to_tensor
from firstsight.geometry.se3 import inverse, transform
from firstsight.geometry.warp import rigid_flow, warp_by_disparity, warp_by_flow
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import NAMES, simulate

FRAMES = 4
SIZES = {"street": (96, 200), "rooms": (96, 128), "objects": (96, 128)}


@dataclass(frozen=True)
class Sight:
    """One frame with everything known about it, as tensors."""

    recording: Recording
    frame: int

    def image(self, camera: str = "left", later: int = 0) -> torch.Tensor:
        return to_tensor(self.recording.images[camera][self.frame + later])

    @property
    def depth(self) -> torch.Tensor:
        return torch.from_numpy(self.recording.truth.depth[self.frame].depth)[None, None]

    @property
    def intrinsics(self) -> torch.Tensor:
        return torch.from_numpy(self.recording.rig.cameras[0].intrinsics)[None]

    @property
    def later_from_now(self) -> torch.Tensor:
        poses = torch.from_numpy(self.recording.truth.world_from_camera)
        return (inverse(poses[self.frame + 1]) @ poses[self.frame])[None]


def made(name: str, **settings: int) -> Recording:
    height, width = SIZES[name]
    return simulate(name, **({"frames": FRAMES, "height": height, "width": width} | settings))


@pytest.fixture(scope="module", params=NAMES)
def sight(request: pytest.FixtureRequest) -> Sight:
    return Sight(made(request.param), 1)


@pytest.fixture(scope="module")
def street() -> Recording:
    return made("street")


# The same every time


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_is_the_same_alone_and_in_order(name: str):
    in_order, alone = made(name), made(name)
    for frame in range(3):
        in_order.images["left"][frame], in_order.truth.flow[frame]
    for camera in ("left", "right"):
        np.testing.assert_array_equal(in_order.images[camera][3], alone.images[camera][3])
    np.testing.assert_array_equal(in_order.truth.flow[3].flow, alone.truth.flow[3].flow)
    np.testing.assert_array_equal(in_order.truth.flow[3].visible, alone.truth.flow[3].visible)
    np.testing.assert_array_equal(in_order.truth.moving[3], alone.truth.moving[3])
    np.testing.assert_array_equal(in_order.odometry, alone.odometry)


def test_the_number_of_frames_changes_no_frame(street: Recording):
    longer = made("street", frames=9)
    np.testing.assert_array_equal(longer.images["left"][2], street.images["left"][2])
    np.testing.assert_array_equal(longer.odometry[:FRAMES], street.odometry)
    np.testing.assert_array_equal(longer.scans[2].points, street.scans[2].points)


@pytest.mark.parametrize(("name", "same_depth"), [("street", 0.3), ("rooms", 0.5), ("objects", 0.85)])
def test_another_seed_is_another_world(name: str, same_depth: float):
    """Seeds differ in what stands there, in the way and in what moves, not in noise alone."""
    one, two = (made(name, seed=seed, frames=30, height=32) for seed in (1, 2))
    depths, masks = ([r.truth.depth[20].depth for r in (one, two)], [r.truth.moving[20] > 0 for r in (one, two)])
    assert np.mean(np.abs(depths[0] - depths[1]) < 0.02 * depths[0]) < same_depth
    assert (masks[0] & masks[1]).sum() < 0.5 * (masks[0] | masks[1]).sum()
    bodies = [r.truth.world_from_camera @ np.linalg.inv(r.rig.cameras[0].body_from_camera) for r in (one, two)]
    assert np.linalg.norm(bodies[0][:, :3, 3] - bodies[1][:, :3, 3], axis=1).max() > 0.3
    assert np.mean(one.images["left"][20] != two.images["left"][20]) > 0.9
    occupied = [r.truth.occupancy.occupied for r in (one, two)]
    assert occupied[0].shape != occupied[1].shape or np.mean(occupied[0] != occupied[1]) > 0.001


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frames", "nearest_m", "moving"),
    [("street", 120, 1.9, 0.04), ("rooms", 320, 0.12, 0.02), ("objects", 120, 0.4, 0.05)],
)
def test_every_seed_is_a_usable_world(name: str, frames: int, nearest_m: float, moving: float):
    """The camera is in no wall and no car, sees more than a wall, and something moves before it."""
    for seed in range(10):
        recording = simulate(name, frames=frames, seed=seed, height=24)
        depths = [recording.truth.depth[i] for i in range(0, frames, 20)]
        assert min(d.depth[d.valid].min() for d in depths) > nearest_m, f"seed {seed}"
        medians = [np.median(d.depth[d.valid]) for d in depths]
        assert min(medians) > 2 * nearest_m, f"seed {seed}"
        shares = [np.mean(recording.truth.moving[i] > 0) for i in range(0, frames, 20)]
        assert np.mean(shares) > moving, f"seed {seed}"


def test_the_street_goes_on(street: Recording):
    long = made("street", frames=1200, height=48, width=64)
    ids = np.unique(long.truth.moving[1150])
    assert len(ids) > 2
    assert long.truth.depth[1199].valid.mean() > 0.6
    steps = np.linalg.norm(np.diff(long.truth.world_from_camera[:, :3, 3], axis=0), axis=1)
    assert 0.25 < steps.min() < steps.max() < 0.55


def test_the_walk_through_the_rooms_returns():
    rooms = simulate("rooms", height=48)
    places = rooms.truth.world_from_camera[:, :3, 3]
    distance = np.linalg.norm(places - places[0], axis=1)
    assert distance[100] > 2
    assert distance[200:].min() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_world_begins_at_the_first_body_pose(name: str):
    recording = made(name)
    np.testing.assert_allclose(
        recording.truth.world_from_camera[0], recording.rig.cameras[0].body_from_camera, atol=1e-12
    )
    np.testing.assert_allclose(recording.odometry[0], np.eye(4), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("moon", {}, "sim:street"),
        ("street", {"frames": 0}, "frames"),
        ("street", {"height": 4}, "height"),
        ("street", {"width": 10**6}, "height"),
        ("street", {"seed": -1}, "seed"),
    ],
)
def test_settings_that_make_no_recording(name: str, settings: dict, named: str):
    with pytest.raises(InputError, match=named):
        simulate(name, **settings)


def test_one_side_gives_the_other():
    assert simulate("objects", frames=1, width=80).rig.cameras[0].size == (60, 80)
    assert simulate("rooms", frames=1, height=48).rig.cameras[0].size == (48, 64)


# True


def mean_error(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor) -> float:
    return float((a - b).abs().mean(1, keepdim=True)[where].mean())


def test_true_flow_brings_the_next_frame_back(sight: Sight):
    flow, _, visible = sight.recording.truth.flow[sight.frame]
    warped, inside = warp_by_flow(sight.image(later=1), torch.from_numpy(flow).permute(2, 0, 1)[None])
    seen = inside & torch.from_numpy(visible)
    error, unmoved = (mean_error(image, sight.image(), seen) for image in (warped, sight.image(later=1)))
    assert seen.float().mean() > 0.6
    assert error < 0.025
    assert error < 0.55 * unmoved


def test_true_disparity_brings_the_right_image_onto_the_left(sight: Sight):
    disparity, valid, visible = sight.recording.truth.disparity[sight.frame]
    warped, inside = warp_by_disparity(sight.image("right"), torch.from_numpy(disparity)[None, None])
    seen, hidden = (inside & torch.from_numpy(mask) for mask in (visible, valid & ~visible))
    error = mean_error(warped, sight.image(), seen)
    assert seen.float().mean() > 0.55
    assert error < 0.025
    assert error < 0.35 * mean_error(sight.image("right"), sight.image(), seen)
    assert error < 0.35 * mean_error(warped, sight.image(), hidden)


def test_disparity_and_depth_agree(sight: Sight):
    rig, truth = sight.recording.rig, sight.recording.truth
    disparity, valid, _ = truth.disparity[sight.frame]
    depth = rig.cameras[0].intrinsics[0, 0] * rig.baseline_m / disparity[valid]
    np.testing.assert_allclose(depth, truth.depth[sight.frame].depth[valid], rtol=1e-5)


def test_moving_pixels_are_those_that_leave_the_rigid_flow(sight: Sight):
    flow, valid, _ = sight.recording.truth.flow[sight.frame]
    rigid, before = rigid_flow(sight.depth.double(), sight.later_from_now, sight.intrinsics)
    gap = np.linalg.norm(flow - rigid[0].permute(1, 2, 0).numpy(), axis=2)
    valid &= before[0, 0].numpy()
    moving = sight.recording.truth.moving[sight.frame] > 0
    assert gap[valid & ~moving].max() < 1e-3
    assert moving.mean() > 0.01
    assert np.mean(gap[valid & moving] > 1e-3) > 0.98


def test_visible_means_nothing_nearer_in_the_next_frame(sight: Sight):
    """Against a z-buffer: the next frame's depth round the place where a static point goes."""
    truth = sight.recording.truth
    flow, _, visible = truth.flow[sight.frame]
    later = truth.depth[sight.frame + 1].depth
    height, width = later.shape
    in_sight, hidden = [], []
    for y, x in np.argwhere(truth.moving[sight.frame] == 0)[::3]:
        to_x, to_y = x + flow[y, x, 0], y + flow[y, x, 1]
        if truth.depth[sight.frame].depth[y, x] == 0 or not (0 <= to_x < width - 1 and 0 <= to_y < height - 1):
            continue
        around = later[int(to_y) : int(to_y) + 2, int(to_x) : int(to_x) + 2]
        around = np.where(around == 0, np.inf, around)
        point = np.linalg.inv(sight.intrinsics[0].numpy()) @ [x, y, 1] * truth.depth[sight.frame].depth[y, x]
        z = float(sight.later_from_now[0, 2, :3].numpy() @ point + sight.later_from_now[0, 2, 3])
        if z > 1.05 * around.max():
            hidden.append(visible[y, x])
        elif z < 1.02 * around.min() and z > 0.98 * around.max():
            in_sight.append(visible[y, x])
    assert len(in_sight) > 0.1 * visible.size
    assert np.mean(in_sight) > 0.998  # something thinner than a pixel may stand before the point
    assert len(hidden) > 3
    assert not any(hidden)


def test_boxes_hold_the_pixels_of_their_objects(sight: Sight):
    truth = sight.recording.truth
    rays = np.linalg.inv(sight.intrinsics[0].numpy())
    boxes = {box.object_id: box for box in truth.boxes[sight.frame]}
    ids = np.unique(truth.moving[sight.frame])[1:]
    assert set(ids) <= set(boxes)
    for object_id in ids:
        box = boxes[object_id]
        assert box.moving
        y, x = np.nonzero(truth.moving[sight.frame] == object_id)
        points = truth.depth[sight.frame].depth[y, x, None] * (np.stack([x, y, np.ones_like(x)], 1) @ rays.T)
        in_box = (points - box.camera_from_box[:3, 3]) @ box.camera_from_box[:3, :3]
        assert (np.abs(in_box) <= np.array(box.size_m) / 2 + 0.04).all(), box.label


def test_ids_stay_with_their_objects(sight: Sight):
    truth = sight.recording.truth
    now, later = (
        {box.object_id: box for box in truth.boxes[frame] if box.moving} for frame in (sight.frame, sight.frame + 1)
    )
    shared = now.keys() & later.keys()
    assert len(shared) >= 3
    for object_id in shared:
        assert now[object_id].label == later[object_id].label
        step = now[object_id].camera_from_box[:3, 3] - later[object_id].camera_from_box[:3, 3]
        assert np.linalg.norm(step) < 1.5


def test_things_that_only_could_move_have_boxes_too(street: Recording):
    still = [box for frame in range(FRAMES) for box in street.truth.boxes[frame] if not box.moving]
    assert any(box.label == "car" for box in still)
    assert not np.isin(street.truth.moving[0], [box.object_id for box in still]).any()


# LiDAR, odometry, occupancy


def world_points(street: Recording, frame: int) -> np.ndarray:
    left = street.rig.cameras[0]
    world_from_body = street.truth.world_from_camera[frame] @ np.linalg.inv(left.body_from_camera)
    world_from_lidar = world_from_body @ street.rig.lidar.body_from_lidar
    return street.scans[frame].points @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]


def test_lidar_points_lie_at_the_true_depth(street: Recording):
    sight = Sight(street, 2)
    camera_from_world = inverse(torch.from_numpy(street.truth.world_from_camera[2]))
    points = transform(camera_from_world, torch.from_numpy(world_points(street, 2)))
    points = points[points[:, 2] > 1]
    x, y = project(points, sight.intrinsics[0]).round().long().unbind(1)
    height, width = sight.depth.shape[-2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    depth = sight.depth[0, 0, y[inside], x[inside]]
    gap = (depth - points[inside, 2]).abs()
    assert inside.sum() > 5000
    # Most agree up to the range noise and the slope within a pixel; the rest look past an edge from elsewhere.
    assert float((gap < 0.03 * depth + 0.1).double().mean()) > 0.9
    assert float((gap / depth).median()) < 0.01


def test_lidar_loses_some_returns_and_has_noise(street: Recording):
    scan = street.scans[0]
    assert 60_000 < len(scan.points) < 118_000
    assert scan.points.dtype == np.float32
    assert ((scan.intensity >= 0) & (scan.intensity <= 1)).all()
    ground = np.abs(world_points(street, 0)[:, 2]) < 0.1
    near = np.linalg.norm(scan.points, axis=1) < 8
    assert 0.002 < np.std(world_points(street, 0)[ground & near, 2]) < 0.03


def test_odometry_drifts_by_about_a_metre():
    street = simulate("street", height=48)
    true = street.truth.world_from_camera @ np.linalg.inv(street.rig.cameras[0].body_from_camera)
    gap = np.linalg.norm(street.odometry[:, :3, 3] - true[:, :3, 3], axis=1)
    assert gap[0] < 1e-9
    assert gap[5] < 0.5
    assert 2 < gap[-1] < 8


def test_static_returns_at_obstacle_height_lie_in_occupied_cells(street: Recording):
    occupied, origin, cell = street.truth.occupancy
    points = world_points(street, 0)
    points = points[(points[:, 2] > 0.4) & (points[:, 2] < 2.4) & (points[:, 0] > 3) & (points[:, 0] < 40)]
    for box in filter(lambda box: box.moving, street.truth.boxes[0]):
        world_from_box = street.truth.world_from_camera[0] @ box.camera_from_box
        in_box = (points - world_from_box[:3, 3]) @ world_from_box[:3, :3]
        points = points[(np.abs(in_box) > np.array(box.size_m) / 2 + 0.2).any(1)]
    # The beam's range noise may carry a return over a cell's border: one cell of tolerance.
    grown = np.zeros_like(occupied)
    for rows in (-1, 0, 1):
        for columns in (-1, 0, 1):
            grown |= np.roll(occupied, (rows, columns), (0, 1))
    column, row = np.floor((points[:, :2] - origin) / cell).astype(int).T
    assert len(points) > 1000
    assert grown[row, column].mean() > 0.97
    assert occupied[row, column].mean() > 0.8
    assert occupied.mean() < 0.2
