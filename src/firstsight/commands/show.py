"""`firstsight show`: look at a run or a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from firstsight.commands.parsing import option, parse
from firstsight.terminal import say


def main(arguments: Sequence[str]) -> None:
    parse(show, "show", arguments)


def show(
    folder: Positional[
        Annotated[Path, option("RUN|TRAINING", "A folder that `firstsight perceive` or `firstsight train` wrote.")]
    ],
    /,
) -> None:
    """Open a run in the Rerun viewer; of a training, say where its files are."""
    from firstsight.show.viewer import show as open_viewer

    say(*open_viewer(folder))
