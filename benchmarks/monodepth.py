"""Monodepth on streets that it never saw, and Monodepth2 on a real drive. Prints benchmarks/monodepth.md.

    python benchmarks/monodepth.py [FOLDER WITH kitti_raw/]

One thread. The second part is left out without the folder.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from firstsight.depth import monodepth, monodepth2
from firstsight.evaluation.depth import DepthErrors, DepthProtocol
from firstsight.geometry.images import to_tensor
from firstsight.losses.photometric import photometric
from firstsight.recordings.opening import open_recording, scan_depth
from firstsight.recordings.recording import DepthImage
from firstsight.recordings.simulated import simulate
from firstsight.roles import DepthEstimator
from firstsight.training.data.batch import collate, unit_range
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Arrays
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import Callback

CPU = Runtime(device="cpu")
STREETS, UNSEEN = range(8), range(100, 102)
FRAMES, EVERY = 40, 4
DRIVE = "kitti_raw/2011_09_26/2011_09_26_drive_0000_sync"
TINY_CONFIG, TINY = monodepth.Monodepth.PRESETS["tiny"]
ABLATED = replace(TINY, steps=300)
# The rate rises in 20 steps.
DRIVE_RECIPE = replace(monodepth2.Monodepth2.PRESETS["tiny"].recipe, steps=250, learning_rate=5e-4, warm_up=0.08)


def streets(seeds: range, method: monodepth.Monodepth) -> tuple[Arrays, list[DepthImage]]:
    parts, truth = [], []
    height, width = method.config.size
    for seed in seeds:
        recording = simulate("street", seed=seed, height=height, width=width, frames=FRAMES)
        parts.append(Arrays.copied(Clips(recording, method.wanted), range(0, FRAMES, EVERY)).arrays)
        truth += [recording.truth.depth[i] for i in range(0, FRAMES, EVERY)]
    return Arrays(method.wanted, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}), truth


def images_of(data: Arrays) -> list[torch.Tensor]:
    return [unit_range(torch.from_numpy(image)) for image in data.arrays["images"]]


def whole(data: Arrays):
    """All samples as one batch."""
    return collate(data.wanted.batch, [data.sample(i) for i in range(len(data))])


def errors(estimates: list[np.ndarray], truth: list[DepthImage], protocol: DepthProtocol) -> dict[str, float]:
    found = DepthErrors(protocol)
    for estimate, true in zip(estimates, truth, strict=True):
        found.add(DepthImage(estimate, np.ones(estimate.shape, bool)), true)
    return {metric.name: metric.value for metric in found.metrics()}


def constants(truth: list[DepthImage], protocol: DepthProtocol) -> dict[str, float]:
    """Errors of the one depth with the least Abs Rel."""
    shape = truth[0].depth.shape
    tried = [errors([np.full(shape, d, np.float32)] * len(truth), truth, protocol) for d in np.geomspace(2, 60, 60)]
    return min(tried, key=lambda found: found["depth Abs Rel"])


@torch.no_grad()
def estimated(method: DepthEstimator, images: list[torch.Tensor]) -> list[np.ndarray]:
    return [method(image).depth[0, 0].numpy() for image in images]


class Curve(Callback):
    """Errors on the unseen streets now and then."""

    def __init__(self, method: monodepth.Monodepth, images: list[torch.Tensor], truth: list[DepthImage], every: int):
        self.method, self.images, self.truth, self.every, self.start = method, images, truth, every, time.process_time()

    def on_step(self, step, numbers):
        if step % self.every:
            return
        began = time.process_time()
        found = errors(estimated(self.method, self.images), self.truth, DepthProtocol())
        self.start += time.process_time() - began
        print(row(f"{step} steps, {began - self.start + time.process_time() - began:.0f} s", found), flush=True)


def row(name: str, found: dict[str, float]) -> str:
    shown = ("depth Abs Rel", "depth RMSE", "depth RMSE log", "depth δ < 1.25")
    return f"| {name} | " + " | ".join(f"{found[key]:.3f}" for key in shown) + " |"


HEAD = "| | Abs Rel | RMSE, m | RMSE log | δ < 1.25, % |\n|---|--:|--:|--:|--:|"


def print_streets() -> None:
    torch.manual_seed(0)
    method = monodepth.Monodepth(TINY_CONFIG)
    learned, _ = streets(STREETS, method)
    unseen, truth = streets(UNSEEN, method)
    images = images_of(unseen)
    height, width = method.config.size
    print(f"## Monodepth, preset tiny, {len(learned)} pairs {width}x{height} of {len(STREETS)} simulated streets\n")
    print(f"Judged on {len(unseen)} images of {len(UNSEEN)} other streets; {DepthProtocol()}. Seconds are CPU time.\n")
    print(HEAD)
    print(row("best constant depth", constants(truth, DepthProtocol())), flush=True)
    fit(method, learned, TINY, runtime=CPU, callback=Curve(method, images, truth, 100))
    method.config = replace(method.config, post_process=False)
    print(row("the same without post-processing", errors(estimated(method, images), truth, DepthProtocol())))


@torch.no_grad()
def left_over(method: monodepth.Monodepth, samples: Arrays) -> list[float]:
    """What each loss is on images that it was not trained on, without its weight."""
    batch = whole(samples)
    left, right = unit_range(batch.images[:, 0]), unit_range(batch.right[:, 0])
    return [float(term) for term in monodepth.terms(left, right, method.disparities(left)[0], method.config.alpha)]


def print_losses() -> None:
    """Trains with all losses and without each of them."""
    print(f"\n## What each loss is for: {ABLATED.steps} steps with it and without\n")
    print(
        "Streets and protocol as above; the losses of the unseen streets themselves, times 100, without their weights.\n"
    )
    print("| | Abs Rel | RMSE, m | appearance | smoothness | left-right consistency |\n|---|--:|--:|--:|--:|--:|")
    for removed in (None, "appearance", "smoothness", "consistency"):
        torch.manual_seed(0)
        weights = {f"{removed}_weight": 0.0} if removed else {}
        method = monodepth.Monodepth(replace(TINY_CONFIG, **weights))
        fit(method, streets(STREETS, method)[0], ABLATED, runtime=CPU)
        unseen, truth = streets(UNSEEN, method)
        images = images_of(unseen)
        found, left = errors(estimated(method, images), truth, DepthProtocol()), left_over(method, unseen)
        shown = [
            f"{found['depth Abs Rel']:.3f}",
            f"{found['depth RMSE']:.2f}",
            *(f"{100 * value:.2f}" for value in left),
        ]
        print(f"| {f'without {removed}' if removed else 'all three'} | {' | '.join(shown)} |", flush=True)


@torch.no_grad()
def explained(method: monodepth2.Monodepth2, samples: Arrays) -> tuple[float, float]:
    """Photometric error of neighbours moved by depth and motion, and of those left as they are; the better one's."""
    batch = whole(samples)
    before, target, after = views = [unit_range(batch.images[:, k]) for k in range(3)]
    inverse_d = method.inverse_depths(target)[0]
    seen = [
        monodepth2.seen_from(source, 1 / inverse_d, motion, batch.intrinsics)
        for source, motion in zip((before, after), method.motions(*views), strict=True)
    ]
    moved, unmoved = (
        monodepth2.min_reprojection([photometric(target, source) for source in sources])
        for sources in (seen, (before, after))
    )
    return float(moved.mean()), float(unmoved.mean())


def print_drive(folder: Path) -> None:
    recording = open_recording(str(folder / DRIVE))
    torch.manual_seed(0)
    method = monodepth2.Monodepth2.of_preset("tiny")
    clips = Clips(recording, method.wanted)
    samples = Arrays.copied(clips, range(len(clips)))
    camera, lidar = recording.rig.reference, recording.rig.lidar
    frames = [recording[i] for i in range(len(recording))]
    images = [to_tensor(frame.image(camera.name)) for frame in frames]
    truth = [scan_depth(frame.scan(), lidar, camera) for frame in frames]
    protocol = DepthProtocol(align="median", crop="garg")
    height, width = method.config.size
    print(
        f"\n## Monodepth2, {DRIVE_RECIPE.steps} steps on the {len(samples)} clips of one KITTI drive, {width}x{height}\n"
    )
    print(f"Judged by the LiDAR's returns in the same images; {protocol}.\n")
    first = (method.eval(), errors(estimated(method, images), truth, protocol), explained(method, samples))
    start = time.process_time()
    fit(method, samples, DRIVE_RECIPE, runtime=CPU)
    seconds, (after, unmoved) = time.process_time() - start, explained(method, samples)
    print(HEAD)
    flat = [np.ones(t.depth.shape, np.float32) for t in truth]
    print(row("a constant depth, scaled", errors(flat, truth, protocol)))
    print(row("before training", first[1]))
    print(row(f"after {seconds:.0f} s of CPU time", errors(estimated(method, images), truth, protocol)))
    print(
        f"\nPhotometric error: neighbours as they are {unmoved:.4f}, moved before training {first[2][0]:.4f}, after {after:.4f}."
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("# Monodepth\n\n`python benchmarks/monodepth.py [FOLDER WITH kitti_raw/]`, one thread.\n", flush=True)
    print_streets()
    print_losses()
    if len(sys.argv) > 1:
        print_drive(Path(sys.argv[1]))
