"""Depth from motion (plane sweep): errors and time. Prints benchmarks/plane_sweep.md.

    python benchmarks/plane_sweep.py [FOLDER]      FOLDER holds kitti_raw/; without it only the simulated street is measured

One thread; CPU time of the process.
"""

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from firstsight.depth.plane_sweep import PlaneSweep
from firstsight.geometry.images import to_tensor
from firstsight.recordings.kitti.raw import read as read_kitti_raw
from firstsight.recordings.opening import with_lidar_as_true_depth
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import simulate


def swept(recording: Recording, frame: int, offsets: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    """Relative errors and which are answered, of the static pixels with true depth below 80 m; CPU seconds."""
    images, cameras = recording.images[recording.rig.cameras[0].name], recording.truth.world_from_camera
    others = [frame + offset for offset in offsets]
    motion = torch.from_numpy(np.stack([np.linalg.inv(cameras[i]) @ cameras[frame] for i in others]))
    sources = torch.cat([to_tensor(images[i]) for i in others])
    intrinsics = torch.from_numpy(recording.rig.cameras[0].intrinsics)
    start = time.process_time()
    depth, valid, _ = PlaneSweep()(to_tensor(images[frame]), sources, motion, intrinsics)
    seconds = time.process_time() - start
    truth = recording.truth.depth[frame]
    judged = truth.valid & (truth.depth < 80)
    if recording.truth.moving is not None:
        judged &= recording.truth.moving[frame] == 0
    return np.abs(depth[0, 0].numpy()[judged] / truth.depth[judged] - 1), valid[0, 0].numpy()[judged], seconds


def print_sweeps(recordings: dict[str, tuple[Recording, tuple[int, ...]]]) -> None:
    print(
        "# Depth from motion\n\nPlane sweep, poses given: `python benchmarks/plane_sweep.py FOLDER`, one thread.\n\n"
        "KITTI 0000 stands in traffic: many LiDAR returns lie on vehicles that move, which no sweep can place.\n\n"
        "| recording | neighbours | answered | Abs Rel | median | s per frame |\n|---|---|--:|--:|--:|--:|"
    )
    for name, (recording, frames) in recordings.items():
        for offsets in ((-1, 1), (-2, -1, 1, 2), (-4, -2, 2, 4)):
            runs = [swept(recording, frame, offsets) for frame in frames]
            error, valid = (np.concatenate(parts) for parts in list(zip(*runs, strict=True))[:2])
            seconds = min(run[2] for run in runs)
            print(
                f"| {name} | {', '.join(f'{i:+d}' for i in offsets)} | {100 * valid.mean():.0f} % "
                f"| {error[valid].mean():.3f} | {np.median(error[valid]):.3f} | {seconds:.2f} |"
            )


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sweeps = {"sim:street, static": (simulate("street"), (10, 30, 50))}
    if len(sys.argv) > 1:
        drive = read_kitti_raw(Path(sys.argv[1]) / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_0000_sync")
        sweeps["KITTI 0000, traffic and all"] = (with_lidar_as_true_depth(drive), (6, 10, 14))
    print_sweeps(sweeps)


if __name__ == "__main__":
    main()
