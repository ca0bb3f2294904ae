"""Time per frame of perceive's stages on a 1242x375 stereo recording, beside the same chain written plainly with OpenCV.

Both read the same PNG files and write the same depth, flow and trajectory files, on one thread. The plain chain is what one would
write in an afternoon: StereoSGBM with eight paths (MODE_HH; MODE_SGBM's five paths stand beside it), DIS forward and backward with a
check, and corners tracked by Lucas-Kanade with RANSAC PnP. CPU time of the process; rounds alternate, the best of each counts.

    .venv/bin/python benchmarks/perceive.py                     prints the table of benchmarks/perceive.md
    .venv/bin/python benchmarks/perceive.py cores DRIVE 0:20    the whole of perceive on one core and on two
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numba
import numpy as np
import torch

from firstsight.formats import png
from firstsight.perceive.execution.running import run_stage
from firstsight.perceive.stages.depth import StereoDepth
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.stages.motion import DepthCameraMotion
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import DepthImage, Recording
from firstsight.recordings.simulated import simulate
from firstsight.recordings.simulated.export import write_kitti_raw
from firstsight.run_folder import RunFolder

FRAMES, ROUNDS, DISPARITIES = 8, 3, 160  # ours tries an eighth of the width, rounded up to 160
SENSORS = frozenset({"camera", "stereo"})


class PlainChain:
    """The three steps with OpenCV calls alone."""

    def __init__(self, recording: Recording, run: RunFolder, mode: int):
        self.recording, self.run = recording, run
        left, right = recording.rig.stereo_cameras
        self.left, self.right = left.name, right.name
        self.intrinsics, self.focal_baseline = left.intrinsics, left.intrinsics[0, 0] * recording.rig.baseline_m
        self.matcher = cv2.StereoSGBM_create(
            0, DISPARITIES, 5, 8 * 25, 32 * 25, 1, 63, 10, speckleWindowSize=100, speckleRange=2, mode=mode
        )
        self.flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def grey(self, frame: int, camera: str) -> np.ndarray:
        return cv2.cvtColor(self.recording.images[camera][frame], cv2.COLOR_RGB2GRAY)

    def depth_step(self, frame: int) -> None:
        left, right = self.grey(frame, self.left), self.grey(frame, self.right)
        disparity = self.matcher.compute(left, right).astype(np.float32) / 16
        valid = disparity > 0
        depth = np.where(valid, self.focal_baseline / np.where(valid, disparity, 1), 0).astype(np.float32)
        self.run.write_depth(frame, DepthImage(depth, valid))

    def flow_step(self, frame: int) -> None:
        a, b = (self.grey(frame + i, self.left) for i in (0, 1))
        forward, backward = self.flow.calc(a, b, None), self.flow.calc(b, a, None)
        height, width = a.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        back = cv2.remap(backward, x + forward[..., 0], y + forward[..., 1], cv2.INTER_LINEAR)
        png.write_flow(self.run.flow_path(frame), forward, np.linalg.norm(forward + back, axis=-1) < 1)

    def motion_step(self, frame: int) -> None:
        a, b = (self.grey(frame + i, self.left) for i in (0, 1))
        depth = self.run.read_depth(frame)
        corners = cv2.goodFeaturesToTrack(a, 1000, 0.01, 8)[:, 0]
        tracked, found, _ = cv2.calcOpticalFlowPyrLK(a, b, corners, None)
        columns, rows = corners.round().astype(int).T
        used = (found[:, 0] > 0) & depth.valid[rows, columns]
        rays = np.column_stack([corners, np.ones(len(corners))]) @ np.linalg.inv(self.intrinsics).T
        points = rays[used] * depth.depth[rows, columns][used, None]
        cv2.solvePnPRansac(points, tracked[used].astype(np.float64), self.intrinsics, None, reprojectionError=2)


def per_frame_ms(step: Callable[[int], None], frames: int) -> float:
    started = time.process_time()
    for frame in range(frames):
        step(frame)
    return 1000 * (time.process_time() - started) / frames


def time_plain(recording: Recording, folder: Path, mode: int) -> dict[str, float]:
    chain = PlainChain(recording, RunFolder(folder), mode)
    return {
        "depth": per_frame_ms(chain.depth_step, FRAMES),
        "flow": per_frame_ms(chain.flow_step, FRAMES - 1),
        "motion": per_frame_ms(chain.motion_step, FRAMES - 1),
    }


def time_ours(recording: Recording, folder: Path) -> dict[str, float]:
    shutil.rmtree(folder, ignore_errors=True)
    work = Workspace(recording, RunFolder(folder))
    times = {}
    for stage in (StereoDepth, FlowStage, DepthCameraMotion):
        started = time.process_time()
        record = run_stage(stage(work), lambda _: None)
        times[record.name] = 1000 * (time.process_time() - started) / (FRAMES - (stage is FlowStage))
    return times


ON_CORES = """
import os, sys
workers = int(sys.argv[1])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])
from firstsight.perceive.run import Settings, perceive
perceive(sys.argv[2], sys.argv[3], Settings(frames=sys.argv[4]), workers=workers)
"""


def compare_cores(drive: str, frames: str) -> None:
    """Prints wall and CPU time of perceive on one core and on two, by stage, and whether both wrote the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            out, before = Path(folder) / str(workers), resource.getrusage(resource.RUSAGE_CHILDREN)
            started, load = time.perf_counter(), os.getloadavg()[0]
            command = [sys.executable, "-c", ON_CORES, str(workers), drive, str(out), frames]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            wall = time.perf_counter() - started
            print(f"{workers}: wall {wall:.1f} s, user {user:.1f} s, sys {system:.1f} s, load before {load:.1f}")
            for stage in RunFolder(out).read_record().stages:
                print(f"   {stage.name:12}{stage.seconds:8.2f} s")
        ones, twos = (
            {str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file() and p.name not in UNEQUAL}
            for f in (Path(folder) / "1", Path(folder) / "2")
        )
        print("same bytes" if ones == twos else "other bytes")


# What holds times, or is made by libraries that put some in.
UNEQUAL = ("run.json", "report.html", "recording.rrd")


def main() -> None:
    if sys.argv[1:2] == ["cores"]:
        compare_cores(*sys.argv[2:4])
        return
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        drive = write_kitti_raw(simulate("street", frames=FRAMES, height=375, width=1242), Path(folder) / "drive")
        chains: dict[str, Callable[[], dict[str, float]]] = {
            "firstsight": lambda: time_ours(open_recording(str(drive), sensors=SENSORS), Path(folder) / "ours"),
            "OpenCV, MODE_HH": lambda: time_plain(
                open_recording(str(drive), sensors=SENSORS), Path(folder) / "plain", cv2.STEREO_SGBM_MODE_HH
            ),
            "OpenCV, MODE_SGBM": lambda: time_plain(
                open_recording(str(drive), sensors=SENSORS), Path(folder) / "plain", cv2.STEREO_SGBM_MODE_SGBM
            ),
        }
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in chains}
        for _ in range(ROUNDS + 1):  # the first compiles
            for name, run in chains.items():
                rounds[name].append(run())
    print("| chain | depth | flow | motion | sum, ms/frame |\n|---|--:|--:|--:|--:|")
    for name, times in rounds.items():
        best = {stage: min(t[stage] for t in times[1:]) for stage in ("depth", "flow", "motion")}
        print(f"| {name} | " + " | ".join(f"{v:.0f}" for v in (*best.values(), sum(best.values()))) + " |")


if __name__ == "__main__":
    main()
