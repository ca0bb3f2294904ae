"""The vocabulary of batches: each field's name, and how it is read from a recording.

    images            uint8  (batch, time, 3, h, w)      RGB of the reference camera, the left one of a stereo pair
    right             uint8  (batch, time, 3, h, w)      RGB of the right camera
    views             uint8  (batch, time, cameras, 3, h, w)   RGB of all cameras, the reference camera first
    intrinsics        float32 (batch, 3, 3)              of `images`, at their size
    baseline_m        float32 (batch)                    of the stereo pair
    depth_m           float32 (batch, time, 1, h, w)     true or measured depth, 0 where unknown
    disparity         float32 (batch, time, 1, h, w)     true disparity of `images` in px of their size, 0 where unknown
    flow_ab, valid    float32 (batch, 2, h, w), bool (batch, 1, h, w)   true flow from the first to the second frame of the clip
    masks             int64  (batch, time, 1, h, w)      true ids of what moves, 0 elsewhere
    points_lidar      ragged (3)                         a scan's points in the LiDAR frame, m; none where a frame has no scan
    boxes             ragged (8)                         x, y, z, length, width, height (m), yaw (rad) in the body frame, object id
    stamp_s           float64 (batch, time)              since the recording's first frame
    world_from_camera, world_from_body   float64 (batch, time, 4, 4)    true poses; of the body, else odometry
    taught_flow_ab, taught_valid, taught_depth_m, taught_disparity, taught_masks, taught_world_from_camera
                                                         as those, of a finished run instead of the truth (`taught`)
    taught_flow_error float32 (batch, 1, h, w)           error that the run's flow expects, px as a standard deviation
    index, label, starts   int64, int64, bool (batch)    number of the sample and of its class; whether a stream begins anew

Fields of other data, such as actions, velocity, map or goal, come from arrays under the names that they have there (`arrays`);
drawn pairs have flow_ba, occluded, occluded_ba, occluded_right and layer besides (`layered.pairs`).
Images are scaled as a whole; maps take the nearest value, and those in px are scaled with the size.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from firstsight.geometry.camera import scale_intrinsics
from firstsight.recordings.recording import Camera, DepthImage, FlowImage, Recording
from firstsight.training.data.images import scaled

Size = tuple[int, int]


class Field(NamedTuple):
    """How a field is read from where it comes from: a recording, or for what is taught a run folder.

    `lacks` says what that does not have, "" where it has all; `known` at which frames it can be read (None: at all).
    "frame" fields are read once for each frame of the clip and stacked over time, "ragged" ones are listed over time;
    "pair" fields belong to the first frame of a clip and its successor; "clip" fields are the same for all of a recording.
    """

    over: Literal["frame", "ragged", "pair", "clip"]
    lacks: Callable[[Any], str]
    read: Callable[[Any, int, Size], Any]
    known: Callable[[Any], Bool[np.ndarray, " frames"]] | None = None


def camera_of(recording: Recording) -> Camera:
    """The camera that `images` come from."""
    rig = recording.rig
    reference = rig.stereo_cameras[0] if rig.stereo is not None else rig.reference
    assert reference is not None
    return reference


def image_at(recording: Recording, frame: int, size: Size, camera: str) -> UInt8[np.ndarray, "3 rows columns"]:
    return scaled(recording.images[camera][frame], size)


def views_at(recording: Recording, frame: int, size: Size) -> UInt8[np.ndarray, "cameras 3 rows columns"]:
    return np.stack([image_at(recording, frame, size, camera.name) for camera in recording.rig.cameras])


def nearest(values: np.ndarray, size: Size) -> np.ndarray:
    """A map at another size without mixing values."""
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST)


def depth_map(depth: DepthImage, size: Size) -> Float32[np.ndarray, "1 rows columns"]:
    """Depth at another size, 0 where unknown."""
    return nearest(np.where(depth.valid, depth.depth, 0).astype(np.float32), size)[None]


def flow_map(flow: FlowImage, size: Size) -> Float32[np.ndarray, "2 rows columns"]:
    """Flow at another size, in px of that size, 0 where unknown."""
    height, width = flow.valid.shape
    scale = np.array([size[1] / width, size[0] / height], np.float32)
    known = np.where(flow.valid[:, :, None], flow.flow, 0).astype(np.float32)
    return (nearest(known, size) * scale).transpose(2, 0, 1).copy()


def valid_map(flow: FlowImage, size: Size) -> Bool[np.ndarray, "1 rows columns"]:
    """Returns where the flow is known."""
    return nearest(flow.valid.astype(np.uint8), size)[None] > 0


def id_map(ids: np.ndarray, size: Size) -> Int64[np.ndarray, "1 rows columns"]:
    """Ids at another size."""
    return nearest(ids, size)[None].astype(np.int64)


def depth_at(recording: Recording, frame: int, size: Size) -> Float32[np.ndarray, "1 rows columns"]:
    channel = recording.depth if recording.truth.depth is None else recording.truth.depth
    return depth_map(have(channel)[frame], size)


def disparity_at(recording: Recording, frame: int, size: Size) -> Float32[np.ndarray, "1 rows columns"]:
    true = have(recording.truth.disparity)[frame]
    known = np.where(true.valid, true.disparity, 0).astype(np.float32)
    return nearest(known, size)[None] * np.float32(size[1] / known.shape[1])


def scan_at(recording: Recording, frame: int, _: Size) -> Float32[np.ndarray, "points 3"]:
    scan = have(recording.scans)[frame]
    return np.empty((0, 3), np.float32) if scan is None else scan.points


def boxes_at(recording: Recording, frame: int, _: Size) -> Float32[np.ndarray, "boxes 8"]:
    """Boxes of the camera's frame in the body's, whose z axis points up: turning is yaw alone."""
    body_from_camera = camera_of(recording).body_from_camera
    rows = []
    for box in have(recording.truth.boxes)[frame]:
        body_from_box = body_from_camera @ box.camera_from_box
        yaw = np.arctan2(body_from_box[1, 0], body_from_box[0, 0])
        rows.append([*body_from_box[:3, 3], *box.size_m, yaw, box.object_id])
    return np.array(rows, np.float32).reshape(-1, 8)


def body_poses(recording: Recording) -> Float64[np.ndarray, "frames 4 4"] | None:
    """The true poses of the body, else those that its odometry gives."""
    true, reference = recording.truth.world_from_camera, recording.rig.reference
    if true is None:
        return recording.odometry
    return true if reference is None else true @ np.linalg.inv(reference.body_from_camera)


def finite(poses: Float64[np.ndarray, "frames 4 4"] | None) -> Bool[np.ndarray, " frames"]:
    """The frames whose poses are known."""
    return np.isfinite(have(poses)).all((1, 2))


def have(part: Any) -> Any:
    """A part of a recording of which `lacks` has said that it is there."""
    assert part is not None
    return part


def unless(part: Any, what: str) -> str:
    return "" if part is not None else what


def a_camera(recording: Recording) -> str:
    return "" if recording.rig.cameras else "camera"


def a_stereo_pair(recording: Recording) -> str:
    return unless(recording.rig.stereo, "stereo pair")


def true_flow(recording: Recording) -> str:
    return unless(recording.truth.flow, "true flow")


def some_depth(recording: Recording) -> str:
    return "" if recording.truth.depth is not None or recording.depth is not None else "true depth and no depth sensor"


def left_at(recording: Recording, frame: int, size: Size) -> np.ndarray:
    return image_at(recording, frame, size, camera_of(recording).name)


def right_at(recording: Recording, frame: int, size: Size) -> np.ndarray:
    return image_at(recording, frame, size, recording.rig.stereo_cameras[1].name)


def intrinsics_of(recording: Recording, _: int, size: Size) -> Float32[np.ndarray, "3 3"]:
    camera = camera_of(recording)
    (height, width), intrinsics = camera.size, torch.from_numpy(camera.intrinsics)
    return scale_intrinsics(intrinsics, size[1] / width, size[0] / height).float().numpy()


def seconds_at(recording: Recording, frame: int, _: Size) -> np.float64:
    return np.float64((recording.stamps_ns[frame] - recording.stamps_ns[0]) / 1e9)


FIELDS: dict[str, Field] = {
    "images": Field("frame", a_camera, left_at),
    "right": Field("frame", a_stereo_pair, right_at),
    "views": Field("frame", a_camera, views_at),
    "intrinsics": Field("clip", a_camera, intrinsics_of),
    "baseline_m": Field("clip", a_stereo_pair, lambda r, *_: np.float32(r.rig.baseline_m)),
    "depth_m": Field("frame", some_depth, depth_at),
    "disparity": Field("frame", lambda r: unless(r.truth.disparity, "true disparity"), disparity_at),
    "flow_ab": Field("pair", true_flow, lambda r, frame, size: flow_map(r.truth.flow[frame], size)),
    "valid": Field("pair", true_flow, lambda r, frame, size: valid_map(r.truth.flow[frame], size)),
    "masks": Field(
        "frame",
        lambda r: unless(r.truth.moving, "true masks of what moves"),
        lambda r, frame, size: id_map(r.truth.moving[frame], size),
    ),
    "points_lidar": Field("ragged", lambda r: unless(r.scans, "LiDAR"), scan_at),
    "boxes": Field("ragged", lambda r: unless(r.truth.boxes, "true boxes") or a_camera(r), boxes_at),
    "stamp_s": Field("frame", lambda _: "", seconds_at),
    "world_from_camera": Field(
        "frame",
        lambda r: unless(r.truth.world_from_camera, "known poses") or a_camera(r),
        lambda r, frame, _: r.truth.world_from_camera[frame],
        known=lambda r: finite(r.truth.world_from_camera),
    ),
    "world_from_body": Field(
        "frame",
        lambda r: unless(body_poses(r), "known poses and no odometry"),
        lambda r, frame, _: have(body_poses(r))[frame],
        known=lambda r: finite(body_poses(r)),
    ),
}
