"""The correlation volume of a pair: how well each pixel agrees with each of its displaced ones.

Shows:  all 9 x 9 channels of a correlation volume, and the scores of three pixels
Slide:  Correlation Volume Approach
Reads:  each small tile is the whole image: bright where its pixels agree with those displaced by the tile's place. Two tiles are bright
        as a whole: that of the ground's motion, with a hole where the shape is, and that of the shape's. Of single pixels many
        displacements agree by chance; of 5x5 patches the right one stands out, but not at the shape's edge.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32
from matplotlib.axes import Axes
from torch import Tensor

from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.matching.correlation.local import Window, correlation
from firstsight.run_folder import Metric
from firstsight.training.layered.scene import Layer, background, paint, shape
from firstsight.training.layered.views import moved, occluded, seen

SIZE = (72, 96)
GROUND_PX, SHAPE_PX = (1, 0), (-3, 2)  # right and down
WINDOW = Window.square(4)
PATCH_PX, SURROUNDINGS_PX = 5, 7
TRUE_COLOUR, BEST_COLOUR = "#ffb000", "#00e0ff"
SINGLE, PATCHES = "single pixels", "5x5 patches"


class Pair(NamedTuple):
    """Two images in [0, 1], the true flow, where the second image shows the same, and where the shape is."""

    images: tuple[Float32[np.ndarray, "height width 3"], Float32[np.ndarray, "height width 3"]]
    flow: Float32[np.ndarray, "2 height width"]
    visible: Bool[np.ndarray, "height width"]
    on_shape: Bool[np.ndarray, "height width"]


class Experiment(NamedTuple):
    """The scores (displacements, height, width) of each kind of features."""

    pair: Pair
    scores: dict[str, Float32[np.ndarray, "displacements height width"]]


def translation(right: int, down: int) -> np.ndarray:
    return np.array([[1.0, 0, right], [0, 1, down], [0, 0, 1]])


def layered_pair(size: tuple[int, int]) -> Pair:
    """A shape and the ground behind it, each moving by whole pixels."""
    rng = np.random.default_rng(6)
    everywhere, corner = background(size)
    ground = Layer(paint(rng, everywhere.shape), everywhere, corner, translation(*GROUND_PX), np.eye(3))
    alpha, at = shape(rng, np.array([0.62 * size[1], 0.55 * size[0]]), round(1.3 * size[1]))
    layers = [ground, Layer(paint(rng, alpha.shape), alpha, at, translation(*SHAPE_PX), np.eye(3))]
    first, second = seen(layers, size, lambda _: np.eye(3)), seen(layers, size, lambda layer: layer.b_from_a)
    flow = moved(first.layer, [layer.b_from_a for layer in layers])
    hidden = occluded(flow, first.layer, second.layer)
    return Pair((first.colours, second.colours), flow, ~hidden, first.layer == 1)


def features(image: Float32[np.ndarray, "height width 3"], patch_px: int) -> Float32[Tensor, "1 channels height width"]:
    """What a patch has that its surroundings have not, as a vector of length sqrt(C): scores are cosines."""
    maps = torch.from_numpy(image).permute(2, 0, 1)[None]
    around = F.pad(maps, 4 * [SURROUNDINGS_PX // 2], mode="replicate")
    details = maps - F.avg_pool2d(around, SURROUNDINGS_PX, 1)
    vectors = F.unfold(F.pad(details, 4 * [patch_px // 2], mode="replicate"), patch_px)
    unit = F.normalize(vectors, dim=1) * vectors.shape[1] ** 0.5
    return unit.unflatten(2, image.shape[:2])


def experiment(scale: float = 1.0) -> Experiment:
    pair = layered_pair((round(SIZE[0] * scale), round(SIZE[1] * scale)))
    scores = {}
    for name, patch_px in ((SINGLE, 1), (PATCHES, PATCH_PX)):
        of_a, of_b = (features(image, patch_px) for image in pair.images)
        scores[name] = correlation(of_a, of_b, WINDOW)[0].numpy()
    return Experiment(pair, scores)


def right_share(pair: Pair, scores: Float32[np.ndarray, "displacements height width"]) -> float:
    """The share of visible pixels whose best displacement is the true one, in percent."""
    best = np.array(WINDOW.displacements)[scores.argmax(0)].transpose(2, 0, 1)
    return 100 * float((np.abs(best - pair.flow).max(0) < 0.5)[pair.visible].mean())


def numbers(found: Experiment) -> tuple[Metric, ...]:
    protocol = f"pixels seen in both images; {len(WINDOW.displacements)} displacements"
    shares = [
        Metric(
            name=f"best displacement is right, {name}",
            value=right_share(found.pair, scores),
            unit="%",
            protocol=protocol,
        )
        for name, scores in found.scores.items()
    ]
    chance = 100 / len(WINDOW.displacements)
    return (*shares, Metric(name="by chance", value=chance, unit="%", protocol="one of all displacements"))


def points(pair: Pair) -> dict[str, tuple[int, int]]:
    """(x, y) on the ground, in the middle of the shape, and where it ends."""
    rows, columns = np.nonzero(pair.on_shape & pair.visible)
    row = int(np.median(rows))
    inside = columns[rows == row]
    x, y = int(np.median(inside)), row
    return {
        "ground": (pair.flow.shape[2] // 8, pair.flow.shape[1] // 6),
        "shape": (x, y),
        "its edge": (int(inside.min()), y),
    }


def mosaic(scores: Float32[np.ndarray, "displacements height width"]) -> Float32[np.ndarray, "rows columns"]:
    """The channels as tiles, a row of tiles for each row of the window, a white line between."""
    tiles = np.pad(scores, ((0, 0), (0, 2), (0, 2)), constant_values=1)
    rows, columns = WINDOW.shape
    return np.concatenate([np.concatenate(tiles[k * columns : (k + 1) * columns], 1) for k in range(rows)])


def correlation_volume(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(1180, "The correlation volume of a pair of images")
    panels = figure.subplot_mosaic(
        [["first", "all", "all", "all"], ["second", "all", "all", "all"], ["ground", "shape", "its edge", "legend"]],
        height_ratios=[1, 1, 1],
    )
    places = points(found.pair)
    for panel, image, title in zip(
        ("first", "second"), found.pair.images, ("first image", "second image"), strict=True
    ):
        show_image(panels[panel], image, title)
    for name, (x, y) in places.items():
        panels["first"].plot(x, y, "o", mfc="none", mec=TRUE_COLOUR, ms=9, mew=2)
        below = (-30, -14) if name == "its edge" else (6, 5)
        panels["first"].annotate(name, (x, y), below, textcoords="offset points", color=TRUE_COLOUR, fontsize=9)
        draw_scores(panels[name], found, name, (x, y))
    draw_all(panels["all"], found)
    panels["legend"].axis("off")
    panels["legend"].legend(*panels["shape"].get_legend_handles_labels(), loc="center")
    return Drawing(figure, numbers(found))


def draw_all(axes: Axes, found: Experiment) -> None:
    """All channels of the patches' scores, the tiles of the two motions framed."""
    tiles = mosaic(found.scores[PATCHES])
    height, width = found.pair.flow.shape[1] + 2, found.pair.flow.shape[2] + 2
    show_image(axes, tiles, f"c(x, d) of {PATCHES}: a tile for each displacement d, up to 4 px each way")
    for name, (right, down) in (("ground", GROUND_PX), ("shape", SHAPE_PX)):
        column, row = right + 4, down + 4
        x, y = [column, column + 1, column + 1, column, column], [row, row, row + 1, row + 1, row]
        axes.plot(np.array(x) * width - 1, np.array(y) * height - 1, color=TRUE_COLOUR, lw=2)
        axes.annotate(
            f"{name}'s motion", (column * width, row * height), (2, -11), textcoords="offset points", color=TRUE_COLOUR
        )


def draw_scores(axes: Axes, found: Experiment, name: str, place: tuple[int, int]) -> None:
    """The window of one pixel's scores, with the true displacement and the best."""
    x, y = place
    scores = found.scores[PATCHES][:, y, x].reshape(WINDOW.shape)
    show_image(axes, scores, f"c of one pixel: {name}", f"best {scores.max():.2f}, mean {scores.mean():.2f}")
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    right, down = found.pair.flow[:, y, x]
    axes.plot(
        right + 4, down + 4, "o", mfc="none", mec=TRUE_COLOUR, ms=16, mew=2.5, label="true displacement", ls="none"
    )
    axes.plot(column, row, "x", color=BEST_COLOUR, ms=9, mew=2.5, label="best score", ls="none")
