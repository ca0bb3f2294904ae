"""What a method carries from step to step, as plain values, so that a killed run goes on and no file can run code."""

from abc import ABC, abstractmethod
from typing import Any

State = dict[str, Any]
"""Names of NumPy arrays, numbers, text, None, and of lists and dicts of these; `formats.storage.state` writes and reads it."""


class Resumable(ABC):
    """A method that works step by step and can be stopped after any of them.

    A new instance with the same settings that is given the `state` of another goes on exactly as that one would have.
    """

    @abstractmethod
    def state(self) -> State:
        """Everything that the next step depends on, apart from the settings."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Become as the instance was whose state this is."""
