"""The command `firstsight optimise`: a pose graph's file in, the optimised file and an image of both out."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np

from firstsight.errors import InputError
from firstsight.extras import install_command
from firstsight.formats.g2o import GraphFile, read_g2o, write_g2o
from firstsight.formats.storage.atomic import replacing
from firstsight.kernels.compiling import announce_compilation
from firstsight.progress import waiting
from firstsight.roles.pose_graph import Between, PoseGraph, pose_graph
from firstsight.slam.pose_graphs.descent import Config
from firstsight.slam.pose_graphs.factors import State, cost, factors_of
from firstsight.slam.pose_graphs.false_loops.consistency import loops_of
from firstsight.slam.pose_graphs.false_loops.second_opinion import Opinion, rejected_loops, second_opinion
from firstsight.slam.pose_graphs.graph_check import GraphError, check
from firstsight.slam.pose_graphs.initialisation import chordal, place_landmarks, spanning_tree
from firstsight.slam.pose_graphs.pose_graph import Solution
from firstsight.slam.pose_graphs.starts import best_of_starts, looks_bad
from firstsight.terminal import say

METHODS: dict[str, Any] = {
    "gauss-newton": "gauss_newton",
    "levenberg-marquardt": "levenberg_marquardt",
    "dogleg": "dogleg",
}
# Rejected loops that are named by their ids.
NAMED_LOOPS = 8


@dataclass(frozen=True, kw_only=True)
class Settings:
    method: Literal["gauss-newton", "levenberg-marquardt", "dogleg"] = "levenberg-marquardt"
    false_loops: Literal["keep", "graduated", "switchable", "consistent"] = "keep"
    start: Literal["file", "spanning-tree", "chordal"] = "file"


class Result(NamedTuple):
    """`before` is where the optimiser began, `loops` which motions are loops, `rejected` which of them are false.

    `errors` are those that each start that was tried ended with; `second` is what another method found, where it was asked.
    """

    before: PoseGraph
    after: PoseGraph
    error_before: float
    solution: Solution
    seconds: float
    loops: np.ndarray
    rejected: np.ndarray
    errors: dict[str, float]
    second: Opinion | None


def optimise_file(path: Path, out: Path | None, settings: Settings) -> None:
    """Prints what was done. Writes `out` (default: beside the file) with the file's ids, and an image of it.

    The file written has all motions, also those that were found to be false. Raises InputError for what cannot be used.
    """
    out = out or path.with_name(f"{path.stem}_optimised.g2o")
    if out.suffix != ".g2o":
        raise InputError(f"{out}: graphs are written as g2o; give --out a name that ends in .g2o")
    if out.resolve() == path.resolve():
        raise InputError(f"{out}: would replace the graph that is read; give --out another name")
    if not path.exists():
        raise InputError(f"{path}: no such file; give a pose graph in g2o's or TORO's format")
    file = read_g2o(path)
    graph = file.graph
    announce_compilation()
    with waiting("getting ready"):
        optimised(small_ring(graph.dimension), settings)
    try:
        with waiting(f"solving for {len(graph.world_from_node):,} nodes"):
            result = optimised(graph, settings)
    except GraphError as error:
        raise InputError(f"{path}{in_the_file(error, file)}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    left_out = left_out_lines(file)
    say(*report_lines(result, file.node_ids), *left_out)
    try:
        write_g2o(out, result.after, (file.node_ids, file.landmark_ids))
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{out.parent}: a file is in the way; choose another place with --out") from None
    say(f"written     {out}")
    if find_spec("matplotlib") is None:
        say(f"image       none; matplotlib draws it: {install_command('view')}")
        return
    image = out.with_suffix(".png")
    from firstsight.show.pose_graph_image import before_and_after

    with replacing(image) as temporary:
        figure = before_and_after(result.before, result.after, result.loops, result.rejected, *left_out)
        figure.savefig(temporary)
    say(f"image       {image}")


def in_the_file(error: GraphError, file: GraphFile) -> str:
    """What is wrong with a graph, in the ids and lines of its file; follows the file's name."""
    lines = {"edge": file.lines.between, "prior": file.lines.priors, "sighting": file.lines.sightings}
    if error.kind in lines:
        return f", line {lines[error.kind][error.number]}: this {error.kind} {error.problem}"
    ids = file.node_ids if error.kind == "node" else file.landmark_ids
    return f": {error.kind} {ids[error.number]} {error.problem}"


def left_out_lines(file: GraphFile) -> list[str]:
    """Returns a line that counts what the reader did not know, or none."""
    if not file.left_out:
        return []
    return ["left out    " + ", ".join(f"{count} {tag}" for tag, count in sorted(file.left_out.items()))]


def optimised(graph: PoseGraph, settings: Settings) -> Result:
    graph = started(graph, settings.start)
    check(graph)
    config = Config(method=METHODS[settings.method], false_loops=settings.false_loops)
    began = perf_counter()
    tried = best_of_starts(graph, config, settings.start)
    seconds = perf_counter() - began
    start, solution, errors = tried
    after = graph._replace(world_from_node=solution.world_from_node, landmarks=solution.landmarks)
    loops = loops_of(graph.between.a, graph.between.b)
    rejected, second = rejected_loops(graph, solution), second_opinion(graph, solution, config)
    return Result(start, after, error_of(start), solution, seconds, loops, rejected, errors, second)


def small_ring(dimension: int) -> PoseGraph:
    """Returns four nodes in a square: solving it compiles or loads the kernels, whose time is not the solution's."""
    world_from_node = np.tile(np.eye(dimension + 1), (4, 1, 1))
    world_from_node[:, :2, -1] = [(0, 0), (1, 0), (1, 1), (0, 1)]
    a, b = np.array([0, 1, 2, 0]), np.array([1, 2, 3, 3])
    a_from_b = np.linalg.inv(world_from_node[a]) @ world_from_node[b]
    information = np.tile(np.eye(3 if dimension == 2 else 6), (4, 1, 1))
    return pose_graph(world_from_node, Between(a, b, a_from_b, information))


def started(graph: PoseGraph, start: str) -> PoseGraph:
    """Poses that the file does not give come from the spanning tree; landmarks, where they were seen."""
    if start == "chordal":
        return chordal(graph)
    if start == "spanning-tree" or not np.isfinite(graph.world_from_node).all():
        return spanning_tree(graph)
    return graph if np.isfinite(graph.landmarks).all() else place_landmarks(graph)


def error_of(graph: PoseGraph) -> float:
    factors = factors_of(graph)
    return cost(factors, State(graph.world_from_node, graph.landmarks), np.ones(len(factors.relative.a)))


def report_lines(result: Result, node_ids: np.ndarray) -> list[str]:
    """Returns what is printed of a result, a line each; nodes have these ids."""
    graph, solution = result.before, result.solution
    nodes, edges, loops = len(graph.world_from_node), len(graph.between.a), int(result.loops.sum())
    landmarks = ""
    if len(graph.landmarks):
        landmarks = f", {len(graph.landmarks)} landmarks seen {len(graph.sightings.node)} times"
    ended = "" if solution.converged else ", not converged: try --start chordal"
    lines = [
        f"graph       SE({graph.dimension}), {nodes} nodes, {edges} edges, {loops} of them loops{landmarks}",
        f"error       {result.error_before:.6g} -> {solution.error:.6g}",
    ]
    if len(result.errors) > 1:
        lines.append("starts      " + ", ".join(f"{name} {error:.6g}" for name, error in result.errors.items()))
    lines += [
        f"iterations  {solution.iterations} in {result.seconds:.3f} s{ended}",
        f"rejected    {int(result.rejected.sum())} of {loops} loops{loop_names(graph, result.rejected, node_ids)}",
    ]
    if result.second is not None:
        lines.append(second_line(result, result.second, node_ids))
    if loops and not result.rejected.any() and looks_bad(graph, solution.error):
        lines.append("hint        the error is high for what is measured: try --false-loops consistent")
    return lines


def second_line(result: Result, second: Opinion, node_ids: np.ndarray) -> str:
    """Returns what another method makes of the loops."""
    count = int(second.otherwise.sum())
    if not count:
        return "checked     graduated rejects the same loops"
    away = result.after.world_from_node[:, :-1, -1] - second.solution.world_from_node[:, :-1, -1]
    apart = float(np.sqrt((away**2).sum(1).mean()))
    named = loop_names(result.before, second.otherwise, node_ids)
    return f"checked     graduated judges {count} loops otherwise, poses {apart:.3g} m apart; look at{named}"


def loop_names(graph: PoseGraph, chosen: np.ndarray, node_ids: np.ndarray) -> str:
    """Returns the ids that the first of the chosen motions join, to follow their number."""
    ends, number = np.stack([graph.between.a, graph.between.b], 1)[chosen], int(chosen.sum())
    if not number:
        return ""
    named = [f"{node_ids[a]}-{node_ids[b]}" for a, b in ends[:NAMED_LOOPS]]
    return ": " + ", ".join(named) + (", ..." if number > NAMED_LOOPS else "")
