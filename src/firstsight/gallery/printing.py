"""What `firstsight gallery` prints."""

from importlib.util import find_spec
from pathlib import Path

from firstsight.errors import InputError
from firstsight.formats.atomic import replacing
from firstsight.gallery.listing import FIGURES, find, listed


def print_list() -> None:
    """One line per figure."""
    width = max(map(len, FIGURES)) + 2
    for name, shows, slide in listed():
        print(f"{name:{width}}{shows} [{slide}]")


def print_drawn(name: str, folder: Path) -> None:
    """Runs the figure's experiment, writes `folder`/`name`.png and prints its path and numbers.

    Raises InputError for a name that no figure has, where matplotlib is missing, and where `folder` cannot be one.
    """
    path = folder / f"{name}.png"
    if name in FIGURES and find_spec("matplotlib") is None:
        raise InputError(f"{path}: drawing needs matplotlib; install it: pip install 'firstsight[view]'")
    draw = find(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: a file is in the way; choose another folder with --out") from None
    drawing = draw()
    with replacing(path) as temporary:
        drawing.figure.savefig(temporary)
    print(path)
    for metric in drawing.numbers:
        print(f"  {metric.name}: {metric.value:.3g} {metric.unit}  ({metric.protocol})")
