"""The check at the border of every role: what is given is taken for what it is and converted, or refused in one line.

Methods behind it can rely on the conventions (docs/conventions.md). Values are read once, shapes always; while a method is
compiled or exported only shapes are looked at, since a graph has no values.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from firstsight.errors import InputError

Images = Float32[Tensor, "batch 3 height width"]
"""RGB in [0, 1]."""

if TYPE_CHECKING:
    ImageLike = Tensor | np.ndarray
    MatrixLike = Tensor | np.ndarray
    DepthLike = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None] | tuple[np.ndarray, np.ndarray]
    Files = Sequence[Path | str]
    Whole = int | np.integer
else:
    # Whatever is given is judged below, in words of its own.
    ImageLike = MatrixLike = DepthLike = Any
    Files = Whole = Any
"""What may be given.

ImageLike: arrays (height, width, 3) or (height, width), tensors (3, height, width) or (batch, 3, height, width); uint8, or
floats in [0, 1]. DepthLike: (depth in metres, valid), arrays (height, width) or tensors (batch, 1, height, width), or
a Depth.
"""

# How far from [0, 1] resampling may carry a float; a quarter of a grey level.
TOLERANCE = 1e-3
WANTED = "give RGB as an array (height, width, 3) or a tensor (batch, 3, height, width), uint8 or floats in [0, 1]"


def images(role: str, **given: ImageLike) -> tuple[Images, ...]:
    """The images as float32 RGB in [0, 1], (batch, 3, height, width), grey ones with three equal channels, in the order given.

    Raises InputError, naming the role and the argument, for what is no image, and for images that differ in shape or device.
    """
    converted = [image(f"{role}: {name}", value) for name, value in given.items()]
    for name, other in zip(given, converted, strict=True):
        require_alike(role, (next(iter(given)), converted[0]), (name, other))
    return tuple(converted)


def image(where: str, given: ImageLike) -> Images:
    """One of them. Raises InputError that begins with `where`."""
    if not isinstance(given, Tensor | np.ndarray):
        raise InputError(f"{where}: a {type(given).__name__} is no image; {WANTED}")
    tensor = channels_first(where, given)
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    if not tensor.is_floating_point():
        raise InputError(f"{where}: {described(given)}; {WANTED}")
    tensor = tensor.float()
    require_unit_range(where, given, tensor)
    return tensor


def one_image(role: str, given: ImageLike, name: str = "image") -> Float32[Tensor, "1 3 height width"]:
    """An image alone. Raises InputError for a batch of several."""
    (found,) = images(role, **{name: given})
    if len(found) != 1:
        raise InputError(f"{role}: {name}: a batch of {len(found)}; give one image")
    return found


def channels_first(where: str, given: Tensor | np.ndarray) -> Tensor:
    """Returns (batch, 3, height, width), of the type that was given. Arrays have their colours last, tensors first."""
    tensor = to_tensor(where, given)
    if isinstance(given, np.ndarray):
        tensor = tensor[..., None].expand(*given.shape, 3) if tensor.ndim == 2 else tensor
        tensor = tensor.movedim(-1, 0).contiguous() if tensor.ndim == 3 else tensor[:0]
    tensor = tensor[None] if tensor.ndim == 3 else tensor
    if tensor.ndim != 4 or tensor.shape[1] != 3 or not tensor.numel():
        raise InputError(f"{where}: {described(given)}; {WANTED}")
    return tensor


def to_tensor(where: str, given: Tensor | np.ndarray) -> Tensor:
    """The same values. Raises InputError for arrays of a type that tensors do not have."""
    if isinstance(given, Tensor):
        return given
    try:
        # Tensors have no negative strides, such as those of image[..., ::-1], and warn of memory that is only for reading.
        return torch.from_numpy(np.require(given, requirements=("C", "W")))
    except (TypeError, ValueError):
        raise InputError(f"{where}: {described(given)}; {WANTED}") from None


def require_unit_range(where: str, given: Tensor | np.ndarray, tensor: Tensor) -> None:
    """Raises InputError where values lie outside [0, 1] or are not finite."""
    if torch.compiler.is_compiling():
        return
    low, high = torch.stack(tensor.detach().aminmax()).tolist()
    if math.isnan(low):
        raise InputError(f"{where}: {described(given)} that holds NaN; fill those pixels first")
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise InputError(f"{where}: {described(given)} with values from {low:.4g} to {high:.4g}; {WANTED}")


def require_alike(role: str, first: tuple[str, Tensor], second: tuple[str, Tensor]) -> None:
    """Raises InputError where two named images differ in shape or device."""
    (name, a) = first
    (other, b) = second
    if a.shape != b.shape:
        shapes = f"{name} is {tuple(a.shape)}, {other} is {tuple(b.shape)}"
        raise InputError(f"{role}: {shapes}; give images of one size, as many of each")
    if a.device != b.device:
        raise InputError(f"{role}: {name} is on {a.device}, {other} on {b.device}; move them to one device")


def described(given: Tensor | np.ndarray) -> str:
    """The kind and shape of an array or tensor, in words."""
    kind = "tensor" if isinstance(given, Tensor) else "array"
    return f"{kind} of {str(given.dtype).removeprefix('torch.')}, shape {tuple(given.shape)}"


def depth_and_valid(
    role: str, name: str, given: Any, image: Images | None
) -> tuple[Float32[Tensor, "batch 1 height width"], Bool[Tensor, "batch 1 height width"]]:
    """A pair (depth in metres, valid) of arrays (height, width) or tensors (batch, 1, height, width), as tensors.

    Raises InputError where it is no such pair, does not lie on the pixels of an image that is given, or where a valid depth
    is not above 0.
    """
    given = given[:2] if isinstance(given, tuple) and len(given) == 3 else given  # a Depth, with the error it expects
    where, wanted = f"{role}: {name}", "give (depth in metres, valid as bool), each of the image's height and width"
    if not isinstance(given, tuple) or len(given) != 2 or not all(isinstance(v, Tensor | np.ndarray) for v in given):
        raise InputError(f"{where}: a {type(given).__name__} is no depth with its valid pixels; {wanted}")
    depth, valid = (to_tensor(where, part) for part in given)
    depth, valid = (part[None, None] if part.ndim == 2 else part for part in (depth, valid))
    grid = (1, 1, *depth.shape[2:]) if image is None else (len(image), 1, *image.shape[2:])
    if depth.shape != grid or valid.shape != grid or valid.dtype != torch.bool:
        raise InputError(f"{where}: {described(given[0])}, with {described(given[1])}; {wanted}, here {tuple(grid)}")
    device = depth.device if image is None else image.device
    depth, valid = depth.float().to(device), valid.to(device)
    if not torch.compiler.is_compiling() and not bool(((depth > 0) & depth.isfinite() | ~valid).all()):
        raise InputError(f"{where}: a valid depth is not above 0 or not finite; mark such pixels as not valid")
    return depth, valid


def matrices(role: str, name: str, given: Any, shape: tuple[int, ...]) -> Float64[Tensor, "*shape"]:
    """Motions or intrinsics as a float64 tensor of that shape. Raises InputError for other shapes and values that are not finite."""
    where = f"{role}: {name}"
    if not isinstance(given, Tensor | np.ndarray):
        raise InputError(f"{where}: a {type(given).__name__}; give an array or tensor of shape {shape}")
    tensor = to_tensor(where, given)
    if tensor.shape != shape or tensor.is_complex():
        raise InputError(f"{where}: {described(given)}; the shape must be {shape}")
    tensor = tensor.double()
    if not torch.compiler.is_compiling() and not bool(tensor.isfinite().all()):
        raise InputError(f"{where}: holds NaN or infinite values; leave that view out")
    return tensor


def files(role: str, name: str, given: Files) -> list[Path]:
    """The paths of at least two files. Raises InputError for fewer, and for one that does not exist."""
    if isinstance(given, str | Path) or not isinstance(given, Sequence) or len(given) < 2:
        what = f"a list of {len(given)}" if isinstance(given, list | tuple) else f"a {type(given).__name__}"
        raise InputError(f"{role}: {name}: {what}; give a list with the paths of at least two files")
    paths = [Path(path).expanduser() for path in given]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{role}: {name}: {path}: no such file")
    return paths


def rows(role: str, name: str, given: Any, row: tuple[int, ...]) -> Tensor:
    """Points or times, any number of rows of the shape `row`. Raises InputError for another shape or type."""
    where, wanted = f"{role}: {name}", ("number", *row)
    if not isinstance(given, Tensor | np.ndarray):
        raise InputError(f"{where}: a {type(given).__name__}; give an array or tensor of shape {wanted}")
    tensor = to_tensor(where, given)
    if tensor.ndim != 1 + len(row) or tensor.shape[1:] != row or not tensor.is_floating_point():
        raise InputError(f"{where}: {described(given)}; give floats of shape {wanted}")
    return tensor


def whole(role: str, name: str, given: Whole) -> int:
    """Nanoseconds. Raises InputError for a number that is not whole by its type."""
    if not isinstance(given, int | np.integer):
        raise InputError(f"{role}: {name}: {given!r} is a {type(given).__name__}; give whole nanoseconds")
    return int(given)
