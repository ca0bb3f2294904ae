"""Depth of every frame, from whatever the rig offers: a stereo pair, a depth sensor, LiDAR, or one camera's own motion."""

from abc import abstractmethod

import numpy as np
import torch

from firstsight.errors import InputError
from firstsight.geometry import se3
from firstsight.geometry.images import to_tensor
from firstsight.geometry.warp import disparity_to_depth
from firstsight.perceive.choice import chosen
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace, depth_image, depth_tensors
from firstsight.recordings.opening import scan_depth
from firstsight.recordings.recording import Frame, Rig
from firstsight.roles import Depth, DepthCompleter, DepthEstimator, Disparity, MultiViewDepthEstimator, StereoEstimator

MAX_DEPTH_M = 255.0  # what the 16-bit PNG of KITTI holds
NEIGHBOUR_MOTION_PX = 10.0  # parallax enough for depth, overlap enough for matching
MAX_HOP = 10


class DepthStage(Stage):
    """A stage that writes depth; frames already written by a killed run are kept."""

    name = "depth"

    def process(self, frame: int) -> None:
        if self.work.run.depth_path(frame).exists():
            return
        depth = self.estimate(frame)
        self.work.run.write_depth(frame, depth_image(depth))

    @abstractmethod
    def estimate(self, frame: int) -> Depth: ...


class StereoDepth(DepthStage):
    method = "semi-global-matching"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.method, self.estimator = chosen(work.use, StereoEstimator, self.method)

    def estimate(self, frame: int) -> Depth:
        return stereo_depth(self.work.recording.rig, matched(self.work.recording[frame], self.estimator))


def matched(frame: Frame, estimator: StereoEstimator) -> Disparity:
    """The disparity of the left camera's picture."""
    left, right = (to_tensor(frame.image(camera.name)) for camera in frame.recording.rig.stereo_cameras)
    return estimator(left, right)


def stereo_depth(rig: Rig, disparity: Disparity) -> Depth:
    """Metric depth of the left camera, where it is finite and fits the run folder's depth format."""
    left, right = rig.stereo_cameras
    offset = float(left.intrinsics[0, 2] - right.intrinsics[0, 2])
    assert rig.baseline_m is not None
    depth = disparity_to_depth(disparity.disparity, float(left.intrinsics[0, 0]), rig.baseline_m, offset)
    return Depth(depth, disparity.valid & (depth < MAX_DEPTH_M))


class LearnedDepth(DepthStage):
    """Each picture by itself, by the method that was named."""

    method = "named with --use"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.method, self.estimator = chosen(work.use, DepthEstimator, self.method)

    def estimate(self, frame: int) -> Depth:
        with torch.no_grad():
            depth, valid = self.estimator(self.work.image(frame))
        return Depth(depth, valid & (depth < MAX_DEPTH_M))


class SensorDepth(DepthStage):
    method = "depth sensor"

    def estimate(self, frame: int) -> Depth:
        depth = self.work.recording[frame].depth()
        assert depth is not None
        return depth_tensors(depth)


class LidarDepth(DepthStage):
    method = "depth-completion"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.method, self.completer = chosen(work.use, DepthCompleter, self.method)

    def estimate(self, frame: int) -> Depth:
        scan, lidar = self.work.recording[frame].scan(), self.work.recording.rig.lidar
        if scan is None or lidar is None:
            raise InputError(f"frame {frame}: no LiDAR sweep at this instant; its depth is left out")
        sparse = scan_depth(scan, lidar, self.work.camera)
        return self.completer(self.work.image(frame), depth_tensors(sparse))


class MultiViewDepth(DepthStage):
    """One camera: depth from its own motion, so this runs after the motion stage, in the trajectory's unit."""

    method = "plane-sweep"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.method, self.estimator = chosen(work.use, MultiViewDepthEstimator, self.method)

    def estimate(self, frame: int) -> Depth:
        neighbours = self.neighbours(frame)
        poses = torch.from_numpy(self.work.world_from_camera)
        images = torch.cat([self.work.image(j) for j in neighbours])
        neighbour_from_image = se3.inverse(poses[neighbours]) @ poses[frame]
        return self.estimator(self.work.image(frame), images, neighbour_from_image, self.work.intrinsics)

    def neighbours(self, frame: int) -> list[int]:
        """Frames on both sides, so far apart that pixels move some NEIGHBOUR_MOTION_PX between them."""
        flow = self.work.flow(min(frame, len(self.work.recording) - 2))
        if not self.work.has_pose(frame) or flow is None:
            raise InputError(f"frame {frame}: its motion is not known; one camera gives no depth there")
        typical_px = float(flow.flow.norm(dim=1).median())
        hop = int(np.clip(round(NEIGHBOUR_MOTION_PX / max(typical_px, 1e-3)), 1, MAX_HOP))
        chosen = [frame + k * hop for k in (-2, -1, 1, 2) if self.work.has_pose(frame + k * hop)]
        if not chosen:
            raise InputError(f"frame {frame}: no neighbouring frame with known motion; one camera gives no depth there")
        return chosen
