"""DINO on CIFAR-10 on a CPU: what its features know while it trains. Prints benchmarks/dino.md.

    python benchmarks/dino.py CIFAR --out RUN [--steps 3000]

CIFAR is a tar archive of pictures named train/CLASS/* and test/CLASS/*. A run that was stopped goes on. One thread.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import torch

from firstsight.evaluation.probes import Labelled, encoded, linear_metric, neighbour_metric, numbered
from firstsight.nets.vit import Config as VitConfig
from firstsight.representation.dino import LARGE, RECIPE, SMALL, Config, Dino
from firstsight.run_folder import Metric
from firstsight.training.diary import Watch
from firstsight.training.fit import Surroundings, fit
from firstsight.training.samples import Dataset, Pictures, Sample, tarred_pictures

SMALL_CONFIG = Config(
    vit=VitConfig(size=(32, 32), patch=8, width=96, blocks=4, heads=3),
    wanted=(32, 32),
    large=(replace(LARGE[0], size=(32, 32), blur=0.0), replace(LARGE[1], size=(32, 32), blur=0.0)),
    small=replace(SMALL, size=(16, 16), scale=(0.1, 0.4), blur=0.0),
    small_views=4,
    hidden=256,
    bottleneck=64,
    prototypes=1024,
    teacher_temperature=0.04,
)
SMALL_RECIPE = replace(
    RECIPE,
    batch=64,
    learning_rate=1e-3,
    warm_up=200,
    final_weight_decay=0.1,
    ema=0.99,
    log_every=50,
    checkpoint_every=250,
)
PICTURES, KNOWN, HELD_OUT = 20_000, 2000, 500


class Chosen(Dataset):
    """Some of the pictures."""

    def __init__(self, pictures: Pictures, indices: np.ndarray):
        self.pictures, self.indices = pictures, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.pictures[int(self.indices[index])]


class Probe:
    """The same labelled pictures for every encoder."""

    def __init__(self, pictures: Pictures):
        self.pictures = pictures
        self.parts = {part: chosen(pictures, part, count) for part, count in (("train", KNOWN), ("test", HELD_OUT))}
        self.labels = numbered(pictures.labels)

    def labelled(self, encoder) -> list[Labelled]:
        return [Labelled(encoded(encoder, self.pictures, i.tolist()), self.labels[i]) for i in self.parts.values()]


def chosen(pictures: Pictures, part: str, count: int, seed: int = 0) -> np.ndarray:
    of_part = np.array([i for i, name in enumerate(pictures.names) if f"/{part}/" in name])
    return np.random.default_rng(seed).permutation(of_part)[:count]


class Probing(Watch):
    """Every now and then, the accuracy of the teacher's features."""

    def __init__(self, method: Dino, probe: Probe, path: Path, every: int):
        self.method, self.probe, self.path, self.every = method, probe, path, every
        self.started = process_time()

    def began(self, step: int, steps: int) -> None:
        self.note(step)

    def stepped(self, step: int, numbers: Mapping[str, float] | None) -> None:
        if step % self.every == 0:
            self.note(step)

    def note(self, step: int) -> None:
        spent_s = process_time() - self.started
        row = {"step": step, "knn": neighbour_metric(*self.probe.labelled(self.method)).value, "cpu_s": spent_s}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def pixels(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1) - 0.5


def print_metric(name: str, metric: Metric) -> None:
    print(f"| {name} | {metric.value:.1f} | {metric.protocol} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--every", type=int, default=250)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    method, untrained = Dino(SMALL_CONFIG), Dino(SMALL_CONFIG)
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = tarred_pictures(arguments.cifar, method.wanted, arguments.out)
    probe, recipe = Probe(pictures), replace(SMALL_RECIPE, steps=arguments.steps)
    path = arguments.out / "probed.jsonl"
    watch = Probing(method, probe, path, arguments.every)
    training = Chosen(pictures, chosen(pictures, "train", PICTURES, seed=1))
    fit(method, training, recipe, arguments.out, surroundings=Surroundings(device="cpu"), watch=watch)

    vit = SMALL_CONFIG.vit
    print("# DINO on CIFAR-10, on a CPU\n")
    print(f"`python benchmarks/dino.py CIFAR --out RUN --steps {arguments.steps}`, one thread.\n")
    print(
        f"ViT of {vit.blocks} blocks and {vit.width} dimensions, patches of {vit.patch} px; {len(training)} pictures without "
        f"labels, {recipe.steps} steps of {recipe.batch}: {recipe.steps * recipe.batch / len(training):.1f} epochs.\n"
    )
    print("| features | accuracy (%) | protocol |\n|---|--:|---|")
    for name, encoder in (("raw pixels", pixels), ("untrained", untrained), ("DINO", method)):
        labelled = probe.labelled(encoder)
        for metric in (
            neighbour_metric(*labelled),
            neighbour_metric(*labelled, temperature=None),
            linear_metric(*labelled, decay=1e-2),
        ):
            print_metric(f"{name}, {metric.name}", metric)
    print("\n| step | 20-NN accuracy (%) |\n|--:|--:|")
    rows = {row["step"]: row for row in map(json.loads, path.read_text().splitlines())}
    for step, row in sorted(rows.items()):
        print(f"| {step} | {row['knn']:.1f} |")


if __name__ == "__main__":
    main()
