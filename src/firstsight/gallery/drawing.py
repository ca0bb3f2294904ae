"""What all figures share: a canvas of one width, images on it, and what a figure's function returns."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from firstsight.run_folder import Metric

WIDTH_PX, DPI = 1600, 120


class Drawing(NamedTuple):
    """A figure and the few numbers that it shows."""

    figure: Figure
    numbers: tuple[Metric, ...]


def canvas(height_px: int, title: str) -> Figure:
    """An empty figure. It never touches pyplot, whose state is global and which may want a screen."""
    figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure


def show_image(axes: Axes, image: np.ndarray, title: str, caption: str = "") -> None:
    """An image without ticks, its title above and its caption below."""
    axes.imshow(image, cmap="gray", interpolation="nearest")
    axes.set(title=title, xlabel=caption, xticks=[], yticks=[])
