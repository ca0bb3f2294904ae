"""A camera that looks along the world's x axis from 1.5 m above a ground at z = 0, and what it sees of simple scenes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA
from firstsight.roles import Depth, Observation

HEIGHT, WIDTH = 48, 64
INTRINSICS = torch.tensor([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]], dtype=torch.float64)
CAMERA_HEIGHT_M = 1.5


def world_from_camera(x: float = 0.0, y: float = 0.0, yaw_rad: float = 0.0) -> torch.Tensor:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    world_from_body = np.array([[cos, -sin, 0, x], [sin, cos, 0, y], [0, 0, 1, CAMERA_HEIGHT_M], [0, 0, 0, 1]])
    return torch.from_numpy(world_from_body @ BODY_FROM_FORWARD_CAMERA)


def see(
    pose: torch.Tensor, boxes: list[tuple[float, float, float, float, float]], image: torch.Tensor | None = None
) -> Observation:
    """Depth of the ground and of upright boxes (x from, x to, y from, y to, height), by stepping along every pixel's ray."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    k = INTRINSICS.numpy()
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], -1) @ pose[:3, :3].numpy().T
    origin = pose[:3, 3].numpy()
    depth = np.full((HEIGHT, WIDTH), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = -origin[2] / rays[..., 2]
        depth[rays[..., 2] < 0] = ground[rays[..., 2] < 0]
        for x0, x1, y0, y1, top in boxes:
            near, far = np.full(depth.shape, 1e-6), np.full(depth.shape, np.inf)
            for axis, (low, high) in enumerate(((x0, x1), (y0, y1), (0.0, top))):
                a, b = (low - origin[axis]) / rays[..., axis], (high - origin[axis]) / rays[..., axis]
                near, far = np.maximum(near, np.fmin(a, b)), np.minimum(far, np.fmax(a, b))
            depth = np.where((near < far) & (near < depth), near, depth)
    valid = np.isfinite(depth) & (depth < 60)
    return Observation(
        0,
        image=torch.full((1, 3, HEIGHT, WIDTH), 0.5) if image is None else image,
        intrinsics=INTRINSICS,
        depth=Depth(
            torch.from_numpy(np.where(valid, depth, 0).astype(np.float32))[None, None],
            torch.from_numpy(valid)[None, None],
        ),
    )


@pytest.fixture(scope="session", name="see")
def see_fixture() -> Callable[..., Observation]:
    return see


@pytest.fixture(scope="session", name="world_from_camera")
def pose_fixture() -> Callable[..., torch.Tensor]:
    return world_from_camera
