"""Imports go one way, and the few rules that a reader relies on hold everywhere."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "firstsight"

# Each layer may import from the layers above it in this list, and from itself.
LAYERS = [
    {"errors", "extras", "progress", "reading", "suggestions", "terminal"},
    {"geometry"},
    {"kernels", "roles"},
    {"optimisation"},
    {"formats"},
    {"recordings", "matching"},
    {"run_folder", "losses", "nets"},
    {"training"},
    {"depth", "flow", "motion", "fusion", "mapping", "slam", "representation", "discovery"},
    {"evaluation", "show", "catalogue", "pretrained", "external", "installation", "doctor", "gallery"},
    {"perceive", "reconstruct"},
    {"learning"},
    {"commands", "__init__"},
    {"cli", "__main__"},
]
FAMILIES = {"depth", "flow", "motion", "fusion", "mapping", "slam", "representation", "discovery"}
"""Families never import each other: what one needs of another is passed in as a role."""


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def part(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_parts(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "firstsight":
            tail = (node.module or "").split(".")[1:]
            names |= {tail[0]} if tail else {alias.name for alias in node.names if alias.name != "__version__"}
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("firstsight.")}
    return names


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path):
    here = part(path)
    for other in imported_parts(path) - {here}:
        assert level(other) <= level(here), f"{path} imports {other}, which lies below it"
        assert not {here, other} <= FAMILIES, f"{path}: family {here} imports family {other}"


def test_every_part_has_a_layer():
    assert {part(path) for path in modules()} <= set().union(*LAYERS)


def test_only_the_sampler_calls_grid_sample():
    callers = [path for path in modules() if "grid_sample" in path.read_text()]
    assert callers == [SOURCE / "geometry" / "pixels.py"]


def test_no_module_is_called_utils():
    assert not [path for path in modules() if path.stem in {"utils", "util", "helpers", "common", "misc"}]


def test_torchvision_is_never_imported():
    assert not [path for path in modules() if "import torchvision" in path.read_text()]


# --- the house's numbers: what is over them today, which can only become less -------------------------------------------

MAX_FILE_LINES, MAX_FUNCTION_LINES = 350, 60
MAX_MODULES_IN_A_FOLDER = 12
MAX_CLI_LINES = 80
MAX_TARGETS = 3

# Files over 350 lines: what excuses them. Only kernels stay, with their reason.
LONG_FILES = {"matching/aggregation/semi_global.py": "kernels: one kernel per path direction"}
# Functions over 60 lines.
LONG_FUNCTIONS: set[str] = set()
# Folders over twelve modules, beside their __init__.py.
FULL_FOLDERS = {"commands"}  # a module for each verb


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@cache
def syntax_nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def nodes(kind: type) -> Iterator[tuple[str, Any]]:
    """(file, node) of every syntax node of a kind."""
    return ((name_of(path), node) for path in modules() for node in syntax_nodes(path) if isinstance(node, kind))


def target_count(assignment: ast.Assign) -> int:
    """How many names, fields and elements one assignment sets."""
    inside = (node for target in assignment.targets for node in ast.walk(target))
    return sum(
        isinstance(getattr(node, "ctx", None), ast.Store) and not isinstance(node, ast.Tuple | ast.List | ast.Starred)
        for node in inside
    )


def test_long_files_are_those_of_the_list():
    found = {name_of(path) for path in modules() if len(path.read_text().splitlines()) > MAX_FILE_LINES}
    assert found - LONG_FILES.keys() == set(), "over 350 lines: take it apart"
    assert LONG_FILES.keys() - found == set(), "no longer over 350 lines: take it off the list"


def test_long_functions_are_those_of_the_list():
    found = {
        f"{name}::{node.name}"
        for name, node in nodes(ast.FunctionDef)
        if node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert found - LONG_FUNCTIONS == set(), "over 60 lines: take it apart"
    assert LONG_FUNCTIONS - found == set(), "no longer over 60 lines: take it off the list"


def test_folders_hold_a_dozen_modules():
    counts = Counter(name_of(path.parent) for path in modules() if path.name != "__init__.py")
    found = {folder for folder, count in counts.items() if count > MAX_MODULES_IN_A_FOLDER}
    assert found == FULL_FOLDERS


def test_the_command_line_only_maps_verbs():
    assert len((SOURCE / "cli.py").read_text().splitlines()) <= MAX_CLI_LINES or "cli.py" in LONG_FILES


def test_no_assignment_gives_values_to_more_than_three_targets():
    """Taking one value apart is another matter: the parts of a shape or of a function's result have as many names as it has."""
    wide = [
        f"{name}:{node.lineno}"
        for name, node in nodes(ast.Assign)
        if isinstance(node.value, ast.Tuple) and target_count(node) > MAX_TARGETS
    ]
    assert wide == []


@pytest.mark.parametrize(
    ("line", "count"),
    [("a = 1", 1), ("a, b, c, d = x", 4), ("(a, b), c.d = x", 3), ("a[i], *b = c = x", 3), ("a[i, j] = x", 1)],
)
def test_targets_are_counted(line: str, count: int):
    (assignment,) = ast.parse(line).body
    assert target_count(assignment) == count
