"""What `firstsight gallery` prints."""

from importlib.util import find_spec
from pathlib import Path

from firstsight.errors import InputError
from firstsight.extras import install_command
from firstsight.formats.storage.atomic import replacing
from firstsight.gallery.listing import FIGURES, SECONDS, find, listed
from firstsight.progress import waiting
from firstsight.terminal import columns_of, results, say


def print_list() -> None:
    """Prints each figure's name with what it shows and the slide that it belongs to."""
    rows = [(name, f"{shows} [{slide}]") for name, shows, slide in listed()]
    say(*columns_of(rows, results().width), "", "Draw one: firstsight gallery FIGURE")


def print_drawn(name: str, folder: Path) -> None:
    """Runs the figure's experiment, writes `folder`/`name`.png and prints its path and numbers.

    While it runs, stderr shows the time that has passed beside the time that it takes. Raises InputError for a name that no
    figure has, where matplotlib is missing, and where `folder` cannot be one.
    """
    path = folder / f"{name}.png"
    if name in FIGURES and find_spec("matplotlib") is None:
        raise InputError(f"{path}: drawing needs matplotlib; install it: {install_command('view')}")
    draw = find(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: a file is in the way; choose another folder with --out") from None
    from firstsight.kernels.compiling import announce_compilation

    announce_compilation()
    with waiting(name, SECONDS.get(name)):
        drawing = draw()
    with replacing(path) as temporary:
        drawing.figure.savefig(temporary)
    say(path)
    for metric in drawing.numbers:
        say(f"  {metric.name}: {metric.value:.3g} {metric.unit}  ({metric.protocol})")
