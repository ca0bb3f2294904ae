"""A sheet of small images: a row for each thing that a method shows of its samples."""

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


def write_sheet(path: Path, sheet: Mapping[str, Tensor]) -> None:
    """Draws what `Trainable.sheet` returned: images, maps (red is small, blue is large) and labels."""
    bands = [band(title, row) for title, row in sheet.items()]
    width = max(one.shape[1] for one in bands)
    write_image(path, np.concatenate([padded(one, width) for one in bands]))


def band(title: str, row: Tensor) -> Image:
    """The images side by side under their title."""
    tiles = np.concatenate([tile(image) for image in images_of(row)], 1)
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
    values = row[:, 0].float().numpy()
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (1, 99)) if len(known) else (0.0, 1.0)
    return [coloured(one, float(low), float(high)) for one in values]


def coloured(values: Float32[np.ndarray, "height width"], low: float, high: float) -> Image:
    """Returns values in colours, from red at low to blue at high, evenly; what is not finite is dark grey."""
    share = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-12), 0, 1)
    return np.where(np.isfinite(values)[:, :, None], depth_table()[np.rint(255 * share).astype(np.uint8)], NO_VALUE)


def tile(image: Image) -> UInt8[np.ndarray, "rows columns 3"]:
    """The image TILE_PX high, with a gap to the right and below."""
    height, width = image.shape[:2]
    shown = cv2.resize(image, (max(round(width * TILE_PX / height), 1), TILE_PX), interpolation=cv2.INTER_NEAREST)
    return np.pad(shown, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)


def heading(title: str) -> Image:
    canvas = PillowImage.new("RGB", (8 * len(title) + 4, TITLE_PX), "white")
    ImageDraw.Draw(canvas).text((2, 2), title, fill="black")
    return np.asarray(canvas)
