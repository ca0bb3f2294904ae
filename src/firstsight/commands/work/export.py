"""`firstsight export`: a trained method as torch.export and as ONNX, each checked against the method itself.

Batch, height and width stay free where the method allows it; the check runs at two sizes. The ONNX file comes with the
description (`external.description`) with which it can take a stage's place again.
"""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim

from firstsight import pretrained
from firstsight.errors import InputError
from firstsight.external.models import describe
from firstsight.extras import install_command
from firstsight.formats.storage.atomic import replacing, write_json
from firstsight.formats.storage.configuration import to_json
from firstsight.training import Trainable

# The second size is that many times the first.
LARGER = 1.5
TOLERANCE = 1e-5


class Parity(NamedTuple):
    """The largest difference to the method's own outputs, at a size (batch, height, width)."""

    size: tuple[int, int, int]
    onnx: float
    torch_export: float


class Flat(nn.Module):
    """The method's forward pass with a plain tuple as the result, masks as numbers; what is not told is left out."""

    def __init__(self, method: Trainable):
        super().__init__()
        self.method = method

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        result = self.method(*inputs)
        return tuple(part.float() for part in result if part is not None) if isinstance(result, tuple) else (result,)


def export(name: Path | str, out: Path) -> list[Parity]:
    """Writes model.pt2, model.onnx and what describes it into `out`; `name` as for `pretrained.load`.

    A role that networks of others do not have gets no description.

    Raises InputError where the results differ by more than TOLERANCE, or where a part is not installed.
    """
    method = Flat(pretrained.load(name)).eval()
    runtime = import_onnx()
    shown = [method.method.example_inputs(2), method.method.example_inputs(1, LARGER)]
    names, examples = list(shown[0]), [tuple(inputs.values()) for inputs in shown]
    out.mkdir(parents=True, exist_ok=True)
    with quiet(), torch.no_grad():
        outputs = output_names(method.method, examples[0])
        free = (tuple({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC} for _ in names),)
        program = torch.export.export(method, examples[0], dynamic_shapes=free, strict=False)
        with replacing(out / "model.pt2") as part:
            torch.export.save(program, part)
        with replacing(out / "model.onnx") as part:
            torch.onnx.export(
                program,
                examples[0],
                part,
                dynamo=True,
                external_data=False,
                input_names=names,
                output_names=list(outputs),
                verbose=False,
            )
        session = runtime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
        again = torch.export.load(out / "model.pt2").module()
        found = [parity(method, session, again, inputs) for inputs in shown]
    require_equal(found, out)
    height, width = examples[0][0].shape[-2:]
    about = describe(method.method, tuple(names), outputs, (height, width))
    if about is not None:
        write_json(out / "model.json", to_json(about))
    return found


def output_names(method: Trainable, inputs: tuple[Tensor, ...]) -> tuple[str, ...]:
    """The names of what the method returns: the fields of its role's result, without those that it does not tell."""
    result = method(*inputs)
    return tuple(name for name in getattr(result, "_fields", ("features",)) if getattr(result, name, name) is not None)


def require_equal(found: list[Parity], out: Path) -> None:
    """Raises InputError where an exported method differs."""
    worst = max(max(one.onnx, one.torch_export) for one in found)
    if not worst <= TOLERANCE:  # not a number is no parity either
        raise InputError(f"{out}: the exported method differs from the original by {worst:.1e}; do not use it")


def parity(method: nn.Module, session: Any, again: nn.Module, inputs: dict[str, Tensor]) -> Parity:
    tensors = tuple(inputs.values())
    expected = method(*tensors)
    given = {name: tensor.numpy() for name, tensor in inputs.items()}
    by_onnx = [torch.from_numpy(part) for part in session.run(None, given)]
    batch, _, height, width = tensors[0].shape
    return Parity((batch, height, width), max_difference(expected, by_onnx), max_difference(expected, again(*tensors)))


def max_difference(expected: tuple[Tensor, ...], found: list[Tensor] | tuple[Tensor, ...]) -> float:
    """Relative to the size of each output's values, so that metres far away do not count more than disparities."""
    gaps = [(a - b).abs().max() / a.abs().max().clamp_min(1.0) for a, b in zip(expected, found, strict=True)]
    return float(torch.stack(gaps).max())


@contextmanager
def quiet() -> Generator[None]:
    """Silences the exporters' notes on operators of packages that are not installed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def import_onnx() -> ModuleType:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        raise InputError(f"ONNX is not installed: {install_command('export')}") from None
    return onnxruntime
