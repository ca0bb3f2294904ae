"""Recognition, restriction to sensors, choice of frames, and what a user is told when it cannot be done."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.opening import FORMATS, frame_indices, in_time_order, open_recording, restrict
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Camera,
    Channel,
    DepthImage,
    Lidar,
    Recording,
    Rig,
    Scan,
    Truth,
)

FRAMES = 4
SIZE = (12, 20)
INTRINSICS = np.array([[10.0, 0.0, 9.5], [0.0, 10.0, 5.5], [0.0, 0.0, 1.0]])
BODY_FROM_LIDAR = np.eye(4)
BODY_FROM_LIDAR[2, 3] = 1.0  # a metre above the camera


def camera(name: str, left_m: float) -> Camera:
    body_from_camera = BODY_FROM_FORWARD_CAMERA.copy()
    body_from_camera[1, 3] = left_m
    return Camera(name=name, size=SIZE, intrinsics=INTRINSICS, body_from_camera=body_from_camera)


@pytest.fixture
def everything() -> Recording:
    """A recording with every sensor; its LiDAR sees one point 5 m ahead of the camera."""
    depth = DepthImage(np.full(SIZE, 7.0, np.float32), np.ones(SIZE, bool))
    scan = Scan(np.array([[5.0, 0.0, -1.0]], np.float32))
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, 0, 3] = np.arange(FRAMES)
    image = np.zeros((*SIZE, 3), np.uint8)
    return Recording(
        source="all.bag",
        format="by hand",
        rig=Rig(
            cameras=(camera("left", 0.0), camera("right", -0.5)),
            stereo=("left", "right"),
            lidar=Lidar(body_from_lidar=BODY_FROM_LIDAR),
        ),
        stamps_ns=np.arange(FRAMES) * 100,
        images={name: Channel(FRAMES, lambda _: image) for name in ("left", "right")},
        depth=Channel(FRAMES, lambda _: depth),
        scans=Channel(FRAMES, lambda _: scan),
        odometry=poses,
        truth=Truth(world_from_camera=poses @ BODY_FROM_FORWARD_CAMERA),
    )


def test_camera_alone_is_the_reference_camera(everything):
    kept = restrict(everything, frozenset({"camera"}))
    assert [c.name for c in kept.rig.cameras] == ["left"]
    assert set(kept.images) == {"left"}
    assert kept.rig.stereo is kept.rig.lidar is kept.depth is kept.scans is kept.odometry is None


def test_stereo_keeps_the_pair(everything):
    kept = restrict(everything, frozenset({"stereo", "odometry"}))
    assert kept.rig.stereo == ("left", "right")
    assert kept.odometry is everything.odometry


def test_dropped_sensor_depth_becomes_the_truth_before_the_lidars(everything):
    kept = restrict(everything, frozenset({"camera"}))
    assert kept.truth.depth_reference == "depth sensor"
    assert kept.truth.depth[0].depth[0, 0] == 7


def test_dropped_lidar_becomes_the_truth(everything):
    kept = restrict(replace(everything, depth=None), frozenset({"camera"}))
    assert kept.truth.depth_reference == "LiDAR returns"
    depth, valid = kept.truth.depth[2]
    # 5 m ahead and level with the camera: the principal point (9.5, 5.5) rounds to even
    assert valid.sum() == 1
    assert valid[6, 10]
    assert depth[6, 10] == 5


def test_true_depth_that_exists_is_kept(everything):
    truth = replace(everything.truth, depth=everything.depth, depth_reference="ground truth")
    assert restrict(replace(everything, truth=truth), frozenset({"camera"})).truth is truth


def test_depth_that_is_kept_is_no_truth(everything):
    kept = restrict(everything, frozenset({"depth", "lidar"}))
    assert kept.depth is not None
    assert kept.truth.depth is None
    assert kept.rig.stereo is None


def test_without_cameras_the_true_trajectory_is_the_bodys(everything):
    kept = restrict(everything, frozenset({"lidar"}))
    assert kept.rig.cameras == ()
    assert kept.images == {}
    np.testing.assert_allclose(kept.truth.world_from_camera[3][:3, 3], [3, 0, 0], atol=1e-12)
    np.testing.assert_allclose(kept.truth.world_from_camera[3][:3, :3], np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        ({"radar"}, "'radar' is none of camera, stereo, depth, lidar, odometry"),
        ({"lidar", "odometry"}, r"lidar, odometry would leave nothing; all\.bag has camera, stereo"),
        (set(), "none would leave nothing"),
    ],
)
def test_sensors_that_cannot_be_kept(everything, sensors, message):
    without = replace(everything, scans=None, depth=None, odometry=None, rig=replace(everything.rig, lidar=None))
    with pytest.raises(InputError, match=message):
        restrict(without, frozenset(sensors))


@pytest.mark.parametrize(
    ("text", "expected"),
    [(":", [0, 1, 2, 3, 4]), ("1:3", [1, 2]), ("::2", [0, 2, 4]), ("-2:", [3, 4]), ("1:99:3", [1, 4])],
)
def test_frames_are_chosen_as_python_slices(text, expected):
    assert list(frame_indices(text, 5)) == expected


@pytest.mark.parametrize("text", ["3", "a:b", "1:2:3:4", "::0", "::-1", "", "7:9", "2:2"])
def test_frames_that_cannot_be_chosen(text):
    with pytest.raises(InputError, match="frames '"):
        frame_indices(text, 5)


@pytest.fixture
def images(tmp_path):
    for frame in range(5):
        cv2.imwrite(str(tmp_path / f"{frame}.png"), np.full((*SIZE, 3), frame, np.uint8))
    return tmp_path


def test_frames_of_an_opened_recording(images):
    recording = open_recording(str(images), frames="1:5:2")
    assert [int(frame.image()[0, 0, 0]) for frame in recording] == [1, 3]
    np.testing.assert_array_equal(recording.stamps_ns, [100_000_000, 300_000_000])


@pytest.mark.parametrize("fov_deg", [0.0, 180.0, -5.0, float("nan")])
def test_an_impossible_field_of_view_is_an_error(images, fov_deg):
    with pytest.raises(InputError, match="must be between 1 and 175 degrees"):
        open_recording(str(images), fov_deg=fov_deg)


def test_a_field_of_view_for_a_calibrated_camera_is_an_error(images):
    (images / "intrinsics.txt").write_text("10 0 9.5\n0 10 5.5\n0 0 1\n")
    with pytest.raises(InputError, match="brings its own calibration"):
        open_recording(str(images), fov_deg=60.0)


def test_frames_listed_out_of_the_order_of_their_times_are_put_in_order(everything):
    numbered = Channel(FRAMES, lambda frame: np.full((*SIZE, 3), frame, np.uint8))
    listed = replace(everything, stamps_ns=np.array([100, 400, 200, 300]), images={"left": numbered, "right": numbered})
    ordered = in_time_order(listed)
    assert ordered.stamps_ns.tolist() == [100, 200, 300, 400]
    assert [int(ordered.images["right"][frame][0, 0, 0]) for frame in range(FRAMES)] == [0, 2, 3, 1]
    assert ordered.odometry[:, 0, 3].tolist() == [0, 2, 3, 1]
    assert ordered.remarks == ("3 of 4 frames were not listed in the order of their times: put in order",)
    assert in_time_order(everything) is everything


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        open_recording(str(tmp_path / "nowhere"))


def test_an_empty_folder_is_named_with_the_formats_that_exist(tmp_path):
    with pytest.raises(InputError, match="an empty folder; formats that exist: ") as raised:
        open_recording(str(tmp_path))
    assert all(reader.NAME in str(raised.value) for reader in FORMATS)
    assert "\n" not in str(raised.value)


def test_a_binary_file_is_not_a_recording(tmp_path):
    (tmp_path / "data.xyz").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"data\.xyz: not a recording"):
        open_recording(str(tmp_path / "data.xyz"))


def test_a_folder_of_recordings_names_them(images):
    (images / "clip").mkdir()
    for image in list(images.glob("*.png")):
        image.rename(images / "clip" / image.name)
    with pytest.raises(InputError, match="not a recording, but it contains clip"):
        open_recording(str(images))


def test_a_simulated_world_takes_settings():
    recording = open_recording("sim:street:frames=3,height=48,width=160")
    assert len(recording) == 3
    assert recording.rig.reference.size == (48, 160)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sim:moon", "sim:moon: no such world; choose one of sim:street"),
        (
            "sim:street:colour=3",
            "'colour=3' is not a setting; write key=number with one of frames, seed, height, width",
        ),
        ("sim:street:frames=many", "'frames=many' is not a setting"),
        ("sim:street:frames=²", "'frames=²' is not a setting"),
        ("sim:street:frames=2,frames=3", "sim:street:frames=2,frames=3: frames is given twice; leave one out"),
        ("sim:street:seed=" + 5000 * "1", r"^sim:street:seed=1{64}\.\.\.: 'seed=1{35}' is not a setting"),
    ],
)
def test_a_simulated_world_that_does_not_exist(source, message):
    with pytest.raises(InputError, match=message):
        open_recording(source)


def test_every_format_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "recordings.md").read_text()
    assert all(f"| {reader.NAME} |" in page for reader in FORMATS)
