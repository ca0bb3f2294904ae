"""A stereo pair and its disparities in the same colours, panel by panel."""

import numpy as np
from jaxtyping import Bool, Float, Float32
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from firstsight.gallery.drawing import show_image
from firstsight.gallery.figures.depth.street_pair import StreetPair

NO_VALUE = (0.19, 0.2, 0.21)  # dark grey, in none of the colour maps


def show_pair(left: Axes, truth: Axes, pair: StreetPair) -> None:
    """What is given and what is sought."""
    show_image(left, pair.image, "left image", "simulated street")
    colours = disparity_colours(pair, pair.truth.disparity, pair.truth.valid)
    show_image(truth, colours, "true disparity", "the sky (grey) has none")


def show_disparity(
    axes: Axes, pair: StreetPair, disparity: Float32[np.ndarray, "height width"], title: str, caption: str
) -> None:
    """An answer for every pixel."""
    show_image(axes, disparity_colours(pair, disparity, np.ones(disparity.shape, bool)), title, caption)


def disparity_colours(
    pair: StreetPair, disparity: Float32[np.ndarray, "height width"], valid: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width 3"]:
    """Far is blue, near is red, more than the largest true one dark red; dark grey where not valid."""
    colours = colormaps["turbo"](np.where(valid, disparity, 0) / pair.largest_px)[..., :3]
    return np.where(valid[..., None], colours, NO_VALUE)


def add_disparity_bar(figure: Figure, beside: list[Axes], pair: StreetPair) -> None:
    """What the colours mean, beside some of the panels that use them."""
    mappable = ScalarMappable(Normalize(0, pair.largest_px), colormaps["turbo"])
    figure.colorbar(mappable, ax=beside, label="disparity (px)", extend="max", shrink=0.6, aspect=40, pad=0.01)
