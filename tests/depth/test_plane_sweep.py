"""The plane sweep on rendered planes with known motion."""

import cv2
import numpy as np
import pytest
import torch

from firstsight.depth.plane_sweep import Config, PlaneSweep, homography, inverse_depths, parallax, sweep
from firstsight.errors import InputError
from firstsight.geometry.camera import project
from firstsight.geometry.images import to_grey, to_tensor
from firstsight.geometry.se3 import se3_exp, transform
from firstsight.matching.costs.census_cost import Census

HEIGHT, WIDTH = 120, 200
INTRINSICS = np.array([[150.0, 0, 99.5], [0, 150, 59.5], [0, 0, 1]])


def motion(*tangent: float) -> np.ndarray:
    return se3_exp(torch.tensor(tangent, dtype=torch.float64)).numpy()


SIDEWAYS = [motion(-0.5, 0.05, 0, 0, 0.01, 0), motion(0.5, 0, 0.02, 0.005, 0, 0)]
AHEAD = [motion(0.02, 0, -0.5, 0, 0.005, 0), motion(0, 0.02, 0.5, 0, 0, 0.01)]


def texture(seed: int) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(800, 800)).astype(np.float32), (0, 0), 1.5)
    return (127 + 50 * noise / noise.std()).clip(0, 255)


def rays() -> np.ndarray:
    """Directions (height, width, 3) with z = 1 through the pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(INTRINSICS).T


class Plane:
    """The points with normal . X = 1 in the image's frame; within `half_size` of the axis, or everywhere."""

    def __init__(self, seed: int, normal: tuple[float, float, float], half_size: float = np.inf):
        self.texture, self.normal, self.half_size = texture(seed), np.array(normal), half_size

    def seen_from(self, camera_from_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth (inf where it is not) and grey value of every pixel of a camera."""
        image_from_camera = np.linalg.inv(camera_from_image)
        directions, origin = rays() @ image_from_camera[:3, :3].T, image_from_camera[:3, 3]
        depth = (1 - origin @ self.normal) / (directions @ self.normal)
        points = origin + depth[..., None] * directions
        hit = (depth > 0) & (np.abs(points[..., :2]).max(-1) < self.half_size)
        x, y = ((points[..., i] * 60 + 400).astype(np.float32) for i in range(2))
        return np.where(hit, depth, np.inf), cv2.remap(self.texture, x, y, cv2.INTER_LINEAR)


SLANTED = [Plane(0, (-0.05, 0.08, 0.16))]
SQUARE_BEFORE_WALL = [Plane(1, (0, 0, 1 / 9)), Plane(2, (0, 0, 1 / 4), half_size=0.8)]


def render(scene: list[Plane], camera_from_image: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Image and depth of the scene from a camera."""
    depths, greys = (
        np.stack(maps) for maps in zip(*(plane.seen_from(camera_from_image) for plane in scene), strict=True)
    )
    nearest = depths.argmin(0)[None]
    grey = np.take_along_axis(greys, nearest, 0)[0].round().astype(np.uint8)
    return to_tensor(np.dstack([grey] * 3)), np.take_along_axis(depths, nearest, 0)[0]


def estimate(scene: list[Plane], motions: list[np.ndarray], config: Config | None = None) -> tuple[np.ndarray, ...]:
    image, truth = render(scene, np.eye(4))
    neighbours = torch.cat([render(scene, neighbour_from_image)[0] for neighbour_from_image in motions])
    depth, valid, _ = PlaneSweep(config)(
        image, neighbours, torch.from_numpy(np.stack(motions)), torch.from_numpy(INTRINSICS)
    )
    return depth[0, 0].numpy(), valid[0, 0].numpy(), truth


@pytest.mark.parametrize("motions", [SIDEWAYS, SIDEWAYS[:1], AHEAD, SIDEWAYS + AHEAD])
@pytest.mark.parametrize("scene", [SLANTED, SQUARE_BEFORE_WALL])
def test_depth_within_two_percent(scene, motions):
    depth, valid, truth = estimate(scene, motions)
    error = np.abs(depth - truth)[valid] / truth[valid]
    assert valid.mean() > 0.6
    assert np.median(error) < 0.02
    assert (error > 0.1).mean() < 0.04


def test_a_larger_image_is_matched_at_a_fraction_of_its_size():
    depth, valid, truth = estimate(SLANTED, SIDEWAYS, Config(max_width_px=100))
    assert depth.shape == truth.shape
    assert np.median(np.abs(depth - truth)[valid] / truth[valid]) < 0.02


def test_pure_rotation_shows_no_depth():
    _, valid, _ = estimate(SLANTED, [motion(0, 0, 0, 0, 0.02, 0), motion(0, 0, 0, 0.01, -0.02, 0)])
    assert not valid.any()


def test_nothing_is_claimed_around_the_point_one_drives_at():
    _, valid, _ = estimate([Plane(1, (0, 0, 1 / 9))], [motion(0, 0, -0.5, 0, 0, 0), motion(0, 0, 0.5, 0, 0, 0)])
    assert not valid[50:70, 90:110].any()
    assert valid[:20, :40].mean() > 0.8


def test_homography_equals_projection_of_points_on_the_plane():
    points = rays().reshape(-1, 3)[::97] * 5.0
    neighbour_from_image = motion(0.3, -0.2, 0.4, 0.02, -0.1, 0.05)
    moved = transform(torch.from_numpy(neighbour_from_image), torch.from_numpy(points))
    expected = project(moved, torch.from_numpy(INTRINSICS)).numpy()
    pixels = points @ INTRINSICS.T / 5.0
    mapped = pixels @ homography(neighbour_from_image, INTRINSICS, 1 / 5.0).T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], expected, atol=1e-9)


def test_parallax_is_the_largest_shift_from_infinity():
    inverse_depth = np.random.default_rng(0).uniform(0.05, 0.3, (HEIGHT, WIDTH)).astype(np.float32)
    best = parallax(np.stack(SIDEWAYS), INTRINSICS, inverse_depth)
    for x, y in [(0, 0), (150, 30), (199, 119)]:
        ray = rays()[y, x]
        shifts = []
        for neighbour_from_image in SIDEWAYS:
            rotated = INTRINSICS @ neighbour_from_image[:3, :3] @ ray
            moved = rotated + INTRINSICS @ neighbour_from_image[:3, 3] * inverse_depth[y, x]
            shifts.append(np.hypot(*(moved[:2] / moved[2] - rotated[:2] / rotated[2])))
        assert best[y, x] == pytest.approx(max(shifts), rel=1e-5)


def test_planes_reach_from_infinity_to_a_few_baselines_in_steps_of_a_pixel():
    planes = inverse_depths(Config(nearest_baselines=3.0), np.stack(SIDEWAYS), INTRINSICS, (HEIGHT, WIDTH))
    longest = max(np.linalg.norm(neighbour_from_image[:3, 3]) for neighbour_from_image in SIDEWAYS)
    assert planes[0] == 0
    assert planes[-1] == pytest.approx(1 / (3 * longest))
    step = np.full((HEIGHT, WIDTH), planes[1], np.float32)
    assert np.median(parallax(np.stack(SIDEWAYS), INTRINSICS, step)) < 1.05


def test_the_sweep_is_cheapest_at_the_true_plane_and_takes_the_better_views():
    """Of three neighbours one shows something else: the better two decide."""
    wall = [Plane(1, (0, 0, 1 / 9))]
    motions = np.stack([*SIDEWAYS, SIDEWAYS[0]])
    image, *seen = (to_grey(render(wall, camera)[0]) for camera in (np.eye(4), *motions))
    seen[2] = to_grey(render(SLANTED, motions[2])[0])
    planes = np.concatenate([[0, 1 / 18, 1 / 9, 1 / 5], np.linspace(1, 2, 28)])
    homographies = np.array([[homography(motion, INTRINSICS, w) for w in planes] for motion in motions])
    volume = sweep(Census(), image, seen, homographies)
    inner = volume[20:-20, 60:-60]
    assert volume.shape == (HEIGHT, WIDTH, 32)
    assert (inner.argmin(2) == 2).mean() > 0.95
    assert inner[..., 2].mean() < 5 * 9 / 4  # 5 bits of 34, over nine pixels, halved twice


def test_simulated_street_with_true_motion():
    simulated = pytest.importorskip("firstsight.recordings.simulated")
    recording = simulated.simulate("street", frames=5)
    images, cameras = recording.images["left"], recording.truth.world_from_camera
    motions = np.stack([np.linalg.inv(cameras[i]) @ cameras[2] for i in (0, 1, 3, 4)])
    depth, valid, _ = PlaneSweep()(
        to_tensor(images[2]),
        torch.cat([to_tensor(images[i]) for i in (0, 1, 3, 4)]),
        torch.from_numpy(motions),
        torch.from_numpy(recording.rig.reference.intrinsics),
    )
    truth = recording.truth.depth[2]
    static = truth.valid & (recording.truth.moving[2] == 0)
    answered = static & valid[0, 0].numpy()
    error = np.abs(depth[0, 0].numpy() - truth.depth)[answered] / truth.depth[answered]
    assert answered.sum() > 0.6 * static.sum()
    assert error.mean() < 0.05
    assert np.median(error) < 0.02


def test_without_neighbours_it_is_one_line():
    with pytest.raises(InputError, match=r"MultiViewDepthEstimator: neighbours: .*shape \(0, 3, 24, 32\)"):
        PlaneSweep()(torch.rand(1, 3, 24, 32), torch.zeros(0, 3, 24, 32), torch.zeros(0, 4, 4), torch.eye(3))
