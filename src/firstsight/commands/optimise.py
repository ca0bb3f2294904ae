"""`firstsight optimise`: a pose graph solved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from firstsight.commands.parsing import option, parse


def main(arguments: Sequence[str]) -> None:
    parse(optimise, "optimise", arguments)


def optimise(
    graph: Positional[Annotated[Path, option("GRAPH", "A file with a pose graph, in g2o's or TORO's format.")]],
    /,
    out: Annotated[Path | None, option("FILE.g2o")] = None,
    method: Literal["gauss-newton", "levenberg-marquardt", "dogleg"] = "levenberg-marquardt",
    false_loops: Literal["keep", "consistent", "graduated", "switchable"] = "keep",
    start: Literal["file", "spanning-tree", "chordal"] = "file",
) -> None:
    """Solve a pose graph: find the poses that agree best with its measurements.

    Writes the solved graph as g2o, and an image of it before and after.

    Args:
        out: The g2o file to write; by default GRAPH_optimised.g2o. The image is written beside it.
        method: The iteration that brings the error down.
        false_loops: What is done about false loops; consistent is the most robust, and is checked by graduated.
        start: The poses to start from; where the error stays high, the others are tried too.
    """
    from firstsight.commands.work.optimise import Settings, optimise_file

    optimise_file(graph, out, Settings(method=method, false_loops=false_loops, start=start))
