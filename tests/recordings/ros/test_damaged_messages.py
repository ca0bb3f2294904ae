"""Messages that no sensor sends: each ends with one line that names the bag and the topic."""

import sqlite3
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from firstsight.errors import InputError
from firstsight.recordings.opening import open_recording
from firstsight.recordings.ros import messages

from .test_bag import LEVEL as UPRIGHT
from .test_bag import START_NS, point, stereo_robot, transforms, write_mcap

WHERE = "robot.mcap: /camera"
K = [30.0, 0.0, 19.5, 0.0, 31.0, 11.5, 0.0, 0.0, 1.0]
LEVEL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
P = [28.0, 0.0, 19.5, 0.0, 0.0, 28.0, 11.5, 0.0, 0.0, 0.0, 1.0, 0.0]


def camera_info(k=K, d=(), r=LEVEL, p=P, model="plumb_bob") -> SimpleNamespace:
    return SimpleNamespace(k=list(k), d=np.array(d, np.float64), r=list(r), p=list(p), distortion_model=model)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (camera_info(k=[np.nan, *K[1:]]), "K of its CameraInfo: not a camera matrix"),
        (camera_info(k=[*K[:2], np.inf, *K[3:]]), "K of its CameraInfo: not a camera matrix"),
        (camera_info(k=[-30.0, *K[1:]]), "K of its CameraInfo: not a camera matrix"),
        (camera_info(p=[np.nan, *P[1:]]), "P of its CameraInfo: not a camera matrix"),
        (camera_info(r=[2.0] * 9), "R of its CameraInfo: holds a transform whose rotation"),
        (camera_info(d=(0.1, 0.2, 0.3)), "'plumb_bob' needs 5 distortion coefficients, its CameraInfo has 3"),
        (camera_info(d=(0.1,) * 5, model="equidistant"), None),
        (camera_info(d=(0.1,) * 3, model="equidistant"), "'equidistant' needs 4 distortion coefficients"),
        (camera_info(d=(0.1,) * 7, model="rational_polynomial"), "'rational_polynomial' needs 8"),
        (camera_info(d=(0.1, np.nan, 0.0, 0.0)), "distortion coefficients of its CameraInfo are not finite"),
    ],
)
def test_a_camera_info_that_is_no_calibration(info, message):
    if message is None:
        assert messages.calibration(info, WHERE).distortion.coefficients == (0.1,) * 4
        return
    with pytest.raises(InputError, match=f"^{WHERE}: .*{message}"):
        messages.calibration(info, WHERE)


def test_plumb_bob_without_its_fifth_coefficient_is_read():
    found = messages.calibration(camera_info(d=(-0.1, 0.01, 0.001, 0.002)), WHERE)
    assert found.distortion.coefficients == (-0.1, 0.01, 0.001, 0.002)


def test_a_camera_that_says_it_is_not_calibrated_has_no_calibration():
    assert messages.calibration(camera_info(k=[0.0] * 9, p=[0.0] * 12), WHERE) is None


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_pose_that_is_not_finite(broken):
    level = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    with pytest.raises(InputError, match=f"^{WHERE}: a pose that is not finite"):
        messages.transform(SimpleNamespace(x=broken, y=0.0, z=0.0), level, WHERE)


def test_a_compressed_image_with_an_absurd_header():
    content = cv2.imencode(".png", np.zeros((4, 6), np.uint8))[1].tobytes()
    header = b"IHDR" + struct.pack(">II", 13_000, 13_000) + content[24:29]
    content = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    with pytest.raises(InputError, match=f"^{WHERE}: its header says 13000x13000"):
        messages.image(SimpleNamespace(format="bgr8; png", data=content), 65535, WHERE)


@pytest.mark.parametrize("codec", ["h264", "bgr8; H265"])
def test_a_video_in_pieces_is_not_called_damaged(codec: str):
    piece = SimpleNamespace(format=codec, data=bytes([0, 0, 0, 1, 0x67, 0x42, 0, 0x1E]))
    for read in (messages.image, lambda message, white, where: messages.size_of(message, where)):
        with pytest.raises(InputError, match=rf"^{WHERE}: a video in pieces \('{codec}'\), not images; decode it"):
            read(piece, 65535, WHERE)


def test_a_point_cloud_with_two_z_per_point():
    fields = [
        SimpleNamespace(name=name, offset=4 * index, datatype=7, count=1 + (name == "z"))
        for index, name in enumerate("xyz")
    ]
    cloud = SimpleNamespace(
        fields=fields, is_bigendian=False, height=1, width=1, point_step=16, row_step=16, data=bytes(16)
    )
    with pytest.raises(InputError, match=f"^{WHERE}: a point cloud without one x, y, z per point"):
        messages.scan(cloud, 0, None, WHERE)


@pytest.mark.parametrize("offset", [13, 16, 2**31, 2**32 - 4])
def test_a_field_that_lies_outside_of_its_point_is_not_read(offset: int):
    """NumPy takes an offset of 2^32 - 4 for 4 bytes in front of the points, where there is other memory, or none."""
    offsets = {"x": 0, "y": 4, "z": 8, "t": offset}
    fields = [SimpleNamespace(name=name, offset=at, datatype=7, count=1) for name, at in offsets.items()]
    cloud = SimpleNamespace(
        fields=fields, is_bigendian=False, height=1, width=2, point_step=16, row_step=32, data=bytes(range(32))
    )
    with pytest.raises(InputError, match=f"^{WHERE}: the field t of its points begins at byte {offset} of 16; choose"):
        messages.point_times(cloud, WHERE)


def write_ros_2(folder: Path) -> Path:
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(folder, version=8) as writer:
        connection = writer.add_connection("/word", "std_msgs/msg/String", typestore=store)
        word = store.types["std_msgs/msg/String"]("a")
        writer.write(connection, 5, store.serialize_cdr(word, "std_msgs/msg/String"))
    return folder


def test_a_topic_without_a_name_is_an_error(tmp_path):
    folder = write_ros_2(tmp_path / "drive")
    described = folder / "metadata.yaml"
    described.write_text(described.read_text().replace("name: /word", "name: []"))
    with pytest.raises(InputError, match="drive: cannot be read as a ROS bag"):
        open_recording(str(folder))


def test_a_time_that_is_a_word_is_an_error(tmp_path):
    file = write_ros_2(tmp_path / "drive") / "drive.db3"
    database = sqlite3.connect(file)
    database.execute("update messages set timestamp='noon'")
    database.commit()
    database.close()
    with pytest.raises(InputError, match=r"drive\.db3: cannot be read as a ROS bag"):
        open_recording(str(file))


@pytest.mark.parametrize(("change", "reason"), [
    ("update messages set timestamp='noon'", ""),
    ("delete from messages", "no message of /odom is left"),
    ("update messages set data='words'", ""),
])  # fmt: skip
def test_a_table_that_holds_something_else_is_an_error(tmp_path, change, reason):
    folder = write_ros_2_odometry(tmp_path / "drive")
    database = sqlite3.connect(folder / "drive.db3")
    database.execute(change)
    database.commit()
    database.close()
    with pytest.raises(InputError, match=rf"drive: cannot be read as a ROS bag \({reason}"):
        open_recording(str(folder))


def test_a_database_with_noise_in_it_is_an_error(tmp_path):
    file = write_ros_2_odometry(tmp_path / "drive") / "drive.db3"
    content = file.read_bytes()
    start = content.rindex(b"base_link") - 200
    file.write_bytes(content[:start] + bytes(range(255, 0, -1)) * (1 + (len(content) - start) // 255))
    with pytest.raises(InputError, match=r"drive\.db3: cannot be read as a ROS bag"):
        open_recording(str(file))


def write_ros_2_odometry(folder: Path) -> Path:
    """A bag of two poses in SQLite."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    kind = "nav_msgs/msg/Odometry"
    with Writer(folder, version=8) as writer:
        connection = writer.add_connection("/odom", kind, typestore=store)
        for number in range(2):
            stamp = types["builtin_interfaces/msg/Time"](5 + number, 0)
            position = types["geometry_msgs/msg/Point"](float(number), 0.0, 0.0)
            pose = types["geometry_msgs/msg/Pose"](position, types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0))
            still = types["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
            message = types[kind](
                types["std_msgs/msg/Header"](stamp, "odom"),
                "base_link",
                types["geometry_msgs/msg/PoseWithCovariance"](pose, np.zeros(36)),
                types["geometry_msgs/msg/TwistWithCovariance"](
                    types["geometry_msgs/msg/Twist"](still, still), np.zeros(36)
                ),
            )
            writer.write(connection, (5 + number) * 10**9, store.serialize_cdr(message, kind))
    return folder


def test_poses_that_are_none_are_left_out_and_said(tmp_path):
    """One joint and one pose of a robot must not close its bag."""
    broken = stereo_robot()
    odometry_of = [content for topic, _, _, content in broken if topic == "/odom"]
    odometry_of[1]["pose"]["pose"]["position"]["x"] = float("nan")
    gripper = transforms(("base_link", "gripper", point(np.inf), UPRIGHT))
    broken.append(("/tf", "tf2_msgs/TFMessage", START_NS, gripper))
    recording = open_recording(str(write_mcap(tmp_path / "robot.mcap", broken)), rectify=False)
    np.testing.assert_allclose(recording.odometry[:, 0, 3], [0, 1, 2, 3], atol=1e-6)
    assert recording.rig.stereo is not None
    left_out = [remark for remark in recording.remarks if remark.startswith("left out: ")]
    cure = "a pose that is not finite; leave the topic or the time out of the bag"
    assert left_out == [
        f"left out: 1 of 5 poses; {tmp_path}/robot.mcap: /odom: {cure}",
        f"left out: from 'base_link' to 'gripper', {tmp_path}/robot.mcap: /tf: {cure}",
    ]
    for content in odometry_of:
        content["pose"]["pose"]["orientation"] = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 0.0}
    without = open_recording(str(write_mcap(tmp_path / "without.mcap", broken)), rectify=False)
    assert without.odometry is None
    assert any(
        r.startswith("odometry left out: ") and "a pose with the quaternion 0 0 0 0" in r for r in without.remarks
    )
