"""Single images as samples: those of a folder, an archive or shards, the middle of each scaled to the wanted size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.recordings.recording import Image
from firstsight.training.data.batch import Row
from firstsight.training.data.dataset import Dataset, digest
from firstsight.training.data.wanted import Wanted

OFFERED = {"images", "label", "index", "starts"}


class Images(Dataset):
    """Images by name. The class of an image is the name of its folder."""

    def __init__(self, source: str, names: Sequence[str], read: Callable[[int], bytes], wanted: Wanted):
        self.source, self.names, self.wanted, self._read = source, list(names), wanted, read
        for field in wanted.fields:
            if field not in OFFERED:
                raise InputError(
                    f"{source}: single images have no {field}, from which this method learns; give a recording"
                )
        if len(wanted.clip.ranges) > 1 or wanted.clip.reach != (0, 0):
            raise InputError(f"{source}: single images are no clips, from which this method learns; give a recording")

    def __len__(self) -> int:
        return len(self.names)

    def class_names(self) -> list[str]:
        return [Path(name).parent.name for name in self.names]

    def sample(self, index: int, seed: int = 0) -> Row:
        return {"images": self.image(index)[None]}

    def image(self, index: int) -> UInt8[np.ndarray, "3 rows columns"]:
        """An image at the wanted size."""
        assert self.wanted.size is not None
        try:
            content = self._read(index)
        except OSError:
            raise InputError(f"{self.names[index]}: cannot be read; restore it or take it out") from None
        decoded = png.decode_bytes(content, Path(self.names[index]), cv2.IMREAD_COLOR)
        return center_crop_resize(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), self.wanted.size)

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"names": digest(self.names)}


def scaled(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "3 rows columns"]:
    """The whole image at another size (height, width)."""
    if image.shape[:2] != size:
        shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def center_crop_resize(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "3 rows columns"]:
    """The largest middle part of the image that has the proportions of `size`, at that size."""
    height, width = image.shape[:2]
    share = min(height / size[0], width / size[1])
    inner_height, inner_width = max(round(share * size[0]), 1), max(round(share * size[1]), 1)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return scaled(image[top : top + inner_height, left : left + inner_width], size)
