"""The trajectory, from LiDAR, from images with depth, from one camera alone, or as the recording's odometry gives it."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from firstsight.errors import InputError
from firstsight.formats.trajectory import write_tum
from firstsight.perceive import stage
from firstsight.perceive.choice import kind
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Recording, Transforms
from firstsight.roles import Observation, Odometry
from firstsight.roles.state import State


class OdometryStage(Stage):
    """Steps an odometry through the frames; its sensor's poses become the reference camera's.

    `offers` are the fields of an Observation that the stage fills: it takes any odometry that needs no others.
    """

    name = "motion"
    role = Odometry
    offers: ClassVar[frozenset[str]]

    def __init__(self, work: Workspace) -> None:
        super().__init__(work)
        self.odometry: Odometry = self.load_method()
        self.frames: list[int] = []

    @classmethod
    def takes(cls, method: Any) -> bool:
        return super().takes(method) and method.needs <= cls.offers

    @classmethod
    def scale(cls, recording: Recording, use: tuple[str, ...]) -> Literal["metric", "unknown"]:
        """Recorded odometry tells the scale where the method does not."""
        name = cls.method_of(use)
        method: Any = None if name is None else kind(name)
        return "metric" if method is None or recording.odometry is not None else method.scale

    @abstractmethod
    def observe(self, frame: int) -> Observation:
        """The frame with the fields that the stage offers. Raises InputError where one is missing."""

    def state(self) -> State:
        return {"odometry": self.odometry.state(), "frames": self.frames}

    def restore(self, state: State) -> None:
        self.odometry.restore(state["odometry"])
        self.frames = list(state["frames"])

    @property
    def body_from_sensor(self) -> Float64[np.ndarray, "4 4"]:
        return self.work.body_from_camera

    def process(self, frame: int) -> None:
        self.odometry.step(self.observe(frame))
        self.frames.append(frame)

    def finish(self) -> str:
        if not self.frames:
            return ""
        first_from_sensor, valid, segments = (part.numpy() for part in self.odometry.trajectory())
        first_from_sensor = first_from_sensor.copy()
        frames = np.array(self.frames)
        remark = ""
        if self.odometry.scale == "unknown" and self.work.recording.odometry is not None:
            metric = self.work.recording.odometry[frames] @ self.body_from_sensor
            scale = metric_scale(first_from_sensor, metric, valid)
            first_from_sensor[:, :3, 3] *= scale
            remark = f"scale from the recorded odometry (x {scale:.4g})"
        poses = self.in_world(first_from_sensor, int(frames[0]))
        write_poses(self.work, frames[valid], poses[valid], segments[valid])
        return "; ".join(filter(None, [remark, *self.losses(frames, valid, segments)]))

    def losses(
        self, frames: np.ndarray, valid: Bool[np.ndarray, " frames"], segments: Int64[np.ndarray, " frames"]
    ) -> Iterator[str]:
        """Flags the frames without a pose, and those at which another segment begins; what to say of them in the record."""
        lost, known = frames[~valid], frames[valid]
        for frame in lost.tolist():
            self.work.flagged.setdefault(frame, "motion: lost, so it has no pose")
        if len(lost):
            yield f"lost in {len(lost)} frames: {brief(lost)}"
        breaks = known[1:][np.diff(segments[valid]) != 0]
        for frame in breaks.tolist():
            self.work.flagged.setdefault(frame, "motion: how it lies to the frames before was not measured")
        if len(breaks):
            yield (f"the way is broken before frame {brief(breaks)}: how the parts lie to each other was not measured")

    def in_world(self, first_from_sensor: Transforms, first: int) -> Transforms:
        """world_from_camera: the world is the first body frame, placed where the recorded odometry puts it if there is one."""
        odometry = self.work.recording.odometry
        world_from_first_body = np.eye(4) if odometry is None else odometry[first]
        body_from_sensor = self.body_from_sensor
        sensor_from_camera = np.linalg.inv(body_from_sensor) @ self.work.body_from_camera
        return world_from_first_body @ body_from_sensor @ first_from_sensor @ sensor_from_camera


class CameraMotion(OdometryStage):
    """One camera alone, whose scale may not be that of a depth that is known."""

    needs = frozenset({stage.CAMERA, stage.NEXT_FRAME})
    without = frozenset({stage.DEPTH})
    gives = frozenset({stage.TRAJECTORY, stage.CAMERA_MOTION})
    offers = frozenset({"image", "intrinsics"})
    default = "monocular-odometry"

    def observe(self, frame: int) -> Observation:
        return Observation(
            self.work.recording[frame].stamp_ns, image=self.work.image(frame), intrinsics=self.work.intrinsics
        )


class DepthCameraMotion(OdometryStage):
    """A camera with dense depth; preferred to LiDAR, since its poses fit the images to a fraction of a pixel."""

    needs = frozenset({stage.CAMERA, stage.DENSE_DEPTH, stage.NEXT_FRAME})
    gives = frozenset({stage.TRAJECTORY, stage.CAMERA_MOTION})
    offers = frozenset({"image", "intrinsics", "depth"})
    default = "visual-odometry"

    @classmethod
    def takes(cls, method: Any) -> bool:
        """Its trajectory must have the depth's scale."""
        return super().takes(method) and method.scale == "metric"

    def observe(self, frame: int) -> Observation:
        depth = self.work.depth(frame)
        if depth is None:
            raise InputError(f"frame {frame}: it has no depth, so its motion is left out")
        return Observation(
            self.work.recording[frame].stamp_ns,
            image=self.work.image(frame),
            intrinsics=self.work.intrinsics,
            depth=depth,
        )


class LidarMotion(OdometryStage):
    """The LiDAR's sweeps alone."""

    needs = frozenset({stage.LIDAR, stage.NEXT_FRAME})
    gives = frozenset({stage.TRAJECTORY, stage.LIDAR_MOTION})
    offers = frozenset({"points_lidar", "point_times_s"})
    default = "lidar-odometry"

    @property
    def body_from_sensor(self) -> Float64[np.ndarray, "4 4"]:
        lidar = self.work.recording.rig.lidar
        assert lidar is not None
        return lidar.body_from_lidar

    def observe(self, frame: int) -> Observation:
        return self.work.sweep(frame, "so its motion is left out")


class RecordedMotion(Stage):
    """The recording's odometry as it is, where no sensor could better it."""

    name = "motion"
    needs = frozenset({stage.ODOMETRY})
    without = frozenset({stage.CAMERA, stage.LIDAR})
    gives = frozenset({stage.TRAJECTORY})
    default = "recorded odometry"

    def process(self, frame: int) -> None:
        pass

    def finish(self) -> str:
        odometry = self.work.recording.odometry
        assert odometry is not None
        write_poses(self.work, np.arange(len(odometry)), odometry @ self.work.body_from_camera)
        return "as recorded: no sensor to better it"


def write_poses(
    work: Workspace,
    frames: np.ndarray,
    world_from_camera: Transforms,
    segments: Int64[np.ndarray, " frames"] | None = None,
) -> None:
    write_tum(work.run.trajectory_path, work.recording.stamps_ns[frames], world_from_camera, segments)


def metric_scale(estimated: Transforms, metric: Transforms, valid: Bool[np.ndarray, " frames"]) -> float:
    """The factor that makes the estimated ways as long as the metric ones, both of the same sensor.

    The median ratio of how far apart the ends of stretches are. Noise makes short stretches too long and drift bends long
    ones: the length is chosen at which the directions of both agree, which says how far ratios can be off.
    """
    if not valid.any():
        return 1.0
    estimated, metric = estimated[valid], metric[valid]
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(metric[:, :3, 3], axis=0), axis=1))])
    best, scale = np.inf, 1.0
    for parts in 2 ** np.arange(len(way).bit_length()):
        length = way[-1] / parts * (1 - 1e-9)
        evenly = np.linspace(0, way[-1] - length, len(way))  # evenly along the way: standing still must not count
        starts = np.unique(np.searchsorted(way, evenly, side="right") - 1)
        ends = np.searchsorted(way[:-1], way[starts] + length)
        unscaled, true = (shifts(poses, starts, ends) for poses in (estimated, metric))
        lengths, lengths_m = np.linalg.norm(unscaled, axis=1), np.linalg.norm(true, axis=1)
        went = (lengths > 0) & (lengths_m > 0)
        if not went.any():
            continue
        across, along = np.linalg.norm(np.cross(unscaled, true), axis=1), np.einsum("ni,ni->n", unscaled, true)
        angle = float(np.median(np.arctan2(across, along)[went]))
        error = angle**2 / 2 + angle / np.sqrt(parts)  # what is across adds to a length; what is along, averaged
        if error < best:
            best, scale = error, float(np.median(lengths_m[went] / lengths[went]))
    return scale


def shifts(
    poses: Transforms, starts: Int64[np.ndarray, " n"], ends: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 3"]:
    """Returns where the ends are, seen from the starts."""
    return np.einsum("nji,nj->ni", poses[starts, :3, :3], poses[ends, :3, 3] - poses[starts, :3, 3])


def brief(frames: np.ndarray, most: int = 6) -> str:
    """The first few numbers of a list, and how many more there are."""
    shown = ", ".join(str(int(frame)) for frame in frames[:most])
    return shown if len(frames) <= most else f"{shown} and {len(frames) - most} more"
