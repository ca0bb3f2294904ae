"""Time of the TSDF beside a plain numpy one, and the ghosts of what moves in both maps. Prints benchmarks/mapping.md.

    python benchmarks/mapping.py

One thread; CPU time of the process; rounds alternate and the best of each counts.
"""

import pickle
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from pairs import best_ms

from firstsight.formats.png import write_ids
from firstsight.formats.trajectory import write_tum
from firstsight.gallery.figures.mapping.fused_maps import (
    ALL,
    KEPT,
    LEFT_OUT,
    STATIC,
    Walk,
    area_m2,
    ghost_cells,
    ghost_faces,
    maps_of,
    observations,
    walk_through,
)
from firstsight.mapping.depth_edges import usable_inverse_depth
from firstsight.mapping.marching_cubes import SIDE
from firstsight.mapping.point_cloud import PointCloudMap
from firstsight.mapping.tsdf import Config, Tsdf, places_of
from firstsight.perceive.stages.mapping import MeshStage
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import select
from firstsight.roles import Observation
from firstsight.run_folder import RunFolder

FRAMES, ROUNDS = 12, 5


def in_numpy(tsdf: Tsdf, observation: Observation, pose: torch.Tensor) -> None:
    """The same mean over the same blocks, nearest pixel and without colour, every voxel at once."""
    depth, valid = (part[0, 0].numpy() for part in observation.depth[:2])
    inverse_depth, k = usable_inverse_depth(depth, valid, tsdf.max_range_m, 0.05), observation.intrinsics.numpy()
    camera_from_world = np.linalg.inv(pose.numpy()).astype(np.float32)
    within = np.stack(np.unravel_index(np.arange(SIDE**3), (SIDE,) * 3), 1)
    voxels = ((SIDE * places_of(tsdf.table.keys[: tsdf.used])[:, None] + within + 0.5) * tsdf.voxel_size_m).astype(
        np.float32
    )
    points = voxels.reshape(-1, 3) @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    before = np.flatnonzero(points[:, 2] > 0)
    rays = points[before] / points[before, 2:]
    pixels = np.rint(rays[:, :2] * [k[0, 0], k[1, 1]] + k[:2, 2]).astype(int)
    inside = ((pixels >= 0) & (pixels < depth.shape[::-1])).all(1)
    before, rays, pixels = before[inside], rays[inside], pixels[inside]
    seen = inverse_depth[pixels[:, 1], pixels[:, 0]]
    known = seen > 0
    before, rays, seen = before[known], rays[known], 1 / seen[known]
    d = (seen - points[before, 2]) * np.linalg.norm(rays, axis=1)
    changed = d > -tsdf.truncation_m
    before, d, w = before[changed], d[changed], np.minimum(1, (tsdf.typical_m / seen[changed]) ** 2)
    distance, weight = (part[: tsdf.used].reshape(-1) for part in tsdf.voxels[:2])
    total = weight[before] + w
    distance[before] += w / total * (np.minimum(d, tsdf.truncation_m) - distance[before])
    weight[before] = np.minimum(total, tsdf.config.max_weight)


def print_times(name: str, step: int, height: int) -> None:
    walk = walk_through(name, range(0, FRAMES * step, step), height)
    seen = list(observations(walk, LEFT_OUT))
    tsdf, cloud = Tsdf(), PointCloudMap()
    for observation, pose in seen:
        tsdf.integrate(observation, pose)
        cloud.integrate(observation, pose)
    observation, pose = seen[-1]
    peer = pickle.loads(pickle.dumps(tsdf))
    times = best_ms(
        {
            "ours": lambda: tsdf.integrate(observation, pose),
            "numpy": lambda: in_numpy(peer, observation, pose),
            "cloud": lambda: cloud.integrate(observation, pose),
            "mesh": tsdf.mesh,
            "checkpoint": lambda: pickle.dumps(tsdf, protocol=pickle.HIGHEST_PROTOCOL),
        },
        ROUNDS,
    )
    rows, columns = observation.depth.depth.shape[-2:]
    cells = " | ".join(f"{times[part]:.0f}" for part in times)
    faster = times["numpy"] / times["ours"]
    print(f"| sim:{name}, {columns}x{rows} | {tsdf.used} | {cells} | {faster:.1f}x | {stage_ms(walk):.0f} |")


def stage_ms(walk: Walk) -> float:
    """Of perceive's stage for a frame: reading depth, ids and image, and the map; the rest is there already."""
    recording = select(walk.with_moving, list(walk.frames))
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        write_tum(run.trajectory_path, recording.stamps_ns, recording.truth.world_from_camera)
        run.objects_path.touch()
        for frame in range(len(recording)):
            run.write_depth(frame, recording.truth.depth[frame])
            write_ids(run.moving_path(frame), recording.truth.moving[frame])
            recording.images["left"][frame]  # rendered and kept
        work = Workspace(recording, run)

        def whole() -> None:
            stage = MeshStage(work)
            for frame in range(len(recording)):
                stage.process(frame)

        return best_ms({"stage": whole}, 3)["stage"] / len(recording)


def print_ghosts(name: str, frames: range, config: Config, height: int) -> None:
    walk = walk_through(name, frames, height)
    maps = {kind: maps_of(walk, kind, config) for kind in ALL}
    for carve in (True, False):
        tsdfs = {kind: maps[kind].tsdf for kind in ALL}
        if not carve:
            band = Config(voxel_size_m=config.voxel_size_m, max_range_m=config.max_range_m, carve=False)
            tsdfs |= {kind: maps_of(walk, kind, band).tsdf for kind in (KEPT, LEFT_OUT)}
        meshes = {kind: tsdf.mesh() for kind, tsdf in tsdfs.items()}
        for kind in (KEPT, LEFT_OUT):
            faces = ghost_faces(meshes[kind], meshes[STATIC], tsdfs[kind].voxel_size_m)
            cells = ghost_cells(maps[kind].grid.occupancy(), maps[STATIC].grid.occupancy()).sum()
            area, whole = (area_m2(meshes[kind], chosen) for chosen in (faces, np.ones_like(faces)))
            space = "averaged" if carve else "not averaged"
            print(f"| sim:{name} | {kind} | {space} | {area:.2f} of {whole:.0f} | {cells} |")


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("# Maps\n\n`python benchmarks/mapping.py`, one thread.\n")
    print(f"## One frame more in a TSDF of {FRAMES}, ms of CPU\n")
    print(
        "| recording | blocks | TSDF | numpy | point cloud | mesh of all | checkpoint | faster than numpy | perceive's stage |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    print_times("rooms", 10, 240)
    print_times("street", 2, 375)
    print("\n## Ghosts: what the map of the same world without moving objects does not have\n")
    print(
        "| recording | map | empty space | ghost surface, m2 | ghost cells of the occupancy grid |\n|---|---|---|--:|--:|"
    )
    print_ghosts("rooms", range(0, 200, 4), Config(voxel_size_m=0.05, max_range_m=6.0), 240)
    print_ghosts("street", range(0, 80, 2), Config(voxel_size_m=0.2, max_range_m=30.0), 192)


if __name__ == "__main__":
    main()
