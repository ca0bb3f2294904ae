"""From a world's name to a Recording that renders itself."""

from functools import partial

import numpy as np

from firstsight.errors import InputError
from firstsight.geometry.camera import field_of_view_intrinsics
from firstsight.recordings.recording import Camera, Channel, Lidar, Recording, Rig, Truth
from firstsight.recordings.simulated.indoors.objects import objects
from firstsight.recordings.simulated.indoors.rooms import rooms
from firstsight.recordings.simulated.scene import Viewpoint, World
from firstsight.recordings.simulated.sensing import occupancy, odometry
from firstsight.recordings.simulated.sensing.views import Views
from firstsight.recordings.simulated.street.world import street
from firstsight.recordings.simulated.surface import moved

WORLDS = {"street": street, "rooms": rooms, "objects": objects}
NAMES = tuple(WORLDS)
START_NS = 1_767_225_600 * 10**9  # 2026-01-01 00:00 UTC
MIN_PX, MAX_PX = 16, 4096
KEPT_BYTES = 64 * 2**20  # of each camera's images: rendering one takes longer than whatever is done with it


def simulate(
    name: str, *, frames: int | None = None, seed: int = 0, height: int | None = None, width: int | None = None
) -> Recording:
    """A simulated recording: images "left" and "right", odometry, LiDAR where the world has one, and the truth.

    `height` and `width` are in pixels; with one of them the other keeps the world's proportions, and the horizontal field of
    view stays. The last frame's true flow leads to the frame that would follow. Raises InputError for a world that does
    not exist and for numbers that make no recording.
    """
    if name not in WORLDS:
        raise InputError(f"sim:{name}: no such world; choose one of {', '.join(f'sim:{known}' for known in NAMES)}")
    world = WORLDS[name](checked("seed", seed, 0, 2**31))
    count = checked("frames", world.viewpoint.frames if frames is None else frames, 1, 10**5)
    rig = rig_of(world.viewpoint, image_size(world.viewpoint.size, height, width))
    return recorded(world, rig, count, seed)


def recorded(world: World, rig: Rig, frames: int, seed: int) -> Recording:
    """The recording of a world with a rig."""
    views = Views(world, rig, seed)
    times = np.arange(frames) / world.viewpoint.rate_hz
    world_from_body = world.world_from_body(times)
    return Recording(
        source=f"sim:{world.name}",
        format="simulated",
        rig=rig,
        stamps_ns=START_NS + np.rint(times * 1e9).astype(np.int64),
        images={
            camera.name: Channel(frames, partial(views.image, camera.name), keep=kept_images(camera.size))
            for camera in rig.cameras
        },
        scans=Channel(frames, views.scan) if rig.lidar else None,
        odometry=odometry.measured(world_from_body, world.odometry, seed),
        truth=Truth(
            world_from_camera=world_from_body @ rig.cameras[0].body_from_camera,
            trajectory_reference="simulation",
            depth=Channel(frames, views.depth),
            depth_reference="simulation",
            disparity=Channel(frames, views.disparity),
            flow=Channel(frames, views.flow),
            moving=Channel(frames, views.moving),
            boxes=Channel(frames, views.boxes),
            occupancy=occupancy.rasterised(world),
        ),
    )


def kept_images(size: tuple[int, int]) -> int:
    return max(3, KEPT_BYTES // (3 * size[0] * size[1]))


def checked(setting: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise InputError(f"{setting} is {value}; a simulated recording needs {low} to {high}")
    return value


def image_size(default: tuple[int, int], height: int | None, width: int | None) -> tuple[int, int]:
    """(height, width), each checked; a missing one follows from the other by the default's proportions."""
    if height is None:
        height = default[0] if width is None else round(width * default[0] / default[1])
    if width is None:
        width = round(height * default[1] / default[0])
    return checked("height", height, MIN_PX, MAX_PX), checked("width", width, MIN_PX, MAX_PX)


def rig_of(viewpoint: Viewpoint, size: tuple[int, int]) -> Rig:
    """A rectified stereo pair and, where the vehicle carries one, the LiDAR."""
    intrinsics = field_of_view_intrinsics(*size, viewpoint.horizontal_fov_rad).numpy()
    right = viewpoint.body_from_camera @ moved(x=viewpoint.baseline_m)
    return Rig(
        cameras=(
            Camera(name="left", size=size, intrinsics=intrinsics, body_from_camera=viewpoint.body_from_camera),
            Camera(name="right", size=size, intrinsics=intrinsics, body_from_camera=right),
        ),
        stereo=("left", "right"),
        lidar=None if viewpoint.body_from_lidar is None else Lidar(body_from_lidar=viewpoint.body_from_lidar),
    )
