"""Bags written here: MCAP by `mcap-ros2-support`, which is not the library that reads them, and ROS 1 by rosbags."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap_ros2.writer import Writer
from rosbags.rosbag1 import Writer as BagWriter
from rosbags.typesys import Stores, get_typestore

from firstsight.errors import InputError
from firstsight.recordings.opening import available_sensors, open_recording
from firstsight.recordings.recording import Camera, Recording, Rig
from firstsight.recordings.ros import bag as ros_bag
from firstsight.recordings.ros.odometry import BodyPoses

START_NS = 1_700_000_000_123_456_789
PERIOD_NS = 100_000_000
FRAMES = 4
SIZE = (24, 40)
K = [30.0, 0.0, 19.5, 0.0, 31.0, 11.5, 0.0, 0.0, 1.0]
P_RIGHT = [28.0, 0.0, 19.5, -28.0 * 0.12, 0.0, 28.0, 11.5, 0.0, 0.0, 0.0, 1.0, 0.0]
OPTICAL = {"x": -0.5, "y": 0.5, "z": -0.5, "w": 0.5}  # body from an optical frame that looks ahead
LEVEL = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}
DEFINITIONS = get_typestore(Stores.ROS2_HUMBLE)


def header(frame: str, stamp_ns: int) -> dict:
    return {"stamp": {"sec": stamp_ns // 10**9, "nanosec": stamp_ns % 10**9}, "frame_id": frame}


def point(x=0.0, y=0.0, z=0.0) -> dict:
    return {"x": float(x), "y": float(y), "z": float(z)}


def frame_image(frame: int) -> np.ndarray:
    """RGB with another value in each channel and a bright pixel at row 3, column 5."""
    image = np.full((*SIZE, 3), (10 + frame, 60, 200), np.uint8)
    image[3, 5] = 255
    return image


def image(frame_id: str, stamp_ns: int, pixels: np.ndarray, encoding: str, padding: int = 0) -> dict:
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    return {
        "header": header(frame_id, stamp_ns),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": rows.shape[1],
        "data": rows.tobytes(),
    }


def camera_info(frame_id: str, stamp_ns: int, p=None, d=(), model="plumb_bob") -> dict:
    return {
        "header": header(frame_id, stamp_ns),
        "height": SIZE[0],
        "width": SIZE[1],
        "distortion_model": model,
        "d": list(d),
        "k": K,
        "r": [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0],
        "p": p or [28.0, 0.0, 19.5, 0.0, 0.0, 28.0, 11.5, 0.0, 0.0, 0.0, 1.0, 0.0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False},
    }


def cloud(frame_id: str, stamp_ns: int, time_type=("t", "<u4", 6)) -> dict:
    """Three points, the second NaN; 26 bytes each, so that fields are not aligned."""
    name, kind, datatype = time_type
    layout = np.dtype(
        {
            "names": ["x", "y", "z", "intensity", name],
            "formats": ["<f4", "<f4", "<f4", "<f4", kind],
            "offsets": [0, 4, 8, 14, 18],
            "itemsize": 26,
        }
    )
    points = np.zeros(3, layout)
    points["x"], points["y"], points["z"] = [1, np.nan, 3], [4, 5, 6], [7, 8, 9]
    points["intensity"] = [0.5, 0.6, 0.7]
    points[name] = [0, 5, 50_000_000] if kind == "<u4" else [stamp_ns / 1e9, 0, stamp_ns / 1e9 + 0.05]
    fields = [
        {"name": n, "offset": layout.fields[n][1], "datatype": datatype if n == name else 7, "count": 1}
        for n in layout.names
    ]
    return {
        "header": header(frame_id, stamp_ns),
        "height": 1,
        "width": 3,
        "fields": fields,
        "is_bigendian": False,
        "point_step": 26,
        "row_step": 78,
        "data": points.tobytes(),
        "is_dense": False,
    }


def odometry(stamp_ns: int, x: float) -> dict:
    return {
        "header": header("odom", stamp_ns),
        "child_frame_id": "base_link",
        "pose": {"pose": {"position": point(x, 2, 0.5), "orientation": LEVEL}, "covariance": [0.0] * 36},
        "twist": {"twist": {"linear": point(), "angular": point()}, "covariance": [0.0] * 36},
    }


def transforms(*edges: tuple[str, str, dict, dict], stamp_ns: int = 0) -> dict:
    return {
        "transforms": [
            {
                "header": header(parent, stamp_ns),
                "child_frame_id": child,
                "transform": {"translation": translation, "rotation": rotation},
            }
            for parent, child, translation, rotation in edges
        ]
    }


TREE = transforms(
    ("base_link", "mast", point(0.2, 0, 1.0), LEVEL),
    ("mast", "left_optical", point(0.1, 0.06, 0), OPTICAL),
    ("mast", "right_optical", point(0.1, -0.04, 0), OPTICAL),
    ("base_link", "lidar", point(0, 0, 1.5), LEVEL),
)


def write_mcap(path: Path, messages: list[tuple[str, str, int, dict]]) -> Path:
    """Messages are (topic, type, time of recording in ns, content)."""
    with path.open("wb") as file, Writer(file) as writer:
        schemas = {}
        for topic, kind, time_ns, content in sorted(messages, key=lambda m: m[2]):
            if kind not in schemas:
                text, _ = DEFINITIONS.generate_msgdef(kind.replace("/", "/msg/", 1), ros_version=2)
                schemas[kind] = writer.register_msgdef(kind.replace("/", "/msg/", 1), text)
            writer.write_message(topic, schemas[kind], content, log_time=time_ns, publish_time=time_ns)
    return path


def stereo_robot(padding: int = 0) -> list[tuple[str, str, int, dict]]:
    """A robot with a stereo pair (the right one 1 ms late), a LiDAR at half the rate and odometry in between."""
    messages = [("/tf_static", "tf2_msgs/TFMessage", START_NS, TREE)]
    for frame in range(FRAMES):
        stamp = START_NS + frame * PERIOD_NS
        late = stamp + 1_000_000
        messages += [
            (
                "/stereo/left/image_raw",
                "sensor_msgs/Image",
                stamp + 9,
                image("left_optical", stamp, frame_image(frame), "rgb8", padding),
            ),
            (
                "/stereo/right/image_raw",
                "sensor_msgs/Image",
                late,
                image("right_optical", late, frame_image(frame), "rgb8"),
            ),
            ("/stereo/left/camera_info", "sensor_msgs/CameraInfo", stamp, camera_info("left_optical", stamp)),
            ("/stereo/right/camera_info", "sensor_msgs/CameraInfo", late, camera_info("right_optical", late, P_RIGHT)),
            ("/odom", "nav_msgs/Odometry", stamp, odometry(stamp - PERIOD_NS // 4, frame - 0.25)),
        ]
        if frame % 2 == 0:
            sweep = stamp + 20_000_000
            messages.append(("/points", "sensor_msgs/PointCloud2", sweep, cloud("lidar", sweep)))
    messages.append(("/odom", "nav_msgs/Odometry", stamp + 1, odometry(stamp + PERIOD_NS // 4, FRAMES - 0.75)))
    return messages


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    path = write_mcap(tmp_path_factory.mktemp("bag") / "robot.mcap", stereo_robot(padding=7))
    return open_recording(str(path), rectify=False)


def test_frames_are_the_left_images_at_their_header_stamps(robot):
    assert robot.format == ros_bag.NAME
    np.testing.assert_array_equal(robot.stamps_ns, START_NS + PERIOD_NS * np.arange(FRAMES))
    assert available_sensors(robot) == ["camera", "stereo", "lidar", "odometry"]


def test_images_come_back_to_the_value_in_any_order(robot):
    for frame in (3, 0, 2, 1):
        for name in robot.rig.stereo:
            np.testing.assert_array_equal(robot.images[name][frame], frame_image(frame))


def test_camera_info_gives_intrinsics_and_the_baseline(robot):
    left, right = robot.rig.cameras
    np.testing.assert_array_equal(left.intrinsics, np.reshape(K, (3, 3)))
    left_from_right = np.linalg.inv(left.body_from_camera) @ right.body_from_camera
    np.testing.assert_allclose(left_from_right[:3, 3], [0.12, 0, 0], atol=1e-12)  # not the 0.10 m of /tf


def test_optical_frames_and_extrinsics_come_from_tf(robot):
    left = robot.rig.reference
    np.testing.assert_allclose(left.body_from_camera[:3, 3], [0.3, 0.06, 1.0], atol=1e-12)
    np.testing.assert_allclose(left.body_from_camera[:3, 2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(robot.rig.lidar.body_from_lidar[:3, 3], [0, 0, 1.5], atol=1e-12)


def test_scans_belong_to_the_nearest_frame_with_times_relative_to_it(robot):
    assert robot[1].scan() is None
    scan = robot[2].scan()
    np.testing.assert_array_equal(scan.points, [[1, 4, 7], [3, 6, 9]])
    np.testing.assert_array_equal(scan.intensity, np.array([0.5, 0.7], np.float32))
    np.testing.assert_allclose(scan.times_s, [0.02, 0.07], atol=1e-9)  # the sweep starts 20 ms after the image


def test_odometry_is_interpolated(robot):
    np.testing.assert_allclose(robot.odometry[:, 0, 3], np.arange(FRAMES), atol=1e-6)
    np.testing.assert_allclose(robot.odometry[:, 1:3, 3], [[2, 0.5]] * FRAMES, atol=1e-12)


def test_the_topics_taken_are_a_remark(robot):
    assert robot.remarks[0] == (
        "topics: images /stereo/left/image_raw and /stereo/right/image_raw, LiDAR /points, odometry /odom"
    )


def test_a_ros_2_folder_is_read_as_its_file(tmp_path):
    write_mcap(tmp_path / "part_0.mcap", stereo_robot())
    assert len(open_recording(str(tmp_path))) == FRAMES


@pytest.mark.parametrize(
    ("time_type", "expected"),
    [(("t", "<u4", 6), [0, 0.05]), (("timestamp", "<f8", 8), [0, 0.05])],
    ids=["ns from the start", "date in s"],
)
def test_times_of_points(tmp_path, time_type, expected):
    messages = [("/scan", "sensor_msgs/PointCloud2", START_NS, cloud("lidar", START_NS, time_type))]
    recording = open_recording(str(write_mcap(tmp_path / "lidar.mcap", messages)))
    assert available_sensors(recording) == ["lidar"]
    np.testing.assert_array_equal(recording.stamps_ns, [START_NS])
    np.testing.assert_allclose(recording[0].scan().times_s, expected, atol=1e-6)  # float64 dates resolve 0.2 us


def bayer(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """The mosaic of an image, pattern as in `rggb`: the first row's two colours, then the second's."""
    mosaic = np.zeros(rgb.shape[:2], np.uint8)
    for position, colour in enumerate(pattern):
        row, column = divmod(position, 2)
        mosaic[row::2, column::2] = rgb[row::2, column::2, "rgb".index(colour)]
    return mosaic


def smooth_image() -> np.ndarray:
    return np.full((*SIZE, 3), (40, 120, 200), np.uint8)


ENCODINGS = {
    "mono8": lambda rgb: rgb[:, :, 0],
    "bgr8": lambda rgb: rgb[:, :, ::-1],
    "rgba8": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA),
    "bgra8": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA),
    **{f"bayer_{p}8": lambda rgb, p=p: bayer(rgb, p) for p in ("rggb", "bggr", "gbrg", "grbg")},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_become_rgb(tmp_path, encoding):
    pixels = ENCODINGS[encoding](smooth_image())
    messages = [("/camera/image", "sensor_msgs/Image", START_NS, image("camera", START_NS, pixels, encoding))]
    recording = open_recording(str(write_mcap(tmp_path / "camera.mcap", messages)))
    expected = [40, 40, 40] if "mono" in encoding else [40, 120, 200]
    assert recording[0].image()[10, 10].tolist() == expected


def test_yuv422_becomes_rgb(tmp_path):
    pixels = np.zeros((*SIZE, 2), np.uint8)
    pixels[:, 0::2, 0], pixels[:, 1::2, 0], pixels[..., 1] = 90, 240, 145  # U, V, Y of pure red (BT.601)
    messages = [("/camera/image", "sensor_msgs/Image", START_NS, image("camera", START_NS, pixels, "yuv422"))]
    red, green, blue = open_recording(str(write_mcap(tmp_path / "c.mcap", messages)))[0].image()[10, 10].tolist()
    assert red > 240
    assert green < 90
    assert blue < 90


def test_compressed_images_and_the_raw_topic_beside_them(tmp_path):
    content = cv2.imencode(".png", frame_image(1)[:, :, ::-1])[1].tobytes()
    compressed = {"header": header("camera", START_NS), "format": "rgb8; png compressed bgr8", "data": content}
    messages = [("/camera/image/compressed", "sensor_msgs/CompressedImage", START_NS, compressed)]
    alone = open_recording(str(write_mcap(tmp_path / "alone.mcap", messages)))
    np.testing.assert_array_equal(alone[0].image(), frame_image(1))
    messages += [("/camera/image", "sensor_msgs/Image", START_NS, image("camera", START_NS, frame_image(2), "rgb8"))]
    both = open_recording(str(write_mcap(tmp_path / "both.mcap", messages)))
    assert list(both.images) == ["/camera/image"]


def test_without_camera_info_a_field_of_view_is_assumed(tmp_path):
    messages = [("/camera/image", "sensor_msgs/Image", START_NS, image("camera", START_NS, frame_image(1), "rgb8"))]
    recording = open_recording(str(write_mcap(tmp_path / "camera.mcap", messages)))
    assert recording.rig.reference.assumed
    assert any("field of view assumed" in remark for remark in recording.remarks)


def rgbd_robot(depth: np.ndarray, encoding: str) -> list[tuple[str, str, int, dict]]:
    info = camera_info("optical", START_NS, d=(-0.1, 0.01, 0.001, 0.002, 0.0))
    return [
        ("/camera/color/image_raw", "sensor_msgs/Image", START_NS, image("optical", START_NS, frame_image(0), "rgb8")),
        ("/camera/color/camera_info", "sensor_msgs/CameraInfo", START_NS, info),
        ("/camera/aligned_depth/image", "sensor_msgs/Image", START_NS, image("optical", START_NS, depth, encoding)),
    ]


@pytest.mark.parametrize(
    ("encoding", "raw", "missing"), [("16UC1", np.uint16(1500), 0), ("32FC1", np.float32(1.5), np.nan)]
)
def test_depth_is_in_metres(tmp_path, encoding, raw, missing):
    depth = np.full(SIZE, raw)
    depth[0, 0] = missing
    path = write_mcap(tmp_path / "rgbd.mcap", rgbd_robot(depth, encoding))
    found = open_recording(str(path), rectify=False)[0].depth()
    assert found.depth[4, 4] == 1.5
    assert not found.valid[0, 0]
    assert found.valid.sum() == found.valid.size - 1


def test_distortion_is_read_and_removed(tmp_path):
    path = write_mcap(tmp_path / "rgbd.mcap", rgbd_robot(np.full(SIZE, 1500, np.uint16), "16UC1"))
    distortion = open_recording(str(path), rectify=False).rig.reference.distortion
    assert distortion.model == "radial-tangential"
    assert distortion.coefficients == (-0.1, 0.01, 0.001, 0.002, 0.0)
    assert open_recording(str(path)).rig.reference.distortion is None


def test_rectified_topics_have_the_projections_intrinsics(tmp_path):
    info = camera_info("optical", START_NS, d=(-0.1, 0.01, 0.001, 0.002, 0.0))
    messages = [
        ("/camera/image_rect", "sensor_msgs/Image", START_NS, image("optical", START_NS, frame_image(0), "rgb8")),
        ("/camera/camera_info", "sensor_msgs/CameraInfo", START_NS, info),
    ]
    camera = open_recording(str(write_mcap(tmp_path / "rect.mcap", messages)), rectify=False).rig.reference
    assert camera.intrinsics[0, 0] == 28
    assert camera.distortion is None


def test_a_lidar_that_tf_does_not_connect_is_left_out_with_a_camera(tmp_path):
    messages = [m for m in stereo_robot() if m[0] != "/tf_static"]
    recording = open_recording(str(write_mcap(tmp_path / "robot.mcap", messages)))
    assert recording.scans is None
    assert any("LiDAR left out: /tf does not connect 'lidar'" in remark for remark in recording.remarks)
    assert any("camera is taken as looking ahead" in remark for remark in recording.remarks)


def test_frames_without_their_right_image_are_left_out(tmp_path):
    messages = [
        m for m in stereo_robot() if m[:3] != ("/stereo/right/image_raw", "sensor_msgs/Image", START_NS + 101_000_000)
    ]
    recording = open_recording(str(write_mcap(tmp_path / "robot.mcap", messages)))
    assert len(recording) == FRAMES - 1
    assert any("1 of 4 frames left out" in remark for remark in recording.remarks)


def test_poses_serve_where_there_is_no_odometry(tmp_path):
    messages = [
        (
            "/pose",
            "geometry_msgs/PoseStamped",
            START_NS + frame,
            {
                "header": header("map", START_NS + frame),
                "pose": {"position": point(frame, 0, 0), "orientation": OPTICAL},
            },
        )
        for frame in range(3)
    ]
    recording = open_recording(str(write_mcap(tmp_path / "poses.mcap", messages)))
    np.testing.assert_array_equal(recording.stamps_ns, START_NS + np.arange(3))
    np.testing.assert_allclose(recording.odometry[2][:3], [[0, 0, 1, 2], [-1, 0, 0, 0], [0, -1, 0, 0]], atol=1e-12)


def test_tf_serves_where_there_are_no_poses(tmp_path):
    messages = [
        (
            "/tf",
            "tf2_msgs/TFMessage",
            START_NS + frame,
            transforms(
                ("map", "odom", point(50 + frame), LEVEL),
                ("odom", "base_footprint", point(frame), LEVEL),
                ("base_footprint", "wheel", point(0, frame), LEVEL),
                stamp_ns=START_NS + frame * PERIOD_NS,
            ),
        )
        for frame in range(3)
    ]
    recording = open_recording(str(write_mcap(tmp_path / "tf.mcap", messages)))
    np.testing.assert_array_equal(recording.odometry[:, 0, 3], [0, 1, 2])
    np.testing.assert_array_equal(recording.stamps_ns, START_NS + PERIOD_NS * np.arange(3))
    assert recording.remarks == ("topics: odometry /tf odom -> base_footprint",)


def write_ros_1(path: Path) -> Path:
    store = get_typestore(Stores.ROS1_NOETIC)
    kinds = store.types
    stamp_of = kinds["builtin_interfaces/msg/Time"]
    with BagWriter(path) as writer:
        images = writer.add_connection("/camera/image_raw", "sensor_msgs/msg/Image", typestore=store)
        infos = writer.add_connection("/camera/camera_info", "sensor_msgs/msg/CameraInfo", typestore=store)
        for frame in range(FRAMES):
            stamp_ns = START_NS + frame * PERIOD_NS
            # a sequence number whose second byte is zero must not be taken for CDR's byte order
            head = kinds["std_msgs/msg/Header"](
                seq=frame, stamp=stamp_of(stamp_ns // 10**9, stamp_ns % 10**9), frame_id="/optical"
            )
            message = kinds["sensor_msgs/msg/Image"](
                head, *SIZE, "bgr8", 0, SIZE[1] * 3, np.ascontiguousarray(frame_image(frame)[:, :, ::-1]).ravel()
            )
            writer.write(images, stamp_ns + 5, store.serialize_ros1(message, "sensor_msgs/msg/Image"))
            region = kinds["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
            info = kinds["sensor_msgs/msg/CameraInfo"](
                head, *SIZE, "plumb_bob", np.zeros(5), np.array(K), np.eye(3).ravel(), np.zeros(12), 0, 0, region
            )
            writer.write(infos, stamp_ns + 5, store.serialize_ros1(info, "sensor_msgs/msg/CameraInfo"))
    return path


def test_a_ros_1_bag_comes_back_to_the_value(tmp_path):
    recording = open_recording(str(write_ros_1(tmp_path / "camera.bag")))
    np.testing.assert_array_equal(recording.stamps_ns, START_NS + PERIOD_NS * np.arange(FRAMES))
    np.testing.assert_array_equal(recording.rig.reference.intrinsics, np.reshape(K, (3, 3)))
    for frame in (2, 0, 3, 1):
        np.testing.assert_array_equal(recording[frame].image(), frame_image(frame))


def test_messages_recorded_in_one_nanosecond_are_told_apart(tmp_path):
    messages = [
        ("/camera/image", "sensor_msgs/Image", START_NS, image("camera", START_NS + frame, frame_image(frame), "rgb8"))
        for frame in range(3)
    ]
    recording = open_recording(str(write_mcap(tmp_path / "burst.mcap", messages)))
    assert sorted(int(recording[frame].image()[0, 0, 0]) for frame in range(3)) == [10, 11, 12]


@pytest.mark.parametrize("suffix", ["bag", "mcap", "db3"])
@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 8], ids=["empty", "binary"])
def test_a_file_that_is_no_bag_is_an_error(tmp_path, suffix, content):
    (tmp_path / f"drive.{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=rf"drive\.{suffix}: cannot be read as a ROS bag") as raised:
        open_recording(str(tmp_path / f"drive.{suffix}"))
    assert "\n" not in str(raised.value)


def test_a_bag_that_was_cut_off_is_an_error(tmp_path):
    path = write_mcap(tmp_path / "robot.mcap", stereo_robot())
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match="cannot be read as a ROS bag"):
        open_recording(str(path))


def test_a_bag_without_anything_of_use_is_an_error(tmp_path):
    messages = [("/tf_static", "tf2_msgs/TFMessage", START_NS, TREE)]
    with pytest.raises(InputError, match="has no Image, PointCloud2, Odometry"):
        open_recording(str(write_mcap(tmp_path / "tf.mcap", messages)))


def test_an_unknown_encoding_is_named_with_its_message(tmp_path):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    messages = [("/camera/image", "sensor_msgs/Image", START_NS, image("camera", START_NS, pixels, "xyz8"))]
    recording = open_recording(str(write_mcap(tmp_path / "c.mcap", messages)))
    with pytest.raises(InputError, match=r"/camera/image message 0: image encoding 'xyz8' is none of mono8"):
        recording[0].image()


def test_a_damaged_first_image_loses_its_frame_only(tmp_path):
    messages = [
        (
            "/camera/image/compressed",
            "sensor_msgs/CompressedImage",
            START_NS + frame,
            {"header": header("camera", START_NS + frame), "format": "png", "data": content},
        )
        for frame, content in enumerate([b"no image", *[cv2.imencode(".png", frame_image(1))[1].tobytes()] * 2])
    ]
    recording = open_recording(str(write_mcap(tmp_path / "camera.mcap", messages)))
    assert recording.rig.reference.size == SIZE
    assert recording[1].image().shape == (*SIZE, 3)
    with pytest.raises(InputError, match=r"camera\.mcap: /camera/image/compressed message 0: damaged or truncated"):
        recording[0].image()


def test_the_real_mcap_agrees_with_evo(shared_data):
    """`evo_traj mcap nav2_turtlebot.mcap /odom` prints: 2639 poses, 34.322m path length, 96.696s duration."""
    recording = open_recording(str(shared_data / "trajectories" / "nav2_turtlebot.mcap"))
    assert available_sensors(recording) == ["odometry"]
    assert len(recording) == 2639
    steps_m = np.linalg.norm(np.diff(recording.odometry[:, :3, 3], axis=0), axis=1)
    assert steps_m.sum() == pytest.approx(34.322, abs=5e-4)
    assert (recording.stamps_ns[-1] - recording.stamps_ns[0]) / 1e9 == pytest.approx(96.696, abs=5e-4)
    # and its TUM file starts: 928.8 -2.801916634061231 1.097790149129225 0 0 0 0.0845735961695860 -0.9964172353140746
    assert recording.stamps_ns[0] == 928_800_000_000
    np.testing.assert_allclose(recording.odometry[0][:2, 3], [-2.801916634061231, 1.097790149129225], rtol=1e-15)
    yaw_rad = np.arctan2(recording.odometry[0][1, 0], recording.odometry[0][0, 0])
    assert yaw_rad == pytest.approx(-2 * np.arcsin(0.0845735961695860))


def test_the_real_ros_1_bag_of_tf_alone(shared_data):
    recording = open_recording(str(shared_data / "trajectories" / "tf_example.bag"))
    assert len(recording) == 517
    assert recording.remarks == ("topics: odometry /tf odom -> base_footprint",)
    np.testing.assert_allclose(recording.odometry[0][:2, 3], [1.16037969, -2.94242689], atol=1e-8)


def test_frames_outside_of_the_odometry_s_times_are_said_with_their_number():
    """Odometry from 2 to 4 s and frames at 1, 2, 3.5, 4 and 5 s: two lie outside."""
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = 10.0, 20.0, 40.0
    known = BodyPoses("/odom", None, np.array([2, 3, 4]) * 10**9, poses)
    camera = Camera(name="a", size=SIZE, intrinsics=np.eye(3), body_from_camera=np.eye(4))
    stamps = np.array([1_000_000_000, 2_000_000_000, 3_500_000_000, 4_000_000_000, 5_000_000_000])
    recording = Recording(source="", format="", rig=Rig(cameras=(camera,)), stamps_ns=stamps)
    moved = ros_bag._with_odometry(recording, known)
    assert moved.odometry is not None
    assert moved.odometry[:, 0, 3].tolist() == pytest.approx([10, 10, 30, 40, 40])
    assert [remark.split()[0] for remark in moved.remarks] == ["2"]
    inside = ros_bag._with_odometry(recording[1:4], known)
    assert inside.remarks == ()
