"""What the sensors of a simulated world record, and what is true about it, frame by frame.

Everything is a pure function of (world, seed, frame): the caches only save time. Depth, flow, disparity and ids of a pixel
all come from the one surface point that its centre's ray meets.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8, UInt16
from numba import njit

from firstsight.recordings.recording import Box, Camera, DepthImage, DisparityImage, FlowImage, Rig, Scan
from firstsight.recordings.simulated.scene import World
from firstsight.recordings.simulated.sensing.lidar import sweep
from firstsight.recordings.simulated.sensing.raycast import Caster, Instant, Met
from firstsight.recordings.simulated.sensing.shading import SensorNoise, expose, illumination
from firstsight.recordings.simulated.textures import painted

T = TypeVar("T")
MIN_DEPTH_M = 0.05  # a point nearer than this to the next camera's plane has no usable flow
BOX_RANGE_M = 60.0
IMAGE_STREAM, SCAN_STREAM = 0, 1  # which noise a generator is for


class Latest:
    """Keeps the last few values of a function, so that neighbouring frames share their rays."""

    def __init__(self, keep: int):
        self._values: OrderedDict = OrderedDict()
        self._keep = keep

    def get(self, key: tuple, make: Callable[[], T]) -> T:
        if key not in self._values:
            self._values[key] = make()
            if len(self._values) > self._keep:
                self._values.popitem(last=False)
        return self._values[key]


class Views:
    """Renders one world as seen from one rig, whose left camera is the reference."""

    def __init__(self, world: World, rig: Rig, seed: int):
        self._world, self._rig, self._seed = world, rig, seed
        self._caster = Caster(world)
        self._light = illumination(world.light)
        self._noise = SensorNoise(max(camera.size[0] * camera.size[1] for camera in rig.cameras), seed)
        self._instants, self._met = Latest(3), Latest(4)

    def image(self, name: str, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        camera, instant = self._rig.camera(name), self._instant(frame)
        met, sun = self._meet(name, frame), self._light.towards_sun
        paint = painted(
            self._directions(name, frame),
            met,
            instant.rest_from_world,
            self._caster.tables,
            1 / camera.intrinsics[0, 0],
        )
        sunlit = self._caster.sunlit(met, sun, instant) if self._light.sun.any() else np.zeros(len(paint), bool)
        generator = self._generator(frame, IMAGE_STREAM, self._rig.cameras.index(camera))
        colours = expose(paint, met, sunlit, self._light, self._noise.window(len(paint), generator))
        return colours.reshape(*camera.size, 3)

    def depth(self, frame: int) -> DepthImage:
        hits = self._meet(self._reference.name, frame).hits
        valid = (hits.triangle >= 0).reshape(self._reference.size)
        return DepthImage(np.where(valid, hits.distance.reshape(valid.shape), 0).astype(np.float32), valid)

    def moving(self, frame: int) -> UInt16[np.ndarray, "height width"]:
        hits = self._meet(self._reference.name, frame).hits
        return self._instant(frame).object_ids[hits.slot].astype(np.uint16).reshape(self._reference.size)

    def flow(self, frame: int) -> FlowImage:
        """The motion of each surface point to the next frame; a point on a moving part goes with it."""
        now, later = self._instant(frame), self._instant(frame + 1)
        met = self._meet(self._reference.name, frame)
        points = carried(met, now, self._motion(now, later.time_s))
        pixels, visible = self._project(self._reference, frame + 1, met, points, later)
        height, width = self._reference.size
        flow = displacement(pixels, height, width)
        valid = np.isfinite(pixels[:, 0]).reshape(height, width)
        return FlowImage(flow, valid, visible.reshape(height, width))

    def disparity(self, frame: int) -> DisparityImage:
        left, right = self._reference, self._rig.cameras[1]
        assert self._rig.baseline_m is not None
        met = self._meet(left.name, frame)
        _, visible = self._project(right, frame, met, met.points, self._instant(frame))
        valid = (met.hits.triangle >= 0).reshape(left.size)
        depth = np.where(valid, met.hits.distance.reshape(left.size), np.inf)
        disparity = (left.intrinsics[0, 0] * self._rig.baseline_m / depth).astype(np.float32)
        return DisparityImage(disparity, valid, visible.reshape(left.size))

    def boxes(self, frame: int) -> tuple[Box, ...]:
        """Boxes of the things ahead that move or could, whether or not something hides them."""
        instant = self._instant(frame)
        camera_from_world = np.linalg.inv(self.world_from_camera(self._reference, frame))
        placed = [(a.object_id, a.label, a.world_from_box(instant.time_s), a.size_m, True) for a in instant.actors]
        placed += [
            (mark.object_id, mark.label, mark.world_from_box, mark.size_m, False) for mark in self._world.landmarks
        ]
        boxes = (Box(i, label, camera_from_world @ pose, size, moving) for i, label, pose, size, moving in placed)
        return tuple(box for box in boxes if 0 < box.camera_from_box[2, 3] < BOX_RANGE_M)

    def scan(self, frame: int) -> Scan:
        lidar = self._rig.lidar
        assert lidar is not None
        world_from_lidar = self._world_from_body(frame) @ lidar.body_from_lidar
        generator = self._generator(frame, SCAN_STREAM, 0)
        return sweep(self._caster, self._instant(frame), world_from_lidar, lidar.max_range_m, generator)

    def world_from_camera(self, camera: Camera, frame: int) -> Float64[np.ndarray, "4 4"]:
        return self._world_from_body(frame) @ camera.body_from_camera

    @property
    def _reference(self) -> Camera:
        return self._rig.cameras[0]

    def _world_from_body(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        return self._world.world_from_body(np.array([self._time_s(frame)]))[0]

    def _time_s(self, frame: int) -> float:
        return frame / self._world.viewpoint.rate_hz

    def _generator(self, frame: int, stream: int, sensor: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, frame, stream, sensor))

    def _instant(self, frame: int) -> Instant:
        return self._instants.get((frame,), lambda: self._caster.instant(self._time_s(frame)))

    def _directions(self, name: str, frame: int) -> Float32[np.ndarray, "pixels 3"]:
        """World directions of a camera's pixels, with a length such that distances along them are depths."""
        camera = self._rig.camera(name)
        world_from_pixel = self.world_from_camera(camera, frame)[:3, :3] @ np.linalg.inv(camera.intrinsics)
        return pixel_rays(*camera.size, world_from_pixel)

    def _meet(self, name: str, frame: int) -> Met:
        origin = self.world_from_camera(self._rig.camera(name), frame)[:3, 3]
        return self._met.get(
            (name, frame),
            lambda: self._caster.meet(origin, self._directions(name, frame), self._instant(frame)),
        )

    def _motion(self, now: Instant, later_s: float) -> Float64[np.ndarray, "slots 4 4"]:
        """later_from_now of each slot, in world coordinates."""
        later = [pose for actor in now.actors for pose in actor.world_from_parts(later_s)]
        return np.stack([np.eye(4), *later]) @ now.rest_from_world

    def _project(
        self, camera: Camera, frame: int, met: Met, points: Float64[np.ndarray, "pixels 3"], instant: Instant
    ) -> tuple[Float64[np.ndarray, "pixels 2"], Bool[np.ndarray, " pixels"]]:
        """Returns where a camera sees points (NaN behind it), and whether they lie inside its image with nothing before them."""
        world_from_camera = self.world_from_camera(camera, frame)
        pixel_from_world = camera.intrinsics @ np.linalg.inv(world_from_camera)[:3]
        pixels, seen = projected(points, met.hits.triangle, pixel_from_world, *camera.size)
        there = self._meet(camera.name, frame).hits.triangle.reshape(camera.size)
        # A static point whose four neighbours in the other view lie on its own triangle needs no ray.
        doubtful = seen & ~amid_own_triangle(pixels, seen & (met.hits.slot == 0), met.hits.triangle, there)
        seen[doubtful] = self._caster.visible(points[doubtful], world_from_camera[:3, 3], instant)
        return pixels, seen


def carried(met: Met, now: Instant, later_from_now: Float64[np.ndarray, "slots 4 4"]) -> Float64[np.ndarray, "n 3"]:
    """The points after the motion of the parts that they lie on."""
    points = met.points.copy()
    on_moving = met.hits.slot > 0
    motion = later_from_now[met.hits.slot[on_moving]]
    points[on_moving] = np.einsum("nij,nj->ni", motion[:, :3, :3], points[on_moving]) + motion[:, :3, 3]
    return points


@njit(cache=True, nogil=True)
@no_type_check
def pixel_rays(height, width, world_from_pixel):
    """World directions (pixels, 3) of the pixel centres, row by row; `world_from_pixel` (3, 3) turns (x, y, 1)."""
    rays = np.empty((height * width, 3), np.float32)
    for i in range(height * width):
        x, y = i % width, i // width
        for k in range(3):
            rays[i, k] = world_from_pixel[k, 0] * x + world_from_pixel[k, 1] * y + world_from_pixel[k, 2]
    return rays


@njit(cache=True, nogil=True)
@no_type_check
def displacement(pixels, height, width):
    """Returns the way from each pixel's centre to `pixels` (height * width, 2), as (height, width, 2); zero where NaN."""
    flow = np.zeros((height, width, 2), np.float32)
    for i in range(len(pixels)):
        y, x = i // width, i % width
        if not np.isnan(pixels[i, 0]):
            flow[y, x, 0], flow[y, x, 1] = pixels[i, 0] - x, pixels[i, 1] - y
    return flow


@njit(cache=True, nogil=True)
@no_type_check
def projected(points, triangle, pixel_from_world, height, width):
    """Pixels (n, 2) of points (n, 3), NaN where the camera cannot see them, and which lie inside the image."""
    pixels, inside = np.full((len(points), 2), np.nan), np.zeros(len(points), np.bool_)
    for i in range(len(points)):
        if triangle[i] < 0:
            continue
        u, v, z = pixel_from_world[:, 3]
        for k in range(3):
            u += pixel_from_world[0, k] * points[i, k]
            v += pixel_from_world[1, k] * points[i, k]
            z += pixel_from_world[2, k] * points[i, k]
        if z > MIN_DEPTH_M:
            pixels[i, 0], pixels[i, 1] = u / z, v / z
            inside[i] = 0 <= u <= (width - 1) * z and 0 <= v <= (height - 1) * z
    return pixels, inside


@njit(cache=True, nogil=True)
@no_type_check
def amid_own_triangle(pixels, asked, triangle, there):
    """Which of the `asked` points lie on a triangle (n,) that all four neighbours of their pixels (n, 2) show.

    `there` (height, width) holds the triangles of the other view.
    """
    certain = np.zeros(len(pixels), np.bool_)
    height, width = there.shape
    for i in range(len(pixels)):
        if asked[i]:
            x, y = int(pixels[i, 0]), int(pixels[i, 1])
            right, below, own = min(x + 1, width - 1), min(y + 1, height - 1), triangle[i]
            upper = there[y, x] == own and there[y, right] == own
            certain[i] = upper and there[below, x] == own and there[below, right] == own
    return certain
