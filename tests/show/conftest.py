"""A small made-up recording and its run: three frames of a stereo camera with LiDAR and odometry."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstsight.formats import occupancy, png, point_cloud, trajectory
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Camera,
    Channel,
    DepthImage,
    Lidar,
    Recording,
    Rig,
    Scan,
    Truth,
)
from firstsight.run_folder import Finding, Metric, RunFolder, RunRecord, StageRecord

FRAMES, HEIGHT, WIDTH = 3, 48, 96


@pytest.fixture
def recording() -> Recording:
    rng = np.random.default_rng(0)
    intrinsics = np.array([[60.0, 0, (WIDTH - 1) / 2], [0, 60, (HEIGHT - 1) / 2], [0, 0, 1]])
    left = Camera(name="left", size=(HEIGHT, WIDTH), intrinsics=intrinsics, body_from_camera=BODY_FROM_FORWARD_CAMERA)
    right_from_body = BODY_FROM_FORWARD_CAMERA.copy()
    right_from_body[1, 3] = -0.5
    world_from_body = np.tile(np.eye(4), (FRAMES, 1, 1))
    world_from_body[:, 0, 3] = np.arange(FRAMES)
    odometry = world_from_body.copy()
    odometry[:, 1, 3] = 0.1 * np.arange(FRAMES)
    images = rng.integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    scans = [Scan(rng.uniform(-20, 20, (500, 3)).astype(np.float32)) for _ in range(FRAMES)]
    return Recording(
        source="/recordings/made <up> & small",
        format="made up",
        rig=Rig(
            cameras=(left, replace(left, name="right", body_from_camera=right_from_body)),
            stereo=("left", "right"),
            lidar=Lidar(body_from_lidar=np.eye(4)),
        ),
        stamps_ns=np.arange(FRAMES, dtype=np.int64) * 10**8,
        images={name: Channel(FRAMES, lambda i: images[i]) for name in ("left", "right")},
        scans=Channel(FRAMES, lambda i: scans[i]),
        odometry=odometry,
        truth=Truth(world_from_camera=world_from_body @ BODY_FROM_FORWARD_CAMERA),
    )


def make_record(recording: Recording) -> RunRecord:
    return RunRecord(
        version="0.1.0",
        source=recording.source,
        format=recording.format,
        frames=len(recording),
        settings={"fov_deg": None, "frames": "0:3"},
        remarks=["the field of view is <assumed>"],
        flagged_frames=[{"frame": 1, "reason": "image damaged"}],
        findings=[Finding(check="exposure", verdict="note", measured="12 % saturated", advice="expose less")],
        stages=[
            StageRecord(name="depth", method="semi-global matching", status="done", frames=3, seconds=0.6),
            StageRecord(name="flow", method="dense inverse search", status="done", frames=2, seconds=0.1),
            StageRecord(name="places", method="", status="skipped", reason="the drive closes no loop"),
        ],
        metrics=[
            Metric(name="ATE RMSE", value=0.0123, unit="m", protocol="SE(3) alignment"),
            Metric(name="flow EPE", value=0.5, unit="px", protocol="all pixels"),
        ],
    )


@pytest.fixture
def write_record(tmp_path: Path) -> Callable[..., RunFolder]:
    """Makes a run folder that holds a record alone; keyword arguments replace parts of it."""

    def write(recording: Recording, **changes) -> RunFolder:
        run = RunFolder(tmp_path / "run")
        run.write_record(replace(make_record(recording), **changes))
        return run

    return write


@pytest.fixture
def run(recording: Recording, write_record: Callable[..., RunFolder]) -> RunFolder:
    """A run with every product."""
    run, rng = write_record(recording), np.random.default_rng(1)
    for frame in range(FRAMES):
        depth = rng.uniform(2, 30, (HEIGHT, WIDTH)).astype(np.float32)
        run.write_depth(frame, DepthImage(depth, rng.random((HEIGHT, WIDTH)) < 0.9))
        ids = np.zeros((HEIGHT, WIDTH), np.uint16)
        ids[10:30, 20 + 5 * frame : 45 + 5 * frame] = 7
        png.write_ids(run.moving_path(frame), ids)
        if frame + 1 < FRAMES:
            flow = rng.normal(0, 4, (HEIGHT, WIDTH, 2)).astype(np.float32)
            png.write_flow(run.flow_path(frame), flow, np.ones((HEIGHT, WIDTH), bool))
    assert recording.truth.world_from_camera is not None
    trajectory.write_tum(run.trajectory_path, recording.stamps_ns, recording.truth.world_from_camera)
    points = rng.uniform([-5, -5, -1], [8, 5, 2], (3000, 3)).astype(np.float32)
    point_cloud.write_ply(run.cloud_path, points, rng.integers(0, 255, (3000, 3), dtype=np.uint8), "made up")
    occupied = rng.random((40, 60)) < 0.1
    occupancy.write_map(run.occupancy_path, occupied, ~occupied, (-5.0, -5.0), 0.25)
    return run
