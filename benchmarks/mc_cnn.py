"""A learned matching cost beside census, alone and in semi-global matching. Prints the rows of benchmarks/mc_cnn.md.

    python benchmarks/mc_cnn.py DATA [WEIGHTS.pt | TRAINING]...

DATA holds middlebury/. WEIGHTS.pt is a file of the `mccnn` package, TRAINING a folder of `firstsight train mc-cnn ...`. Accurate
networks compare pixel by pixel, which takes minutes: they are asked for cones alone.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from pairs import Pair, grey, middlebury

from firstsight import pretrained
from firstsight.depth import semi_global_matching as matching
from firstsight.depth.mc_cnn import Config, McCnn
from firstsight.kernels.lanes import LANES
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.volumes import MatchingCost
from firstsight.roles import StereoEstimator

NAMES = ("cones", "motorcycle", "aloe")
# Their costs lie in [-1, 1], ours in [0, 1]: half of 2.3 and 18.4.
AUTHORS = {"p1": 1.15, "p2": 9.2}
COLUMNS = ("WTA", "semi-global, all", "confirmed", "of these", "CPU s")


def not_occluded(folder: Path) -> np.ndarray:
    """Pixels of cones whose true disparities, left and right, agree to a pixel."""
    left, right = (cv2.imread(str(folder / f"middlebury/cones/disp{k}.pgm"), cv2.IMREAD_UNCHANGED) / 4 for k in (2, 6))
    match = np.arange(left.shape[1]) - np.rint(left).astype(int)
    there = np.take_along_axis(right, np.clip(match, 0, left.shape[1] - 1), 1)
    return (left > 0) & (match >= 0) & (np.abs(there - left) <= 1)


def bad_2(disparity: np.ndarray, pair: Pair, judged: np.ndarray) -> float:
    return 100 * float(np.mean(np.abs(disparity - pair.truth)[judged] > 2))


def winners(cost: MatchingCost, pair: Pair) -> np.ndarray:
    """The least cost of each pixel alone."""
    left, right = (cost.describe(grey(image)) for image in (pair.left, pair.right))
    volume = np.empty((*pair.truth.shape, -(-pair.candidates // LANES) * LANES), cost.dtype)
    return cost.fill(left, right, volume)[:, :, : pair.candidates].argmin(2).astype(np.float32)


def cells(method: StereoEstimator, cost: MatchingCost | None, pair: Pair) -> list[str]:
    """The columns of a pair; `cost` None leaves out the least cost alone."""
    alone = f"{bad_2(winners(cost, pair), pair, pair.judged):.2f}" if cost is not None else ""
    start = time.process_time()
    found = method(pair.left, pair.right)
    seconds = time.process_time() - start
    disparity, valid = found.disparity[0, 0].numpy(), found.valid[0, 0].numpy()
    of_these = bad_2(disparity, pair, pair.judged & valid)
    confirmed = 100 * float(valid[pair.judged].mean())
    return [
        alone,
        f"{bad_2(disparity, pair, pair.judged):.2f}",
        f"{confirmed:.1f}",
        f"{of_these:.2f}",
        f"{seconds:.2f}",
    ]


def print_learned(name: str, method: McCnn, pairs: dict[str, Pair]) -> None:
    """A row with today's matching and, of a fast network, what becomes of it otherwise."""
    trained, today = method.config, Config()
    fast = trained.kind == "fast"
    rows = {name: {"p1": today.p1, "p2": today.p2, "cross_passes": today.cross_passes}}
    if fast:
        rows["the same without cross-based passes"] = rows[name] | {"cross_passes": 0}
        rows["and with the penalties of the authors' code"] = {**AUTHORS, "cross_passes": 0}
    for title, changes in rows.items():
        method.config = replace(trained, **changes)
        alone = method.cost if title == name else None
        asked = pairs if fast else {"cones": pairs["cones"]}
        print_row(title, {k: cells(method.matcher(pair.candidates), alone, pair) for k, pair in asked.items()})


def print_row(name: str, rows: dict[str, list[str]]) -> None:
    nothing = len(COLUMNS) * [""]
    print(f"| {name} | " + " | ".join(cell for pair in NAMES for cell in rows.get(pair, nothing)) + " |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    folder, *given = (Path(argument) for argument in sys.argv[1:])
    pairs = {name: middlebury(folder)[name] for name in NAMES}
    pairs["cones"] = pairs["cones"]._replace(judged=not_occluded(folder))
    titles = [f"{name}: {column}" if column == COLUMNS[0] else column for name in NAMES for column in COLUMNS]
    print("| | " + " | ".join(titles) + " |\n|---|" + len(titles) * "--:|")
    census = {
        name: matching.SemiGlobalMatching(matching.Config(max_disparity_px=pair.candidates))
        for name, pair in pairs.items()
    }
    for method in census.values():
        method(pairs["cones"].left, pairs["cones"].right)  # compiles
    print_row("census 3x3 blocks", {name: cells(census[name], Census(), pair) for name, pair in pairs.items()})
    for path in given:
        method = McCnn.from_published(path).eval() if path.is_file() else pretrained.load(path)
        assert isinstance(method, McCnn), path
        print_learned(path.name, method, pairs)


if __name__ == "__main__":
    main()
