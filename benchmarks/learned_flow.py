"""Learned flow beside the classical methods on what none of them has seen. Prints benchmarks/learned_flow.md.

    python benchmarks/learned_flow.py [--data DATA] NAME=TRAINING...

Each training is a folder of `firstsight train METHOD sim:layers:pairs=20000 --preset tiny --out TRAINING`. All pixels are judged, those that
a method calls invalid as well. DATA holds flow/RubberWhale.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from firstsight import method, pretrained
from firstsight.formats.flow_files import read_flo
from firstsight.recordings.simulated import simulate
from firstsight.roles import FlowEstimator
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.layered.pairs import LayeredPairs, TrueFlow

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
    parser.add_argument("trainings", nargs="*", metavar="NAME=TRAINING")
    given = parser.parse_args()
    torch.set_num_threads(1)
    methods: dict[str, FlowEstimator | None] = {"no flow": None}
    methods |= {name: method(name) for name in ("lucas-kanade", "dense-inverse-search")}
    for entry in given.trainings:
        name, _, folder = entry.partition("=")
        methods[name] = pretrained.load(folder).eval()
    print("| EPE, px: visible / all | drawn layers | street | RubberWhale |\n|---|--:|--:|--:|")
    for name, flow in methods.items():
        cells = [errors_px(flow, layers()), errors_px(flow, street())]
        if given.data is not None:
            cells.append(errors_px(flow, rubber_whale(given.data / "flow" / "RubberWhale")))
        print(f"| {name} | " + " | ".join(f"{seen:.3f} / {whole:.3f}" for seen, whole in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
