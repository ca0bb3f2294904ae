"""The progress bars of long work."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from firstsight.terminal import notes, plain


class Description(ProgressColumn):
    """What a bar stands for, as plain text: it may hold the name of a folder."""

    def render(self, task: Task) -> Text:
        return Text(f"{plain(task.description):<40}", no_wrap=True)


@contextmanager
def progress_bars(console: Console | None = None) -> Generator[Progress]:
    """Gives bars that show what is done, how far, since when and for how long."""
    columns = (Description(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console or notes()) as bars:
        yield bars


@contextmanager
def waiting(what: str, expected_s: int | None = None) -> Generator[None]:
    """Shows how long a piece of work has taken that cannot say how far it is, and how long it is expected to take."""
    expected = f"about {duration(expected_s)} in all" if expected_s else ""
    columns = (Description(), BarColumn(), TimeElapsedColumn(), TextColumn(expected, markup=False))
    with Progress(*columns, console=notes(), transient=True) as bars:
        bars.add_task(what, total=None)
        yield


def duration(seconds: int) -> str:
    """Returns a rounded length of time in words: "40 s", "5 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
