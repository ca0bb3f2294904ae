"""The image topics of a ROS bag, and which of them are read.

Left and right are told by name, depth by its encoding; the calibration is the CameraInfo beside the topic or of its frame.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from firstsight.errors import InputError
from firstsight.formats.png import white_of
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
    white: int
    is_depth: bool
    may_be_light: bool
    is_colour: bool
    calibration: Calibration | None


class Found(NamedTuple):
    """The image topics that can be read, and why others cannot."""

    images: list[ImageTopic]
    remarks: list[str]


def image_topics(bag: Bag) -> Found:
    """Returns what a bag has; a topic that cannot be read closes nothing but itself."""
    topics = bag.topics(*IMAGES)
    infos = {topic: bag.first(topic) for topic in bag.topics(CAMERA_INFO)}
    beside_raw = {
        topic for topic in topics if topic.rpartition("/")[0] in topics and topic.rpartition("/")[2] in COMPRESSED
    }
    found = Found([], [])
    for topic in topics:
        if topic not in beside_raw:
            try:
                found.images.append(_image_topic(bag, topic, infos))
            except InputError as error:
                found.remarks.append(str(error))
    return found


def _image_topic(bag: Bag, topic: str, infos: Mapping[str, Any]) -> ImageTopic:
    first, where = bag.first(topic), f"{bag.path}: {topic}"
    frame, (size, white) = frame_name(first.header.frame_id), _kind(bag, topic)
    raw_topic = topic.rpartition("/")[0] if topic.rpartition("/")[2] in COMPRESSED else topic
    same_frame = (info for info in infos.values() if frame_name(info.header.frame_id) == frame)
    info = infos.get(f"{raw_topic.rpartition('/')[0]}/camera_info") or next(same_frame, None)
    calibration = _calibration(info, size, where) if info is not None else None
    return ImageTopic(
        topic=topic,
        frame=frame,
        size=size,
        white=white,
        is_depth=ros_messages.is_depth(first, topic),
        may_be_light=ros_messages.may_be_light(first, topic),
        is_colour="mono" not in ros_messages.encoding_of(first) and "infra" not in topic,
        calibration=calibration.rectified() if calibration is not None and "rect" in topic else calibration,
    )


def _calibration(info: Any, size: tuple[int, int], where: str) -> Calibration | None:
    """What a CameraInfo says of images of this size: the whole image, or its region, binned."""
    calibration, whole = ros_messages.calibration(info, where), (info.height, info.width)
    if calibration is None or whole in (size, (0, 0)):
        return calibration
    if ros_messages.image_size_of(info) != size:
        raise InputError(f"{where}: is {size[1]}x{size[0]} but calibrated for {whole[1]}x{whole[0]}; record both alike")
    return ros_messages.windowed(calibration, info)


def _kind(bag: Bag, topic: str) -> tuple[tuple[int, int], int]:
    """(height, width) of most of a topic's first images, so that a damaged one loses its frame only, and the white of 16 bits."""
    sizes, lights, where = [], [], f"{bag.path}: {topic}"
    reason = ""
    for message in islice(bag.messages(topic), SIZE_VOTES):
        try:
            sizes.append(ros_messages.size_of(message, where))
            lights.append(ros_messages.sixteen_bit_light(message, where))
        except InputError as error:
            reason = reason or str(error)
    if not sizes:
        raise InputError(f"{where}: none of its first {SIZE_VOTES} images can be read ({reason.partition(': ')[2]})")
    return max(sizes, key=sizes.count), white_of([light for light in lights if light is not None])


def choose_images(images: Sequence[ImageTopic]) -> tuple[tuple[ImageTopic, ...], ImageTopic | None]:
    """The reference camera, followed by its right one if any, and the depth that belongs to the reference.

    Depth registered to a camera decides the reference; without depth a stereo pair does. Rectified topics and colour win. Where
    there is nothing else, 16-bit values that do not call themselves depth are light, as of a thermal camera.
    """
    light = sorted(
        (p for p in images if not p.is_depth), key=lambda p: ("rect" not in p.topic, not p.is_colour, p.topic)
    )
    light = light or [p for p in images if p.may_be_light]
    depths = [p for p in images if p.is_depth and p not in light]
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


def left_out(images: Sequence[ImageTopic], depth: ImageTopic | None) -> list[str]:
    """A remark on depth that belongs to no camera, where none does."""
    depths = [p for p in images if p.is_depth and not p.may_be_light]
    if depth is not None or not depths or all(p.is_depth for p in images):
        return []
    other = depths[0]
    return [
        f"depth left out: {other.topic} is {other.size[1]}x{other.size[0]} in frame '{other.frame}', that of no other camera "
        "topic; record depth that is aligned to the colour camera (aligned_depth_to_color)"
    ]


def _right_of(left: ImageTopic, images: Sequence[ImageTopic]) -> list[ImageTopic]:
    """The right image of a stereo pair, by name and size; both need a calibration."""
    names = {left.topic.replace(a, b) for a, b in STEREO_WORDS if a in left.topic}
    return [
        p
        for p in images
        if p.topic in names and p.size == left.size and p.calibration is not None and left.calibration is not None
    ][:1]
