"""The list, the command's output, and that every figure can be drawn."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from firstsight.errors import InputError
from firstsight.gallery import find, listed, print_drawn, print_list, printing
from firstsight.gallery.listing import FIGURES

SMALL = 0.5


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_and_its_numbers_printed(name, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(printing, "find", lambda name: partial(find(name), SMALL))
    print_drawn(name, tmp_path)
    path, *numbers = capsys.readouterr().out.splitlines()
    assert path == str(tmp_path / f"{name}.png")
    assert len(numbers) >= 3
    with Image.open(path) as image:
        assert image.width == 1600
        assert all(low < high for low, high in image.convert("RGB").getextrema())


def test_every_line_of_the_list_says_what_it_shows_and_for_which_slide(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_list()
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if line[:1].strip()][:-1] == list(FIGURES)
    assert all(len(line) <= 80 for line in printed.splitlines())
    for name, shows, slide in listed():
        assert callable(find(name))
        assert shows
        assert slide
        assert f"{shows} [{slide}]" in " ".join(printed.split())


def test_a_figure_says_how_long_it_takes_while_it_runs(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(printing, "find", lambda name: partial(find(name), SMALL))
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_drawn("aperture-problem", tmp_path)
    assert "about 6 s in all" in capsys.readouterr().err


def test_an_unknown_figure_is_an_error_that_says_where_they_are_listed(tmp_path: Path):
    with pytest.raises(InputError, match="magic: no such figure; see firstsight gallery"):
        print_drawn("magic", tmp_path)


def test_without_matplotlib_the_mend_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install .*\[view\]'"):
        print_drawn("cost-slice", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_named(tmp_path: Path):
    (tmp_path / "taken").touch()
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(InputError, match=r"taken.*: a file is in the way"):
            print_drawn("cost-slice", folder)


def test_the_list_needs_nothing_heavy():
    program = (
        "import sys, firstsight.gallery as g; g.listed(); print({'torch', 'cv2', 'matplotlib'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
