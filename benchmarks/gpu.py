"""Semi-global matching on the GPU beside the CPU: time of each step, and whether the results are equal. Prints a table.

    python benchmarks/gpu.py

A simulated street of 1242x375 px, 128 disparities, the default penalties unless named. The CPU uses one thread; the
best of several rounds counts. GPU times are of the device, from tensors there to tensors there.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from firstsight.geometry.images import to_grey, to_tensor
from firstsight.matching.aggregation import gpu
from firstsight.matching.aggregation.penalties import Penalties, TwoImagePenalties
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.selection.winner import take_winners
from firstsight.recordings.simulated import simulate

CANDIDATES = 128
CPU_ROUNDS, GPU_ROUNDS = 5, 20
Maps = tuple[np.ndarray, ...]


class Step(NamedTuple):
    """What both do; the CPU's result is arrays, the GPU's tensors."""

    on_cpu: Callable[[], Maps]
    on_gpu: Callable[[], tuple[torch.Tensor, ...]]


def steps() -> dict[str, Step]:
    recording = simulate("street", width=1242, height=375)
    left, right = (to_grey(to_tensor(recording.images[name][0])) for name in ("left", "right"))
    there = [torch.from_numpy(image).cuda() for image in (left, right)]
    census = Census()
    volume = np.empty((*left.shape, CANDIDATES), np.uint8)

    def fill() -> np.ndarray:
        return census.fill(census.describe(left), census.describe(right), volume)

    cost = fill().copy()
    cost_there, total = torch.from_numpy(cost).cuda(), np.empty(cost.shape, np.uint16)

    def sums(rule: Penalties | TwoImagePenalties, directions: int) -> Step:
        here = SemiGlobal(left, rule, directions, right, census.largest)
        device = SemiGlobal(there[0], rule, directions, there[1], census.largest)
        return Step(lambda: (aggregate(cost, here, total),), lambda: (gpu.aggregate(cost_there, device),))

    rule = TwoImagePenalties()
    here = SemiGlobal(left, rule, 8, right, census.largest)
    device = SemiGlobal(there[0], rule, 8, there[1], census.largest)
    summed = aggregate(cost, here)
    summed_there = torch.from_numpy(summed).cuda()

    def all_there() -> gpu.Winners:
        return gpu.take_winners(gpu.aggregate(gpu.census_cost(*there, CANDIDATES, census), device))

    return {
        "census, Hamming, 3x3 sums": Step(lambda: (fill(),), lambda: (gpu.census_cost(*there, CANDIDATES, census),)),
        "4 paths": sums(rule, 4),
        "8 paths": sums(rule, 8),
        "16 paths": sums(rule, 16),
        "8 paths, penalties of one image": sums(Penalties(), 8),
        "winners of both images": Step(lambda: take_winners(summed), lambda: gpu.take_winners(summed_there)),
        "all, 8 paths": Step(lambda: take_winners(aggregate(fill(), here, total)), all_there),
    }


def cpu_ms(work: Callable[[], object]) -> float:
    def once() -> float:
        start = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - start)

    return min(once() for _ in range(CPU_ROUNDS))


def gpu_ms(work: Callable[[], object]) -> float:
    def once() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    return min(once() for _ in range(GPU_ROUNDS))


def main() -> None:
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py: no GPU here that torch can use; nothing was measured")
        return
    torch.set_num_threads(1)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| step | CPU ms | GPU ms | CPU / GPU | equal |\n|---|--:|--:|--:|---|")
    for name, step in steps().items():
        expected = step.on_cpu()  # both are compiled here
        found = tuple(part.cpu().numpy() for part in step.on_gpu())
        equal = all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
        on_cpu, on_gpu = cpu_ms(step.on_cpu), gpu_ms(step.on_gpu)
        print(f"| {name} | {on_cpu:.1f} | {on_gpu:.2f} | {on_cpu / on_gpu:.0f}x | {'yes' if equal else 'NO'} |")


if __name__ == "__main__":
    main()
