"""Which method estimates: the one named with --use (of the catalogue, or the folder of a training), or the stage's own."""

from pathlib import Path
from typing import Any

from firstsight import catalogue, pretrained
from firstsight.errors import InputError
from firstsight.roles import DepthCompleter, DepthEstimator, FlowEstimator, MultiViewDepthEstimator, StereoEstimator
from firstsight.training import Trainable

ROLES = (FlowEstimator, StereoEstimator, MultiViewDepthEstimator, DepthCompleter, DepthEstimator)
"""What may be exchanged: methods that need nothing but pictures and what they return."""


def check_use(names: tuple[str, ...]) -> None:
    """Raises InputError for a name that is no method, or none that a stage would take."""
    for name in names:
        if not issubclass(kind(name), ROLES):
            usable = [entry.name for entry in catalogue.entries() if issubclass(entry.load(), ROLES)]
            raise InputError(
                f"--use {name}: no stage takes it; use one of {', '.join(usable)}, or a trained one's folder"
            )
        if pretrained.is_folder(name):
            pretrained.find(name)  # its training has ended
        elif issubclass(kind(name), Trainable):
            raise InputError(
                f"--use {name}: it must be trained first: firstsight train {name} SOURCE; then --use its folder"
            )


def kind(name: str) -> type:
    """The class of a method."""
    return pretrained.kind(name) if pretrained.is_folder(name) else catalogue.find(name).load()


def uses(names: tuple[str, ...], role: type) -> Any:
    """The class of the method that is named for a role, None where none is."""
    named = [kind(name) for name in names if issubclass(kind(name), role)]
    return named[-1] if named else None


def chosen(names: tuple[str, ...], role: type, default: str) -> tuple[str, Any]:
    """What a stage calls its method, and the method: a trained one, or one with its default settings."""
    named = [name for name in names if issubclass(kind(name), role)]
    name = named[-1] if named else default
    if not pretrained.is_folder(name):
        return name, catalogue.find(name).load()()
    return f"{pretrained.name(name)} ({Path(name).name})", pretrained.load(name)
