"""Correlation beside what torch offers, one thread. Prints the tables of benchmarks/correlation.md.

    OMP_NUM_THREADS=1 python benchmarks/correlation.py

Local: radius 4 (81 displacements), 128 channels, 94x311, a quarter of a KITTI image. Peers: a shift and
a product at a time; rows of tiles by matrix products with the diagonals taken out (the fastest that we found in plain torch).
All pairs: 256 channels, 47x156, four levels, radius 4. Peer: the whole volume, pooled, and grid_sample, as RAFT's authors do.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from firstsight.geometry.pixels import pixel_grid
from firstsight.matching.correlation.all_pairs import lookup, pooled
from firstsight.matching.correlation.local import Window, by_shifts, correlation

RADIUS, ROUNDS = 4, 7


def by_tiles(a: Tensor, b: Tensor) -> Tensor:
    """Each row of a times the rows of b around it by matrix products; the scores are diagonals of them."""
    batch, channels, height, width = a.shape
    padded = F.pad(b, (RADIUS,) * 4)
    rows_a = a.permute(0, 2, 3, 1)  # (batch, height, width, channels)
    out = []
    for dy in range(2 * RADIUS + 1):
        rows_b = padded[:, :, dy : dy + height].permute(0, 2, 1, 3)
        products = (rows_a @ rows_b).contiguous()  # (batch, height, width, width + 2 RADIUS)
        step = products.shape[-1]
        diagonals = products.as_strided(
            (batch, height, 2 * RADIUS + 1, width), (height * width * step, width * step, 1, step + 1)
        )
        out.append(diagonals)
    return torch.stack(out, 1).permute(0, 1, 3, 2, 4).flatten(1, 2) / channels


def alternated(jobs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least CPU time of each in ms, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: min(values[1:]) for name, values in times.items()}


def table(times: dict[str, float], ours: str) -> None:
    print("| | CPU ms | times ours |\n|---|--:|--:|")
    for name, ms in times.items():
        print(f"| {name} | {ms:.1f} | {ms / times[ours]:.1f} |")


def local() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, 128, 94, 311, generator=generator) for _ in "ab")
    window = Window.square(RADIUS)
    expected = correlation(a, b, window)
    assert torch.allclose(by_tiles(a, b), expected, atol=1e-5)
    jobs = {
        "ours": lambda: correlation(a, b, window),
        "shift and multiply": lambda: by_shifts(a, b, window),
        "tiles of matrix products": lambda: by_tiles(a, b),
    }
    table(alternated(jobs), "ours")
    a.requires_grad_()
    b.requires_grad_()
    arriving = torch.randn(expected.shape, generator=generator)
    outputs = {"ours": correlation(a, b, window), "shift and multiply": by_shifts(a, b, window)}
    print("\nbackward, by both maps")
    table(
        alternated({
            name: lambda out=out: torch.autograd.grad(out, (a, b), arriving, retain_graph=True)
            for name, out in outputs.items()
        }),
        "ours",
    )  # fmt: skip


def all_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, 256, 47, 156, generator=generator) for _ in "ab")
    positions = pixel_grid(47, 156)[None] + 3 * torch.randn(1, 2, 47, 156, generator=generator)
    levels = pooled(b, 4)
    steps = torch.arange(-RADIUS, RADIUS + 1.0)
    around = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))

    def volumes() -> list[Tensor]:
        found = [torch.einsum("bchw,bcij->bhwij", a, b).flatten(0, 2)[:, None] / 16]
        while len(found) < 4:
            found.append(F.avg_pool2d(found[-1], 2))
        return found

    def sampled(held: list[Tensor]) -> list[Tensor]:
        out = []
        for level, volume in enumerate(held):
            at = (positions / 2**level).permute(0, 2, 3, 1).reshape(-1, 2, 1, 1) + around
            size = torch.tensor(volume.shape[:1:-1], dtype=torch.float32)[:, None, None]
            grid = (2 * at / (size - 1) - 1).permute(0, 2, 3, 1)
            out.append(F.grid_sample(volume, grid, align_corners=True))
        return out

    held = volumes()
    table(
        alternated({
            "ours, a lookup": lambda: lookup(a, levels, positions, RADIUS),
            "the volume": volumes,
            "a lookup in it by grid_sample": lambda: sampled(held),
        }),
        "ours, a lookup",
    )  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    local()
    print()
    all_pairs()


if __name__ == "__main__":
    main()
