"""A learned matching cost beside census, alone and in semi-global matching. Prints the rows of benchmarks/mc_cnn.md.

    python benchmarks/mc_cnn.py DATA [WEIGHTS.pt | TRAINING]...

DATA holds middlebury/. WEIGHTS.pt is a file of the `mccnn` package, TRAINING a folder of `firstsight train mc-cnn ...`.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from pairs import Pair, grey, middlebury

from firstsight import pretrained
from firstsight.depth import semi_global_matching as matching
from firstsight.depth.mc_cnn import McCnn
from firstsight.kernels.lanes import LANES
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.volumes import MatchingCost


def not_occluded(folder: Path) -> np.ndarray:
    """Pixels of cones whose true disparities, left and right, agree to a pixel."""
    left, right = (cv2.imread(str(folder / f"middlebury/cones/disp{k}.pgm"), cv2.IMREAD_UNCHANGED) / 4 for k in (2, 6))
    match = np.arange(left.shape[1]) - np.rint(left).astype(int)
    there = np.take_along_axis(right, np.clip(match, 0, left.shape[1] - 1), 1)
    return (left > 0) & (match >= 0) & (np.abs(there - left) <= 1)


def bad_2(disparity: np.ndarray, pair: Pair) -> float:
    return 100 * float(np.mean(np.abs(disparity - pair.truth)[pair.judged] > 2))


def winners(cost: MatchingCost, pair: Pair) -> np.ndarray:
    """The least cost of each pixel alone."""
    left, right = (cost.describe(grey(image)) for image in (pair.left, pair.right))
    volume = np.empty((*pair.truth.shape, -(-pair.candidates // LANES) * LANES), cost.dtype)
    return cost.fill(left, right, volume)[:, :, : pair.candidates].argmin(2).astype(np.float32)


def matched(method: matching.SemiGlobalMatching, pair: Pair) -> np.ndarray:
    return method(pair.left, pair.right).disparity[0, 0].numpy()


def main() -> None:
    torch.set_num_threads(1)
    folder, *given = (Path(argument) for argument in sys.argv[1:])
    pairs = {name: pair for name, pair in middlebury(folder).items() if name in ("cones", "motorcycle")}
    pairs["cones"] = pairs["cones"]._replace(judged=not_occluded(folder))
    learned = {
        path.name: McCnn.from_published(path) if path.is_file() else pretrained.load(str(path)) for path in given
    }
    print("| | " + " | ".join(f"{name}, WTA | semi-global" for name in pairs) + " |\n|---|" + len(pairs) * "--:|--:|")
    census = [
        (
            winners(Census(), pair),
            matched(matching.SemiGlobalMatching(matching.Config(max_disparity_px=pair.candidates)), pair),
        )
        for pair in pairs.values()
    ]
    rows = {"census": census}
    for name, method in learned.items():
        rows[name] = [
            (winners(method.eval().cost, pair), matched(method.matcher(pair.candidates), pair))
            for pair in pairs.values()
        ]
    for name, found in rows.items():
        cells = [f"{bad_2(maps, pair):.2f}" for both, pair in zip(found, pairs.values(), strict=True) for maps in both]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
