"""Motion of a LiDAR by registering each sweep to a local map of the sweeps before.

Paper:  Vizzo, Guadagnino, Mersch, Wiesmann, Behley, Stachniss. KISS-ICP: In Defense of Point-to-Point ICP. RA-L 2023.
Idea:   point-to-point ICP is enough if its correspondence threshold follows from how wrong the constant-velocity
        prediction has been. The method is the kiss-icp package; this module checks what goes in and makes it resumable.
Differs: sweeps are de-skewed only if their times span an interval, since equal times abort the package's process.
        One thread, because sums in another order would make a resumed run differ.
Role:   Odometry of the LiDAR, in metres. A pose belongs to the instant that the sweep is de-skewed to, its end; without
        times, to the sweep. A sweep of fewer than `min_points` usable points is not valid: the last motion goes on.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from firstsight.roles import Observation, Odometry, Trajectory
from firstsight.roles.state import State

if TYPE_CHECKING:
    from kiss_icp.kiss_icp import KissICP

Transform = Float64[np.ndarray, "4 4"]


@dataclass(frozen=True, kw_only=True)
class Config:
    max_range_m: float = 100.0
    min_range_m: float = 0.0
    voxel_size_m: float | None = None  # None: a hundredth of the range
    min_points: int = 100
    threads: int = 1


def usable(points: Float64[np.ndarray, "points 3"], config: Config) -> np.ndarray:
    """Rows of the points that are finite and within range; a return at the sensor itself is none."""
    ranges = np.linalg.norm(points, axis=1)  # NaN and infinite points compare false
    return (ranges > max(config.min_range_m, 1e-6)) & (ranges < config.max_range_m)


def relative_times(times_s: Tensor | None, keep: np.ndarray) -> Float64[np.ndarray, " points"]:
    """The points' times from 0 to 1, as the package wants them; none where they do not span an interval."""
    if times_s is None:
        return np.zeros(0)
    times = times_s.numpy()[keep]
    if not np.isfinite(times).all() or np.ptp(times) <= 0:
        return np.zeros(0)
    return (times - times.min()) / np.ptp(times)


@final
class LidarOdometry(Odometry):
    needs: ClassVar[frozenset[str]] = frozenset({"points_lidar"})
    scale: ClassVar[Literal["metric", "unknown"]] = "metric"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._first_from_lidar: list[Transform] = []
        self._valid: list[bool] = []
        self._method = started(self.config)

    def step(self, observation: Observation) -> None:
        assert observation.points_lidar is not None
        points = observation.points_lidar.numpy().astype(np.float64)
        keep = usable(points, self.config)
        valid = int(keep.sum()) >= self.config.min_points
        if valid:
            self._method.register_frame(points[keep], relative_times(observation.point_times_s, keep))
            self._first_from_lidar.append(self._method.last_pose)
        else:
            self._method.last_pose = self._method.last_pose @ self._method.last_delta
            self._first_from_lidar.append(self._method.last_pose)
        self._valid.append(valid)

    def trajectory(self) -> Trajectory:
        poses = np.array(self._first_from_lidar).reshape(-1, 4, 4)
        valid = torch.tensor(self._valid, dtype=torch.bool)
        return Trajectory(torch.from_numpy(poses), valid, torch.zeros(len(valid), dtype=torch.int64))

    def state(self) -> State:
        """The package's objects cannot be stored: the map is kept as its points, the rest follows from the poses."""
        return {
            "map_points": self._method.local_map.point_cloud(),
            "first_from_lidar": np.array(self._first_from_lidar).reshape(-1, 4, 4),
            "valid": np.array(self._valid, bool),
        }

    def restore(self, state: State) -> None:
        self._first_from_lidar, self._valid = list(state["first_from_lidar"]), state["valid"].tolist()
        self._method = resumed(self.config, state["map_points"], self._first_from_lidar, self._valid)


def started(config: Config) -> "KissICP":
    from kiss_icp.config import KISSConfig
    from kiss_icp.kiss_icp import KissICP

    settings = KISSConfig()
    settings.data.max_range, settings.data.min_range = config.max_range_m, config.min_range_m
    settings.mapping.voxel_size = config.voxel_size_m or config.max_range_m / 100
    settings.registration.max_num_threads = config.threads
    return KissICP(settings)


def resumed(
    config: Config, map_points: Float64[np.ndarray, "points 3"], poses: list[Transform], registered: list[bool]
) -> "KissICP":
    """The method as it was after these poses: the adaptive threshold hears again how wrong each prediction was."""
    method = started(config)
    if len(map_points):
        method.local_map.add_points(map_points)
    for pose, was_registered in zip(poses, registered, strict=True):
        if was_registered:
            predicted = method.last_pose @ method.last_delta
            method.adaptive_threshold.update_model_deviation(np.linalg.inv(predicted) @ pose)
            method.last_delta = np.linalg.inv(method.last_pose) @ pose
        method.last_pose = pose
    return method
