"""The image topics of a ROS bag, and which of them are read.

Left and right are told by name, depth by its encoding; the calibration is the CameraInfo beside the topic or of its frame.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from firstsight.errors import InputError
from firstsight.recordings.files import SIZE_VOTES
from firstsight.recordings.ros import messages as ros_messages
from firstsight.recordings.ros.frames import frame_name
from firstsight.recordings.ros.messages import Calibration
from firstsight.recordings.ros.topics import Bag

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
# Last part of the topic beside the raw one.
COMPRESSED = ("compressed", "compressedDepth")
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
STEREO_WORDS = (("left", "right"), ("cam0", "cam1"), ("infra1", "infra2"), ("camera0", "camera1"))


class ImageTopic(NamedTuple):
    """An image topic as its first message describes it."""

    topic: str
    frame: str
    size: tuple[int, int]
    is_depth: bool
    is_colour: bool
    calibration: Calibration | None


def image_topics(bag: Bag) -> list[ImageTopic]:
    topics = bag.topics(*IMAGES)
    infos = {topic: bag.first(topic) for topic in bag.topics(CAMERA_INFO)}
    beside_raw = {
        topic for topic in topics if topic.rpartition("/")[0] in topics and topic.rpartition("/")[2] in COMPRESSED
    }
    return [_image_topic(bag, topic, infos) for topic in topics if topic not in beside_raw]


def _image_topic(bag: Bag, topic: str, infos: Mapping[str, Any]) -> ImageTopic:
    first, where = bag.first(topic), f"{bag.path}: {topic}"
    frame, size = frame_name(first.header.frame_id), _common_size(bag, topic)
    raw_topic = topic.rpartition("/")[0] if topic.rpartition("/")[2] in COMPRESSED else topic
    same_frame = (info for info in infos.values() if frame_name(info.header.frame_id) == frame)
    info = infos.get(f"{raw_topic.rpartition('/')[0]}/camera_info") or next(same_frame, None)
    calibration = ros_messages.calibration(info, where) if info is not None else None
    if info is not None and calibration is not None and (info.height, info.width) not in (size, (0, 0)):
        raise InputError(
            f"{where}: is {size[1]}x{size[0]} but calibrated for {info.width}x{info.height}; record both alike"
        )
    return ImageTopic(
        topic=topic,
        frame=frame,
        size=size,
        is_depth=ros_messages.is_depth(first, topic),
        is_colour="mono" not in ros_messages.encoding_of(first) and "infra" not in topic,
        calibration=calibration.rectified() if calibration is not None and "rect" in topic else calibration,
    )


def _common_size(bag: Bag, topic: str) -> tuple[int, int]:
    """(height, width) of most of a topic's first images, so that a damaged one loses its frame only."""
    sizes, where = [], f"{bag.path}: {topic}"
    for message in islice(bag.messages(topic), SIZE_VOTES):
        with suppress(InputError):
            sizes.append(ros_messages.size_of(message, where))
    if not sizes:
        raise InputError(f"{where}: none of its first {SIZE_VOTES} images can be read; record the topic again")
    return max(sizes, key=sizes.count)


def choose_images(images: Sequence[ImageTopic]) -> tuple[tuple[ImageTopic, ...], ImageTopic | None]:
    """The reference camera, followed by its right one if any, and the depth that belongs to the reference.

    Depth registered to a camera decides the reference; without depth a stereo pair does. Rectified topics and colour win.
    """
    light = sorted(
        (p for p in images if not p.is_depth), key=lambda p: ("rect" not in p.topic, not p.is_colour, p.topic)
    )
    depths = [p for p in images if p.is_depth]
    registered = [
        (image, depth) for depth in depths for image in light if (image.frame, image.size) == (depth.frame, depth.size)
    ]
    if registered:
        image, depth = min(registered, key=lambda both: light.index(both[0]))
        return (image, *_right_of(image, light)), depth
    for image in light:
        if right := _right_of(image, light):
            return (image, *right), None
    return tuple(light[:1]), None


def _right_of(left: ImageTopic, images: Sequence[ImageTopic]) -> list[ImageTopic]:
    """The right image of a stereo pair, by name and size; both need a calibration."""
    names = {left.topic.replace(a, b) for a, b in STEREO_WORDS if a in left.topic}
    return [
        p
        for p in images
        if p.topic in names and p.size == left.size and p.calibration is not None and left.calibration is not None
    ][:1]
