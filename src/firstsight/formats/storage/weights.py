"""Weights of networks as safetensors files: nothing in such a file can run code."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_bytes
from firstsight.reading import require_regular


def save_weights(path: Path, tensors: dict[str, Tensor], about: dict[str, Any] | None = None) -> None:
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, save(whole, {"about": json.dumps(about)} if about else None))


def load_weights(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise InputError(f"{path}: missing; it holds weights, restore it")
    require_regular(path, "file of weights")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as safetensors ({error}); copy it again") from None


def read_published(path: Path) -> Any:
    """What a file of somebody else's weights holds: safetensors, or torch's own format without code in it.

    Raises InputError for a file that cannot be read, or that holds more than weights and plain values.
    """
    if path.suffix == ".safetensors":
        return load_weights(path)
    if not path.exists():
        raise InputError(f"{path}: missing; it holds weights, restore it")
    require_regular(path, "file of weights")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged pickle may raise anything
        raise InputError(f"{path}: not a file of weights alone; save its state dict as safetensors") from None


def load_into(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Raises InputError naming the first weight that does not fit, or is not finite."""
    own = module.state_dict()
    for name in {**own, **tensors}:
        if name not in tensors or name not in own:
            raise InputError(f"{path}: weight {name} is {'missing' if name in own else 'not one of this method'}")
        if own[name].shape != tensors[name].shape:
            raise InputError(
                f"{path}: weight {name} is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(f"{path}: weight {name} is not finite; copy it again, or train anew")
    module.load_state_dict(tensors)
