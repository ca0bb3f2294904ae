"""Learned flow beside the classical methods on what none of them has seen. Prints benchmarks/learned_flow.md.

    python benchmarks/learned_flow.py [--data DATA] [--kitti KITTI] NAME=TRAINING...

Each training is a folder of `firstsight train METHOD sim:layers:pairs=20000 --preset tiny --out TRAINING`. All pixels are judged, those that
a method calls invalid as well. DATA holds flow/RubberWhale and
seven_scenes; KITTI is a sequence of the odometry data with sweeps.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from firstsight import method, pretrained
from firstsight.formats.flow_files import read_flo
from firstsight.geometry.warp import rigid_flow
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import DepthImage, Recording
from firstsight.recordings.simulated import simulate
from firstsight.roles import FlowEstimator
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.layered.pairs import LayeredPairs, TrueFlow

AGREE = 0.05  # share by which the other depth image may differ

Sample = tuple[Tensor, Tensor, np.ndarray, np.ndarray, np.ndarray]
"""Two images, the true flow (2, height, width), where it is known, and what is seen in both."""


def layers() -> Iterator[Sample]:
    """100 pairs of another seed than that of training, at its size."""
    pairs = LayeredPairs("sim:layers:seed=99,pairs=100", Wanted(TrueFlow, (64, 128), frames(0, 1)))
    for i in range(len(pairs)):
        row = pairs.sample(i)
        image_a, image_b = (torch.from_numpy(image) for image in row["images"])
        yield image_a, image_b, row["flow_ab"], row["valid"][0], ~row["occluded"][0]


def street() -> Iterator[Sample]:
    """Every second frame of a street in another style."""
    recording = simulate("street", seed=7, frames=21, height=128, width=384)
    images = recording.images["left"]
    for i in range(0, 20, 2):
        true = recording.truth.flow[i]
        pair = [torch.from_numpy(images[i + k].copy()).permute(2, 0, 1) for k in (0, 1)]
        yield *pair, true.flow.transpose(2, 0, 1), true.valid, true.visible


def rubber_whale(folder: Path) -> Iterator[Sample]:
    """Middlebury's pair."""
    flow, known = read_flo(folder / "flow10.flo")
    images = [cv2.imread(str(folder / f"frame{number}.png"))[:, :, ::-1].copy() for number in (10, 11)]
    image_a, image_b = (torch.from_numpy(image).permute(2, 0, 1) for image in images)
    yield image_a, image_b, flow.transpose(2, 0, 1), known, known


def seven_scenes(folder: Path) -> Iterator[Sample]:
    """The flow that measured depth and poses give between frames three apart; seen is what the other depth image agrees with."""
    recording = open_recording(str(folder))
    for i in range(0, len(recording) - 3, 9):
        depth, after = recording[i].depth(), recording[i + 3].depth()
        flow, inside, there_m = induced(recording, i, i + 3, depth)
        u, v = (
            np.rint(part).astype(int).clip(0, side - 1) for part, side in zip(flow_ends(flow), (640, 480), strict=True)
        )
        agrees = after.valid[v, u] & (np.abs(after.depth[v, u] / there_m - 1) < AGREE)
        yield *images_of(recording, i, i + 3), flow, depth.valid & inside, depth.valid & inside & agrees


def kitti(folder: Path) -> Iterator[Sample]:
    """The flow that LiDAR and poses give where frames have a sweep; what moves by itself is judged as if it stood."""
    recording = open_recording(str(folder), sensors=frozenset({"stereo"}))
    for i in range(len(recording) - 1):
        depth = recording.truth.depth[i]
        if depth is not None and depth.valid.any():
            flow, inside, _ = induced(recording, i, i + 1, depth)
            yield *images_of(recording, i, i + 1), flow, depth.valid, depth.valid & inside


def induced(recording: Recording, a: int, b: int, depth: DepthImage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The flow from a to b, whether it stays inside, and the depth (m) that b has to see there."""
    poses = recording.truth.world_from_camera
    b_from_a = np.linalg.inv(poses[b]) @ poses[a]
    known = torch.from_numpy(np.where(depth.valid, depth.depth, 1).astype(np.float32))[None, None]
    inner = recording.rig.cameras[0].intrinsics
    motion, pin = (torch.from_numpy(part.astype(np.float32))[None] for part in (b_from_a, inner))
    flow, valid = rigid_flow(known, motion, pin)
    height, width = depth.valid.shape
    x, y = flow_ends(flow[0].numpy())
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1) & valid[0, 0].numpy()
    v, u = np.mgrid[:height, :width]
    rays = np.stack([(u - inner[0, 2]) / inner[0, 0], (v - inner[1, 2]) / inner[1, 1], np.ones_like(u, float)], -1)
    return flow[0].numpy(), inside, ((rays * known[0, 0].numpy()[..., None]) @ b_from_a[2, :3] + b_from_a[2, 3])


def flow_ends(flow: np.ndarray) -> np.ndarray:
    """Where the flow (2, height, width) leads, x and y."""
    y, x = np.mgrid[: flow.shape[1], : flow.shape[2]]
    return np.stack([x, y]) + flow


def images_of(recording: Recording, *frames: int) -> list[Tensor]:
    return [torch.from_numpy(recording[frame].image().copy()).permute(2, 0, 1) for frame in frames]


def errors_px(flow: FlowEstimator | None, samples: Iterator[Sample]) -> tuple[float, float]:
    """EPE of visible pixels and of all; of no flow at all where there is no method."""
    visible, everything = [], []
    for image_a, image_b, true, known, seen in samples:
        found = np.zeros_like(true) if flow is None else flow(image_a, image_b).flow[0].numpy()
        error = np.linalg.norm(found - true, axis=0)
        visible.append(error[known & seen])
        everything.append(error[known])
    return tuple(float(np.concatenate(parts).mean()) for parts in (visible, everything))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kitti", type=Path)
    parser.add_argument("trainings", nargs="*", metavar="NAME=TRAINING")
    given = parser.parse_args()
    torch.set_num_threads(1)
    methods: dict[str, FlowEstimator | None] = {"no flow": None}
    methods |= {name: method(name) for name in ("lucas-kanade", "dense-inverse-search")}
    for entry in given.trainings:
        name, _, folder = entry.partition("=")
        methods[name] = pretrained.load(folder).eval()
    judged: dict[str, Callable[[], Iterator[Sample]]] = {"drawn layers": layers, "street": street}
    if given.data:
        judged["RubberWhale"] = lambda: rubber_whale(given.data / "flow" / "RubberWhale")
        judged["7-Scenes"] = lambda: seven_scenes(given.data / "seven_scenes")
    if given.kitti:
        judged["KITTI"] = lambda: kitti(given.kitti)
    print(f"| EPE, px: visible / all | {' | '.join(judged)} |\n|---|" + len(judged) * "--:|")
    for name, flow in methods.items():
        cells = [errors_px(flow, samples()) for samples in judged.values()]
        print(
            f"| {name} | " + " | ".join(f"{seen:.3f} / {everything:.3f}" for seen, everything in cells) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
