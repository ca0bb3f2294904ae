"""The stereo pair that several figures share, one instant of the simulated street, and what its pixels alone say.

The cost is the census of 3x3 pixels, the least that a census can look at. It leaves the more to the surroundings, which
are the subject here; `SemiGlobalMatching` begins with more.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from firstsight.evaluation.depth import DISPARITY_RULES
from firstsight.evaluation.pixel_errors import PixelErrors
from firstsight.geometry.images import to_grey, to_tensor
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.volumes import Grey
from firstsight.recordings.recording import DisparityImage, Image
from firstsight.recordings.simulated import simulate

HEIGHT_PX, WIDTH_PX = 192, 640
FRAME = 24  # two cars nearby, trees and lamp posts before houses
MAX_PX = 40  # of the candidates; the street begins at 32 px
PIXEL_COST = Census(radius=(1, 1), block=False)
BAD_1 = DISPARITY_RULES["bad-1"]
JUDGED = "pixels with a true disparity, occluded ones included"

Costs = Float32[np.ndarray, "height width candidates"]


class StreetPair(NamedTuple):
    image: Image  # the left one
    left: Grey
    right: Grey
    truth: DisparityImage
    candidates: int

    @property
    def largest_px(self) -> float:
        """The largest true disparity."""
        return float(self.truth.disparity[self.truth.valid].max())


@cache  # rendering takes longer than all that is done with it
def street_pair(scale: float) -> StreetPair:
    """The pair at `scale` times its full size."""
    recording = simulate("street", height=round(scale * HEIGHT_PX), width=round(scale * WIDTH_PX))
    assert recording.truth.disparity is not None
    images = [recording[FRAME].image(name) for name in ("left", "right")]
    left, right = (to_grey(to_tensor(image)) for image in images)
    return StreetPair(images[0], left, right, recording.truth.disparity[FRAME], math.ceil(scale * MAX_PX))


def pixel_costs(pair: StreetPair) -> Costs:
    """C(p, d) in bits; float32, so that means of it stay exact."""
    described = (PIXEL_COST.describe(image) for image in (pair.left, pair.right))
    volume = np.empty((*pair.left.shape, pair.candidates), np.uint8)
    return PIXEL_COST.fill(*described, volume).astype(np.float32)


def bad_1(
    pair: StreetPair,
    disparity: Float32[np.ndarray, "height width"],
    answered: Bool[np.ndarray, "height width"] | None = None,
) -> float:
    """Share (%) of the answered pixels (None: all) that are wrong by more than 1 px."""
    errors, truth = PixelErrors(JUDGED, {"bad-1": BAD_1}), pair.truth
    everywhere = np.ones(disparity.shape, bool)
    errors.add(
        np.abs(disparity - truth.disparity), truth.disparity, everywhere if answered is None else answered, truth.valid
    )
    return 100 * errors.bad["bad-1"] / errors.answered
