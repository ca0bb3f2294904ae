"""ROS 1 bags and ROS 2 bags (folder, MCAP or SQLite file).

Conventions there -> ours:
- `header.stamp` -> stamps in ns (the time of recording where it is zero, or the same in all messages); frames are the reference camera's images.
- Image (mono, rgb, bgr, bayer, yuv422) and CompressedImage -> RGB; 16UC1 in mm and 32FC1 in m -> depth in metres.
- CameraInfo K and D, shifted by its region and divided by its binning -> intrinsics and distortion; topics named `rect` -> P without distortion. The right camera lies where P
  says (P[0, 3] = -fx * baseline, between the rectified frames); without that, where /tf says.
- Optical frames (x right, y down, z forward; REP 103) -> cameras; `body_from_camera` and `body_from_lidar` from rigid edges of
  /tf and /tf_static. The body is the odometry's child frame, else base_link, else the first sensor's.
- PointCloud2 x, y, z, intensity and time per point (its unit is told by the time between sweeps) -> Scan, times relative to
  the frame; the scan nearest in time belongs to a frame.
- Odometry (header.frame_id from child_frame_id) -> `odometry` at each frame, interpolated; else PoseStamped,
  PoseWithCovarianceStamped, else /tf from odom, map or world. Quaternions are (x, y, z, w) there.
- Left and right are told by name (left/right, cam0/cam1, infra1/infra2); which topics were taken is a remark.

Source: REP 103, 105, 118 and the definitions of sensor_msgs, nav_msgs, geometry_msgs and tf2_msgs.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from firstsight.errors import InputError
from firstsight.recordings.association import half_period_ns, mutually_nearest, simultaneous
from firstsight.recordings.files import require_size
from firstsight.recordings.image_folder import assumed_camera
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Camera,
    Channel,
    DepthImage,
    Image,
    Lidar,
    Recording,
    Rig,
    Scan,
    Transform,
)
from firstsight.recordings.ros import messages as ros_messages
from firstsight.recordings.ros.frames import BODY_FRAMES, FrameTree, frame_name
from firstsight.recordings.ros.image_topics import ImageTopic, choose_images, image_topics, left_out
from firstsight.recordings.ros.odometry import BodyPoses, interpolated, recorded_poses
from firstsight.recordings.ros.point_times import Clock, clock_of, remark_on, varied
from firstsight.recordings.ros.topics import Bag, Stream, bag_file

NAME = "ROS bag"
LAYOUT = "a file *.bag, *.mcap or *.db3, or the folder of a ROS 2 bag"

POINTS = "sensor_msgs/msg/PointCloud2"
FRAMES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
# Clouds that tell the unit of the points' times.
CLOCK_VOTES = 5
# In the topics of clouds that are not a LiDAR's raw scans.
NO_LIDAR_WORDS = ("depth", "camera", "map", "voxel", "filtered")


@dataclass(frozen=True, kw_only=True)
class Content:
    """What of a bag is read. The first camera is the reference; two cameras are a stereo pair."""

    bag: Bag
    tree: FrameTree
    cameras: tuple[ImageTopic, ...]
    depth: ImageTopic | None
    lidar: str | None
    odometry: BodyPoses | None
    remarks: tuple[str, ...]


def recognises(path: Path) -> bool:
    return bag_file(path) is not None


def read(path: Path) -> Recording:
    """Goes through the chosen topics once. Raises InputError where the bag is damaged or holds nothing of use."""
    content = choose(Bag(path, bag_file(path) or path))
    recording = Recording(source=str(path), format=NAME, rig=Rig(), stamps_ns=np.empty(0, dtype=np.int64))
    for remark in (_topics_remark(content), *content.remarks):
        recording = recording.with_remark(remark)
    if content.cameras:
        recording = _with_cameras(recording, content)
    if content.lidar is not None:
        recording = _with_lidar(recording, content, Stream(content.bag, content.lidar))
    if content.odometry is not None:
        recording = _with_odometry(recording, content.odometry)
    return recording


def choose(bag: Bag) -> Content:
    """The topics to read."""
    tree = FrameTree()
    for topic in bag.topics(*FRAMES):
        for message in bag.messages(topic):
            tree.add(message, f"{bag.path}: {topic}")
    images, unreadable = image_topics(bag)
    cameras, depth = choose_images(images)
    lidar = next((topic for topic in bag.topics(POINTS) if not any(word in topic for word in NO_LIDAR_WORDS)), None)
    odometry, without = recorded_poses(bag, tree)
    problems = (*(f"left out: {reason}" for reason in unreadable), *([without] if without else []))
    content = Content(
        bag=bag,
        tree=tree,
        cameras=cameras,
        depth=depth,
        lidar=lidar,
        odometry=odometry,
        remarks=(*problems, *left_out(images, depth), *tree.left_out.values()),
    )
    if not cameras and lidar is None and odometry is None:
        if problems:
            raise InputError(f"{problems[0].partition('left out: ')[2]}; record the topic again")
        raise InputError(f"{bag.path}: has no Image, PointCloud2, Odometry, PoseStamped or odom -> base in /tf to read")
    return content


def _topics_remark(content: Content) -> str:
    chosen = {
        "images": " and ".join(image.topic for image in content.cameras),
        "depth": content.depth.topic if content.depth is not None else "",
        "LiDAR": content.lidar or "",
        "odometry": content.odometry.topic if content.odometry is not None else "",
    }
    return "topics: " + ", ".join(f"{part} {topic}" for part, topic in chosen.items() if topic)


# --- cameras -------------------------------------------------------------------------------------------------------------


def _with_cameras(recording: Recording, content: Content) -> Recording:
    """The recording of the reference camera's frames for which the right camera and the depth have an image too."""
    reference = content.cameras[0]
    images = [*content.cameras, *([content.depth] if content.depth is not None else [])]
    streams = {image.topic: Stream(content.bag, image.topic) for image in images}
    stamps = streams[reference.topic].stamps_ns
    items, paired = simultaneous({topic: s.stamps_ns for topic, s in streams.items()}, half_period_ns(stamps))
    content = replace(
        content,
        cameras=tuple(image for image in content.cameras if image.topic in items),
        depth=content.depth if content.depth is not None and content.depth.topic in items else None,
    )
    cameras, remarks = _cameras(content)
    channels = [_image_channel(streams[image.topic], items[image.topic], image) for image in content.cameras]
    remarks += [remark for stream in streams.values() for remark in stream.remarks]
    remarks += paired
    lacking = len(stamps) - len(items[reference.topic])
    if lacking:
        others = " or ".join(topic for topic in items if topic != reference.topic)
        remarks.append(f"{lacking} of {len(stamps)} frames left out: they lack an image in {others}")
    return replace(
        recording,
        rig=Rig(cameras=cameras, stereo=(cameras[0].name, cameras[1].name) if len(cameras) == 2 else None),
        stamps_ns=stamps[items[reference.topic]],
        images={camera.name: channel for camera, channel in zip(cameras, channels, strict=True)},
        depth=_depth_channel(streams[content.depth.topic], items[content.depth.topic], reference.size)
        if content.depth is not None
        else None,
        remarks=(*recording.remarks, *remarks),
    )


def _image_channel(stream: Stream, positions: Int64[np.ndarray, " frames"], topic: ImageTopic) -> Channel[Image]:
    def load(index: int) -> Image:
        position = int(positions[index])
        where = stream.where(position)
        return require_size(ros_messages.image(stream[position], topic.white, where), topic.size, where)

    return Channel(len(positions), load)


def _depth_channel(
    stream: Stream, positions: Int64[np.ndarray, " frames"], size: tuple[int, int]
) -> Channel[DepthImage]:
    def load(index: int) -> DepthImage:
        position = int(positions[index])
        depth = ros_messages.depth(stream[position], stream.where(position))
        require_size(depth.depth, size, stream.where(position))
        return depth

    return Channel(len(positions), load)


def _cameras(content: Content) -> tuple[tuple[Camera, ...], list[str]]:
    """The reference camera, the right one where its place is known, and remarks on what had to be assumed."""
    reference = content.cameras[0]
    body = body_frame(content)
    body_from_reference = content.tree.between(body, reference.frame) if body is not None else None
    remarks = []
    if body_from_reference is None:
        body_from_reference = BODY_FROM_FORWARD_CAMERA
        if body is not None:
            remarks.append(
                f"/tf does not connect '{body}' with '{reference.frame}': the camera is taken as looking ahead"
            )
    cameras = [_camera(reference, body_from_reference)]
    for right in content.cameras[1:]:
        left_from_right = _left_from_right(reference, right, content.tree)
        if left_from_right is None:
            remarks.append(f"stereo left out: neither CameraInfo nor /tf says where {right.topic} is")
        else:
            cameras.append(_camera(right, body_from_reference @ left_from_right))
    return tuple(cameras), remarks


def body_frame(content: Content) -> str | None:
    """The frame of the robot's body, None where the bag has none."""
    if content.odometry is not None and content.odometry.body is not None:
        return content.odometry.body
    return next((name for name in BODY_FRAMES if name in content.tree.names()), None)


def _camera(image: ImageTopic, body_from_camera: Transform) -> Camera:
    if image.calibration is None:
        return replace(assumed_camera(image.topic, image.size), body_from_camera=body_from_camera)
    return Camera(
        name=image.topic,
        size=image.size,
        intrinsics=image.calibration.intrinsics,
        body_from_camera=body_from_camera,
        distortion=image.calibration.distortion,
    )


def _left_from_right(left: ImageTopic, right: ImageTopic, tree: FrameTree) -> Transform | None:
    """Returns the pose of right in left from the projections of the rectified pair, or else from /tf."""
    assert left.calibration is not None
    assert right.calibration is not None
    offsets_m = [c.projection[0, 3] / c.projection[0, 0] for c in (left.calibration, right.calibration)]
    baseline_m = offsets_m[0] - offsets_m[1]
    if abs(baseline_m) < 1e-6:
        return tree.between(left.frame, right.frame)
    rectified = np.eye(4)
    rectified[0, 3] = baseline_m
    turn_left, turn_right = np.eye(4), np.eye(4)
    turn_left[:3, :3] = left.calibration.rectified_from_camera
    turn_right[:3, :3] = right.calibration.rectified_from_camera
    return turn_left.T @ rectified @ turn_right


# --- LiDAR ---------------------------------------------------------------------------------------------------------------


def _with_lidar(recording: Recording, content: Content, stream: Stream) -> Recording:
    """The recording with a scan for the frame nearest to it in time; scans are the frames where there is no camera."""
    frame = frame_name(stream[0].header.frame_id)
    body_from_lidar, problem = _body_from_lidar(recording, content, frame)
    if body_from_lidar is None:
        return recording.with_remark(problem)
    stamps = recording.stamps_ns if recording.rig.cameras else stream.stamps_ns
    tolerance_ns = max(half_period_ns(stamps), half_period_ns(stream.stamps_ns))
    positions = mutually_nearest(stamps, stream.stamps_ns, tolerance_ns)
    sweep_s = 2 * half_period_ns(stream.stamps_ns) / 1e9 or None
    has_times, clock = _clock(stream, sweep_s)

    def load(index: int) -> Scan | None:
        position = int(positions[index])
        if position < 0:
            return None
        scan = ros_messages.scan(stream[position], int(stream.stamps_ns[position]), clock, stream.where(position))
        late_s = (stream.stamps_ns[position] - stamps[index]) / 1e9
        return scan._replace(times_s=scan.times_s + late_s) if scan.times_s is not None else scan

    with_scans = replace(
        recording,
        rig=replace(recording.rig, lidar=Lidar(body_from_lidar=body_from_lidar, sweep_s=sweep_s)),
        stamps_ns=stamps,
        scans=Channel(len(stamps), load),
    )
    for remark in (problem, *stream.remarks, remark_on(clock) if has_times else ""):
        with_scans = with_scans.with_remark(remark) if remark else with_scans
    return with_scans


def _clock(stream: Stream, sweep_s: float | None) -> tuple[bool, Clock | None]:
    """Whether the clouds carry a time per point, and what it counts, by a few of them."""
    clouds = []
    for position in range(min(len(stream), CLOCK_VOTES)):
        with suppress(InputError):
            times = ros_messages.point_times(stream[position], stream.where(position))
            if times is not None:
                clouds.append((times, int(stream.stamps_ns[position])))
    return any(varied(times) for times, _ in clouds), clock_of(clouds, sweep_s)


def _body_from_lidar(recording: Recording, content: Content, frame: str) -> tuple[Transform | None, str]:
    """Returns the LiDAR's pose, None where it is not known though a camera needs it, and a remark."""
    body, reference = body_frame(content), recording.rig.reference
    if reference is not None:
        camera_frame = content.cameras[0].frame
        camera_from_lidar = content.tree.between(camera_frame, frame)
        if camera_from_lidar is None:
            return None, f"LiDAR left out: /tf does not connect '{frame}' with the camera's '{camera_frame}'"
        return reference.body_from_camera @ camera_from_lidar, ""
    body_from_lidar = content.tree.between(body, frame) if body is not None else np.eye(4)
    if body_from_lidar is None:
        return np.eye(4), f"/tf does not connect '{body}' with '{frame}': the LiDAR is taken as the body"
    return body_from_lidar, ""


def _with_odometry(recording: Recording, poses: BodyPoses) -> Recording:
    """The recording with the odometry at its frames; the odometry's messages are the frames where there is no sensor."""
    if not recording.rig.cameras and recording.scans is None:
        return replace(recording, stamps_ns=poses.stamps_ns, odometry=poses.world_from_body)
    stamps = recording.stamps_ns
    outside = int(((stamps < poses.stamps_ns.min()) | (stamps > poses.stamps_ns.max())).sum())
    moved = replace(recording, odometry=interpolated(poses, stamps))
    if not outside:
        return moved
    return moved.with_remark(f"{outside} frames lie outside the odometry's times and take its first or last pose")
