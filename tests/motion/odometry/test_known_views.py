import cv2
import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.motion.odometry.known_views import KnownView, RecognitionConfig, match_corners, recognise
from firstsight.motion.odometry.tracking import TrackingConfig, detect_corners

INTRINSICS = np.array([[260.0, 0.0, 159.5], [0.0, 250.0, 119.5], [0.0, 0.0, 1.0]])
TRACKING = TrackingConfig(corners=200)
WALL_M = 3.0


def texture(seed: int) -> np.ndarray:
    """A wall of 8 x 6 m painted with blurred noise, 100 px a metre."""
    noise = np.random.default_rng(seed).uniform(0, 255, (600, 800)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3.0), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def seen_from(world_from_camera: np.ndarray, seed: int = 0) -> np.ndarray:
    """The wall z = WALL_M, its middle at the origin's axis, by a camera."""
    v, u = np.mgrid[:240, :320]
    rays = np.stack([(u - 159.5) / 260, (v - 119.5) / 250, np.ones(u.shape)], -1) @ world_from_camera[:3, :3].T
    hit = rays * ((WALL_M - world_from_camera[2, 3]) / rays[..., 2])[..., None] + world_from_camera[:3, 3]
    x, y = ((100 * hit[..., k] + middle).astype(np.float32) for k, middle in ((0, 400), (1, 300)))
    return cv2.remap(texture(seed), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def view(seed: int = 0, keyframe: int = 3) -> KnownView:
    grey = seen_from(np.eye(4), seed)
    pixels = detect_corners(grey, np.zeros((0, 2)), TRACKING)
    points = np.column_stack([(pixels - [159.5, 119.5]) / [260, 250] * WALL_M, np.full(len(pixels), WALL_M)])
    measured = np.column_stack([pixels, np.full(len(pixels), 1 / WALL_M)])
    return KnownView(keyframe, grey, 7 + np.arange(len(pixels)), points, measured, np.ones_like(measured))


def motion(tangent: list[float]) -> np.ndarray:
    return se3_exp(torch.tensor(tangent, dtype=torch.float64)).numpy()


@pytest.mark.parametrize(
    "tangent",
    [[0.3, -0.2, 0.1, 0.02, 0.1, -0.03], [0.1, 0.0, 0.9, 0.0, -0.05, 0.02], [-0.2, 0.1, -0.8, 0.03, 0.0, 0.1]],
    ids=["aside", "nearer", "farther"],
)
def test_a_known_view_says_where_the_camera_is(tangent):
    world_from_camera = motion(tangent)
    grey = np.rint(0.6 * seen_from(world_from_camera) + 20).astype(np.uint8)
    found = recognise([view(seed=5), view()], grey, INTRINSICS, TRACKING, RecognitionConfig())
    assert found is not None
    assert found.view == 1
    off = found.camera_from_world @ world_from_camera
    assert np.linalg.norm(off[:3, 3]) < 0.02
    local = view().points_world[found.rows] @ np.linalg.inv(world_from_camera)[:3, :3].T
    local += np.linalg.inv(world_from_camera)[:3, 3]
    expected = local[:, :2] / local[:, 2:] * [260, 250] + [159.5, 119.5]
    assert np.median(np.linalg.norm(found.pixels - expected, axis=1)) < 1.0


def test_another_place_and_the_dark_are_not_recognised():
    known = [view(), view(seed=3)]
    for grey in (
        seen_from(np.eye(4), seed=8),
        np.zeros((240, 320), np.uint8),
        np.random.default_rng(1).integers(0, 6, (240, 320)).astype(np.uint8),
    ):
        assert recognise(known, grey, INTRINSICS, TRACKING, RecognitionConfig()) is None
    assert recognise([], known[0].grey, INTRINSICS, TRACKING, RecognitionConfig()) is None


def test_matches_are_mutual_and_clear():
    """Rows 0 and 2 match columns 1 and 0; row 1 is too near to two columns, row 3's best prefers row 2."""
    similarity = np.array([[0.1, 0.9, 0.2], [0.3, 0.5, 0.52], [0.95, 0.1, 0.1], [0.7, 0.0, 0.2]], np.float32)
    assert match_corners(similarity, 0.85).tolist() == [[0, 1], [2, 0]]
