"""What stages share: settings as JSON, sensors in words, frames that are done, poses and images as tensors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.formats import png, trajectory
from firstsight.perceive.settings import Settings
from firstsight.perceive.stage import FrameStage, sensors_of
from firstsight.perceive.workspace import Workspace, depth_image, depth_tensors
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Camera,
    Channel,
    DepthImage,
    Lidar,
    Recording,
    Rig,
    Scan,
)
from firstsight.roles.state import State
from firstsight.run_folder import RunFolder


def recording(frames: int = 3, **parts: Any) -> Recording:
    body_from_camera = BODY_FROM_FORWARD_CAMERA.copy()
    body_from_camera[0, 3] = 5.0
    camera = Camera(name="left", size=(2, 3), intrinsics=np.diag([4.0, 5, 1]), body_from_camera=body_from_camera)
    stamps = 70 + np.arange(frames, dtype=np.int64) * 10**8
    return Recording(**{"source": "x", "format": "", "rig": Rig(cameras=(camera,)), "stamps_ns": stamps} | parts)


def test_settings_come_back_and_one_sensor_is_a_tuple_of_one():
    plain = {"sensors": None, "frames": None, "fov_deg": None, "depth_per_metre": None, "use": []}
    assert Settings().as_json() == plain
    chosen = Settings(sensors="camera", frames="0:9:2", fov_deg=70.0, depth_per_metre=5e3, use=("a", "b"))
    assert chosen.as_json() == {
        "sensors": ["camera"],
        "frames": "0:9:2",
        "fov_deg": 70.0,
        "depth_per_metre": 5000.0,
        "use": ["a", "b"],
    }
    assert chosen.sensors == ("camera",)
    assert Settings.of_json(chosen.as_json()) == chosen
    assert Settings(sensors=["depth", "camera"]).sensors == ("depth", "camera")


def test_what_a_recording_offers_in_words():
    assert sensors_of(recording()) == {"a camera", "two frames or more"}
    assert sensors_of(recording(frames=1)) == {"a camera"}
    scans = Channel(2, lambda _: None)
    told = recording(2, rig=Rig(lidar=Lidar(body_from_lidar=np.eye(4))), scans=scans, odometry=np.zeros((2, 4, 4)))
    assert sensors_of(told) == {"a LiDAR", "depth or LiDAR points", "recorded odometry", "two frames or more"}
    with_depth = recording(1, depth=scans)
    right = replace(with_depth.rig.cameras[0], name="right")
    pair = Rig(cameras=(with_depth.rig.cameras[0], right), stereo=("left", "right"))
    assert sensors_of(replace(with_depth, rig=pair)) == {"a camera", "a stereo pair", "a depth sensor"}


class Doubling(FrameStage):
    """Writes an image of twice the frame's number; frame 1 has nothing to be done."""

    name = "doubling"
    default = "by hand"

    def path(self, frame: int) -> Path:
        return self.work.scratch / f"{frame}.png"

    def read(self, frame: int) -> State | None:
        return None if frame == 1 else {"number": frame}

    @staticmethod
    def solve(method: Any, inputs: State, path: Path) -> None:
        assert method is None
        png.write_ids(path, np.full((2, 3), 2 * inputs["number"]))


def test_a_frame_that_is_done_or_has_nothing_to_do_is_left(tmp_path: Path):
    work = Workspace(recording(), RunFolder(tmp_path))
    work.scratch.mkdir()
    png.write_ids(work.scratch / "2.png", np.full((2, 3), 77))
    stage = Doubling(work)
    for frame in range(3):
        stage.process(frame)
    found = {path.stem: png.read_sixteen_bit(path)[1, 2] for path in work.scratch.iterdir()}
    assert found == {"0": 0, "2": 77}
    assert (stage.method, stage.finish(), stage.state()) == ("by hand", "", {})


def test_poses_lie_on_frames_by_their_stamps(tmp_path: Path):
    work = Workspace(recording(), RunFolder(tmp_path))
    assert np.isnan(work.world_from_camera).all()
    assert work.world_from_camera.shape == (3, 4, 4)
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, 0, 3] = 3, 8
    trajectory.write_tum(work.run.trajectory_path, work.recording.stamps_ns[[2, 0]], poses)
    work = Workspace(work.recording, work.run)
    assert work.world_from_camera[[0, 2], 0, 3].tolist() == [8, 3]
    assert [work.has_pose(frame) for frame in (-1, 0, 1, 2, 3)] == [False, True, False, True, False]


def test_of_a_rig_without_cameras_the_body_stands_in(tmp_path: Path):
    assert Workspace(recording(), RunFolder(tmp_path)).body_from_camera[0].tolist() == [0, 0, 1, 5]
    assert (Workspace(recording(rig=Rig()), RunFolder(tmp_path)).body_from_camera == np.eye(4)).all()


def test_images_depth_and_flow_are_tensors_with_rows_before_columns(tmp_path: Path):
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = 255, 0, 51
    work = Workspace(recording(images={"left": Channel(3, lambda _: image)}), RunFolder(tmp_path))
    assert work.image(1).shape == (1, 3, 2, 3)
    assert work.image(1)[0, :, 1, 2].tolist() == pytest.approx([1, 0, 0.2])
    assert work.intrinsics.tolist() == [[4, 0, 0], [0, 5, 0], [0, 0, 1]]
    assert work.depth(0) is work.flow(0) is None
    depth = DepthImage(np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([[1, 1, 1], [1, 1, 0]], bool))
    work.run.write_depth(0, depth)
    read = work.depth(0)
    assert read is not None
    assert read.depth.tolist() == [[[[1, 2, 3], [4, 5, 0]]]]
    assert read.valid.tolist() == [[[[True, True, True], [True, True, False]]]]
    assert read.error_m is None
    png.write_scaled(work.run.depth_error_path(0), np.array([[0.5, 0, 2], [3, 0.25, 7]], np.float32), depth.valid)
    unsure = work.depth(0)
    assert unsure is not None
    assert unsure.error_m is not None
    assert unsure.error_m.tolist() == [[[[0.5, 0, 2], [3, 0.25, 0]]]]
    assert depth_image(depth_tensors(depth)).depth.tolist() == depth.depth.tolist()
    flow = np.stack([depth.depth, -depth.depth], -1)
    png.write_flow(work.run.flow_path(0), flow, depth.valid)
    moved = work.flow(0)
    assert moved is not None
    assert moved.flow[0, :, 1, 1].tolist() == [5, -5]
    assert moved.valid.tolist() == read.valid.tolist()
    assert moved.error_px is None
    png.write_scaled(work.run.flow_error_path(0), np.array([[0.25, 1.5, 2], [3, 0.125, 7]], np.float32), depth.valid)
    told = work.flow(0)
    assert told is not None
    assert told.flow.tolist() == moved.flow.tolist()
    assert told.error_px is not None
    assert told.error_px.tolist() == [[[[0.25, 1.5, 2], [3, 0.125, 0]]]]


def test_a_sweep_comes_with_its_instant_and_a_missing_one_is_said(tmp_path: Path):
    points = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    sweeps = [Scan(points), None, Scan(points, times_s=np.array([-0.1, 0.0]))]
    work = Workspace(recording(rig=Rig(), scans=Channel(3, lambda i: sweeps[i])), RunFolder(tmp_path))
    first, last = work.sweep(0, ""), work.sweep(2, "")
    assert (first.stamp_ns, last.stamp_ns) == (70, 200_000_070)
    assert first.points_lidar is not None
    assert first.points_lidar.tolist() == points.tolist()
    assert first.point_times_s is None
    assert torch.equal(last.point_times_s, torch.tensor([-0.1, 0.0], dtype=torch.float64))  # ty: ignore
    with pytest.raises(InputError, match="frame 1: no LiDAR sweep at this instant, so it is left out"):
        work.sweep(1, "so it is left out")
