"""What was read once and is kept in memory, so that a small data set is decoded once and not in every epoch.

Values are kept until the budget is spent; from then on nothing is added and nothing taken out. A cache that drops what was
used least recently would be of no use: in a shuffled order everything is used once per epoch, so what it drops is what comes next.
"""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

# What a process keeps of decoded samples unless told otherwise.
KEEP_BYTES = 2 * 2**30
# What an array and its place in the table take besides its values.
ENTRY_BYTES = 256


class Budget:
    """Bytes that several `Kept` may use together."""

    def __init__(self, left: int = 0):
        self.left = left

    def take(self, size: int) -> bool:
        """Whether there is room for `size` more bytes, which are then taken."""
        fits = size <= self.left
        if fits:
            self.left -= size
        return fits


class Kept:
    """Arrays by key. They are read-only, since the same array is handed out again and again."""

    def __init__(self, budget: Budget | None = None):
        self._budget, self._values = budget or Budget(), {}

    def get(self, key: Hashable, read: Callable[[], Any]) -> Any:
        """The value of a key, read if it was not kept."""
        if key in self._values:
            return self._values[key]
        value = np.asarray(read())
        if self._budget.take(value.nbytes + ENTRY_BYTES):
            value.setflags(write=False)
            self._values[key] = value
        return value
