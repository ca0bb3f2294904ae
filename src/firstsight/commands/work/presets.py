"""The settings and recipes that a trainable method comes with, by name."""

from typing import Any, NamedTuple

import torch

from firstsight import catalogue
from firstsight.errors import InputError
from firstsight.pretrained import learning
from firstsight.suggestions import unknown
from firstsight.training import Recipe


class Preset(NamedTuple):
    """A method's settings and the recipe that trains it with them."""

    name: str
    config: Any
    recipe: Recipe


def presets_of(entry: catalogue.Entry) -> dict[str, Preset]:
    """Returns the presets of a trainable method: "paper", "tiny" (ends within minutes on a CPU), and others if it has any."""
    return {name: Preset(name, *preset) for name, preset in learning(entry).PRESETS.items()}


def chosen_preset(entry: catalogue.Entry, name: str) -> Preset:
    """Returns the preset of that name; of "auto" the paper's where there is a GPU and the tiny one where there is none.

    Raises InputError for a name that the method has no preset of.
    """
    presets = presets_of(entry)
    if name == "auto":
        name = "paper" if torch.cuda.is_available() else "tiny"
    if name not in presets:
        raise InputError(f"--preset {unknown(name, f'preset of {entry.name}', presets)}")
    return presets[name]
