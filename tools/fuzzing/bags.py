"""A small robot's messages, and bags of them in the three containers; messages can be spoilt before they are written."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START_NS, PERIOD_NS = 1_700_000_000_123_456_789, 100_000_000
FRAMES, HEIGHT, WIDTH = 3, 24, 32
OPTICAL, LEVEL = (-0.5, 0.5, -0.5, 0.5), (0.0, 0.0, 0.0, 1.0)
FLOATS = (float("nan"), float("inf"), 0.0, -1.0, 1e30, 1e-30)
TREE = "tf2_msgs/msg/TFMessage"
INTEGERS = (0, 1, 2, 7, 255, 2**15, 2**31 - 1, 2**32 - 1)
TEXTS = ("", "word", "mono16", "16UC1", "bayer_rggb8", "jpeg", "equidistant", "rational_polynomial", "left", "/odom")

Message = tuple[str, str, int, Any]
"""Topic, type, time of recording in ns, content."""


class Robot:
    """Messages of a robot with a stereo pair, a depth camera, a LiDAR, odometry and transforms."""

    def __init__(self, store: Stores) -> None:
        self.store = get_typestore(store)
        if TREE not in self.store.types:
            self.store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TREE))

    def make(self, kind: str, *values: Any) -> Any:
        """A message of the kind; of ROS 1's header the number in front is 0."""
        if "seq" in {field.name for field in fields(self.store.types[kind])}:
            values = (0, *values)
        return self.store.types[kind](*values)

    def header(self, frame: str, stamp_ns: int) -> Any:
        stamp = self.make("builtin_interfaces/msg/Time", stamp_ns // 10**9, stamp_ns % 10**9)
        return self.make("std_msgs/msg/Header", stamp, frame)

    def image(self, frame: str, stamp_ns: int, encoding: str, channels: int) -> Any:
        pixels = np.arange(HEIGHT * WIDTH * channels, dtype=np.uint32).astype(np.uint8)
        head = self.header(frame, stamp_ns)
        return self.make("sensor_msgs/msg/Image", head, HEIGHT, WIDTH, encoding, 0, WIDTH * channels, pixels)

    def camera_info(self, frame: str, stamp_ns: int, right_m: float) -> Any:
        k = np.array([30.0, 0, 15.5, 0, 30, 11.5, 0, 0, 1])
        p = np.array([28.0, 0, 15.5, -28 * right_m, 0, 28, 11.5, 0, 0, 0, 1, 0])
        d, r = np.array([-0.1, 0.01, 0.001, 0.0, 0.0]), np.eye(3).ravel()
        region = self.make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
        head = self.header(frame, stamp_ns)
        return self.make("sensor_msgs/msg/CameraInfo", head, HEIGHT, WIDTH, "plumb_bob", d, k, r, p, 0, 0, region)

    def cloud(self, stamp_ns: int) -> Any:
        layout = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("t", "<u4")])
        points = np.zeros(4, layout)
        points["x"], points["y"], points["z"], points["t"] = [3, 4, 5, 6], [1, -1, 0, 2], [0, 1, 0, 1], [0, 1, 2, 3]
        described = [
            self.make("sensor_msgs/msg/PointField", name, 4 * i, 6 if name == "t" else 7, 1)
            for i, name in enumerate(layout.names or ())
        ]
        data = np.frombuffer(points.tobytes(), np.uint8)
        head = self.header("lidar", stamp_ns)
        return self.make("sensor_msgs/msg/PointCloud2", head, 1, 4, described, False, 20, 80, data, True)

    def odometry(self, stamp_ns: int, x: float) -> Any:
        pose = self.make("geometry_msgs/msg/Pose", self.vector("Point", x, 2, 0.5), self.quaternion(LEVEL))
        none = np.zeros(36)
        twist = self.make("geometry_msgs/msg/Twist", self.vector("Vector3"), self.vector("Vector3"))
        return self.make(
            "nav_msgs/msg/Odometry",
            self.header("odom", stamp_ns),
            "base_link",
            self.make("geometry_msgs/msg/PoseWithCovariance", pose, none),
            self.make("geometry_msgs/msg/TwistWithCovariance", twist, none),
        )

    def vector(self, kind: str, x: float = 0, y: float = 0, z: float = 0) -> Any:
        return self.make(f"geometry_msgs/msg/{kind}", float(x), float(y), float(z))

    def quaternion(self, xyzw: Sequence[float]) -> Any:
        return self.make("geometry_msgs/msg/Quaternion", *xyzw)

    def transforms(self) -> Any:
        edges = [
            ("base_link", "left", (0.1, 0.06, 1), OPTICAL),
            ("base_link", "right", (0.1, -0.04, 1), OPTICAL),
            ("base_link", "lidar", (0, 0, 1.5), LEVEL),
        ]
        stamped = [
            self.make(
                "geometry_msgs/msg/TransformStamped",
                self.header(parent, START_NS),
                child,
                self.make("geometry_msgs/msg/Transform", self.vector("Vector3", *moved), self.quaternion(turned)),
            )
            for parent, child, moved, turned in edges
        ]
        return self.make(TREE, stamped)

    def messages(self) -> list[Message]:
        """All messages in the order of their times."""
        found: list[Message] = [("/tf_static", TREE, START_NS, self.transforms())]
        for frame in range(FRAMES):
            now = START_NS + frame * PERIOD_NS
            image, info = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
            found += [
                ("/left/image_raw", image, now, self.image("left", now, "rgb8", 3)),
                ("/right/image_raw", image, now, self.image("right", now, "mono8", 1)),
                ("/left/camera_info", info, now, self.camera_info("left", now, 0)),
                ("/right/camera_info", info, now, self.camera_info("right", now, 0.1)),
                ("/depth/image_rect", image, now, self.image("left", now, "16UC1", 2)),
                ("/points", "sensor_msgs/msg/PointCloud2", now, self.cloud(now)),
                ("/odom", "nav_msgs/msg/Odometry", now, self.odometry(now, frame)),
            ]
        return found


def spoil(messages: list[Message], random: Random) -> None:
    """Changes a field of one message, or of all messages of its topic."""
    topic, _, _, first = random.choice(messages)
    place = random.choice(list(leaves(first, ())))
    value = other_value(at(first, place), random)
    everywhere = random.random() < 0.5
    for other, _, _, content in messages:
        if content is first or (everywhere and other == topic):
            put(content, place, value)


def leaves(value: Any, place: tuple[Any, ...]) -> Any:
    """The places of plain values and arrays in a message."""
    if is_dataclass(value):
        for field in fields(value):
            if not field.name.startswith("__"):
                yield from leaves(getattr(value, field.name), (*place, field.name))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from leaves(part, (*place, number))
    else:
        yield place


def at(message: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        message = message[step] if isinstance(step, int) else getattr(message, step)
    return message


def put(message: Any, place: tuple[Any, ...], value: Any) -> None:
    *way, last = place
    # the messages of rosbags are frozen
    object.__setattr__(at(message, tuple(way)), last, value)


def other_value(value: Any, random: Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, np.ndarray):
        return other_array(value, random)
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return random.choice(TEXTS)
    if isinstance(value, int):
        return min(random.choice(INTEGERS), 255 if value < 256 and random.random() < 0.3 else 2**32)
    return random.choice(FLOATS)


def other_array(array: np.ndarray, random: Random) -> np.ndarray:
    """The array with other values, or with more or fewer where the message allows that."""
    what = random.randrange(4)
    if what == 0 and array.size not in (9, 12, 36):
        return array[: random.choice((0, 1, array.size // 2, array.size - 1))]
    if what == 1 and array.size not in (9, 12, 36):
        return np.concatenate([array, array])
    changed = array.copy()
    values = FLOATS if array.dtype.kind == "f" else (0, 1, 127, 255)
    if what == 2:
        changed[:] = random.choice(values)
    elif array.size:
        changed[random.randrange(array.size)] = random.choice(values)
    return changed


def write_ros1(root: Path, messages: list[Message] | None = None) -> Path:
    robot = Robot(Stores.ROS1_NOETIC)
    path = root / "robot.bag"
    with Ros1Writer(path) as writer:
        topics: dict[str, Any] = {}
        for topic, kind, time_ns, content in messages or robot.messages():
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=robot.store)
            writer.write(topics[topic], time_ns, robot.store.serialize_ros1(content, kind))
    return path


def write_ros2(root: Path, storage: StoragePlugin, messages: list[Message] | None = None) -> Path:
    robot = Robot(Stores.ROS2_HUMBLE)
    folder = root / "robot"
    with Ros2Writer(folder, version=8, storage_plugin=storage) as writer:
        topics: dict[str, Any] = {}
        for topic, kind, time_ns, content in messages or robot.messages():
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=robot.store)
            writer.write(topics[topic], time_ns, robot.store.serialize_cdr(content, kind))
    return folder
