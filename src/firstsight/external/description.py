"""What MODEL.json says of the network in MODEL.onnx: its role, how images are given to it, and what comes out.

A network's file says shapes, never what its numbers mean; the description does, and is checked before anything is run.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from firstsight.errors import InputError
from firstsight.formats.storage.configuration import from_json, read_json

Role = Literal["depth", "stereo", "flow", "encoder"]
Quantity = Literal["depth_m", "depth", "inverse_depth", "disparity_px", "flow_px", "features"]

QUANTITIES: dict[Role, tuple[Quantity, ...]] = {
    "depth": ("depth_m", "depth", "inverse_depth"),
    "stereo": ("disparity_px",),
    "flow": ("flow_px",),
    "encoder": ("features",),
}
"""What a network of each role may answer with: metres, depth up to a factor, inverse depth up to factor and shift, ..."""

SUFFIX = ".onnx"
# Files of PyTorch that hold pickles; torch.export.load falls back to them too, so opening one may run what it says.
UNSAFE_SUFFIXES = frozenset({".pt2", ".pt", ".pth", ".ckpt", ".pkl", ".bin"})


@dataclass(frozen=True, kw_only=True)
class Size:
    """The (height, width) that images are resized to: a fixed one, or that of the image under some rules.

    `longest_side` or `shortest_side` scales the image, which keeps its aspect; both sides are then rounded to the nearest
    multiple of `multiple_of`. `fixed` excludes the others.
    """

    fixed: tuple[int, int] | None = None
    longest_side: int | None = None
    shortest_side: int | None = None
    multiple_of: int = 1

    def of(self, height: int, width: int) -> tuple[int, int]:
        """The size at which the network sees an image of that size."""
        if self.fixed is not None:
            return self.fixed
        scale = 1.0
        if self.longest_side is not None:
            scale = self.longest_side / max(height, width)
        elif self.shortest_side is not None:
            scale = self.shortest_side / min(height, width)
        rows, columns = (max(1, round(side * scale / self.multiple_of)) for side in (height, width))
        return rows * self.multiple_of, columns * self.multiple_of


@dataclass(frozen=True, kw_only=True)
class Input:
    """How images are given: (values in `range` - mean) / std, with the colours in that order, of that size.

    `names` are those of the network's inputs, first or left image first; None for the order in the file. `channels` says
    whether tensors are (batch, 3, height, width) or (batch, height, width, 3).
    """

    size: Size = field(default_factory=Size)
    range: Literal["0-1", "0-255"] = "0-1"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    channels: Literal["first", "last"] = "first"
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """What comes out and where: `name` is that of an output, or its number in the file, counted from 0.

    Values are multiplied by `factor`: 0.001 for depth in millimetres, -1 for a disparity that is negative. Disparity and flow
    are then px of the network's input; where they come out on a coarser grid, `factor` must be stated. `valid` names
    an output that is above 0.5 where the values mean something. `pooling` makes one vector out of features (batch, tokens,
    features): that of the first token, or their mean.
    """

    quantity: Quantity | None = None
    name: str | int = 0
    factor: float | None = None
    channels: Literal["first", "last"] = "first"
    valid: str | int | None = None
    pooling: Literal["none", "first", "mean"] = "none"


@dataclass(frozen=True, kw_only=True)
class Description:
    """All that MODEL.json says."""

    role: Role
    input: Input = field(default_factory=Input)
    output: Output = field(default_factory=Output)

    @property
    def quantity(self) -> Quantity:
        """What comes out; of roles that have but one it need not be stated."""
        return self.output.quantity or QUANTITIES[self.role][0]

    @property
    def image_count(self) -> int:
        """How many images the network takes."""
        return 2 if self.role in ("stereo", "flow") else 1


def is_model_file(name: str | Path) -> bool:
    """Whether the name is that of a network's file, of the kind that is used or of one that is refused."""
    return Path(name).suffix.lower() in {SUFFIX, *UNSAFE_SUFFIXES}


def read_description(model: str | Path) -> Description:
    """The description beside a network's file.

    Raises InputError where the file is missing or of a kind that can run code, and where the description is missing or
    says what cannot be.
    """
    model = Path(model).expanduser()
    if model.suffix.lower() in UNSAFE_SUFFIXES:
        raise InputError(f"{model}: a file of PyTorch can run code when it is opened; export the network as ONNX")
    if not model.is_file():
        raise InputError(f"{model}: no such file; give the path of an ONNX network")
    path = model.with_suffix(".json")
    if not path.exists():
        raise InputError(f'{path}: missing; it must say what {model.name} is, such as {{"role": "flow"}}')
    found: Description = from_json(Description, read_json(path), str(path))
    check_size(found.input.size, f"{path}: input: size")
    check_input(found, f"{path}: input")
    check_output(found, f"{path}: output")
    return found


def check_size(size: Size, where: str) -> None:
    """Raises InputError for rules that exclude each other, and sides below 1."""
    others = [name for name in ("longest_side", "shortest_side") if getattr(size, name) is not None]
    if (size.fixed is not None and (others or size.multiple_of != 1)) or len(others) > 1:
        raise InputError(f"{where}: give one of fixed, longest_side and shortest_side; multiple_of not with fixed")
    sides = [*(size.fixed or ()), *(getattr(size, name) for name in others), size.multiple_of]
    if min(sides) < 1:
        raise InputError(f"{where}: {min(sides)} where whole numbers above 0 are expected")


def check_input(found: Description, where: str) -> None:
    """Raises InputError for values that normalise to nothing, and names that are too few or too many."""
    numbers = (*found.input.mean, *found.input.std)
    if not all(map(math.isfinite, numbers)) or min(found.input.std) <= 0:
        raise InputError(f"{where}: mean and std must be finite, std above 0")
    names = found.input.names
    if names is not None and (len(names) != found.image_count or len(set(names)) != len(names)):
        count = "one input" if found.image_count == 1 else "two inputs"
        raise InputError(f"{where}: names: a network of role {found.role} takes {count}; name each once")


def check_output(found: Description, where: str) -> None:
    """Raises InputError for a quantity of another role, and factors and poolings without meaning."""
    output, possible = found.output, QUANTITIES[found.role]
    if output.quantity is None and len(possible) > 1:
        raise InputError(f"{where}: setting quantity is missing; give one of {', '.join(possible)}")
    if found.quantity not in possible:
        raise InputError(f"{where}: quantity: {output.quantity} where one of {', '.join(possible)} is expected")
    if output.factor is not None and (not math.isfinite(output.factor) or output.factor == 0):
        raise InputError(f"{where}: factor: {output.factor} where a finite number other than 0 is expected")
    if output.pooling != "none" and found.role != "encoder":
        raise InputError(f"{where}: pooling: is for features alone; leave it out")
    if output.valid is not None and found.role == "encoder":
        raise InputError(f"{where}: valid: features are always valid; leave it out")
