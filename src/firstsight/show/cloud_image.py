"""An image of a coloured point cloud from above and behind a trajectory.

Points are drawn as squares, far ones first, then shaded by eye-dome lighting: a pixel darkens with how much farther it lies
than its neighbours, which gives a cloud without normals its edges. Source: Boucheny 2009 (PhD thesis), section 3.3.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from scipy.spatial import KDTree

from firstsight.recordings.recording import Image, Transform, Transforms

BACKGROUND = (18, 21, 26)
ELEVATION_RAD = np.radians(33)
DISTANCE = 1.6  # of the camera from the middle, in radii of what is seen
FILLED_SHARE = 0.94
MAX_POINTS = 600_000
MAX_SIDE_PX = 9
EMPTY = np.uint64(2**64 - 1)
LIGHTING = 12.0  # how dark a step in depth gets
TRACK_COLOUR = (255, 84, 64)


class Lens(NamedTuple):
    """A pinhole: pixel = focal_px * (x, y) / z + centre_px."""

    focal_px: float
    centre_px: Float64[np.ndarray, "2"]

    def __call__(self, points: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, "points 2"]:
        return self.focal_px * points[:, :2] / points[:, 2:] + self.centre_px


def draw_cloud(
    points: Float32[np.ndarray, "points 3"],
    colours: UInt8[np.ndarray, "points 3"],
    world_from_camera: Transforms,
    size: tuple[int, int] = (620, 1120),
) -> Image:
    """The cloud and the way of the camera in it, in a world with z up; `size` is (height, width) in px."""
    track = world_from_camera[:, :3, 3]
    near, near_colours = near_track(points, colours, track)
    camera_from_world = overview(np.concatenate([near, track]), ahead=world_from_camera[:, :3, 2].mean(0))
    near, track = into_camera(near, camera_from_world), into_camera(track, camera_from_world)
    lens = fitting_lens(near, track, size)
    image, depth = splat(near, near_colours, lens, size)
    lit = (image * eye_dome(depth)[:, :, None]).astype(np.uint8)
    return draw_track(lit, lens(track))


def into_camera(points: Float[np.ndarray, "points 3"], camera_from_world: Transform) -> Float64[np.ndarray, "points 3"]:
    return points.astype(np.float64) @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]


def near_track(
    points: Float32[np.ndarray, "points 3"],
    colours: UInt8[np.ndarray, "points 3"],
    track: Float64[np.ndarray, "frames 3"],
) -> tuple[Float32[np.ndarray, "kept 3"], UInt8[np.ndarray, "kept 3"]]:
    """The points around the track, without what hangs over it: a ceiling would hide the room."""
    stride = max(1, len(points) // MAX_POINTS)
    points, colours = points[::stride], colours[::stride]
    lower, upper = track.min(0), track.max(0)
    reach = max(float(np.linalg.norm(upper - lower)), 8.0)
    inside = ((points > lower - reach) & (points < upper + reach)).all(1) & (points[:, 2] < ceiling(points, track))
    return points[inside], colours[inside]


def ceiling(points: Float32[np.ndarray, "points 3"], track: Float64[np.ndarray, "frames 3"]) -> float:
    """Height above which points are left out: just under what lies over a good part of the track, else infinite."""
    under_roof, heights = 0, []
    places = track[:: max(1, len(track) // 50)]
    for x, y, z in places:
        above = points[
            (np.abs(points[:, 0] - x) < 0.4) & (np.abs(points[:, 1] - y) < 0.4) & (points[:, 2] > z + 0.3), 2
        ]
        under_roof += len(above) > 20
        heights.append(above)
    if under_roof < 0.3 * len(places):
        return np.inf
    return float(np.percentile(np.concatenate(heights), 5)) - 0.1


def overview(seen: Float64[np.ndarray, "points 3"], ahead: Float64[np.ndarray, "3"]) -> Transform:
    """camera_from_world of a view down and ahead, from far enough that nothing seen lies behind the camera.

    `ahead` is the mean direction in which the recording's camera looked; one that looked all around gives no direction.
    """
    target = np.median(seen, 0)
    extent = float(np.linalg.norm(seen - target, axis=1).max()) + 0.1
    length = float(np.linalg.norm(ahead[:2]))
    ahead = ahead * [1, 1, 0] / length if length > 0.3 else np.array([1.0, 0.0, 0.0])
    forward = np.cos(ELEVATION_RAD) * ahead - np.sin(ELEVATION_RAD) * np.array([0, 0, 1])
    right = np.cross(forward, [0, 0, 1]) / np.cos(ELEVATION_RAD)
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    camera_from_world[:3, 3] = camera_from_world[:3, :3] @ (DISTANCE * extent * forward - target)
    return camera_from_world


def fitting_lens(
    points: Float64[np.ndarray, "points 3"], track: Float64[np.ndarray, "frames 3"], size: tuple[int, int]
) -> Lens:
    """The lens that fills the image with the track and nearly all points, both in the camera frame."""
    rays, track_rays = points[:, :2] / points[:, 2:], track[:, :2] / track[:, 2:]
    corners = np.percentile(rays, [0.3, 99.7], axis=0) if len(rays) else track_rays[:1]
    lower = np.minimum(corners.min(0), track_rays.min(0))
    upper = np.maximum(corners.max(0), track_rays.max(0))
    image_px = np.array([size[1], size[0]])
    focal_px = FILLED_SHARE * float((image_px / np.maximum(upper - lower, 1e-3)).min())
    return Lens(focal_px, image_px / 2 - focal_px * (lower + upper) / 2)


def splat(
    points: Float64[np.ndarray, "points 3"],
    colours: UInt8[np.ndarray, "points 3"],
    lens: Lens,
    size: tuple[int, int],
) -> tuple[Image, Float32[np.ndarray, "height width"]]:
    """Image and depth (inf: nothing) of points in the camera frame, drawn as squares that just close their surface."""
    height, width = size
    columns, rows = lens(points).T
    side_px = np.clip(np.ceil(1.4 * lens.focal_px * spacing(points) / points[:, 2]), 1, MAX_SIDE_PX).astype(int)
    # depth in the upper bits, the point's number in the lower ones: the smallest key is the nearest point
    keys = points[:, 2].astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(points), dtype=np.uint64)
    nearest = np.full(height * width, EMPTY, np.uint64)
    largest = int(side_px.max(initial=0))
    for dy, dx in np.ndindex(largest, largest):
        row, column = (np.floor(at + 1 - side_px / 2).astype(int) + d for at, d in ((rows, dy), (columns, dx)))
        drawn = (max(dy, dx) < side_px) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        np.minimum.at(nearest, row[drawn] * width + column[drawn], keys[drawn])
    found = nearest != EMPTY
    image = np.full((height * width, 3), BACKGROUND, np.uint8)
    depth = np.full(height * width, np.inf, np.float32)
    winners = (nearest[found] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    image[found], depth[found] = colours[winners], points[winners, 2]
    return image.reshape(height, width, 3), depth.reshape(height, width)


def spacing(points: Float64[np.ndarray, "points 3"]) -> float:
    """Typical distance between neighbouring points, in the unit of the points."""
    if len(points) < 3:
        return 0.0
    some = points[:: max(1, len(points) // 2000)]
    return float(np.median(KDTree(points).query(some, k=3)[0][:, 2]))


def eye_dome(depth: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Brightness in (0, 1] of each pixel from how much nearer its neighbours are."""
    logarithm = np.log(np.where(np.isfinite(depth), depth, 1e6)).astype(np.float32)
    obscurance = np.zeros_like(logarithm)
    for dy, dx in ((0, 2), (0, -2), (2, 0), (-2, 0)):
        obscurance += np.maximum(0, logarithm - np.roll(logarithm, (dy, dx), (0, 1)))
    return np.where(np.isfinite(depth), np.exp(-LIGHTING / 4 * obscurance), 1).astype(np.float32)


def draw_track(image: Image, pixels: Float64[np.ndarray, "frames 2"]) -> Image:
    """The image with the track over it."""
    chain = np.rint(pixels * 16).astype(np.int32)[:, None]  # four fractional bits
    cv2.polylines(image, [chain], False, TRACK_COLOUR, 2, cv2.LINE_AA, 4)
    return image
