"""What a window knows of its motion: all of it, its part across the stripes, or nothing.

Shows:  Lucas-Kanade flow on texture, stripes and a blank wall, with the constraint lines of three windows
Slide:  Motion, Optical Flow: Classical Approach
Reads:  every pixel of a window allows the motions (u, v) on one line, Ix u + Iy v + It = 0. Lines of all directions
        meet in one point: full flow. Parallel ones leave the motion along the stripes open, and the shortest is taken:
        normal flow, along the gradient. Without a gradient above the noise there is no line. The eigenvalues of the
        window's equations, over or under the threshold t, tell the three apart.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from firstsight.flow.lucas_kanade import Config, Kind, LucasKanade, linearise
from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.gallery.figures.flow.moving_patches import (
    BLANK,
    GAP_PX,
    MOTION_PX,
    SLANTED,
    TEXTURE,
    Patch,
    painted,
    placed,
)
from firstsight.run_folder import Metric

CONFIG = Config(levels=1)  # so small a motion needs no coarser image, where a window would see beyond its patch
PATCH_PX = 64
EITHER_WAY = 3e3  # from the threshold t of the eigenvalues to the ends of their colours
ARROW_EVERY_PX, ARROW_SCALE = 6, 6
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
PALE = (-0.6, 1.1)  # limits of brightness that let arrows stand out
REACH_PX = 1.6  # of the (u, v) planes
STEEP = 0.1  # gradient per px whose constraint is drawn darkest
LINE_COLOUR = (0.12, 0.3, 0.62)
COLOURS = {Kind.FULL: "#1f9e45", Kind.NORMAL: "#e07b00", Kind.NONE: "#8c8c8c"}
KNOWN = {Kind.FULL: "full flow", Kind.NORMAL: "normal flow", Kind.NONE: "nothing known"}
EXAMPLES = (TEXTURE, SLANTED, BLANK)  # whose middle windows are looked into


class Experiment(NamedTuple):
    """The first image (grey, in [0, 1]), what its windows know, and the constraint of each pixel: (Ix, Iy) and It."""

    size: int
    image: Float32[np.ndarray, "height width"]
    flow: Float32[np.ndarray, "2 height width"]
    kind: UInt8[np.ndarray, "height width"]
    eigenvalues: Float32[np.ndarray, "2 height width"]
    gradient: Float32[np.ndarray, "2 height width"]
    difference: Float32[np.ndarray, "height width"]


def experiment(scale: float = 1.0) -> Experiment:
    size = round(scale * PATCH_PX)
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(painted(size, motion, rng))[None, None] for motion in ((0.0, 0.0), MOTION_PX))
    flow, kind, eigenvalues = LucasKanade(CONFIG).windows(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1))
    gradient, difference = linearise(a, b, torch.zeros_like(flow))
    maps = (flow[0], kind[0, 0], eigenvalues[0], gradient[0], difference[0, 0])
    return Experiment(size, a[0, 0].numpy(), *(values.numpy() for values in maps))


def middle(patch: Patch, size: int) -> tuple[int, int]:
    """(x, y) of the pixel in the middle of a patch."""
    row, column = next((i, j) for other, i, j in placed() if other is patch)
    return column * size + size // 2, row * size + size // 2


def inside(row: int, column: int, size: int) -> tuple[slice, slice]:
    """The pixels whose windows lie inside the patch in both images, with one pixel more for the gradients."""
    margin = GAP_PX + CONFIG.window_px // 2 + 1 + int(np.ceil(max(MOTION_PX)))
    rows, columns = (slice(i * size + margin, (i + 1) * size - margin) for i in (row, column))
    return rows, columns


def numbers(found: Experiment) -> tuple[Metric, ...]:
    """Returns per patch how many windows know what they should, and how well."""
    metrics = []
    for patch, row, column in placed():
        rows, columns = inside(row, column, found.size)
        kind, flow = found.kind[rows, columns], found.flow[:, rows, columns]
        share, windows = 100 * (kind == patch.expected).mean(), f"of {kind.size} windows inside the patch"
        metrics.append(Metric(name=f"{patch.name}: {KNOWN[patch.expected]}", value=share, unit="%", protocol=windows))
        if patch.expected != Kind.NONE:
            error = np.linalg.norm(flow - patch.knowable_px[:, None, None], axis=0).mean()
            against = "mean length of its difference from the true " + KNOWN[patch.expected]
            metrics.append(Metric(name=f"{patch.name}: error", value=float(error), unit="px", protocol=against))
    return tuple(metrics)


def aperture_problem(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    u, v = MOTION_PX
    figure = canvas(1300, f"The aperture problem: everything moves by {u:g} px right and {v:g} px down")
    panels = figure.subplot_mosaic(
        [["flow", "flow", "smallest"], ["flow", "flow", "largest"], [patch.name for patch in EXAMPLES]],
        height_ratios=[1, 1, 1.45],
    )
    draw_flow(panels["flow"], found)
    for name, values in zip(("smallest", "largest"), found.eigenvalues, strict=True):
        draw_eigenvalues(figure, panels[name], values, f"{name} eigenvalue of the window")
    for patch in EXAMPLES:
        draw_constraints(panels[patch.name], found, patch)
    figure.supxlabel(
        f"t = {CONFIG.min_eigenvalue:g} / px²: a window knows as many directions of its motion as eigenvalues above t.   "
        "(u, v): motion in px.   A line: the motions that one pixel allows.",
        fontsize=10,
    )
    return Drawing(figure, numbers(found))


def draw_flow(axes: Axes, found: Experiment) -> None:
    """An arrow where flow is known, a dot where nothing is; squares mark the windows that are looked into below."""
    height, width = found.kind.shape
    size = f"{CONFIG.window_px}x{CONFIG.window_px}"
    show_image(axes, found.image, f"what every window of {size} px knows (arrows {ARROW_SCALE} times as long)")
    axes.images[0].set_clim(*PALE)
    y, x = np.mgrid[ARROW_EVERY_PX // 2 : height : ARROW_EVERY_PX, ARROW_EVERY_PX // 2 : width : ARROW_EVERY_PX]
    for kind, colour in COLOURS.items():
        here = found.kind[y, x] == kind
        if kind == Kind.NONE:
            axes.plot(x[here], y[here], ".", color=colour, ms=4)
        else:
            ends = found.flow[:, y[here], x[here]] * ARROW_SCALE
            axes.quiver(x[here], y[here], *ends, color=colour, angles="xy", scale_units="xy", scale=1, width=0.0028)
    for patch, row, column in placed():
        x_middle, y_top = (column + 0.5) * found.size, row * found.size + GAP_PX / 2
        axes.text(x_middle, y_top, patch.name, ha="center", va="center", fontsize=9, bbox=LABEL_BOX)
    for patch in EXAMPLES:
        x0, y0 = (centre - CONFIG.window_px / 2 for centre in middle(patch, found.size))
        axes.add_patch(Rectangle((x0, y0), CONFIG.window_px, CONFIG.window_px, fill=False, ec="black", lw=2))
    handles = [Line2D([], [], color=COLOURS[kind], marker="o", ls="", label=KNOWN[kind]) for kind in COLOURS]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.005), ncols=3, frameon=False)


def draw_eigenvalues(figure: Figure, axes: Axes, values: Float32[np.ndarray, "height width"], title: str) -> None:
    """One eigenvalue of G at every pixel: red where it counts, blue where it does not."""
    threshold = CONFIG.min_eigenvalue
    shown = axes.imshow(values, norm=LogNorm(threshold / EITHER_WAY, threshold * EITHER_WAY), cmap="RdBu_r")
    axes.set(title=title, xticks=[], yticks=[])
    bar = figure.colorbar(shown, ax=axes, label="1 / px²  (black: threshold t)", pad=0.02, shrink=0.8, extend="both")
    bar.ax.axhline(threshold, color="black", lw=2)


def draw_constraints(axes: Axes, found: Experiment, patch: Patch) -> None:
    """The line of motions (u, v) that each pixel of the middle window allows, the darker the steeper its gradient."""
    x, y = middle(patch, found.size)
    half = CONFIG.window_px // 2
    window = (slice(y - half, y + half + 1), slice(x - half, x + half + 1))
    gradient, difference = found.gradient[:, *window].reshape(2, -1).T, found.difference[window].ravel()
    axes.add_collection(constraint_lines(gradient, difference))
    axes.plot(*MOTION_PX, "x", color="black", ms=11, mew=2.5, label="true motion")
    kind = Kind(found.kind[y, x])
    if kind != Kind.NONE:
        axes.plot(*found.flow[:, y, x], "o", color=COLOURS[kind], ms=9, label=f"least squares: {KNOWN[kind]}")
        axes.annotate(
            "", tuple(found.flow[:, y, x]), (0, 0), arrowprops={"arrowstyle": "->", "color": COLOURS[kind], "lw": 2}
        )
    else:
        axes.text(0, 0, "no gradient above the noise, no line:\nevery motion fits", ha="center", va="center")
    smallest, largest = np.abs(found.eigenvalues[:, y, x]) / CONFIG.min_eigenvalue
    axes.set(title=f"{patch.name}: eigenvalues {smallest:.1f} t, {largest:.1f} t", xlabel="u (px, right)")
    axes.set(xlim=(-REACH_PX, REACH_PX), ylim=(REACH_PX, -REACH_PX), ylabel="v (px, down)", aspect="equal")
    axes.legend(loc="upper left", fontsize=9)


def constraint_lines(
    gradient: Float32[np.ndarray, "pixels 2"], difference: Float32[np.ndarray, " pixels"]
) -> LineCollection:
    """Ix u + Iy v + It = 0: through its point nearest to 0, across the gradient; as faint as its weight is small."""
    length = np.maximum(np.linalg.norm(gradient, axis=1), 1e-9)
    normal = gradient / length[:, None]
    nearest = -normal * (difference / length)[:, None]
    along = 3 * REACH_PX * normal[:, ::-1] * [1, -1]
    opacity = 0.25 * np.minimum(length / STEEP, 1) ** 2
    colours = np.column_stack([np.full((len(opacity), 3), LINE_COLOUR), opacity])
    return LineCollection(list(np.stack([nearest - along, nearest + along], 1)), colors=colours, lw=1)
