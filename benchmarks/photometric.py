"""SSIM + L1 of 4x3x192x640, forward and backward, beside its peers. Prints benchmarks/photometric.md.

    python benchmarks/photometric.py

Peer: kornia (pip install --no-deps kornia kornia_rs; left out where it is absent), whose window is Gaussian. One thread; CPU
time of the process; rounds alternate and the best of each counts.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from pairs import best_ms

from firstsight.losses.photometric import ALPHA, absolute, dissimilarity, photometric

SHAPE = (4, 3, 192, 640)


def plain(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """What photometric() does where the kernels do not reach."""
    return ALPHA * dissimilarity(a, b).mean(1, keepdim=True) + (1 - ALPHA) * absolute(a, b)


def pooled(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The usual way: five average poolings."""

    def box(values: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(values, 3, 1)

    mean_a, mean_b = box(a), box(b)
    var_a, var_b = box(a * a) - mean_a**2, box(b * b) - mean_b**2
    cov = box(a * b) - mean_a * mean_b
    similar = (2 * mean_a * mean_b + 0.01**2) * (2 * cov + 0.03**2)
    similarity = similar / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))
    return ALPHA * ((1 - similarity) / 2).clamp(0, 1).mean(1, keepdim=True) + (1 - ALPHA) * absolute(a, b)


def kornias(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    from kornia.losses import ssim_loss

    structure = ssim_loss(a, b, window_size=3, reduction="none", padding="valid")
    return ALPHA * structure.mean(1, keepdim=True) + (1 - ALPHA) * absolute(a, b)


def forward_and_backward(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    a, b = images()
    loss(a, b.requires_grad_()).mean().backward()
    assert b.grad is not None
    return b.grad


def images() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(image.clone() for image in IMAGES)


def made() -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images and such with noise."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(*SHAPE[:2], SHAPE[2] // 8, SHAPE[3] // 8, generator=draw)
    a = F.interpolate(coarse, SHAPE[2:], mode="bilinear", align_corners=False)
    return a, (a + 0.05 * torch.randn(SHAPE, generator=draw)).clamp(0, 1)


def exact() -> torch.Tensor:
    a, b = (image.double() for image in IMAGES)
    plain(a, b.requires_grad_()).mean().backward()
    assert b.grad is not None
    return b.grad


def main() -> None:
    losses = {"ours, fused": photometric, "ours, plain torch": plain, "plain torch, five poolings": pooled}
    if find_spec("kornia"):
        losses["kornia, window 3"] = kornias
    forward = best_ms({name: lambda f=f: f(*IMAGES) for name, f in losses.items()}, rounds=7)
    both = best_ms({name: lambda f=f: forward_and_backward(f) for name, f in losses.items()}, rounds=9)
    slowest, truth = list(losses)[-1], exact()
    print("# Photometric loss\n\n`python benchmarks/photometric.py`, one thread, 4x3x192x640, alpha 0.85.\n")
    print(
        f"| | forward, ms | forward and backward, ms | {slowest} is slower by | gradient's error |\n|---|--:|--:|--:|--:|"
    )
    for name, loss in losses.items():
        error = float((forward_and_backward(loss) - truth).abs().max() / truth.abs().max())
        same = "another window" if name.startswith("kornia") else f"{error:.0e}"
        print(f"| {name} | {forward[name]:.1f} | {both[name]:.1f} | {both[slowest] / both[name]:.1f}x | {same} |")
    print("\nThe gradient's error is the largest difference from float64 autograd, by the largest gradient.")


IMAGES = made()

if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
