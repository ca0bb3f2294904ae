"""Fields of standard messages that drivers use and readers forget, and topics that cannot be used."""

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.opening import open_recording

from .test_bag import PERIOD_NS, SIZE, START_NS, camera_info, frame_image, image, rgbd_robot, write_mcap


def one_camera(pixels, encoding="rgb8", **info):
    """A camera whose CameraInfo, of 40x24 pixels with fx 30, fy 31, cx 19.5, cy 11.5, has these fields."""
    content = camera_info("camera", START_NS) | info
    return [
        ("/camera/image", "sensor_msgs/Image", START_NS, image("camera", START_NS, pixels, encoding)),
        ("/camera/camera_info", "sensor_msgs/CameraInfo", START_NS, content),
    ]


def intrinsics_of(tmp_path, messages):
    return open_recording(str(write_mcap(tmp_path / "camera.mcap", messages))).rig.reference.intrinsics.tolist()


def test_binned_images_have_a_shorter_focal_length(tmp_path):
    messages = one_camera(np.zeros((12, 10, 3), np.uint8), binning_x=4, binning_y=2)
    assert intrinsics_of(tmp_path, messages) == [[7.5, 0, 4.875], [0, 15.5, 5.75], [0, 0, 1]]


def test_a_region_of_interest_moves_the_principal_point(tmp_path):
    roi = {"x_offset": 5, "y_offset": 3, "height": 16, "width": 32, "do_rectify": False}
    messages = one_camera(np.zeros((8, 16, 3), np.uint8), roi=roi, binning_x=2, binning_y=2)
    assert intrinsics_of(tmp_path, messages) == [[15, 0, 7.25], [0, 15.5, 4.25], [0, 0, 1]]


def test_a_size_that_no_field_explains_is_an_error(tmp_path):
    with pytest.raises(InputError, match="is 9x12 but calibrated for 40x24"):
        intrinsics_of(tmp_path, one_camera(np.zeros((12, 9, 3), np.uint8), binning_x=4, binning_y=2))


def test_a_clock_that_stands_still_is_replaced_by_the_times_of_recording(tmp_path):
    messages = [
        (
            "/camera/image",
            "sensor_msgs/Image",
            START_NS + k * PERIOD_NS,
            image("camera", START_NS, frame_image(k), "rgb8"),
        )
        for k in range(3)
    ]
    recording = open_recording(str(write_mcap(tmp_path / "camera.mcap", messages)))
    np.testing.assert_array_equal(recording.stamps_ns, [START_NS, START_NS + PERIOD_NS, START_NS + 2 * PERIOD_NS])
    assert "all stamps of /camera/image are equal: the times of recording are taken" in recording.remarks


@pytest.mark.parametrize(("encoding", "topic"), [("mono16", "/camera/image"), ("16UC1", "/thermal/image_raw")])
def test_twelve_bits_in_sixteen_are_light_of_full_range(tmp_path, encoding, topic):
    pixels = np.full(SIZE, 2048, "<u2")
    pixels[0, 0] = 4095
    messages = [(topic, "sensor_msgs/Image", START_NS, image("camera", START_NS, pixels, encoding))]
    frame = open_recording(str(write_mcap(tmp_path / "camera.mcap", messages)))[0].image()
    assert frame[0, 0].tolist() == [255, 255, 255]
    assert frame[3, 3].tolist() == [127, 127, 127]


def rvl_of(depth: np.ndarray) -> bytes:
    """Wilson's encoder, written plainly: groups of three bits, the lowest first, eight groups in a word."""
    groups: list[int] = []

    def put(number: int) -> None:
        while True:
            number, low = number >> 3, number & 7
            groups.append(low | (8 if number else 0))
            if not number:
                return

    values, at, previous = depth.ravel().tolist(), 0, 0
    while at < len(values):
        zeros = 0
        while at + zeros < len(values) and values[at + zeros] == 0:
            zeros += 1
        run = []
        while at + zeros + len(run) < len(values) and values[at + zeros + len(run)] != 0:
            run.append(values[at + zeros + len(run)])
        put(zeros)
        put(len(run))
        for value in run:
            change, previous = value - previous, value
            put(2 * change if change >= 0 else -2 * change - 1)
        at += zeros + len(run)
    groups += [0] * (-len(groups) % 8)
    words = [sum(g << (28 - 4 * k) for k, g in enumerate(groups[i : i + 8])) for i in range(0, len(groups), 8)]
    return np.array([depth.shape[1], depth.shape[0]], "<u4").tobytes() + np.array(words, "<u4").tobytes()


def compressed_depth(content: bytes, kind: str) -> tuple:
    message = {
        "header": {"stamp": {"sec": START_NS // 10**9, "nanosec": START_NS % 10**9}, "frame_id": "optical"},
        "format": f"16UC1; compressedDepth {kind}",
        "data": bytes(12) + content,
    }
    return ("/camera/aligned_depth/image/compressedDepth", "sensor_msgs/CompressedImage", START_NS, message)


def depth_with_holes() -> np.ndarray:
    depth = np.random.default_rng(4).integers(400, 9000, SIZE).astype(np.uint16)
    depth[5:9, 3:30] = 0
    depth[0, :2] = 0
    depth[-1, -1] = 65535
    return depth


def test_depth_in_rvl(tmp_path):
    depth = depth_with_holes()
    messages = [*rgbd_robot(depth, "16UC1")[:2], compressed_depth(rvl_of(depth), "rvl")]
    found = open_recording(str(write_mcap(tmp_path / "rvl.mcap", messages)), rectify=False)[0].depth()
    np.testing.assert_array_equal(found.valid, depth > 0)
    np.testing.assert_allclose(found.depth, depth / 1000, atol=1e-5)


@pytest.mark.parametrize("content", [b"", bytes(8), rvl_of(depth_with_holes())[:-40], b"\xff" * 400])
def test_depth_that_cannot_be_read_leaves_the_colour(tmp_path, content):
    messages = [*rgbd_robot(depth_with_holes(), "16UC1")[:2], compressed_depth(content, "rvl")]
    recording = open_recording(str(write_mcap(tmp_path / "rvl.mcap", messages)))
    assert recording.depth is None
    assert recording[0].image().shape == (*SIZE, 3)
    assert any(r.startswith("left out: ") and "damaged RVL depth image" in r for r in recording.remarks)


def test_depth_of_another_camera_is_left_out_and_said(tmp_path):
    other = image("depth_optical", START_NS, np.full((20, 30), 900, "<u2"), "16UC1")
    messages = [
        *rgbd_robot(depth_with_holes(), "16UC1")[:2],
        ("/camera/depth/image", "sensor_msgs/Image", START_NS, other),
    ]
    recording = open_recording(str(write_mcap(tmp_path / "rgbd.mcap", messages)))
    assert recording.depth is None
    assert any(
        r.startswith("depth left out: /camera/depth/image is 30x20 in frame 'depth_optical'") for r in recording.remarks
    )


def test_a_png_of_depth_is_read_still(tmp_path):
    depth = depth_with_holes()
    content = cv2.imencode(".png", depth)[1].tobytes()
    messages = [*rgbd_robot(depth, "16UC1")[:2], compressed_depth(content, "png")]
    found = open_recording(str(write_mcap(tmp_path / "png.mcap", messages)), rectify=False)[0].depth()
    np.testing.assert_allclose(found.depth, depth / 1000, atol=1e-5)
