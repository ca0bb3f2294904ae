"""Where the heads of a small DINO look on a table of toys.

Shows:  what each head of the last block looks at before and after a short training, and what three patches look at
Slide:  Visualizing Attention
Reads:  a pixel has the colour of the head that looks at it most, if it is among the fewest patches that hold a quarter of that
        head's attention. After some hundred steps on one recording attention is still almost even: the numbers say how
        many patches' worth it covers, so the colours show an order and not an amount. Heads share the image by
        brightness and texture (walls, floor, shelf); no head prefers the toys. Heads that find objects come with
        millions of images. A patch looks at patches like it anywhere: its object is not set apart, as the slide says.
        The right column is in multiples of the even share, 1 / number of patches: 1 is no preference; mind how near to
        1 its scale begins and ends.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.gallery.figures.representation.dino_collapse import RECIPE
from firstsight.nets.vit import Config as VitConfig
from firstsight.recordings.simulated import simulate
from firstsight.representation.attention import at_pixels, cls_attention, coloured_heads, head_colours, query_attention
from firstsight.representation.joint_embedding.dino import PATTERNS_CONFIG, Dino
from firstsight.run_folder import Metric
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.clips import Clips
from firstsight.training.data.wanted import Wanted
from firstsight.training.fit import Runtime, fit

PATCH_PX, SIZE_PX = 8, (120, 160)
FRAMES, STEPS, SHARE = 60, 120, 0.25
SHOWN = (0.1, 0.5, 0.9)  # of the recording
CROPS = {"scale": (0.15, 0.5), "jitter": 0.5, "grey": 0.1, "solarise": 0.0}
CONFIG = replace(
    PATTERNS_CONFIG,
    vit=VitConfig(size=(64, 64), patch=PATCH_PX, width=48, blocks=3, heads=4),
    size=SIZE_PX,
    large=(
        replace(PATTERNS_CONFIG.large[0], size=(64, 64), **CROPS),
        replace(PATTERNS_CONFIG.large[1], size=(64, 64), **CROPS),
    ),
    small=replace(PATTERNS_CONFIG.small, size=(32, 32), **{**CROPS, "scale": (0.04, 0.15)}),
    teacher_temperature=0.025,
    first_teacher_temperature=0.025,
)


class Looked(NamedTuple):
    """Some images, where each head of CLS looks in them, and what the patch in `places` looks at."""

    heads: Float32[Tensor, "images heads rows columns"]
    queries: Float32[Tensor, "images heads rows columns"]


class Experiment(NamedTuple):
    images: Float32[Tensor, "images 3 height width"]
    moving: Bool[np.ndarray, "images height width"]
    places: list[tuple[int, int]]  # (row, column) of a patch on a toy
    untrained: Looked
    trained: Looked
    steps: int


def experiment(scale: float = 1.0) -> Experiment:
    recording = simulate("objects", frames=round(scale * FRAMES), height=SIZE_PX[0], width=SIZE_PX[1])
    assert recording.truth.moving is not None
    frames, steps = Clips(recording, Wanted(ImageBatch, SIZE_PX)), round(scale * STEPS)
    shown = [int(share * len(frames)) for share in SHOWN]
    images = torch.from_numpy(np.stack([frames.sample(i)["images"][0] for i in shown])).float() / 255
    moving = np.stack([recording.truth.moving[i] > 0 for i in shown])
    places = [largest_patch(mask) for mask in moving]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = Dino(CONFIG)
    before = looked(method, images, places)
    fit(method, frames, replace(RECIPE, steps=steps, batch=16), runtime=Runtime(device="cpu"))
    return Experiment(images, moving, places, before, looked(method, images, places), steps)


def largest_patch(mask: Bool[np.ndarray, "height width"]) -> tuple[int, int]:
    """The patch with most of the mask, the first of several."""
    rows, columns = mask.shape[0] // PATCH_PX, mask.shape[1] // PATCH_PX
    shares = mask.reshape(rows, PATCH_PX, columns, PATCH_PX).mean((1, 3))
    row, column = np.unravel_index(shares.argmax(), shares.shape)
    return int(row), int(column)


@torch.no_grad()
def looked(method: Dino, images: Float32[Tensor, "images 3 height width"], places: list[tuple[int, int]]) -> Looked:
    vit = method.teacher.vit
    queries = [query_attention(vit, image[None], place) for image, place in zip(images, places, strict=True)]
    return Looked(cls_attention(vit, images), torch.cat(queries))


def on_moving(
    maps: Float32[Tensor, "images heads rows columns"], moving: Bool[np.ndarray, "images height width"]
) -> float:
    """Share of attention on what moves, over its share of the image; the head that looks there most."""
    pixels = at_pixels(maps, PATCH_PX) / maps.sum((2, 3), keepdim=True) / PATCH_PX**2
    mask = torch.from_numpy(moving)[:, None]
    return float(((pixels * mask).sum((2, 3)) / mask.float().mean((2, 3))).mean(0).max())


def peak(maps: Float32[Tensor, "images heads rows columns"]) -> float:
    """exp of the entropy of each map, the mean: how many patches a head looks at."""
    shares = maps.flatten(2) / maps.flatten(2).sum(-1, keepdim=True)
    return float(torch.exp(-torch.xlogy(shares, shares).sum(-1)).mean())


def numbers(found: Experiment) -> tuple[Metric, ...]:
    patches = found.trained.heads[0, 0].numel()
    many = f"exp of the entropy of CLS attention, mean of heads, of {patches} patches"
    toys = f"attention on what moves over its area, best of {CONFIG.vit.heads} heads, {len(found.images)} images; 1 is chance"
    metrics = []
    for name, seen in (("untrained", found.untrained), (f"after {found.steps} steps", found.trained)):
        metrics.append(Metric(name=f"patches looked at, {name}", value=peak(seen.heads), unit="", protocol=many))
        metrics.append(
            Metric(name=f"moving toys, {name}", value=on_moving(seen.heads, found.moving), unit="x", protocol=toys)
        )
    return tuple(metrics)


def attention_heads(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(
        1140, f"A DINO of {found.steps} steps shares the image by brightness and texture, not yet by object"
    )
    panels = figure.subplots(len(found.images), 4)
    before, after = (
        coloured_heads(found.images, seen.heads, SHARE, PATCH_PX) for seen in (found.untrained, found.trained)
    )
    titles = ("image, and a patch on a toy", "heads, untrained", f"heads after {found.steps} steps")
    for i, row in enumerate(panels):
        for axes, image, title in zip(row, (found.images[i], before[i], after[i]), titles, strict=False):
            show_image(axes, image.permute(1, 2, 0).numpy(), title if i == 0 else "")
    for axes, seen in ((panels[-1, 1], found.untrained), (panels[-1, 2], found.trained)):
        axes.set_xlabel(
            f"spread over {peak(seen.heads):.0f} of {seen.heads[0, 0].numel()} patches\n"
            f"moving toys: {on_moving(seen.heads, found.moving):.2f} x their share"
        )
    draw_queries(figure, panels[:, 3], found)
    for axes, (y, x) in zip((*panels[:, 0], *panels[:, 3]), 2 * found.places, strict=True):
        axes.add_patch(square(x, y))
    colours = [tuple(colour) for colour in head_colours(CONFIG.vit.heads).tolist()]
    handles = [Patch(color=colour, label=f"head {head + 1}") for head, colour in enumerate(colours)]
    caption = f"the patches that hold {100 * SHARE:.0f} % of each head's attention"
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, title=caption)
    return Drawing(figure, numbers(found))


def square(column: int, row: int) -> Rectangle:
    return Rectangle(
        (column * PATCH_PX - 0.5, row * PATCH_PX - 0.5), PATCH_PX, PATCH_PX, fill=False, ec="#ff2020", lw=2
    )


def draw_queries(figure: Figure, column: np.ndarray, found: Experiment) -> None:
    """What the patch on each image's toy looks at, mean of heads, in one scale for all."""
    queries = found.trained.queries.mean(1)
    shares = queries / queries.sum((1, 2), keepdim=True) * queries[0].numel()
    for axes, share in zip(column, shares.numpy(), strict=True):
        show_image(axes, share, "what that patch looks at" if axes is column[0] else "")
        axes.images[0].set(
            cmap="viridis",
            clim=(float(shares.min()), float(shares.max())),
            extent=(-0.5, SIZE_PX[1] - 0.5, SIZE_PX[0] - 0.5, -0.5),
        )
    figure.colorbar(column[0].images[0], ax=list(column), label="attention, times the even share", shrink=0.6)
