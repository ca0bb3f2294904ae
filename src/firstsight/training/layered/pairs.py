"""`sim:layers`: pairs of images with true flow both ways, occlusion and disparity, drawn when they are asked for.

sim:layers                       2,000 pairs
sim:layers:pairs=500,seed=3      others; noise (grey levels) and light (percent that the images' brightness differs by) as well
sim:layers:height=256,width=512  of another size, where the method does not say of which it wants them

Fields: `images` of one or two frames, `flow_ab`, `flow_ba`, `valid` (everywhere), `occluded` and `occluded_ba` (bool (1, h, w)), and of
the first frame `layer` (int64 (1, h, w), the order in depth: 0 is the farthest), `right`, `disparity` and `occluded_right` (what the
right image does not show). Sample i is a function of (seed, i), whoever asks for it, in which order and however often.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.recordings.opening import number_settings
from firstsight.training.data.batch import Row
from firstsight.training.data.dataset import FILLED_LATER, Dataset
from firstsight.training.data.wanted import Wanted
from firstsight.training.layered.scene import Layer, Settings, draw_layers
from firstsight.training.layered.views import View, moved, occluded, seen
from firstsight.training.random_numbers import combine_seeds

NAME = "sim:layers"
SIZE = (96, 160)  # where none is wanted
MIN_PX, MAX_PX = 16, 4096  # of height and width
MAX_PAIRS = 10_000_000
STEREO = ("right", "disparity", "occluded_right")
OF_FLOW = ("flow_ab", "flow_ba", "valid", "occluded", "occluded_ba")


class TrueFlow(NamedTuple):
    """A pair with what its flow is judged by."""

    images: UInt8[Tensor, "batch time 3 height width"]
    flow_ab: Float32[Tensor, "batch 2 height width"]
    valid: Bool[Tensor, "batch 1 height width"]
    occluded: Bool[Tensor, "batch 1 height width"]


class TrueDisparity(NamedTuple):
    """A stereo pair with what its disparity is judged by."""

    images: UInt8[Tensor, "batch time 3 height width"]
    right: UInt8[Tensor, "batch time 3 height width"]
    disparity: Float32[Tensor, "batch time 1 height width"]
    occluded_right: Bool[Tensor, "batch 1 height width"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What stands behind the source's name."""

    pairs: int = 2000
    seed: int = 0
    noise: int = 2
    light: int = 10
    height: int | None = None
    width: int | None = None


RANGES = {
    "pairs": (1, MAX_PAIRS),
    "noise": (0, 255),
    "light": (0, 100),
    "height": (MIN_PX, MAX_PX),
    "width": (MIN_PX, MAX_PX),
}


def is_layers(source: str) -> bool:
    return source == NAME or source.startswith(f"{NAME}:")


def parse_options(source: str) -> Options:
    """Raises InputError for a setting that does not exist, and for one that is no whole number or out of its range."""
    listed = source.removeprefix(NAME).removeprefix(":")
    options = Options(**number_settings(source, listed, [field.name for field in fields(Options)]))
    for name, (low, high) in RANGES.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"{source}: {name} is {value}; it can be {low} to {high}")
    return options


class LayeredPairs(Dataset):
    """The pairs of a source, of the wanted size."""

    def __init__(self, source: str, wanted: Wanted, settings: Settings | None = None):
        self.source, self.wanted = source, wanted
        self.options, self.settings = parse_options(source), settings or Settings()
        self.size = self.size_of(wanted)
        have = ("images", *OF_FLOW, "layer", *STEREO)
        for name in wanted.fields:
            if name not in have and name not in FILLED_LATER:
                raise InputError(
                    f"{source}: it has no {name}, from which {wanted.method} learns; it has {', '.join(have)}"
                )
        offsets = wanted.clip.possible
        if offsets not in ([0], [0, 1]):
            raise InputError(
                f"{source}: has pairs of frames; {wanted.method} wants frames {', '.join(map(str, offsets))}"
            )
        if offsets != [0] and set(STEREO) & set(wanted.fields):
            raise InputError(f"{source}: has a right image of the first frame alone; {wanted.method} wants both")

    def size_of(self, wanted: Wanted) -> tuple[int, int]:
        """(height, width) of the images. Raises InputError where the source and the method state different ones."""
        height, width = wanted.size or SIZE
        stated = (self.options.height or height, self.options.width or width)
        if wanted.size and stated != wanted.size:
            raise InputError(
                f"{self.source}: {wanted.method} wants images of height {height} and width {width}; leave both out"
            )
        return stated

    def __len__(self) -> int:
        return self.options.pairs

    def sample(self, index: int, seed: int = 0) -> Row:
        rng = np.random.default_rng(combine_seeds(self.options.seed, index))
        layers = draw_layers(rng, self.size, self.settings)
        first = seen(layers, self.size, lambda _: np.eye(3))
        row = {"layer": first.layer[None]}
        frames = [self.photographed(rng, first)]
        if len(self.wanted.clip.ranges) > 1 or set(OF_FLOW) & set(self.wanted.fields):
            second = seen(layers, self.size, lambda layer: layer.b_from_a)
            frames.append(self.photographed(rng, second))
            row |= truth(layers, first, second)
        if set(STEREO) & set(self.wanted.fields):
            right = seen(layers, self.size, lambda layer: layer.right_from_left)
            row["right"] = self.photographed(rng, right)[None]
            flow = moved(first.layer, [layer.right_from_left for layer in layers])
            row["disparity"] = -flow[None, :1]
            row["occluded_right"] = occluded(flow, first.layer, right.layer)[None]
        row["images"] = np.stack([frames[offset] for offset in self.wanted.clip.offsets(seed)])
        return {name: row[name] for name in self.wanted.fields if name in row}

    def photographed(self, rng: np.random.Generator, view: View) -> UInt8[np.ndarray, "3 height width"]:
        """The view in bytes, with noise, brighter or darker than it is."""
        light = 1 + self.options.light / 100 * rng.uniform(-1, 1)
        noise = rng.normal(0, self.options.noise, view.colours.shape) if self.options.noise else 0
        return np.rint(np.clip(255 * light * view.colours + noise, 0, 255)).astype(np.uint8).transpose(2, 0, 1)

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"settings": repr((self.options, self.settings))}


def truth(layers: Sequence[Layer], first: View, second: View) -> Row:
    """What is true of both frames."""
    motions = [layer.b_from_a for layer in layers]
    flow_ab = moved(first.layer, motions)
    flow_ba = moved(second.layer, [np.linalg.inv(motion) for motion in motions])
    return {
        "flow_ab": flow_ab,
        "flow_ba": flow_ba,
        "valid": np.isfinite(flow_ab).all(0, keepdims=True),
        "occluded": occluded(flow_ab, first.layer, second.layer)[None],
        "occluded_ba": occluded(flow_ba, second.layer, first.layer)[None],
    }
