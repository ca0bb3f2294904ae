"""Networks of a few numbers, written as ONNX files with their descriptions."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

IMAGE = {0: "batch", 2: "height", 3: "width"}


class Answer(nn.Module):
    """A network out of a function of its images."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *images: Tensor) -> Any:
        return self.function(*images)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a module or function as net.onnx and what describes it as net.json; returns the first one's path.

    `shape` is that of each image; with `free` any batch, height and width are taken.
    """
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def write(
        network: nn.Module | Callable[..., Any],
        about: dict[str, Any],
        *,
        inputs: tuple[str, ...] = ("image",),
        outputs: tuple[str, ...] = ("out",),
        shape: tuple[int, ...] = (1, 3, 32, 48),
        free: bool = True,
    ) -> Path:
        module = network if isinstance(network, nn.Module) else Answer(network)
        path = tmp_path / "net.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the quicker of the two exporters is the older one
            torch.onnx.export(
                module.eval(),
                tuple(torch.rand(shape) for _ in inputs),
                path,
                dynamo=False,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=dict.fromkeys(inputs, IMAGE) if free else None,
            )
        path.with_suffix(".json").write_text(json.dumps(about))
        return path

    return write
