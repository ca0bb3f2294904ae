"""A short simulated drive with moving cars, as observations of a camera with depth and of a LiDAR."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from firstsight.geometry.images import to_tensor
from firstsight.recordings.recording import DepthImage, Frame, Recording
from firstsight.recordings.simulated import simulate
from firstsight.roles import Depth, Observation


def observe(frame: Frame, depth: DepthImage | None = None) -> Observation:
    """The reference camera's image, with depth where it is given, and the LiDAR's sweep if there is one."""
    camera, scan = frame.recording.rig.cameras[0], frame.scan()
    return Observation(
        frame.stamp_ns,
        image=to_tensor(frame.image()),
        intrinsics=torch.from_numpy(camera.intrinsics),
        depth=None if depth is None else Depth(*(torch.from_numpy(part)[None, None] for part in depth)),
        points_lidar=None if scan is None else torch.from_numpy(scan.points),
        point_times_s=None if scan is None or scan.times_s is None else torch.from_numpy(scan.times_s),
    )


@dataclass(frozen=True)
class Drive:
    """`observations` of every frame, with the true depth; `world_from_camera` is the truth."""

    recording: Recording
    observations: list[Observation]
    world_from_camera: np.ndarray

    @property
    def odometry(self) -> np.ndarray:
        """What the wheels say: world_from_camera."""
        return self.recording.odometry @ self.recording.rig.cameras[0].body_from_camera


@pytest.fixture(scope="session")
def drive() -> Drive:
    recording = simulate("street", frames=24)
    observations = [observe(frame, recording.truth.depth[frame.index]) for frame in recording]
    return Drive(recording, observations, recording.truth.world_from_camera)


def blinded(observations: list[Observation], frames: range) -> list[Observation]:
    """The observations with a black image in these frames."""
    return [
        seen._replace(image=torch.zeros_like(seen.image)) if i in frames else seen
        for i, seen in enumerate(observations)
    ]


def flickering(observations: list[Observation], seed: int) -> list[Observation]:
    """The observations with a factor of 0.5 to 1.5 on every image by chance, cut off at white."""
    factors = np.random.default_rng(seed).uniform(0.5, 1.5, len(observations))
    return [
        seen._replace(image=(seen.image * factor).clamp(0, 1))
        for seen, factor in zip(observations, factors, strict=True)
    ]


@pytest.fixture(name="flickering")
def flickering_fixture():
    return flickering


@pytest.fixture(name="blinded")
def blinded_fixture():
    return blinded


@pytest.fixture(name="observe")
def observe_fixture():
    return observe
