"""The cost volumes of the energy approach on the street pair, each made from the one before."""

from firstsight.gallery.figures.depth.street_pair import Costs, StreetPair, pixel_costs
from firstsight.matching.aggregation.cross_based import aggregate_cross_based, cross_arms
from firstsight.matching.aggregation.penalties import Penalties
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate

PIXEL, SURFACE, PATH = "pixel cost", "cross-based", "semi-global"
CROSS_PASSES = 4  # the 4 of the course's C^4_CBCA
ARM_PX = 14  # as MC-CNN on Middlebury
ARM_LEVELS = 8.0  # MC-CNN's threshold, a level or two, is below this street's noise
PENALTIES = Penalties(p1=0.8, p2=6.4, adapt="constant")  # bits; constant, as in the slide's E(D)
PATHS = 8
SYMBOLS = (
    "C: bits in which the census of pixel and candidate differ.   "
    f"$C^{CROSS_PASSES}_{{CBCA}}$: its mean over each pixel's cross of similar neighbours, {CROSS_PASSES} times (cross-based "
    f"cost aggregation).\nS: the least cost of reaching the pixel with disparity d, summed over {PATHS} paths."
)


def stages(pair: StreetPair) -> dict[str, Costs]:
    """C(p, d), C^4_CBCA(p, d) and S(p, d), in bits."""
    of_pixels = pixel_costs(pair)
    arms = (cross_arms(image, ARM_PX, ARM_LEVELS) for image in (pair.left, pair.right))
    of_surfaces = aggregate_cross_based(of_pixels, *arms, passes=CROSS_PASSES)
    of_paths = aggregate(of_surfaces, SemiGlobal(pair.left, PENALTIES, PATHS))
    return {PIXEL: of_pixels, SURFACE: of_surfaces, PATH: of_paths}
