"""Says once that kernels are being compiled: the first call on a machine takes seconds, later processes find them on disk."""

import sys

from numba.core import event


class Announcement(event.Listener):
    """Prints one line on stderr when numba compiles something, then is silent."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: event.Event) -> None:
        if not self.said:
            self.said = True
            print("firstsight: compiling kernels for this processor; they are kept for the next start", file=sys.stderr)

    def on_end(self, event: event.Event) -> None:
        pass


def announce_compilation() -> None:
    """From now on the first compilation of this process is announced."""
    global _announcement
    if _announcement is None:
        _announcement = Announcement()
        event.register("numba:compile", _announcement)


_announcement: Announcement | None = None
