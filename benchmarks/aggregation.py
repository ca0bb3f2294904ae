"""Aggregation of a given cost volume beside its peers. Prints benchmarks/aggregation.md.

    python benchmarks/aggregation.py

Peers: libsgm 0.5.2 (pip install --no-deps libsgm; left out where it is absent) and plain torch. One thread; CPU time of the process;
rounds alternate and the best of each counts.
"""

from collections.abc import Callable
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from pairs import best_ms, grey, street

from firstsight.matching.aggregation.cross_based import aggregate_cross_based, cross_arms
from firstsight.matching.aggregation.penalties import Penalties, TwoImagePenalties
from firstsight.matching.aggregation.semi_global import STEPS, SemiGlobal, aggregate
from firstsight.matching.costs.census_cost import Census

P1, P2 = 16, 160
ROWS = 94  # a quarter of the image, for the slow peers' sake


def in_torch(cost: torch.Tensor) -> torch.Tensor:
    """Eight paths with constant penalties, one row or column of pixels at a time."""
    total = torch.zeros_like(cost)
    for dx, dy in STEPS[:4]:
        for turned in (False, True):
            volume, sums = (v.flip(0, 1) if turned else v for v in (cost, total))
            sums = torch.zeros_like(volume)
            if dy == 0:
                volume, sums = volume.transpose(0, 1), sums.transpose(0, 1)
            before = torch.zeros_like(volume[0])
            for line in range(len(volume)):
                if dy and dx:
                    before = torch.roll(before, dx, 0)
                    before[0 if dx > 0 else -1] = 0
                floor = before.amin(1, keepdim=True)
                best = torch.minimum(before, floor + P2)
                best[:, 1:] = torch.minimum(best[:, 1:], before[:, :-1] + P1)
                best[:, :-1] = torch.minimum(best[:, :-1], before[:, 1:] + P1)
                before = volume[line] + best - floor
                sums[line] = before
            sums = sums.transpose(0, 1) if dy == 0 else sums
            total += sums.flip(0, 1) if turned else sums
    return total


def in_libsgm(cost: np.ndarray) -> np.ndarray:
    """Eight paths with constant penalties."""
    import c_libsgm

    directions = np.array([(sign * dy, sign * dx) for sign in (1, -1) for dx, dy in STEPS[:4]], np.int32)  # its order
    p1, p2 = (np.full((*cost.shape[:2], 8), value, cost.dtype) for value in (P1, P2))
    segments = np.ones(cost.shape[:2], np.float32)
    nothing = 255.0 if cost.dtype == np.uint8 else float("nan")
    return c_libsgm.sgm_api(cost, p1, p2, directions, nothing, segments, False, False)["cv"]


def print_peers(cost: np.ndarray, guide: np.ndarray, right: np.ndarray) -> None:
    volumes = {np.dtype(kind).name: cost.astype(kind) for kind in (np.uint8, np.uint16, np.float32)}
    even = Penalties(p1=P1, p2=P2, adapt="constant")
    methods: dict[str, Callable] = {}
    for kind, volume in volumes.items():
        methods[f"ours, {kind}"] = lambda v=volume: aggregate(v, SemiGlobal(guide, even, 8, largest=80))
    two = SemiGlobal(guide, TwoImagePenalties(), 8, right, largest=80)
    methods["ours, uint8, penalties of two images"] = lambda: aggregate(cost, two)
    methods["plain torch, float32"] = lambda: in_torch(torch.from_numpy(volumes["float32"]))
    if find_spec("c_libsgm"):
        methods["libsgm, float32"] = lambda: in_libsgm(volumes["float32"])
    times = best_ms(methods, rounds=3)
    print(f"## Eight paths, {cost.shape[1]}x{cost.shape[0]}, {cost.shape[2]} candidates\n")
    print("| method | ms | ns per pixel, candidate and path | ours (uint8) is faster by | ours (float32) by |")
    print("|---|--:|--:|--:|--:|")
    for name, ms in times.items():
        ratios = [ms / times[f"ours, {kind}"] for kind in ("uint8", "float32")]
        print(f"| {name} | {ms:.0f} | {1e6 * ms / (8 * cost.size):.2f} | {ratios[0]:.1f}x | {ratios[1]:.1f}x |")
    ours = aggregate(volumes["float32"], SemiGlobal(guide, even, 8, largest=80))
    gaps = [f"plain torch {np.abs(in_torch(torch.from_numpy(volumes['float32'])).numpy() - ours).max():g}"]
    if find_spec("c_libsgm"):
        gaps.append(f"libsgm {np.abs(in_libsgm(volumes['float32']) - ours).max():g}")
    print(f"\nLargest difference of the sums from ours (float32): {', '.join(gaps)}.\n")


def print_cross_based(cost: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Even images, so that every arm has its full length: the worst case."""
    even = np.zeros_like(left)
    print(f"## Cross-based aggregation, one pass, {cost.shape[1]}x{cost.shape[0]}, {cost.shape[2]} candidates\n")
    print("ns per pixel and candidate.\n")
    print("| costs | arms | street | even image, all arms full |\n|---|--:|--:|--:|")
    for kind in (np.uint8, np.float32):
        volume = cost.astype(kind)
        for length in (5, 9, 14, 25, 50, 100):
            arms = [[cross_arms(image, length) for image in pair] for pair in ((left, right), (even, even))]
            methods = {str(i): lambda v=volume, a=a: aggregate_cross_based(v, *a, passes=1) for i, a in enumerate(arms)}
            times = best_ms(methods, rounds=2)
            cells = " | ".join(f"{1e6 * ms / cost.size:.2f}" for ms in times.values())
            print(f"| {np.dtype(kind).name} | {length} px | {cells} |")


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pair = street(0, 128, width=1242, height=375)
    left, right = (grey(image)[:ROWS] for image in (pair.left, pair.right))
    census = Census()
    cost = census.fill(census.describe(left), census.describe(right), np.empty((*left.shape, 128), np.uint8))
    print("# Aggregation of a cost volume\n\n`python benchmarks/aggregation.py`, one thread.\n")
    print_peers(cost, left, right)
    print_cross_based(cost, left, right)


if __name__ == "__main__":
    main()
