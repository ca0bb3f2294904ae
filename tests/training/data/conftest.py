"""Small data sets whose values can be counted by hand."""

import math

import numpy as np
import pytest

from firstsight.formats import png
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Box,
    Camera,
    Channel,
    DepthImage,
    DisparityImage,
    FlowImage,
    Lidar,
    Recording,
    Rig,
    Scan,
    Truth,
)

FRAMES, HEIGHT, WIDTH = 5, 4, 8
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
UNKNOWN_AT_COLUMN_4 = COLUMNS != 4


def camera(name: str, size: tuple[int, int], body_xyz: tuple[float, float, float]) -> Camera:
    place = BODY_FROM_FORWARD_CAMERA.copy()
    place[:3, 3] = body_xyz
    intrinsics = np.array([[8.0, 0, 3.5], [0, 8.0, 1.5], [0, 0, 1]])
    return Camera(name=name, size=size, intrinsics=intrinsics, body_from_camera=place)


def images(size: tuple[int, int], base: int) -> Channel:
    """Frame i is one red of value base + i."""

    def load(frame: int) -> np.ndarray:
        image = np.zeros((*size, 3), np.uint8)
        image[..., 0] = base + frame
        return image

    return Channel(FRAMES, load)


def flow(frame: int) -> FlowImage:
    """Pixel (x, y) moves by (x + 1 + 100 frame, 10 (y + 1))."""
    values = np.stack([COLUMNS + 1 + 100 * frame, 10 * (ROWS + 1)], -1)
    return FlowImage(values, UNKNOWN_AT_COLUMN_4, UNKNOWN_AT_COLUMN_4)


def turned_left_box(frame: int) -> tuple[Box, ...]:
    """A box 10 m ahead of the camera, 2 m to the right, half a metre below, turned to the left by 30 degrees; in frame 1 none."""
    half, root = 0.5, math.sqrt(0.75)
    camera_from_box = np.array([[-half, -root, 0, 2.0], [0, 0, -1, 0.5], [root, -half, 0, 10.0], [0, 0, 0, 1]])
    return () if frame == 1 else (Box(7, "car", camera_from_box, (4.0, 2.0, 1.5), True),)


def scan(frame: int) -> Scan | None:
    """Frame 2 has no scan; scan i has i + 1 points."""
    return None if frame == 2 else Scan(np.full((frame + 1, 3), frame, np.float32))


def poses() -> np.ndarray:
    """Frame i stands at world x = i; that of frame 3 is not known."""
    world_from_camera = np.tile(np.eye(4), (FRAMES, 1, 1))
    world_from_camera[:, 0, 3] = np.arange(FRAMES)
    world_from_camera[3] = np.nan
    return world_from_camera


@pytest.fixture
def recording() -> Recording:
    """Three cameras, the right one of another size, and every truth there is."""
    depth = DepthImage(ROWS + 10 * COLUMNS + 1, UNKNOWN_AT_COLUMN_4)
    disparity = DisparityImage(ROWS + COLUMNS + 1, UNKNOWN_AT_COLUMN_4, UNKNOWN_AT_COLUMN_4)
    sizes = {"left": (HEIGHT, WIDTH), "right": (2, 4), "rear": (6, 6)}
    return Recording(
        source="drive",
        format="test",
        rig=Rig(
            cameras=(
                camera("left", sizes["left"], (1.0, 0.2, 1.5)),
                camera("right", sizes["right"], (1.0, -0.3, 1.5)),
                camera("rear", sizes["rear"], (-1.0, 0.0, 1.5)),
            ),
            stereo=("left", "right"),
            lidar=Lidar(body_from_lidar=np.eye(4)),
        ),
        stamps_ns=np.arange(FRAMES, dtype=np.int64) * 250_000_000 + 9_000_000_000,
        images={name: images(size, 10 * (k + 1)) for k, (name, size) in enumerate(sizes.items())},
        scans=Channel(FRAMES, scan),
        truth=Truth(
            world_from_camera=poses(),
            depth=Channel(FRAMES, lambda _: depth),
            disparity=Channel(FRAMES, lambda _: disparity),
            flow=Channel(FRAMES, flow),
            moving=Channel(FRAMES, lambda frame: (COLUMNS + 10 * frame).astype(np.uint16)),
            boxes=Channel(FRAMES, turned_left_box),
        ),
    )


@pytest.fixture
def labelled_images(tmp_path):
    """Three images of two classes and different sizes; the red value says which."""
    for number, (label, size) in enumerate([("cat", (20, 30)), ("cat", (16, 16)), ("dog", (40, 20))]):
        (tmp_path / "in" / label).mkdir(parents=True, exist_ok=True)
        png.write_image(tmp_path / "in" / label / f"{number}.png", red(50 * (number + 1), size))
    return tmp_path / "in"


def red(value: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0] = value
    return image
