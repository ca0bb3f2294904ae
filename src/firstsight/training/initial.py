"""Weights that a training begins with."""

from pathlib import Path

from torch import nn

from firstsight.errors import InputError
from firstsight.formats.storage.weights import load_weights


def load_initial(method: nn.Module, path: Path) -> str:
    """Takes what fits by name and shape from a safetensors file or the folder of a training; says how much that is.

    Raises InputError where nothing fits.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    given, own = load_weights(file), method.state_dict()
    fitting = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        example = f" ({next(iter(given))} there, {next(iter(own))} here)" if given and own else ""
        raise InputError(f"{file}: none of its {len(given)} weights fits this method by name and shape{example}")
    method.load_state_dict(fitting, strict=False)
    return f"{len(fitting)} of {len(own)} weights are from {file}"
