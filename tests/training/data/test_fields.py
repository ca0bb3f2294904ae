"""Every field of the vocabulary against values counted by hand, and against what a simulated recording holds."""

import math
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Channel, DepthImage, Recording, Rig, Truth
from firstsight.training.data.batch import collate
from firstsight.training.data.clips import Clips
from firstsight.training.data.fields import FIELDS
from firstsight.training.data.wanted import Wanted, frames


def batch_of(*names: str) -> type:
    return NamedTuple("Batch", [(name, object) for name in names])


def read(recording, name, *, size=(2, 2), clip=frames(0), index=0):  # noqa: B008
    return Clips(recording, Wanted(batch_of(name), size, clip)).sample(index)[name]


def test_images_are_those_of_the_left_right_and_all_cameras_at_one_size(recording):
    assert read(recording, "images").shape == (1, 3, 2, 2)
    assert read(recording, "images", clip=frames(0, 1))[:, 0, 0, 0].tolist() == [10, 11]
    assert read(recording, "right", clip=frames(0, 1))[:, :, 1, 1].tolist() == [[20, 0, 0], [21, 0, 0]]
    views = read(recording, "views", clip=frames(1, 0))
    assert views.shape == (2, 3, 3, 2, 2)
    assert views[:, :, 0, 0, 0].tolist() == [[11, 21, 31], [10, 20, 30]]


def test_intrinsics_see_the_same_rays_at_the_new_size(recording):
    intrinsics = read(recording, "intrinsics", size=(2, 2))
    # width 8 -> 2 and height 4 -> 2: f scales by 1/4 and 1/2, and c + 0.5 does
    assert intrinsics.tolist() == [[2.0, 0.0, 0.5], [0.0, 4.0, 0.5], [0.0, 0.0, 1.0]]
    assert read(recording, "baseline_m") == pytest.approx(0.5)


def test_maps_take_the_nearest_value_and_0_where_unknown(recording):
    # of rows 0-3 and columns 0-7 at half the height and a quarter of the width: rows 0, 2 and columns 0, 4 (unknown)
    assert read(recording, "depth_m").tolist() == [[[[1, 0], [3, 0]]]]
    assert read(recording, "depth_m", size=(4, 8))[0, 0, 1, :6].tolist() == [2, 12, 22, 32, 0, 52]
    assert read(recording, "masks", clip=frames(0, 2)).tolist() == [[[[0, 4], [0, 4]]], [[[20, 24], [20, 24]]]]
    assert read(recording, "masks").dtype == np.int64


def test_disparity_is_scaled_with_the_width(recording):
    assert read(recording, "disparity").tolist() == [[[[0.25, 0], [0.75, 0]]]]
    assert read(recording, "disparity", size=(2, 4))[0, 0, 0].tolist() == [0.5, 1.5, 0.0, 3.5]


def test_flow_is_scaled_along_both_axes_and_belongs_to_the_first_two_frames(recording):
    pair = frames(1, 2)
    found = read(recording, "flow_ab", size=(2, 4), clip=pair)
    # columns 0, 2, 4 (unknown), 6 and rows 0, 2; frame 1
    assert found.tolist() == [
        [[50.5, 51.5, 0, 53.5], [50.5, 51.5, 0, 53.5]],
        [[5, 5, 0, 5], [15, 15, 0, 15]],
    ]
    assert read(recording, "valid", size=(2, 4), clip=pair).tolist() == [[[True, True, False, True]] * 2]
    assert read(recording, "flow_ab", clip=frames(0, 1, 2), index=1)[0, 0, 0] == 101 / 4
    for wrong in (frames(0), frames(0, 2), frames(1, 0)):
        with pytest.raises(AssertionError, match="must follow one another"):
            read(recording, "flow_ab", clip=wrong)


def test_boxes_turn_to_the_left_by_a_positive_yaw_in_the_body_frame(recording):
    first, second = read(recording, "boxes", clip=frames(0, 1))
    # the camera is 1 m ahead, 0.2 m left and 1.5 m above the body's origin
    assert first.tolist() == [pytest.approx([11, -1.8, 1.0, 4.0, 2.0, 1.5, math.pi / 6, 7], abs=1e-6)]
    assert second.shape == (0, 8)


def test_ragged_fields_of_a_batch_know_their_rows(recording):
    kind = batch_of("points_lidar", "boxes")
    clips = Clips(recording, Wanted(kind, None, frames(0, 1)))
    batch = collate(kind, [clips.sample(0), clips.sample(1)])
    # scans of frames 0, 1 and 1, 2: frame 2 has none
    assert batch.points_lidar.lengths.tolist() == [[1, 2], [2, 0]]
    assert batch.points_lidar.values[:, 0].tolist() == [0, 1, 1, 1, 1]
    assert [[len(time) for time in row] for row in batch.boxes.rows()] == [[1, 0], [0, 1]]


def test_stamps_are_seconds_since_the_first_frame(recording):
    assert read(recording, "stamp_s", clip=frames(0, 2), index=1).tolist() == [0.25, 0.75]


def test_poses_of_the_camera_and_of_the_body(recording):
    assert read(recording, "world_from_camera", clip=frames(0, 2))[:, 0, 3].tolist() == [0, 2]
    body = read(recording, "world_from_body", clip=frames(2))[0]
    camera_in_body = np.linalg.inv(body) @ recording.truth.world_from_camera[2]
    assert camera_in_body == pytest.approx(recording.rig.reference.body_from_camera)


def test_the_odometry_stands_in_for_unknown_poses_of_the_body(recording):
    odometry = np.tile(np.eye(4), (5, 1, 1)) * np.arange(1, 6)[:, None, None]
    without = replace(recording, truth=Truth(), odometry=odometry)
    assert read(without, "world_from_body", index=3)[0, 0, 0] == 4


def test_a_depth_sensor_stands_in_for_unknown_depth(recording):
    sensed = DepthImage(np.full((4, 8), 3.0, np.float32), np.ones((4, 8), bool))
    without = replace(recording, truth=Truth(), depth=Channel(5, lambda _: sensed))
    assert read(without, "depth_m").tolist() == [[[[3, 3], [3, 3]]]]


LACKING = {
    "images": "camera",
    "right": "stereo pair",
    "views": "camera",
    "intrinsics": "camera",
    "baseline_m": "stereo pair",
    "depth_m": "true depth and no depth sensor",
    "disparity": "true disparity",
    "flow_ab": "true flow",
    "valid": "true flow",
    "masks": "true masks of what moves",
    "points_lidar": "LiDAR",
    "boxes": "true boxes",
    "world_from_camera": "known poses",
    "world_from_body": "known poses and no odometry",
}


@pytest.mark.parametrize(("name", "lacking"), LACKING.items())
def test_what_is_missing_is_named_with_the_source_the_field_and_the_method(recording, name, lacking):
    bare = replace(recording, rig=Rig(), images={}, scans=None, truth=Truth())
    wanted = Wanted(batch_of(name), (2, 2), frames(0, 1), method="pwc-net")
    with pytest.raises(InputError) as message:
        Clips(bare, wanted)
    assert str(message.value) == f"drive: it has no {lacking} ({name}), from which pwc-net learns"


def test_every_field_but_the_stamps_can_be_missing():
    assert set(FIELDS) == {"stamp_s", *LACKING}


def test_an_unknown_field_is_named(recording):
    with pytest.raises(InputError, match="drive: a recording has no actions, from which this method learns"):
        Clips(recording, Wanted(batch_of("actions"), (2, 2)))


@pytest.fixture(scope="module")
def street() -> Recording:
    return open_recording("sim:street:frames=2,height=24,width=80")


@pytest.fixture(scope="module")
def rooms() -> Recording:
    return open_recording("sim:rooms:frames=2,height=24,width=32")


@pytest.mark.parametrize("world", ["street", "rooms"])
def test_a_simulated_recording_at_its_own_size_gives_its_own_truth(world, request):
    recording = request.getfixturevalue(world)
    camera, truth = recording.rig.reference, recording.truth
    names = ("images", "right", "depth_m", "disparity", "flow_ab", "valid", "masks", "world_from_camera", "boxes")
    row = Clips(recording, Wanted(batch_of(*names), camera.size, frames(0, 1))).sample(0)
    assert np.array_equal(row["images"][1], recording.images["left"][1].transpose(2, 0, 1))
    assert np.array_equal(row["right"][0], recording.images["right"][0].transpose(2, 0, 1))
    depth, disparity, flow = truth.depth[0], truth.disparity[0], truth.flow[0]
    assert np.array_equal(row["depth_m"][0, 0][depth.valid], depth.depth[depth.valid])
    assert np.array_equal(row["disparity"][0, 0][disparity.valid], disparity.disparity[disparity.valid])
    assert np.array_equal(row["flow_ab"].transpose(1, 2, 0)[flow.valid], flow.flow[flow.valid])
    assert np.array_equal(row["valid"][0], flow.valid)
    assert np.array_equal(row["masks"][1, 0], truth.moving[1])
    assert np.array_equal(row["world_from_camera"], truth.world_from_camera)
    centres = [(camera.body_from_camera @ box.camera_from_box)[:3, 3] for box in truth.boxes[0]]
    assert row["boxes"][0][:, :3] == pytest.approx(np.array(centres), abs=1e-5)
    assert row["boxes"][0][:, 7].tolist() == [box.object_id for box in truth.boxes[0]]


def test_depth_and_disparity_of_a_scaled_simulated_frame_agree(street):
    """depth = f b / disparity holds at any size, which it would not if one of them were not scaled."""
    names = ("depth_m", "disparity", "intrinsics", "baseline_m")
    row = Clips(street, Wanted(batch_of(*names), (12, 20))).sample(0)
    known = (row["depth_m"] > 0) & (row["disparity"] > 0)
    assert known.sum() > 100
    product = row["depth_m"][known] * row["disparity"][known]
    assert product == pytest.approx(row["intrinsics"][0, 0] * row["baseline_m"], rel=1e-4)
    assert row["intrinsics"][0, 0] == pytest.approx(street.rig.reference.intrinsics[0, 0] / 4)


def test_a_shrunken_image_averages_its_pixels(street):
    expected = cv2.resize(street.images["left"][0], (40, 12), interpolation=cv2.INTER_AREA)
    assert np.array_equal(read(street, "images", size=(12, 40))[0], expected.transpose(2, 0, 1))
