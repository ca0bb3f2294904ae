"""Depth completion on planes, against plain loops, and on held-out LiDAR returns."""

import cv2
import numpy as np
import pytest
import torch
from scipy.interpolate import griddata

from firstsight.errors import InputError
from firstsight.fusion.depth_completion import Config, DepthCompletion, complete, mean_spacing_px, visible_returns
from firstsight.geometry.images import to_tensor
from firstsight.geometry.points import project_to_depth
from firstsight.recordings.kitti import raw as kitti_raw
from firstsight.roles import Depth

HEIGHT, WIDTH = 120, 200


def planes() -> tuple[np.ndarray, np.ndarray]:
    """Image (height, width, 3) in [0, 1] and true depth of a floor, a wall and a box, each with its own colour and a texture."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    inverse_depths = [np.full_like(x, 1 / 25) + x * 1e-4, (y - 50) / 350, 1 / 6 + (x - 100) * 4e-4 + (y - 70) * 2e-4]
    colours = [(0.7, 0.6, 0.5), (0.35, 0.35, 0.4), (0.15, 0.5, 0.2)]
    box = (x > 70) & (x < 130) & (y > 30) & (y < 95)
    surface = np.where(box, 2, np.where(inverse_depths[1] > inverse_depths[0], 1, 0))
    depth = 1 / np.choose(surface, inverse_depths)
    grain = np.random.default_rng(0).normal(0, 0.015, (HEIGHT, WIDTH, 3))
    image = np.array(colours)[surface] + grain
    return image.clip(0, 1).astype(np.float32), depth.astype(np.float32)


def completed(image: np.ndarray, depth: np.ndarray, valid: np.ndarray, config: Config | None = None) -> tuple:
    tensors = (torch.from_numpy(a.copy()) for a in (image.transpose(2, 0, 1), depth[None], valid[None]))
    batch, sparse, known = (tensor[None] for tensor in tensors)
    dense = DepthCompletion(config)(batch, Depth(sparse, known))
    return dense.depth[0, 0].numpy(), dense.valid[0, 0].numpy()


def in_fill(depth: np.ndarray, valid: np.ndarray, method: str) -> np.ndarray:
    y, x = np.mgrid[: depth.shape[0], : depth.shape[1]]
    return griddata(np.argwhere(valid), depth[valid], (y, x), method)


def rmse(error: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(error**2)))


@pytest.mark.parametrize("share", [0.02, 0.03, 0.05])
def test_planes_better_than_nearest_and_linear_in_fill(share):
    image, truth = planes()
    measured = np.random.default_rng(1).random(truth.shape) < share
    depth, valid = completed(image, truth * measured, measured)
    assert valid.mean() > 0.8
    ours = rmse((depth - truth)[valid])
    for method in ("nearest", "linear"):
        assert ours < 0.7 * rmse((in_fill(truth, measured, method) - truth)[valid])


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -2.0])
def test_a_return_without_a_depth_is_none(value):
    image, sparse, valid = (
        np.full((30, 40, 3), 0.5, np.float32),
        np.zeros((30, 40), np.float32),
        np.zeros((30, 40), bool),
    )
    sparse[11, 17], valid[11, 17] = value, True
    depth, known = complete(image, sparse, valid, Config())
    assert not known.any()
    assert (depth == 0).all()
    with pytest.raises(InputError, match="a valid depth is not above 0 or not finite"):
        completed(image, sparse, valid)


def test_one_return_alone_says_its_own_pixel():
    image, sparse, valid = (
        np.full((30, 40, 3), 0.5, np.float32),
        np.zeros((30, 40), np.float32),
        np.zeros((30, 40), bool),
    )
    sparse[11, 17], valid[11, 17] = 6.25, True
    depth, known = completed(image, sparse, valid)
    assert np.argwhere(known).tolist() == [[11, 17]]
    assert depth[11, 17] == pytest.approx(6.25)


def test_one_plane_is_exact():
    y, x = np.mgrid[:40, :60]
    truth = (1 / (0.05 + 0.001 * x + 0.002 * y)).astype(np.float32)
    measured = np.random.default_rng(2).random(truth.shape) < 0.08
    depth, valid = completed(np.full((40, 60, 3), 0.5, np.float32), truth * measured, measured, Config(surface=100.0))
    inner = valid[10:-10, 10:-10]
    error = np.abs(depth / truth - 1)[10:-10, 10:-10][inner]
    assert inner.mean() > 0.9
    assert np.median(error) < 0.005


def reference_at(
    image: np.ndarray, sparse: np.ndarray, valid: np.ndarray, at: tuple[int, int], config: Config
) -> float:
    """The method's equations at one pixel, with a general least-squares solver."""
    y, x = at
    spacing = mean_spacing_px(valid, config.reach_px)
    rows = []
    for v, u in np.argwhere(valid):
        if max(abs(v - y), abs(u - x)) <= config.reach_px:
            squared = (v - y) ** 2 + (u - x) ** 2
            unlike = float(((image[v, u] - image[y, x]) ** 2).sum())
            b = np.exp(-squared / (2 * (config.spatial_share * spacing) ** 2))
            b *= np.exp(-unlike / (2 * config.colour**2)) + 1e-6
            rows.append((b, u - x, v - y, 1 / sparse[v, u]))
    b, dx, dy, rho = np.array(rows).T
    w = b * np.exp(-((rho / rho[b.argmax()] - 1) ** 2) / (2 * config.surface**2))
    centre = [(w * a).sum() / w.sum() for a in (dx, dy, rho)]
    offsets = np.column_stack([dx - centre[0], dy - centre[1]])
    normal = (offsets.T * w) @ offsets + 0.3 * w.sum() * np.eye(2)
    slope = np.linalg.solve(normal, (offsets.T * w) @ (rho - centre[2]))
    used = w > 1e-3 * w.sum()
    return 1 / np.clip(centre[2] - slope @ centre[:2], rho[used].min(), rho[used].max())


def test_equals_the_equations():
    image, truth = planes()
    measured = np.random.default_rng(3).random(truth.shape) < 0.04
    config = Config(hidden_reach_px=0)
    depth, valid = complete(image, truth * measured, measured, config)
    pixels = np.argwhere(valid)[::211]
    expected = [reference_at(image, truth, measured, (y, x), config) for y, x in pixels]
    np.testing.assert_allclose([depth[y, x] for y, x in pixels], expected, rtol=1e-3)


def hidden_by_definition(depth: np.ndarray, valid: np.ndarray, reach: int) -> np.ndarray:
    hidden = np.zeros(valid.shape, bool)
    for y, x in np.argwhere(valid):
        quadrants = set()
        for v, u in np.argwhere(valid):
            if abs(v - y) <= reach and abs(u - x) <= reach and v != y and depth[v, u] < depth[y, x] / 1.1:
                quadrants |= {(np.sign(v - y), side) for side in (-1, 1) if side * (u - x) >= 0}
        hidden[y, x] = len(quadrants) >= 3
    return hidden


def test_hidden_returns_by_definition():
    rng = np.random.default_rng(4)
    valid = rng.random((40, 50)) < 0.1
    depth = rng.uniform(5, 8, valid.shape).astype(np.float32) * valid
    kept = visible_returns(depth, valid, 6)
    np.testing.assert_array_equal(kept, valid & ~hidden_by_definition(depth, valid, 6))
    assert 0.05 < kept.sum() / valid.sum() < 0.95


def test_a_far_return_seen_through_a_near_object_is_left_out():
    depth = np.zeros((40, 40), np.float32)
    depth[4:36:4, 4:36:3] = 5.0
    depth[18, 17] = 30.0
    grey = np.full((40, 40, 3), 0.5, np.float32)
    kept, _ = completed(grey, depth, depth > 0)
    assert kept[18, 17] == pytest.approx(5, abs=0.01)
    credulous, valid = completed(grey, depth, depth > 0, Config(hidden_reach_px=0, min_agreement=0.0))
    assert valid[18, 17]
    assert credulous[18, 17] > 20


def test_the_sky_stays_empty():
    image, truth = planes()
    measured = np.random.default_rng(5).random(truth.shape) < 0.05
    measured[:40] = False
    depth, valid = completed(image, truth * measured, measured)
    assert not valid[:30].any()
    assert not depth[:30].any()


def test_nothing_measured_gives_nothing():
    depth, valid = completed(planes()[0], np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), bool))
    assert not valid.any()
    assert not depth.any()


def test_impossible_reach_is_named():
    with pytest.raises(InputError, match="reach_px"):
        DepthCompletion(Config(reach_px=0))


def ip_basic(depth: np.ndarray, farthest_m: float = 100.0) -> np.ndarray:
    """Ku, Harakeh, Waslander 2018, figure 1: dilation of the inverted depth, closing, filling, blurring."""
    inverted = np.where(depth > 0.1, farthest_m - depth, 0).astype(np.float32)
    diamond = (np.abs(np.arange(-2, 3))[:, None] + np.abs(np.arange(-2, 3)) <= 2).astype(np.uint8)
    inverted = cv2.morphologyEx(cv2.dilate(inverted, diamond), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    for size in (7, 31):
        inverted = np.where(inverted < 0.1, cv2.dilate(inverted, np.ones((size, size), np.uint8)), inverted)
    inverted = cv2.medianBlur(inverted, 5)
    inverted = np.where(inverted > 0.1, cv2.GaussianBlur(inverted, (5, 5), 0), inverted)
    return np.where(inverted > 0.1, farthest_m - inverted, 0)


def test_held_out_returns_better_than_nearest_and_ip_basic(shared_data):
    """A fifth of the returns the camera sees is held out; compared where ours answers, which must be nearly everywhere."""
    recording = kitti_raw.read(shared_data / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_0000_sync")
    camera, lidar = recording.rig.reference, recording.rig.lidar
    camera_from_lidar = np.linalg.inv(camera.body_from_camera) @ lidar.body_from_lidar
    points = recording.scans[10].points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    depth, measured = project_to_depth(points, camera.intrinsics, *camera.size)
    held_out = np.random.default_rng(0).random(measured.shape) < 0.2
    given = measured & ~held_out
    image = to_tensor(recording.images[camera.name][10])[0].permute(1, 2, 0).numpy()
    ours, valid = completed(image, depth * given, given)
    judged = visible_returns(depth, measured, 8) & held_out
    assert valid[judged].mean() > 0.9
    judged &= valid
    mae = {
        name: float(np.abs(estimate - depth)[judged].mean())
        for name, estimate in [
            ("ours", ours),
            ("nearest", in_fill(depth, given, "nearest")),
            ("IP-Basic", ip_basic(depth * given)),
        ]
    }
    assert mae["ours"] < 0.8 * min(mae["nearest"], mae["IP-Basic"])
