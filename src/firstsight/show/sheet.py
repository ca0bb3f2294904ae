"""A sheet of small images: a row for each thing that a method shows of its samples.

Maps have the colours of the report's depth: red is much disparity or inverse depth, so near, and blue is little, so far.
The bar behind a row of maps says which values its first and its last colour stand for.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image as PillowImage
from PIL import ImageDraw
from torch import Tensor

from firstsight.formats.png import write_image
from firstsight.recordings.recording import Image
from firstsight.show.colour import NO_VALUE, colour_ids, depth_table

TILE_PX, GAP_PX, TITLE_PX = 160, 4, 16
BAR_PX, BAR_TEXT_PX = 12, 64


def write_sheet(path: Path, sheet: Mapping[str, Tensor]) -> None:
    """Draws what `Trainable.preview` returned: images, maps (red is large, blue is small) with their scale, and labels."""
    bands = [band(title, row) for title, row in sheet.items()]
    width = max(one.shape[1] for one in bands)
    write_image(path, np.concatenate([padded(one, width) for one in bands]))


def band(title: str, row: Tensor) -> Image:
    """The images side by side under their title."""
    tiles = np.concatenate([tile(image) for image in images_of(row)], 1)
    if is_map(row):
        tiles = np.concatenate([tiles, scale_bar(*limits(row))], 1)
    words = heading(title)
    width = max(words.shape[1], tiles.shape[1])
    return np.concatenate([padded(words, width), padded(tiles, width)])


def padded(image: Image, width: int) -> UInt8[np.ndarray, "rows columns 3"]:
    """White on the right."""
    return np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)), constant_values=255)


def images_of(row: Tensor) -> list[Image]:
    """(n, 3, h, w) in [0, 1], (n, 1, h, w) maps or (n, h, w) labels as images."""
    if row.ndim == 3:
        return [colour_ids(labels.long().numpy()) for labels in row]
    if row.shape[1] == 3:
        return [(one.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy() for one in row]
    return [coloured(one, *limits(row)) for one in row[:, 0].float().numpy()]


def is_map(row: Tensor) -> bool:
    """Whether it holds one value for each pixel."""
    return row.ndim == 4 and row.shape[1] == 1


def limits(row: Tensor) -> tuple[float, float]:
    """The values that get the last and the first colour: all but the least and the greatest hundredth lie between them."""
    values = row.float().numpy()
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (1, 99)) if len(known) else (0.0, 1.0)
    return float(low), float(high)


def coloured(values: Float32[np.ndarray, "height width"], low: float, high: float) -> Image:
    """Returns values in colours, from blue at low to red at high, evenly; what is not finite is dark grey."""
    share = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-12), 0, 1)
    entries = np.rint(255 * (1 - share)).astype(np.uint8)
    return np.where(np.isfinite(values)[:, :, None], depth_table()[entries], NO_VALUE)


def scale_bar(low: float, high: float) -> UInt8[np.ndarray, "rows columns 3"]:
    """The colours from high, above, to low, with these two values beside their ends; as high as a tile and its gap."""
    colours = coloured(np.linspace(high, low, TILE_PX, dtype=np.float32)[:, None].repeat(BAR_PX, 1), low, high)
    canvas = PillowImage.new("RGB", (BAR_PX + BAR_TEXT_PX, TILE_PX + GAP_PX), "white")
    canvas.paste(PillowImage.fromarray(np.ascontiguousarray(colours)), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for value, y in ((high, 0), (low, TILE_PX - 12)):
        draw.text((BAR_PX + 4, y), f"{value:.3g}", fill="black")
    return np.asarray(canvas)


def tile(image: Image) -> UInt8[np.ndarray, "rows columns 3"]:
    """The image TILE_PX high, with a gap to the right and below."""
    height, width = image.shape[:2]
    shown = cv2.resize(image, (max(round(width * TILE_PX / height), 1), TILE_PX), interpolation=cv2.INTER_NEAREST)
    return np.pad(shown, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)


def heading(title: str) -> Image:
    canvas = PillowImage.new("RGB", (8 * len(title) + 4, TITLE_PX), "white")
    ImageDraw.Draw(canvas).text((2, 2), title, fill="black")
    return np.asarray(canvas)
