"""Which method estimates: the one named with --use, or the stage's own."""

from typing import Any

from firstsight import catalogue
from firstsight.errors import InputError
from firstsight.roles import DepthCompleter, FlowEstimator, MultiViewDepthEstimator, StereoEstimator

ROLES = (FlowEstimator, StereoEstimator, MultiViewDepthEstimator, DepthCompleter)
"""What may be exchanged: methods that need nothing but pictures and what they return."""


def check_use(names: tuple[str, ...]) -> None:
    """Raises InputError for a name that is no method, or none that a stage would take."""
    for name in names:
        if not issubclass(catalogue.find(name).load(), ROLES):
            usable = [entry.name for entry in catalogue.entries() if issubclass(entry.load(), ROLES)]
            raise InputError(f"--use {name}: no stage takes it; use one of {', '.join(usable)}")


def chosen(names: tuple[str, ...], role: type, default: str) -> tuple[str, Any]:
    """The name of the method that a stage uses for a role, and the method with its default settings."""
    named = [name for name in names if issubclass(catalogue.find(name).load(), role)]
    name = named[-1] if named else default
    return name, catalogue.find(name).load()()
