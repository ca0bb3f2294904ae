"""Compiling kernels, which the first call on a machine does for seconds, is announced once and can be measured."""

import sys
import time

from numba.core import event


class Announcement(event.Listener):
    """Prints one line on stderr when numba compiles something, then is silent."""

    def __init__(self) -> None:
        self.announced = False

    def on_start(self, event: event.Event) -> None:
        if not self.announced:
            self.announced = True
            print("firstsight: compiling kernels for this processor; they are kept for the next start", file=sys.stderr)

    def on_end(self, event: event.Event) -> None:
        pass


def announce_compilation() -> None:
    """Announces the first compilation of this process from now on."""
    global _announcement
    if _announcement is None:
        _announcement = Announcement()
        event.register("numba:compile", _announcement)


_announcement: Announcement | None = None


class Stopwatch(event.Listener):
    """Adds up the time that numba compiles. A kernel compiled on behalf of another counts once."""

    def __init__(self) -> None:
        self.seconds, self.depth, self.started = 0.0, 0, 0.0

    def on_start(self, event: event.Event) -> None:
        self.depth += 1
        if self.depth == 1:
            self.started = time.perf_counter()

    def on_end(self, event: event.Event) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.seconds += time.perf_counter() - self.started


def seconds_compiling() -> float:
    """Time that this process has spent on compiling kernels since this was asked first (0 then)."""
    global _stopwatch
    if _stopwatch is None:
        _stopwatch = Stopwatch()
        event.register("numba:compile", _stopwatch)
    return _stopwatch.seconds


_stopwatch: Stopwatch | None = None
