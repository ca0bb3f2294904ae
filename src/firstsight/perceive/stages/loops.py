"""Loops: the trajectory as it is when places passed again are known to be the same. Odometry's own is kept beside it.

The stage reads `odometry.txt`, a copy of what the motion stage wrote, and writes `trajectory.txt` in one piece, so that a
killed run finds either the open or the closed trajectory, and starts from the open one in any case. A copy that is lost or
damaged is made again; what was found on another trajectory than the copy's is not believed.
"""

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_bytes, write_json
from firstsight.formats.storage.state import fingerprint
from firstsight.formats.trajectory import on_frames, read_segments, read_tum
from firstsight.perceive import stage
from firstsight.perceive.stage import Stage
from firstsight.perceive.stages.motion import metric_scale, write_poses
from firstsight.perceive.workspace import Workspace
from firstsight.reading import read_bytes
from firstsight.recordings.recording import Transforms
from firstsight.roles import LoopCloser, Observation
from firstsight.roles.state import State


class LoopsStage(Stage):
    """Closes the loops of what odometry found, with poses of the sensor that observes.

    `offers` are the fields of an Observation that the stage fills: it takes any loop closer that needs no others.
    """

    name = "loops"
    role = LoopCloser
    default = "loop-closing"
    offers: ClassVar[frozenset[str]]

    def __init__(self, work: Workspace) -> None:
        super().__init__(work)
        self.frames: list[int] = []
        self.closing: LoopCloser = self.load_method()

    @classmethod
    def takes(cls, method: Any) -> bool:
        return super().takes(method) and method.needs <= cls.offers

    def state(self) -> State:
        """The trajectory that is closed, the frames taken, and the state of the loop closer."""
        closing = self.closing.state()
        return {"odometry": fingerprint({"poses": self.odometry}), "frames": list(self.frames), "closing": closing}

    def restore(self, state: State) -> None:
        """Raises InputError where the state is of another trajectory."""
        if state["odometry"] != fingerprint({"poses": self.odometry}):
            raise InputError(f"{self.work.run.odometry_path}: another trajectory than that whose loops were looked for")
        self.frames = list(state["frames"])
        self.closing.restore(state["closing"])

    @cached_property
    def odometry(self) -> Transforms:
        """The open trajectory by frame; NaN where a frame has none."""
        run = self.work.run
        if not run.trajectory_path.exists():  # the motion stage found none
            return np.full((len(self.work.recording), 4, 4), np.nan)
        try:
            rows = read_tum(run.odometry_path)
        except InputError:  # missing or damaged
            write_bytes(run.odometry_path, read_bytes(run.trajectory_path, "trajectory"))
            rows = read_tum(run.odometry_path)
        return on_frames(*rows, self.work.recording.stamps_ns)

    def pose(self, frame: int) -> np.ndarray:
        """Returns the pose of the sensor by odometry; NaN where it does not know."""
        return self.odometry[frame]

    def process(self, frame: int) -> None:
        pose = self.pose(frame)
        if not np.isfinite(pose).all():
            return
        if self.closing.should_add(pose):
            self.closing.integrate(self.observe(frame), pose)
        else:
            self.closing.skip(self.work.recording[frame].stamp_ns, pose)
        self.frames.append(frame)

    def observe(self, frame: int) -> Observation:
        work = self.work
        return Observation(work.recording[frame].stamp_ns, image=work.image(frame), intrinsics=work.intrinsics)

    def finish(self) -> str:
        if not self.frames:
            return "no trajectory to close"
        closed = self.closing.close()
        frames = np.array(self.frames, np.int64)
        loops, disputed = (frames[pairs].tolist() for pairs in (closed.loops, closed.disputed))
        write_json(self.work.run.loops_path, {"tried": closed.tried, "loops": loops, "disputed": disputed})
        remark = f"{len(loops)} loops of {closed.tried} pairs tried"
        if disputed:
            remark += f", another method judges {len(disputed)} otherwise ({self.work.run.loops_path.name})"
        if not loops:
            write_bytes(self.work.run.trajectory_path, read_bytes(self.work.run.odometry_path, "trajectory"))
            return f"{remark}: the trajectory stays as it is"
        write_poses(self.work, frames, self.in_metres(closed.world_from_sensor, frames), self.segments(frames))
        return remark

    def segments(self, frames: Int64[np.ndarray, " frames"]) -> Int64[np.ndarray, " frames"]:
        """The segment of odometry that each of the frames, which have a pose, belongs to."""
        path = self.work.run.odometry_path
        of_stamp = dict(zip(read_tum(path)[0].tolist(), read_segments(path).tolist(), strict=True))
        return np.array([of_stamp[stamp] for stamp in self.work.recording.stamps_ns[frames].tolist()], np.int64)

    def in_metres(self, world_from_sensor: Transforms, frames: np.ndarray) -> Transforms:
        """Poses of the reference camera, in metres where anything tells them."""
        return world_from_sensor


class DepthCameraLoops(LoopsStage):
    """Closes loops of a camera with depth from a sensor or from stereo."""

    needs = frozenset({stage.CAMERA_MOTION, stage.DENSE_DEPTH})
    gives = frozenset({stage.TRAJECTORY})
    offers = frozenset({"image", "intrinsics", "depth"})

    def observe(self, frame: int) -> Observation:
        return super().observe(frame)._replace(depth=self.work.depth(frame))


class CameraLoops(LoopsStage):
    """One camera alone: the scale is closed too, and measured against the recorded odometry again where there is one."""

    needs = frozenset({stage.CAMERA_MOTION})
    gives = frozenset({stage.TRAJECTORY})
    offers = frozenset({"image", "intrinsics"})

    def in_metres(self, world_from_sensor: Transforms, frames: np.ndarray) -> Transforms:
        odometry = self.work.recording.odometry
        if odometry is None:
            return world_from_sensor
        scaled = world_from_sensor.copy()
        origin = scaled[0, :3, 3]
        scale = metric_scale(scaled, odometry[frames] @ self.work.body_from_camera, np.ones(len(frames), bool))
        scaled[:, :3, 3] = origin + scale * (scaled[:, :3, 3] - origin)
        return scaled
