"""The border to the terminal: text from outside is shown, never obeyed, and no more is said than was asked for."""

import json
import sys
from collections.abc import Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

Verbosity = Literal["quiet", "normal", "verbose"]

_verbosity: Verbosity = "normal"


def set_verbosity(verbosity: Verbosity) -> None:
    """Sets for this process whether progress and notes are shown (not if "quiet") and tracebacks too (if "verbose")."""
    global _verbosity
    _verbosity = verbosity


def verbosity() -> Verbosity:
    """Returns what `set_verbosity` has set, "normal" before."""
    return _verbosity


def plain(text: object) -> str:
    r"""Returns the text on one line with control characters written out: an escape character becomes `\x1b`.

    Everything that Python does not call printable is written out: line ends, bidirectional overrides and the bytes of
    file names that are no text.
    """
    return "".join(letter if letter.isprintable() else _written_out(letter) for letter in str(text))


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


class PlainConsole(Console):
    """A console for which a string is nothing but text: neither markup nor control characters in it have an effect."""

    def __init__(self, **settings: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str("\n".join(plain(line) for line in text.split("\n")), **settings)


def results() -> PlainConsole:
    """Returns the console for results, on stdout."""
    return PlainConsole()


def notes() -> PlainConsole:
    """Returns the console for progress and notes, on stderr; it shows nothing where the user asked for quiet."""
    return PlainConsole(stderr=True, quiet=_verbosity == "quiet")


def say(*lines: object) -> None:
    """Prints lines on stdout as they are, however long, with control characters written out."""
    for line in lines:
        print(plain(line))


def say_json(content: Any) -> None:
    """Prints a value as indented JSON on stdout."""
    print(json.dumps(content, indent=2))


def complain(message: object) -> None:
    """Prints what went wrong in one line on stderr."""
    print(f"firstsight: {plain(message)}", file=sys.stderr)


def table(*columns: str) -> Table:
    """Returns an empty table in the style of this command line. Names in its first column are never cut."""
    made = Table(*columns, box=None, header_style="bold", pad_edge=False)
    made.columns[0].no_wrap = True
    return made


def coloured(word: str, colours: dict[Any, str]) -> Text:
    """Returns one of our own words, such as "ok", in its colour."""
    return Text(word, style=colours.get(word, ""))


def columns_of(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Returns "name  words" lines whose words begin in one column and are wrapped to `width` characters."""
    from textwrap import wrap

    indent = max((len(name) for name, _ in rows), default=0) + 2
    lines: list[str] = []
    for name, words in rows:
        first, *rest = wrap(plain(words), max(width - indent, 20), break_on_hyphens=False) or [""]
        lines += [f"{plain(name):{indent}}{first}".rstrip(), *(" " * indent + line for line in rest)]
    return lines
