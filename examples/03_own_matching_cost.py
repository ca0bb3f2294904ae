"""Stereo with a matching cost of your own: the energy approach takes any volume.

    python examples/03_own_matching_cost.py [FOLDER]

The cost here is the absolute difference of two blurred images, a poor one: alone it gets two thirds of the pixels wrong, its
sums along the paths one in twenty. Writes alone.png and aggregated.png, coloured by disparity.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from firstsight.formats import png
from firstsight.matching.aggregation.energy import energy
from firstsight.matching.aggregation.penalties import Penalties
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate
from firstsight.matching.costs.volumes import no_cost
from firstsight.matching.selection.winner import take_winners
from firstsight.recordings.recording import DepthImage
from firstsight.recordings.simulated import simulate
from firstsight.show.colour import colour_depth, depth_scale

CANDIDATES = 96
PENALTIES = Penalties(p1=3.0, p2=30.0)  # in the unit of the cost: grey levels


def own_cost(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(height, width, candidates) float32: how unlike left (x, y) and right (x - d, y) are; no cost outside the image."""
    left, right = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0) for image in (left, right))
    volume = np.full((*left.shape, CANDIDATES), no_cost(np.float32), np.float32)
    for d in range(CANDIDATES):
        volume[:, d:, d] = np.minimum(np.abs(left[:, d:] - right[:, : left.shape[1] - d]), 20)
    return volume


def main(folder: Path) -> None:
    street = simulate("street", frames=2)
    left, right = (cv2.cvtColor(street[0].image(name), cv2.COLOR_RGB2GRAY) for name in ("left", "right"))
    truth = street.truth.disparity[0]
    cost = own_cost(left, right)
    total = aggregate(cost, SemiGlobal(guide=left, rule=PENALTIES, directions=8))
    for name, volume in (("alone", cost), ("aggregated", total)):
        disparity = take_winners(volume).position
        bad = np.abs(disparity - truth.disparity)[truth.valid & truth.visible] > 1
        cost_of_map = energy(volume.argmin(2), cost, PENALTIES.p1, PENALTIES.p2).total
        print(f"{name}: {100 * bad.mean():.1f} % wrong by more than 1 px, energy {cost_of_map:.3g}")
        nearness = DepthImage(1 / np.maximum(disparity, 0.5), np.ones(disparity.shape, bool))
        png.write_image(folder / f"{name}.png", colour_depth(nearness, depth_scale([nearness])))
    print(f"images in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/own_matching_cost"))
