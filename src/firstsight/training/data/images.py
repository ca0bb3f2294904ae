"""Single images as samples: those of a folder, an archive or shards, the middle of each scaled to the wanted size."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.recordings.files import IMAGE_SUFFIXES, natural_key, votes
from firstsight.recordings.recording import Image
from firstsight.training.data.batch import Row
from firstsight.training.data.dataset import FILLED_LATER, Dataset, digest
from firstsight.training.data.wanted import Wanted

OFFERED = FILLED_LATER | {"images", "label"}
TEST_FOLDERS = frozenset({"test", "val", "validation"})


class Images(Dataset):
    """Images by name. The class of an image is the name of its folder, or of that above if its folder is train/ or test/.

    `relative_names` are their names within the source, `read` gives the content of the file of a number, `sizes` are the
    bytes of the files, where known; `classes` gives those of the images, where the names alone do not say them.
    """

    def __init__(
        self,
        source: str,
        relative_names: Sequence[str],
        read: Callable[[int], bytes],
        wanted: Wanted,
        sizes: Sequence[int] = (),
        classes: Callable[[], list[str] | None] | None = None,
    ):
        self.source, self.relative_names, self.wanted = source, relative_names, wanted
        self._read, self._whole = read, self
        self._sizes, self._classes = sizes, classes
        for field in wanted.fields:
            if field not in OFFERED:
                raise InputError(
                    f"{source}: single images have no {field}, from which {wanted.method} learns; give a recording"
                )
        if not takes_single_images(wanted):
            raise InputError(
                f"{source}: single images are no clips, from which {wanted.method} learns; give a recording"
            )

    def __len__(self) -> int:
        return len(self.relative_names)

    def name(self, index: int) -> str:
        """The image's name as messages give it."""
        return f"{self.source}/{self.relative_names[index]}"

    def class_names(self) -> list[str] | None:
        if self._classes is not None:
            return self._classes()
        parts = split_names(self.relative_names)
        return [class_of(PurePosixPath(self.name(index)).parent, part) for index, part in enumerate(parts)]

    def sample(self, index: int, seed: int = 0) -> Row:
        return {"images": self.image(index)[None]}

    def image(self, index: int) -> UInt8[np.ndarray, "3 rows columns"]:
        """An image at the wanted size."""
        return self._kept.get(index, lambda: self._decoded(index))

    def _decoded(self, index: int) -> UInt8[np.ndarray, "3 rows columns"]:
        assert self.wanted.size is not None
        light = self._light(index)
        if light.dtype == np.uint16:
            light = png.eight_bits(light, self._whole.white)
        return center_crop_resize(cv2.cvtColor(light, cv2.COLOR_BGR2RGB), self.wanted.size)

    def _light(self, index: int) -> UInt8[np.ndarray, "height width 3"] | UInt16[np.ndarray, "height width 3"]:
        name = self.name(index)
        try:
            content = self._read(index)
        except OSError:
            raise InputError(f"{name}: cannot be read; restore it or take it out") from None
        return png.light_of(content, Path(name))

    @cached_property
    def white(self) -> int:
        """The value that is white in 16-bit images, of all that the source holds: that of a few."""
        few = []
        for index in votes(len(self)):
            with suppress(InputError):
                few.append(self._light(index))
        return png.white_of(few)

    def light_remarks(self) -> tuple[str, ...]:
        """What the user should know of 16-bit images, told by the first one."""
        with suppress(InputError):
            if self._light(0).dtype == np.uint16:
                return tuple(f"{self.source}: {remark}" for remark in png.white_remarks(self._whole.white))
        return ()

    def select(self, chosen: Sequence[int]) -> "Images":
        """Some of the images."""
        names, sizes = [self.relative_names[i] for i in chosen], [self._sizes[i] for i in chosen if self._sizes]

        def classes() -> list[str] | None:
            every = self.class_names()
            return every and [every[index] for index in chosen]

        selected = Images(self.source, names, lambda index: self._read(chosen[index]), self.wanted, sizes, classes)
        selected.remarks, selected._whole = self.remarks, self._whole
        return selected

    def for_training(self) -> "Images":
        """Those that are not kept for testing: without test/ (and val/) where there is a train/ beside it."""
        parts = split_names(self.relative_names)
        chosen = [index for index, part in enumerate(parts) if part != "test"]
        if len(chosen) == len(parts):
            return self
        kept = self.select(chosen)
        left_out = len(parts) - len(chosen)
        kept.remarks += (f"{self.source}: {left_out} images for testing are left out, {len(chosen)} are learned from",)
        return kept

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"names": digest((*self.relative_names, *self._sizes))}


def takes_single_images(wanted: Wanted) -> bool:
    """Whether images without a before and after are enough."""
    clip = wanted.clip
    return len(clip.ranges) == 1 and clip.reach == (0, 0) and set(wanted.fields) <= OFFERED


def split_names(relative_names: Sequence[str]) -> list[str]:
    """Returns each image's "train" or "test", where a folder of its path has that name and the other beside it; else ""."""
    places = [name.rpartition("/")[0] for name in relative_names]
    folders = {place: PurePosixPath(place) for place in set(places)}
    present = {path for folder in folders.values() for path in (folder, *folder.parents)}
    parts = {place: part_of(folder, present) for place, folder in folders.items()}
    return [parts[place] for place in places]


def class_of(folder: PurePosixPath, part: str) -> str:
    """The class of the images in a folder that belongs to a part of the data: the part's name is that of no class."""
    return folder.parent.name if part and folder.name in TEST_FOLDERS | {"train"} else folder.name


def part_of(folder: PurePosixPath, present: set[PurePosixPath]) -> str:
    """Which part of the data a folder belongs to, of all those that are `present`."""
    for path in (folder, *folder.parents):
        if path.name in TEST_FOLDERS and path.with_name("train") in present:
            return "test"
        if path.name == "train" and any(path.with_name(test) in present for test in TEST_FOLDERS):
            return "train"
    return ""


def image_folder(folder: Path, wanted: Wanted) -> Images:
    """The images in a folder and the folders in it. Links that lead out of it, pipes and devices are left out."""
    paths, skipped = [], []
    for entry in image_entries(folder):
        (paths if is_inside(entry, folder) else skipped).append(Path(entry))
    found = sorted(paths, key=lambda path: (path.parent, natural_key(path)))
    reason = f" ({len(skipped)} are no files, or links out of it, such as {skipped[0].name})" if skipped else ""
    if not found:
        raise InputError(
            f"{folder}: no images in it or in its folders{reason}; give the path of images or of a recording"
        )
    names = [path.relative_to(folder).as_posix() for path in found]
    sizes = [path.stat().st_size for path in found]
    images = Images(str(folder), names, lambda index: found[index].read_bytes(), wanted, sizes)
    if skipped:
        images.remarks = (f"{folder}: some images are left out{reason}",)
    return images


def image_entries(folder: Path | str) -> Iterator[os.DirEntry]:
    """What is named as an image in a folder and in the folders in it; links to folders are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from image_entries(entry.path)
            elif is_image(entry.name):
                yield entry


def is_inside(entry: os.DirEntry, folder: Path) -> bool:
    """Whether it is a regular file that lies in the folder: reading a pipe would hang, and a link may lead anywhere."""
    if entry.is_symlink() and not Path(entry).resolve().is_relative_to(folder.resolve()):
        return False
    return entry.is_file()


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image; hidden files are none."""
    path = Path(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


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
