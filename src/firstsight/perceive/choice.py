"""Which method does a stage's work: the one named by the user, or its own.

A name is one of the catalogue, the folder of a training, or the file of a network that was trained elsewhere; every
question about it is answered here.
"""

import os
from pathlib import Path
from typing import Any, Literal

from firstsight import catalogue, pretrained
from firstsight.errors import InputError
from firstsight.external import models
from firstsight.external.description import is_model_file, read_description
from firstsight.training import Trainable

Origin = Literal["method", "training", "model"]


def origin(name: str) -> Origin:
    """What a name stands for: a method of the catalogue, the folder of a training (or the hub's), or a network's file."""
    if pretrained.is_folder(name):
        return "training"
    return "model" if is_model_file(name) else "method"


def kind(name: str) -> type:
    """The class of the method that a name stands for. Raises InputError where there is none."""
    match origin(name):
        case "training":
            return pretrained.kind(name)
        case "model":
            return models.class_of(name)
        case "method":
            return catalogue.find(name).load()


def check_ready(name: str) -> None:
    """Raises InputError for a method that must be trained first or whose training has not ended, and a network that is unfit."""
    match origin(name):
        case "training":
            pretrained.find(name)
        case "model":
            models.check(name)
        case "method" if issubclass(kind(name), Trainable):
            raise InputError(
                f"--use {name}: it must be trained first: firstsight train {name} SOURCE; then --use its folder"
            )


def load(name: str) -> Any:
    """The method: a trained one, a network, or one with its default settings."""
    match origin(name):
        case "training":
            return pretrained.load(name)
        case "model":
            return models.load(name)
        case "method":
            return kind(name)()


def label(name: str) -> str:
    """What the record calls the method."""
    match origin(name):
        case "training":
            return f"{pretrained.name(name)} ({Path(name).name})"
        case "model":
            return Path(name).name
        case "method":
            return name


def described(name: str) -> str:
    """What a name stands for, in words."""
    match origin(name):
        case "training":
            return f"training of {pretrained.name(name)}"
        case "model":
            return f"network of the role {read_description(name).role}"
        case "method":
            return f"method of the family {catalogue.find(name).family}"


def absolute(name: str) -> str:
    """The same name for a process with another current folder."""
    path = Path(name).expanduser()
    return os.path.abspath(path) if origin(name) != "method" and path.exists() else name
