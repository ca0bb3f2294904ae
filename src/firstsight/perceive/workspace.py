"""What the stages of one run share: the recording, and what earlier stages wrote, as the types that methods take."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from firstsight.errors import InputError
from firstsight.formats.trajectory import on_frames
from firstsight.geometry.images import to_tensor
from firstsight.recordings.recording import Camera, DepthImage, FlowImage, Recording, Transforms
from firstsight.roles import Depth, Flow, Observation
from firstsight.run_folder import RunFolder


class Workspace:
    """One recording, its run folder and the methods to `use` instead of the stages' own.

    Reading a frame that cannot be decoded raises InputError.
    """

    def __init__(self, recording: Recording, run: RunFolder, use: tuple[str, ...] = ()):
        self.recording, self.run, self.use = recording, run, use
        self.flagged: dict[int, str] = {}

    @property
    def scratch(self) -> Path:
        """Working files, removed when the run is complete."""
        return self.run.scratch_path

    @property
    def camera(self) -> Camera:
        """The reference camera of a rig that has one."""
        camera = self.recording.rig.reference
        assert camera is not None
        return camera

    @cached_property
    def intrinsics(self) -> Float64[Tensor, "3 3"]:
        return torch.from_numpy(self.camera.intrinsics)

    @cached_property
    def body_from_camera(self) -> Float64[np.ndarray, "4 4"]:
        """The pose of the reference camera; of a rig without cameras, the body's own axes stand in for it."""
        camera = self.recording.rig.reference
        return camera.body_from_camera if camera is not None else np.eye(4)

    def image(self, frame: int) -> Float32[Tensor, "1 3 height width"]:
        return to_tensor(self.recording[frame].image())

    def sweep(self, frame: int, without: str) -> Observation:
        """The frame's LiDAR sweep, as odometry and loop closing take it.

        Raises InputError where there is none, ending in `without`.
        """
        scan = self.recording[frame].scan()
        if scan is None:
            raise InputError(f"frame {frame}: no LiDAR sweep at this instant, {without}")
        times = None if scan.times_s is None else torch.from_numpy(scan.times_s)
        return Observation(
            self.recording[frame].stamp_ns, points_lidar=torch.from_numpy(scan.points), point_times_s=times
        )

    def depth(self, frame: int) -> Depth | None:
        """Depth that the depth stage wrote, None where it has none."""
        stored, error = self.run.read_depth(frame), self.run.read_depth_error(frame)
        if stored is None:
            return None
        depth = depth_tensors(stored)
        return depth if error is None else depth._replace(error_m=torch.from_numpy(error)[None, None])

    def flow(self, frame: int) -> Flow | None:
        """Flow to the next frame that the flow stage wrote, None where it has none."""
        stored, error = self.run.read_flow(frame), self.run.read_flow_error(frame)
        if stored is None:
            return None
        flow = flow_tensors(stored)
        return flow if error is None else flow._replace(error_px=torch.from_numpy(error)[None, None])

    @cached_property
    def world_from_camera(self) -> Transforms:
        """Poses that the motion stage wrote, by frame; NaN where a frame has none."""
        written = self.run.read_trajectory()
        if written is None:
            return np.full((len(self.recording), 4, 4), np.nan)
        return on_frames(*written, self.recording.stamps_ns)

    def has_pose(self, frame: int) -> bool:
        return 0 <= frame < len(self.recording) and bool(np.isfinite(self.world_from_camera[frame]).all())


def depth_tensors(depth: DepthImage) -> Depth:
    return Depth(torch.from_numpy(depth.depth)[None, None], torch.from_numpy(depth.valid)[None, None])


def depth_image(depth: Depth) -> DepthImage:
    return DepthImage(depth.depth[0, 0].numpy(), depth.valid[0, 0].numpy())


def flow_tensors(flow: FlowImage) -> Flow:
    return Flow(
        torch.from_numpy(np.ascontiguousarray(flow.flow.transpose(2, 0, 1)))[None],
        torch.from_numpy(flow.valid)[None, None],
    )
