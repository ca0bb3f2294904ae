"""Depth from disparity, and which frames one camera looks at."""

from pathlib import Path

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.formats import png, trajectory
from firstsight.perceive.stages.depth import (
    LearnedDepth,
    LidarDepth,
    MultiViewDepth,
    SensorDepth,
    stereo_depth,
    stereo_geometry,
)
from firstsight.perceive.workspace import Workspace
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
from firstsight.roles import Depth, DepthEstimator, Disparity
from firstsight.run_folder import RunFolder


def camera(name: str, right_m: float, centre_px: float) -> Camera:
    body_from_camera = BODY_FROM_FORWARD_CAMERA.copy()
    body_from_camera[1, 3] = -right_m
    intrinsics = np.array([[40.0, 0, centre_px], [0, 50.0, 2.5], [0, 0, 1]])
    return Camera(name=name, size=(6, 8), intrinsics=intrinsics, body_from_camera=body_from_camera)


PAIR = Rig(cameras=(camera("left", 0.0, 4.5), camera("right", 0.2, 4.0)), stereo=("left", "right"))


def test_disparity_becomes_depth_with_the_offset_of_the_principal_points():
    """40 px x 0.2 m is 8; 0.5 px lie between the principal points; 16-bit files hold less than 255 m."""
    assert stereo_geometry(PAIR) == pytest.approx((40.0, 0.2, 0.5))
    disparity = torch.tensor([[[[2.5, 4.5, 0.5315, 0.5313, 0.4, 8.5]]]])
    valid = torch.tensor([[[[True, True, True, True, True, False]]]])
    depth, known, _ = stereo_depth(PAIR, Disparity(disparity, valid))
    assert depth[0, 0, 0, :2].tolist() == pytest.approx([4, 2])
    # 8 / 0.0315 is 253.97 m, 8 / 0.0313 is 255.6 m, and 0.4 px is behind all
    assert known[0, 0, 0].tolist() == [True, True, True, False, False, False]


def workspace(folder: Path, rig: Rig, known: list[int], flow_px: float, frames: int = 12, **parts) -> Workspace:
    stamps = np.arange(frames, dtype=np.int64) * 10**8
    work = Workspace(Recording(source="x", format="", rig=rig, stamps_ns=stamps, **parts), RunFolder(folder))
    trajectory.write_tum(work.run.trajectory_path, stamps[known], np.tile(np.eye(4), (len(known), 1, 1)))
    flow = np.zeros((6, 8, 2), np.float32)
    flow[:, :5] = 0.6 * flow_px, -0.8 * flow_px
    for frame in range(frames - 1):
        png.write_flow(work.run.flow_path(frame), flow, np.ones((6, 8), bool))
    return work


@pytest.mark.parametrize(
    ("flow_px", "frame", "expected"),
    [
        (5.0, 5, [1, 3, 7, 9]),
        (5.0, 11, [7, 9]),
        (3.75, 5, [2, 8, 11]),
        (60.0, 5, [3, 4, 7]),
        (0.0, 11, [1]),
        (1.25, 1, [9]),
    ],
)
def test_one_camera_looks_at_frames_between_which_pixels_move_ten_px(tmp_path: Path, flow_px, frame, expected):
    """Three px a frame are three frames, 60 px one, none at all ten; frame 6 has no pose; the last frame has no flow."""
    known = [number for number in range(12) if number not in (6,)]
    work = workspace(tmp_path, Rig(cameras=PAIR.cameras[:1]), known, flow_px)
    assert MultiViewDepth(work).neighbours(frame) == expected


def test_where_motion_is_not_known_one_camera_gives_no_depth(tmp_path: Path):
    stage = MultiViewDepth(workspace(tmp_path, Rig(cameras=PAIR.cameras[:1]), [0, 5, 6], 0.0))
    with pytest.raises(InputError, match="frame 4: its motion is not known"):
        stage.neighbours(4)
    with pytest.raises(InputError, match="frame 5: no neighbouring frame with known motion"):
        stage.neighbours(5)


def test_an_instant_without_a_sweep_is_said(tmp_path: Path):
    rig = Rig(cameras=PAIR.cameras[:1], lidar=Lidar(body_from_lidar=np.eye(4)))
    stage = LidarDepth(workspace(tmp_path, rig, [0], 0.0, frames=1, scans=Channel(1, lambda _: None)))
    with pytest.raises(InputError, match="frame 0: no LiDAR sweep at this instant; its depth is left out"):
        stage.read(0)


class ByHand(DepthEstimator):
    """Says the same of every image."""

    scale = "metric"

    def estimate(self, image: torch.Tensor) -> Depth:
        return Depth(torch.tensor([[[[254.5, 255.0, 3.0]]]]), torch.tensor([[[[True, True, False]]]]))


def test_of_one_image_no_depth_is_kept_that_files_do_not_hold(tmp_path: Path):
    given = {"image": np.zeros((1, 3, 3), np.uint8), "error_path": str(tmp_path / "e.png")}
    LearnedDepth.solve(ByHand(), given, tmp_path / "d.png")
    values, valid = png.read_scaled(tmp_path / "d.png")
    assert (values.tolist(), valid.tolist()) == ([[254.5, 0, 0]], [[True, False, False]])
    assert not (tmp_path / "e.png").exists(), "it does not tell its error"


class Unsure(DepthEstimator):
    scale = "metric"

    def estimate(self, image: torch.Tensor) -> Depth:
        depth = torch.tensor([[[[2.0, 4.0, 300.0]]]])
        return Depth(depth, depth > 0, torch.tensor([[[[0.25, 1.5, 9.0]]]]))


def test_the_error_that_a_method_expects_is_written(tmp_path: Path):
    given = {"image": np.zeros((1, 3, 3), np.uint8), "error_path": str(tmp_path / "e.png")}
    LearnedDepth.solve(Unsure(), given, tmp_path / "d.png")
    assert png.read_scaled(tmp_path / "e.png")[0].tolist() == [[0.25, 1.5, 0]]


def test_what_sensors_measured_is_read(tmp_path: Path):
    """A point 4 m ahead of the LiDAR, which is at the camera, lies at the principal point (4.5, 2.5), drawn into a pixel there."""
    depth = DepthImage(np.full((6, 8), 2, np.float32), np.ones((6, 8), bool))
    image = np.zeros((6, 8, 3), np.uint8)
    scan = Scan(np.array([[4, 0, 0]], np.float32))
    rig = Rig(cameras=PAIR.cameras[:1], lidar=Lidar(body_from_lidar=np.eye(4)))
    parts = {"depth": Channel(1, lambda _: depth), "images": {"left": Channel(1, lambda _: image)}}
    work = workspace(tmp_path, rig, [0], 0.0, frames=1, scans=Channel(1, lambda _: scan), **parts)
    assert SensorDepth(work).read(0)["depth"] is depth.depth
    sparse = LidarDepth(work).read(0)["sparse"]
    assert sparse["depth"][sparse["valid"]].tolist() == [4]
    row, column = np.argwhere(sparse["valid"])[0].tolist()
    assert row in (2, 3)
    assert column in (4, 5)
