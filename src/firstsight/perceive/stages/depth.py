"""Depth of every frame, from whatever the rig offers: a stereo pair, a depth sensor, LiDAR, or one camera's own motion."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.geometry import se3
from firstsight.geometry.images import to_tensor
from firstsight.geometry.warp import disparity_to_depth
from firstsight.perceive import stage
from firstsight.perceive.choice import kind
from firstsight.perceive.stage import FrameStage
from firstsight.perceive.workspace import depth_tensors
from firstsight.recordings.opening import scan_depth
from firstsight.recordings.recording import DepthImage, Frame, Recording, Rig
from firstsight.roles import Depth, DepthCompleter, DepthEstimator, Disparity, MultiViewDepthEstimator, StereoEstimator
from firstsight.roles.state import State

# What the 16-bit PNG of KITTI holds.
MAX_DEPTH_M = 255.0
# Parallax enough for depth, overlap enough for matching.
NEIGHBOUR_MOTION_PX = 10.0
MAX_HOP = 10


class DepthStage(FrameStage):
    """A stage that writes depth."""

    name = "depth"
    gives = frozenset({stage.DEPTH, stage.DENSE_DEPTH, stage.SURFACES})

    def path(self, frame: int) -> Path:
        return self.work.run.depth_path(frame)

    def error_path(self, frame: int) -> str:
        """The file of the error that is expected, which only some methods tell."""
        return str(self.work.run.depth_error_path(frame))

    def is_done(self, frame: int) -> bool:
        """Whether the depth is there, and its error too where one was written."""
        error_path = self.work.run.depth_error_path(frame)
        return super().is_done(frame) and (not error_path.exists() or self.work.run.holds(error_path))


def write_depth(path: Path, depth: Depth, error_path: str = "") -> None:
    """Writes what fits the run folder's depth format, and first the error that is expected: a frame with depth is done."""
    near = (depth.valid & (depth.depth < MAX_DEPTH_M))[0, 0].cpu().numpy()
    if depth.error_m is not None and error_path:
        png.write_scaled(Path(error_path), depth.error_m[0, 0].cpu().numpy(), near)
    png.write_scaled(path, depth.depth[0, 0].cpu().numpy(), near)


class LearnedDepth(DepthStage):
    """Each image by itself, by the method that was named."""

    needs = frozenset({stage.CAMERA})
    role = DepthEstimator

    @classmethod
    def scale(cls, recording: Recording, use: tuple[str, ...]) -> Literal["metric", "unknown"]:
        name = cls.method_of(use)
        method: Any = None if name is None else kind(name)
        return "metric" if method is None else method.scale

    def read(self, frame: int) -> State:
        return {"image": self.work.recording[frame].image(), "error_path": self.error_path(frame)}

    @staticmethod
    def solve(method: DepthEstimator, inputs: State, path: Path) -> None:
        with torch.no_grad():
            found = method(to_tensor(inputs["image"]))
        write_depth(path, found, inputs["error_path"])


class SensorDepth(DepthStage):
    """Depth as the sensor gives it."""

    needs = frozenset({stage.CAMERA, stage.DEPTH_SENSOR})
    default = "depth sensor"

    def read(self, frame: int) -> State:
        depth = self.work.recording[frame].depth()
        assert depth is not None
        return depth._asdict()

    @staticmethod
    def solve(method: None, inputs: State, path: Path) -> None:
        png.write_scaled(path, inputs["depth"], inputs["valid"])


class StereoDepth(DepthStage):
    """Depth from the disparity of a rectified pair."""

    needs = frozenset({stage.CAMERA, stage.STEREO})
    role = StereoEstimator
    default = "semi-global-matching"

    def read(self, frame: int) -> State:
        rig, here = self.work.recording.rig, self.work.recording[frame]
        left, right = (here.image(camera.name) for camera in rig.stereo_cameras)
        return {"left": left, "right": right, "geometry": stereo_geometry(rig)}

    @staticmethod
    def solve(method: StereoEstimator, inputs: State, path: Path) -> None:
        disparity = method(to_tensor(inputs["left"]), to_tensor(inputs["right"]))
        write_depth(path, metric_depth(disparity, *inputs["geometry"]))


def stereo_geometry(rig: Rig) -> tuple[float, float, float]:
    """Focal length (px), baseline (m) and how much farther right the left camera's principal point lies (px)."""
    left, right = rig.stereo_cameras
    assert rig.baseline_m is not None
    offset_px = float(left.intrinsics[0, 2] - right.intrinsics[0, 2])
    return float(left.intrinsics[0, 0]), rig.baseline_m, offset_px


def metric_depth(disparity: Disparity, focal_px: float, baseline_m: float, offset_px: float) -> Depth:
    """Depth of the left camera in metres, valid where it is finite and fits the run folder's depth format."""
    depth = disparity_to_depth(disparity.disparity, focal_px, baseline_m, offset_px)
    return Depth(depth, disparity.valid & (depth < MAX_DEPTH_M))


def matched(frame: Frame, estimator: StereoEstimator) -> Disparity:
    """The disparity of the left camera's image."""
    left, right = (to_tensor(frame.image(camera.name)) for camera in frame.recording.rig.stereo_cameras)
    return estimator(left, right)


def stereo_depth(rig: Rig, disparity: Disparity) -> Depth:
    """Metric depth of the rig's left camera, valid where it is finite and fits the run folder's depth format."""
    return metric_depth(disparity, *stereo_geometry(rig))


class LidarDepth(DepthStage):
    """LiDAR points spread over the image."""

    needs = frozenset({stage.CAMERA, stage.LIDAR})
    gives = frozenset({stage.DEPTH, stage.SURFACES})
    role = DepthCompleter
    default = "depth-completion"

    def read(self, frame: int) -> State:
        here, lidar = self.work.recording[frame], self.work.recording.rig.lidar
        scan = here.scan()
        if scan is None or lidar is None:
            raise InputError(f"frame {frame}: no LiDAR sweep at this instant; its depth is left out")
        return {"image": here.image(), "sparse": scan_depth(scan, lidar, self.work.camera)._asdict()}

    @staticmethod
    def solve(method: DepthCompleter, inputs: State, path: Path) -> None:
        write_depth(path, method(to_tensor(inputs["image"]), depth_tensors(DepthImage(**inputs["sparse"]))))


class MultiViewDepth(DepthStage):
    """One camera: depth from its own motion, in the trajectory's unit."""

    needs = frozenset({stage.CAMERA, stage.NEXT_FRAME, stage.FLOW, stage.TRAJECTORY})
    gives = frozenset({stage.DEPTH, stage.SURFACES})
    role = MultiViewDepthEstimator
    default = "plane-sweep"

    def read(self, frame: int) -> State:
        neighbours, poses = self.neighbours(frame), torch.from_numpy(self.work.world_from_camera)
        neighbour_from_image: Tensor = se3.inverse(poses[neighbours]) @ poses[frame]
        return {
            "image": self.work.recording[frame].image(),
            "neighbours": [self.work.recording[j].image() for j in neighbours],
            "neighbour_from_image": neighbour_from_image.numpy(),
            "intrinsics": self.work.camera.intrinsics,
            "error_path": self.error_path(frame),
        }

    @staticmethod
    def solve(method: MultiViewDepthEstimator, inputs: State, path: Path) -> None:
        neighbours = torch.cat([to_tensor(image) for image in inputs["neighbours"]])
        poses, intrinsics = (torch.from_numpy(inputs[name]) for name in ("neighbour_from_image", "intrinsics"))
        found = method(to_tensor(inputs["image"]), neighbours, poses, intrinsics)
        write_depth(path, found, inputs["error_path"])

    def neighbours(self, frame: int) -> list[int]:
        """Frames on both sides, so far apart that pixels move some NEIGHBOUR_MOTION_PX between them."""
        flow = self.work.flow(min(frame, len(self.work.recording) - 2))
        if not self.work.has_pose(frame) or flow is None:
            raise InputError(f"frame {frame}: its motion is not known; one camera gives no depth there")
        typical_px = float(flow.flow.norm(dim=1).median())
        hop = int(np.clip(round(NEIGHBOUR_MOTION_PX / max(typical_px, 1e-3)), 1, MAX_HOP))
        near = [frame + k * hop for k in (-2, -1, 1, 2) if self.work.has_pose(frame + k * hop)]
        if not near:
            raise InputError(f"frame {frame}: no neighbouring frame with known motion; one camera gives no depth there")
        return near
