"""What comes from outside is shown and never obeyed."""

import io

import pytest

from firstsight import terminal
from firstsight.progress import progress_bars
from firstsight.suggestions import unknown
from firstsight.terminal import PlainConsole, columns_of, plain


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("street", "street"),
        ("Straße, δ < 1.25²", "Straße, δ < 1.25²"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("two\nlines\tand\rback", r"two\nlines\tand\rback"),
        ("title\x9b0m\x07", r"title\x9b0m\x07"),
        ("gpj\u202e.exe", r"gpj\u202e.exe"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\udce9"),
    ],
)
def test_what_is_not_printable_is_written_out(given, shown):
    assert plain(given) == shown


def test_a_console_obeys_neither_markup_nor_control_characters_nor_emoji_codes():
    written = io.StringIO()
    console = PlainConsole(file=written, width=60, force_terminal=True)
    console.print("o[/red] [bold]x[/bold] :smile: \x1b[2J")
    made = terminal.table("part", "found")
    made.add_row("a[/red]", "pip install 'firstsight[view]'\x1b]0;title\x07")
    console.print(made)
    text = written.getvalue()
    assert "o[/red] [bold]x[/bold] :smile: \\x1b[2J" in text
    assert "a[/red]" in text
    assert "'firstsight[view]'\\x1b]0;title\\x07" in text
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text


def test_a_progress_bar_shows_names_as_they_are():
    written = io.StringIO()
    with progress_bars(PlainConsole(file=written, width=100)) as bars:
        bars.add_task("depth (m[/red]\x1b[31m)", total=1, completed=1)
    assert "depth (m[/red]\\x1b[31m)" in written.getvalue()


def test_columns_begin_in_one_place_and_never_cut_a_name():
    rows = [("a", "one two three four five six"), ("a-long-name", "five")]
    assert columns_of(rows, 33) == [
        "a            one two three four",
        "             five six",
        "a-long-name  five",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("steet", "steet: no such world; did you mean street?"),
        ("STREET", "STREET: no such world; did you mean street?"),
        ("room", "room: no such world; did you mean rooms?"),
        ("xyz", "xyz: no such world; there are street, rooms"),
        ("runs/depth", "runs/depth: no such file or folder"),
    ],
)
def test_an_unknown_name_is_answered_by_the_nearest(name, line):
    assert unknown(name, "world", ("street", "rooms")) == line


def test_where_none_is_near_it_says_where_to_look():
    assert unknown("xyz", "method", ("lucas-kanade",), "firstsight methods") == (
        "xyz: no such method; see firstsight methods"
    )
