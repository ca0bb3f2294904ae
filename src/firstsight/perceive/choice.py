"""Which method does a stage's work: the one named with --use (of the catalogue, or the folder of a training), or its own."""

from pathlib import Path
from typing import Any

from firstsight import catalogue, pretrained
from firstsight.errors import InputError
from firstsight.training import Trainable


def kind(name: str) -> type:
    """The class of a method of the catalogue, or of the one whose training a folder holds."""
    return pretrained.kind(name) if pretrained.is_folder(name) else catalogue.find(name).load()


def check_ready(name: str) -> None:
    """Raises InputError for a method that must be trained first, or whose training has not ended."""
    if pretrained.is_folder(name):
        pretrained.find(name)
    elif issubclass(kind(name), Trainable):
        raise InputError(
            f"--use {name}: it must be trained first: firstsight train {name} SOURCE; then --use its folder"
        )


def load(name: str) -> Any:
    """The method: a trained one, or one with its default settings."""
    return pretrained.load(name) if pretrained.is_folder(name) else kind(name)()


def label(name: str) -> str:
    """What the record calls the method."""
    return f"{pretrained.name(name)} ({Path(name).name})" if pretrained.is_folder(name) else name
