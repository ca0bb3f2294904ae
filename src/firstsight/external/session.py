"""Runs the network of an ONNX file as its description says, with ONNX Runtime, on a GPU where there is one.

What the file itself says (names, channels, fixed sizes) is compared with the description when it is opened, so that what
does not fit is one line before any work is done. An ONNX file holds a graph and numbers; nothing in it can run code.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstsight.errors import InputError
from firstsight.external.description import Description, Input, read_description
from firstsight.extras import install_command
from firstsight.geometry.pixels import resize
from firstsight.roles.border import Images

# What images may be given as: ONNX Runtime's names, NumPy's types.
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
# Only what ends a run is written to the terminal by ONNX Runtime itself.
ONLY_FATAL = 4
# The image that a network is tried with, before the size rule of its description.
TRIAL_SIZE = (96, 160)


class Session:
    """A network that was opened and fits its description. Raises InputError, in one line, where it does not."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.description: Description = read_description(self.path)
        self.network = opened(self.path)
        self.inputs = self._inputs()
        named = (self.description.output.name, self.description.output.valid)
        self.outputs = [self._output(name) for name in named if name is not None]

    def _inputs(self) -> list[Any]:
        """The network's inputs, in the order of the role's images."""
        given, wanted = self.network.get_inputs(), self.description.input.names
        by_name = {one.name: one for one in given}
        for name in wanted or ():
            if name not in by_name:
                raise InputError(f"{self.path}: has no input {name}; name {', '.join(by_name)} in its description")
        count = self.description.image_count
        if len(given) != count:
            role = self.description.role
            raise InputError(
                f"{self.path}: takes {len(given)} inputs ({', '.join(by_name)}) where the role {role} gives {count}; "
                "export it so"
            )
        found = [by_name[name] for name in wanted] if wanted else list(given)
        for one in found:
            self._check_input(one)
        return found

    def _check_input(self, one: Any) -> None:
        """Raises InputError for an input that cannot take the images that the description gives it."""
        where, about = f"{self.path}: input {one.name}", self.description.input
        if one.type not in TYPES:
            raise InputError(f"{where}: takes {one.type} where images are floats or uint8; export it so")
        first = about.channels == "first"
        layout = "(batch, 3, height, width)" if first else "(batch, height, width, 3)"
        raw = about.range == "0-255" and (about.mean, about.std) == (Input.mean, Input.std)
        if TYPES[one.type] is np.uint8 and not raw:
            raise InputError(f"{where}: takes uint8; say range 0-255 in its description, without mean and std")
        shape = list(one.shape)
        here, there = (1, 3) if first else (3, 1)
        if len(shape) != 4 or is_other(shape[here], 3) or (shape[there] == 3 != shape[here]):
            raise InputError(
                f"{where}: has shape {in_words(shape)} where images are {layout}; see channels, or export it so"
            )
        fixed, size = shape[2:] if first else shape[1:3], about.size.of(*TRIAL_SIZE)
        pinned = [isinstance(side, int) for side in fixed]
        wrong = any(is_other(side, given) for side, given in zip(fixed, size, strict=True))
        if any(pinned) and (about.size.fixed is None or wrong):
            raise InputError(f"{where}: takes images of {' x '.join(map(str, fixed))} alone; state that as size: fixed")

    def _output(self, name: str | int) -> str:
        """The name of an output that the description names or numbers."""
        names = [one.name for one in self.network.get_outputs() if one.type.startswith("tensor(")]
        if isinstance(name, int) and 0 <= name < len(names):
            return names[name]
        if name not in names:
            raise InputError(f"{self.path}: has no output {name}; name one of {', '.join(names)} in its description")
        return str(name)

    def run(self, *images: Images) -> list[Tensor]:
        """The outputs that the description names, of images (batch, 3, height, width) of one size; on the images' device.

        Raises InputError where the network cannot work on their size.
        """
        height, width = images[0].shape[-2:]
        prepared = [self.prepared(image, self.description.input.size.of(height, width)) for image in images]
        # A network that was exported for one image is given one after the other.
        step = self.inputs[0].shape[0] if isinstance(self.inputs[0].shape[0], int) else len(images[0])
        if len(images[0]) % step:
            raise InputError(f"{self.path}: takes {step} images at a time; give a multiple, or export it for one")
        rows = [
            self._run([image[start : start + step] for image in prepared]) for start in range(0, len(images[0]), step)
        ]
        return [torch.cat(parts).to(images[0].device) for parts in zip(*rows, strict=True)]

    def _run(self, prepared: Sequence[Tensor]) -> list[Tensor]:
        given = {
            one.name: image.numpy().astype(TYPES[one.type]) for one, image in zip(self.inputs, prepared, strict=True)
        }
        try:
            found = self.network.run(self.outputs, given)
        except Exception as error:  # ONNX Runtime has twenty errors of its own, none with a common class
            shape = " x ".join(map(str, prepared[0].shape[-2:]))
            raise InputError(
                f"{self.path}: fails on an input of {shape} ({reason(error)}); see size: multiple_of"
            ) from None
        return [torch.from_numpy(np.asarray(part, np.float32)) for part in found]

    def prepared(self, images: Images, size: tuple[int, int]) -> Tensor:
        """Images as the network wants them, on the CPU."""
        about = self.description.input
        images = images.detach().cpu()
        images = images if images.shape[-2:] == size else resize(images, *size)
        images = images.flip(1) if about.channel_order == "bgr" else images
        images = images * 255 if about.range == "0-255" else images
        if self.inputs[0].type == "tensor(uint8)":
            images = images.round()
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (about.mean, about.std))
        images = (images - mean) / std
        return images if about.channels == "first" else images.movedim(1, -1)


def opened(path: Path) -> Any:
    """The network, on a GPU where ONNX Runtime can use one. Raises InputError for a file that is no ONNX network."""
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = ONLY_FATAL
    options.intra_op_num_threads = torch.get_num_threads()
    usable = runtime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in usable]
    try:
        return runtime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # as in `_run`
        raise InputError(f"{path}: cannot be opened as an ONNX network ({reason(error)}); export it again") from None


def import_runtime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"ONNX Runtime is not installed: {install_command('export')}") from None
    return onnxruntime


def is_other(side: Any, wanted: int) -> bool:
    """Whether a side of a shape is fixed at another number; free ones have a name or nothing."""
    return isinstance(side, int) and side != wanted


def in_words(shape: Sequence[Any]) -> str:
    return f"({', '.join('free' if side is None else str(side) for side in shape)})"


def reason(error: Exception) -> str:
    """The last part of an error of ONNX Runtime, on one line."""
    return " ".join(str(error).split())[-160:]
