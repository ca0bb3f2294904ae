"""`firstsight gallery`: the course's figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from firstsight.commands.parsing import option, parse


def main(arguments: Sequence[str]) -> None:
    parse(gallery, "gallery", arguments)


def gallery(
    name: Positional[Annotated[str | None, option("[FIGURE]", "A figure's name; without one, all are listed.")]] = None,
    /,
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("gallery"),
) -> None:
    """List the course's figures, or run the experiment of one and draw it.

    Args:
        out: The folder to write the figure to.
    """
    from firstsight.gallery import print_drawn, print_list

    if name is None:
        print_list()
    else:
        print_drawn(name, out)
