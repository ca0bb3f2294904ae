"""Metrics of a run folder that was written by hand, against truth that was made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats import occupancy, png, trajectory
from firstsight.perceive.measure import item, measure
from firstsight.perceive.stages.mapping import with_moving_path
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Camera,
    Channel,
    DepthImage,
    DisparityImage,
    FlowImage,
    OccupancyTruth,
    Recording,
    Rig,
    Truth,
)
from firstsight.run_folder import RunFolder

EVERYWHERE = np.ones((2, 3), bool)


def camera(name: str, right_m: float, centre_px: float) -> Camera:
    """40 px of focal length along x, `right_m` beside the left one."""
    body_from_camera = BODY_FROM_FORWARD_CAMERA.copy()
    body_from_camera[:3, 3] = 1.0, 2.0 - right_m, 3.0
    intrinsics = np.array([[40.0, 0, centre_px], [0, 50.0, 0.5], [0, 0, 1]])
    return Camera(name=name, size=(2, 3), intrinsics=intrinsics, body_from_camera=body_from_camera)


def workspace(folder: Path, truth: Truth, frames: int = 3) -> Workspace:
    rig = Rig(cameras=(camera("left", 0.0, 1.5), camera("right", 0.2, 1.0)), stereo=("left", "right"))
    stamps = np.arange(frames, dtype=np.int64) * 10**8
    recording = Recording(source="x", format="", rig=rig, stamps_ns=stamps, truth=truth)
    return Workspace(recording, RunFolder(folder))


def measured(name: str, work: Workspace, scale: str = "metric") -> dict[str, float]:
    metrics, failed = measure(name, work, scale)
    assert failed == ""
    return {metric.name: metric.value for metric in metrics}


def depth_image(*values: float) -> DepthImage:
    return DepthImage(np.array(values, np.float32).reshape(2, 3), EVERYWHERE)


def channel(*items) -> Channel:
    return Channel(len(items), lambda index: items[index])


def test_depth_is_measured_as_disparity_with_the_offset_of_the_principal_points(tmp_path: Path):
    """40 px x 0.2 m / 4 m + 0.5 px is 2.5 px, and 4.5 px at 2 m: 0.5 px too much and 1.5 px too little, four times and twice."""
    true = DisparityImage(np.array([[2, 2, 2], [2, 6, 6]], np.float32), EVERYWHERE, EVERYWHERE)
    nothing = DisparityImage(np.full((2, 3), 99, np.float32), EVERYWHERE, EVERYWHERE)
    work = workspace(tmp_path, Truth(disparity=channel(nothing, true, nothing)))
    work.run.write_depth(1, depth_image(4, 4, 4, 4, 2, 2))
    found = measured("disparity", work)
    assert found["disparity error"] == pytest.approx((4 * 0.5 + 2 * 1.5) / 6)
    assert found["bad-1 (answered)"] == pytest.approx(100 * 2 / 6)
    with_sensor = Workspace(replace(work.recording, depth=channel(None, None, None)), work.run)
    assert measured("disparity", with_sensor) == {}


def test_depth_without_scale_is_scaled_by_the_median(tmp_path: Path):
    """Half as far everywhere but in one pixel, which is right: by the median it is twice as far."""
    work = workspace(tmp_path, Truth(depth=channel(*[depth_image(4, 4, 4, 4, 4, 4)] * 3), depth_reference="a ruler"))
    for frame in range(3):
        work.run.write_depth(frame, depth_image(2, 2, 2, 2, 2, 4))
    assert measured("depth", work)["depth Abs Rel"] == pytest.approx(5 * 0.5 / 6)
    assert measured("depth", work, "unknown")["depth Abs Rel"] == pytest.approx(1 / 6)
    metrics, _ = measure("depth", work, "metric")
    assert {metric.protocol.split(";")[0] for metric in metrics} == {"against a ruler"}
    assert "mean over 3 images" in metrics[0].protocol


def test_flow_is_measured_to_the_last_frame_but_one(tmp_path: Path):
    still = np.zeros((2, 3, 2), np.float32)
    work = workspace(tmp_path, Truth(flow=channel(*[FlowImage(still, EVERYWHERE, EVERYWHERE)] * 3)))
    for frame, right_px in enumerate((3.0, 5.0, 100.0)):
        png.write_flow(work.run.flow_path(frame), still + np.array([right_px, 0], np.float32), EVERYWHERE)
    assert measured("flow", work)["flow EPE"] == pytest.approx(4)


def poses(x_m: list[float]) -> np.ndarray:
    made = np.tile(np.eye(4), (len(x_m), 1, 1))
    made[:, 0, 3] = x_m
    return made


def test_the_trajectory_its_open_one_and_the_raw_odometry_are_measured(tmp_path: Path):
    """Four places on a square of 4 m. Of unknown scale, half as large is right; the open one is 1 m off in one place of four."""
    true = poses([0.0, 4.0, 4.0, 0.0])
    true[:, 1, 3] = 0, 0, 4, 4
    half, bent = true.copy(), true.copy()
    half[:, :3, 3] /= 2
    bent[3, 2, 3] = 1.0
    work = workspace(tmp_path, Truth(world_from_camera=true, trajectory_reference="a survey"), frames=4)
    stamps = work.recording.stamps_ns
    trajectory.write_tum(work.run.trajectory_path, stamps, half)
    found = measured("trajectory", work, "unknown")
    assert found["ATE RMSE"] == pytest.approx(0, abs=1e-8)
    assert found["trajectory scale"] == pytest.approx(2)
    in_metres = measured("trajectory", work, "metric")
    # half of the way to the middle is missing everywhere: sqrt(2) m
    assert in_metres["ATE RMSE"] == pytest.approx(2**0.5)
    assert "trajectory scale" not in in_metres
    trajectory.write_tum(work.run.odometry_path, stamps, bent)
    found = measured("trajectory", work, "metric")
    assert list(found)[:2] == ["ATE RMSE", "ATE RMSE, without loops"]
    # the plane through the four places takes 3/4 of what is off: a quarter metre, up or down, is left
    assert found["ATE RMSE, without loops"] == pytest.approx(0.25, abs=0.02)
    recorded = replace(work.recording, odometry=true @ np.linalg.inv(work.recording.rig.cameras[0].body_from_camera))
    found = measured("trajectory", Workspace(recorded, work.run), "metric")
    assert found["ATE RMSE, raw odometry"] == pytest.approx(0, abs=1e-8)
    assert measure("trajectory", work, "metric")[0][0].protocol.endswith("4 frames against a survey, SE(3) alignment")


def test_a_trajectory_of_two_frames_is_not_measured(tmp_path: Path):
    true = poses([0.0, 1.0, 2.0])
    true[2] = np.nan
    work = workspace(tmp_path, Truth(world_from_camera=true))
    trajectory.write_tum(work.run.trajectory_path, work.recording.stamps_ns, poses([0.0, 1.0, 2.0]))
    assert measured("trajectory", work) == {}


def test_moving_objects_are_measured_frame_by_frame(tmp_path: Path):
    true = np.array([[1, 1, 0], [0, 0, 0]], np.uint16)
    work = workspace(tmp_path, Truth(moving=channel(true, true, true)))
    for frame, found in enumerate(([[7, 7, 7], [0, 0, 0]], [[7, 0, 0], [0, 0, 0]])):
        png.write_ids(work.run.moving_path(frame), np.array(found))
    assert measured("moving objects", work)["moving mask IoU"] == pytest.approx(3 / 5)


def test_occupancy_with_moving_objects_left_out_and_kept_in(tmp_path: Path):
    occupied = np.zeros((3, 4), bool)
    occupied[1, 2:] = True
    truth = Truth(occupancy=OccupancyTruth(occupied, (-1.0, 2.0), 0.5), world_from_camera=np.tile(np.eye(4), (3, 1, 1)))
    assert truth.world_from_camera is not None
    truth.world_from_camera[:, :3, 3] = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]])
    work = workspace(tmp_path, truth)
    trajectory.write_tum(work.run.trajectory_path, work.recording.stamps_ns, truth.world_from_camera)
    assert measured("occupancy", work) == {}
    occupancy.write_map(work.run.occupancy_path, occupied, ~occupied, (-1.0, 2.0), 0.5)
    assert measured("occupancy", work)["occupancy IoU"] == 1
    more = occupied.copy()
    more[2, 0] = True
    occupancy.write_map(with_moving_path(work), more, ~more, (-1.0, 2.0), 0.5)
    found = measured("occupancy", work)
    assert found["occupancy IoU"] == 1
    assert found["occupancy IoU, moving objects kept in"] == pytest.approx(2 / 3)


def test_without_truth_nothing_is_measured_and_a_damaged_truth_is_passed_by(tmp_path: Path):
    work = workspace(tmp_path, Truth())
    for name in ("disparity", "depth", "flow", "trajectory", "moving objects", "occupancy"):
        assert measure(name, work, "metric") == ((), "")

    def load(index: int) -> DepthImage:
        if index == 1:
            raise InputError("damaged")
        return depth_image(4, 4, 4, 4, 4, 4)

    work = workspace(tmp_path, Truth(depth=Channel(3, load)))
    for frame in range(3):
        work.run.write_depth(frame, depth_image(2, 2, 2, 2, 2, 2))
    assert "mean over 2 images" in measure("depth", work, "metric")[0][0].protocol
    assert item(Channel(3, load), 1) is None


def sideways(folder: Path, metres: float = 1.0) -> Workspace:
    """Three frames of a wall 10 m away, 60x80 px, seen by a camera of 80 px focal length that moves right: flow (-8, 0) px.

    `metres` is the unit that its depth is written in. A square in the middle moves by itself, 20 px a frame.
    """
    intrinsics = np.array([[80.0, 0, 39.5], [0, 80.0, 29.5], [0, 0, 1]])
    one = Camera(name="left", size=(60, 80), intrinsics=intrinsics, body_from_camera=BODY_FROM_FORWARD_CAMERA)
    stamps = np.arange(3, dtype=np.int64) * 10**8
    recording = Recording(source="x", format="", rig=Rig(cameras=(one,)), stamps_ns=stamps)
    run, everywhere = RunFolder(folder), np.ones((60, 80), bool)
    poses, flow = np.tile(np.eye(4), (3, 1, 1)), np.zeros((60, 80, 2), np.float32)
    poses[:, 0, 3] = np.arange(3)
    flow[..., 0], flow[20:40, 30:50, 1] = -8, 20
    ids = np.zeros((60, 80), np.uint16)
    ids[20:40, 30:50] = 4
    for frame in range(3):
        run.write_depth(frame, DepthImage(np.full((60, 80), 10 * metres, np.float32), everywhere))
        png.write_flow(run.flow_path(frame), flow, everywhere)
        run.moving_path(frame).parent.mkdir(exist_ok=True)
        png.write_ids(run.moving_path(frame), ids)
    trajectory.write_tum(run.trajectory_path, stamps, poses)
    return Workspace(recording, run)


def test_depth_flow_and_motion_are_compared_without_any_truth(tmp_path: Path):
    """What moves by itself is left out; else a twelfth of the pixels would not agree."""
    work = sideways(tmp_path)
    assert measured("agreement", work) == pytest.approx({"triangle residual": 0, "triangle agreeing": 100}, abs=1e-2)
    for frame in range(3):
        work.run.moving_path(frame).unlink()
    assert measured("agreement", work)["triangle agreeing"] == pytest.approx(100 * 11 / 12, abs=1)


def test_the_one_that_errs_is_named(tmp_path: Path):
    """Depth in another unit: 8 px where 8 / 2.5 would suit it. The flow suits either of the others, by another unit."""
    work = sideways(tmp_path, metres=2.5)
    metrics, failed = measure("agreement", work, "metric")
    values = {metric.name: metric.value for metric in metrics}
    assert failed == ""
    assert values == pytest.approx({"triangle residual": 4.8, "triangle agreeing": 0}, abs=0.01)
    assert metrics[0].protocol.endswith("2 frames whose flow is 3 px or more; scale is the odd one out in 2")


def test_flow_that_is_small_says_nothing(tmp_path: Path):
    work = sideways(tmp_path)
    for frame in range(3):
        png.write_flow(work.run.flow_path(frame), np.full((60, 80, 2), -1.5, np.float32), np.ones((60, 80), bool))
    assert measured("agreement", work) == {}
