"""Random views beside kornia's: the same changes with the same distributions. Prints benchmarks/views.md.

    python benchmarks/views.py

Peer: kornia (pip install --no-deps kornia; left out where it is absent). One thread; CPU time of the process; rounds alternate and
the best of each counts, so every round draws the same numbers.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from pairs import best_ms

from firstsight.representation.joint_embedding.dino import LARGE, SMALL
from firstsight.training.random_numbers import StepRandom
from firstsight.training.views import View, view

BATCH, SEED, ROUNDS = 32, 0, 4
KINDS = {
    "SimCLR, 256 to 224 px": (256, View()),
    "DINO large, 256 to 224 px": (256, LARGE[0]),
    "DINO small, 256 to 96 px": (256, SMALL),
    "SimCLR, 32 to 32 px": (32, View(size=(32, 32), blur=0.0)),
}
PARTS = {
    "crop and flip": {},
    "colours": {"jitter": 1.0},
    "grey": {"grey": 1.0},
    "blur": {"blur": 1.0},
    "solarise": {"solarise": 1.0},
}
NOTHING = {"jitter": 0.0, "grey": 0.0, "blur": 0.0, "solarise": 0.0}


def ours(images: torch.Tensor, kind: View) -> Callable[[], torch.Tensor]:
    return lambda: view(images, kind, StepRandom(SEED, 0, len(images)))


def kornias(images: torch.Tensor, kind: View) -> Callable[[], torch.Tensor]:
    """The same, with kernels of the same length."""
    import kornia.augmentation as K

    taps = 2 * int(3 * kind.sigma_px[1]) + 1
    parts = [
        K.RandomResizedCrop(kind.size, scale=kind.scale, ratio=kind.ratio),
        K.RandomHorizontalFlip(p=kind.flip),
        K.ColorJitter(kind.brightness, kind.contrast, kind.saturation, kind.hue, p=kind.jitter),
        K.RandomGrayscale(p=kind.grey),
        K.RandomGaussianBlur((taps, taps), kind.sigma_px, p=kind.blur),
        K.RandomSolarize(thresholds=(kind.threshold, kind.threshold), additions=(0.0, 0.0), p=kind.solarise),
    ]
    probabilities = (1.0, kind.flip, kind.jitter, kind.grey, kind.blur, kind.solarise)
    sequence = K.AugmentationSequential(*(part for part, p in zip(parts, probabilities, strict=True) if p))

    def run() -> torch.Tensor:
        torch.manual_seed(SEED)
        return sequence(images)

    return run


def print_peers() -> None:
    print("## Beside kornia\n")
    print("| views | ours, images/s | kornia, images/s | faster by |\n|---|--:|--:|--:|")
    for name, (size, kind) in KINDS.items():
        images = torch.rand(BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))
        methods = {"ours": ours(images, kind)}
        if find_spec("kornia"):
            methods["kornia"] = kornias(images, kind)
        rates = {peer: 1000 * BATCH / ms for peer, ms in best_ms(methods, ROUNDS).items()}
        theirs = f"{rates['kornia']:.0f} | {rates['ours'] / rates['kornia']:.1f}x" if "kornia" in rates else "absent | "
        print(f"| {name} | {rates['ours']:.0f} | {theirs} |")


def print_parts() -> None:
    images = torch.rand(BATCH, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    kinds = {name: View(**{**NOTHING, **done}) for name, done in PARTS.items()}
    times = best_ms({name: ours(images, kind) for name, kind in kinds.items()}, ROUNDS)
    print("\n## Its parts, 256 to 224 px, every image\n")
    print("| part | ms per image |\n|---|--:|")
    for name, ms in times.items():
        added = ms if name == "crop and flip" else ms - times["crop and flip"]
        print(f"| {name} | {added / BATCH:.2f} |")


def main() -> None:
    torch.set_num_threads(1)
    print(f"# Random views\n\n`python benchmarks/views.py`, one thread, batches of {BATCH}.\n")
    print_peers()
    print_parts()


if __name__ == "__main__":
    main()
