"""What DINO's features know, on a CPU: of drawn patterns, and of CIFAR-10 while it trains. Prints benchmarks/dino.md.

    python benchmarks/dino.py
    python benchmarks/dino.py --cifar CIFAR --out RUN
    python benchmarks/dino.py --cifar CIFAR --out RUN --preset tiny --labelled 4000 4000

CIFAR is a tar archive of images named train/CLASS/* and test/CLASS/*. A run that was stopped goes on. One thread.
"""

import argparse
import copy
import json
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import torch

from firstsight.evaluation.probes import Labelled, encoded, linear_metric, neighbour_metric, numbered
from firstsight.representation.joint_embedding.dino import PATTERNS_CONFIG, PATTERNS_RECIPE, Dino
from firstsight.run_folder import Metric
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.images import Images
from firstsight.training.data.opening import open_images, parse_source
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import Measurement
from firstsight.training.random_numbers import StepRandom
from firstsight.training.toys.drawn_patterns import Patterns
from firstsight.training.views import views

IMAGES, LABELLED = 20_000, (2000, 500)


class Probe:
    """The same labelled images for every encoder."""

    def __init__(self, images: Images, counts: tuple[int, int]):
        self.images = images
        parts = zip(("train", "test"), counts, strict=True)
        self.parts = {part: chosen(images, part, count) for part, count in parts}
        self.labels = numbered(images.class_names() or [])

    def labelled(self, encoder) -> list[Labelled]:
        return [Labelled(encoded(encoder, self.images, i.tolist()), self.labels[i]) for i in self.parts.values()]


def chosen(images: Images, part: str, count: int, seed: int = 0) -> np.ndarray:
    of_part = np.array([i for i, name in enumerate(images.relative_names) if f"{part}/" in name])
    return np.random.default_rng(seed).permutation(of_part)[:count]


class Probing(Measurement):
    """Every now and then, the accuracy of the teacher's features."""

    def __init__(self, method: Dino, probe: Probe, path: Path, every: int):
        self.method, self.probe, self.path, self.every = method, probe, path, every
        self.started = process_time()

    def measure(self, step: int) -> None:
        spent_s = process_time() - self.started
        row = {"step": step, "knn": neighbour_metric(*self.probe.labelled(self.method)).value, "cpu_s": spent_s}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def pixels(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1) - 0.5


def print_metric(name: str, metric: Metric) -> None:
    print(f"| {name} | {metric.value:.1f} | {metric.protocol} |")


def print_patterns() -> None:
    """The preset for patterns."""
    size_px = PATTERNS_CONFIG.size[0]
    known, held_out = Patterns(640, size_px), Patterns(320, size_px, seed=1)
    torch.manual_seed(0)
    method = Dino(PATTERNS_CONFIG)
    untrained = copy.deepcopy(method)
    started = process_time()
    fit(method, known, PATTERNS_RECIPE, runtime=Runtime(device="cpu"))
    spent_s = process_time() - started
    print(
        f"## Eight kinds of drawn pattern, {size_px} px, preset patterns: {PATTERNS_RECIPE.steps} steps of {PATTERNS_RECIPE.batch}, {spent_s:.0f} s\n"
    )
    print("| features | accuracy (%) | protocol |\n|---|--:|---|")
    for name, encoder in (("raw pixels", pixels), ("untrained", untrained), ("DINO", method)):
        parts = [Labelled(encoded(encoder, p, range(len(p))), torch.from_numpy(p.labels)) for p in (known, held_out)]
        few = Labelled(parts[0].features[:80], parts[0].labels[:80])
        print_metric(f"{name}, 80 labels", neighbour_metric(few, parts[1], 5))
        print_metric(f"{name}, all labels", neighbour_metric(parts[0], parts[1]))
        print_metric(f"{name}, linear probe", linear_metric(parts[0], parts[1], 1e-2))


def print_correlations() -> None:
    """Whether there is anything to amplify: what two views of an image share before the first step."""
    images = torch.from_numpy(Patterns(160, PATTERNS_CONFIG.size[0], seed=1).images).float() / 255
    print("\n## What two views share before training\n")
    print("Correlation over images of the head's outputs for two large views, and for a large and a small one.\n")
    print("| patches | jitter | large, large | large, small |\n|--:|---|--:|--:|")
    for patch in (4, 6):
        for jitter in (0.0, 0.8):
            large, small = (replace(kind, jitter=jitter) for kind in (PATTERNS_CONFIG.large[0], PATTERNS_CONFIG.small))
            torch.manual_seed(0)
            method = Dino(replace(PATTERNS_CONFIG, vit=replace(PATTERNS_CONFIG.vit, patch=patch)))
            with torch.no_grad():
                crops = views(images, [large, large, small], StepRandom(0, 0, len(images)))
                outputs = [method.teacher.head(method.teacher.vit(crop).cls) for crop in crops]
            first, *others = (output - output.mean(0) for output in outputs)
            shared = [float((first * other).mean() / (first.std() * other.std())) for other in others]
            how = "DINO's" if jitter else "none"
            print(f"| {patch} px | {how} | {shared[0]:.2f} | {shared[1]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/dino-cifar"))
    parser.add_argument("--preset", default="cifar")
    parser.add_argument(
        "--labelled", type=int, nargs=2, default=LABELLED, help="known and held-out images of the probes"
    )
    parser.add_argument("--every", type=int, default=250)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("# DINO on a CPU\n\nOne thread, CPU time.\n")
    if arguments.cifar:
        print_cifar(arguments)
    else:
        print("`python benchmarks/dino.py`\n")
        print_patterns()
        print_correlations()


def print_cifar(arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    (config, recipe), out = Dino.PRESETS[arguments.preset], arguments.out
    method = Dino(config)
    untrained = copy.deepcopy(method)
    out.mkdir(parents=True, exist_ok=True)
    images = open_images(parse_source(str(arguments.cifar)), method.wanted, out)
    probe, path = Probe(images, tuple(arguments.labelled)), out / "probed.jsonl"
    training = Arrays.copied(images, chosen(images, "train", IMAGES, seed=1).tolist())
    watch = Probing(method, probe, path, arguments.every)
    fit(method, training, recipe, out, runtime=Runtime(device="cpu"), callback=watch)

    vit = config.vit
    print(f"`python benchmarks/dino.py --cifar CIFAR --out RUN --preset {arguments.preset}`\n")
    print(
        f"## CIFAR-10\n\nViT of {vit.blocks} blocks and {vit.width} dimensions, patches of {vit.patch} px; {len(training)} "
        f"images without labels, {recipe.steps} steps of {recipe.batch}: {recipe.steps * recipe.batch / len(training):.1f} epochs.\n"
    )
    print("| features | accuracy (%) | protocol |\n|---|--:|---|")
    for name, encoder in (("raw pixels", pixels), ("untrained", untrained), ("DINO", method)):
        known, held_out = probe.labelled(encoder)
        print_metric(f"{name}, 20-NN", neighbour_metric(known, held_out))
        print_metric(f"{name}, 20-NN", neighbour_metric(known, held_out, temperature=None))
        for decay in (1e-2, 1e-3):
            print_metric(f"{name}, linear probe", linear_metric(known, held_out, decay))
    print("\n| step | 20-NN accuracy (%) |\n|--:|--:|")
    rows = {row["step"]: row for row in map(json.loads, path.read_text().splitlines())}
    for step, row in sorted(rows.items()):
        print(f"| {step} | {row['knn']:.1f} |")


if __name__ == "__main__":
    main()
