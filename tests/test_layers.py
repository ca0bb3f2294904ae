"""Imports go one way, and the few rules that a reader relies on hold everywhere."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "firstsight"

# Each layer may import from the layers above it in this list, and from itself.
LAYERS = [
    {"errors", "extras", "progress", "suggestions", "terminal", "__init__"},
    {"geometry"},
    {"kernels", "roles"},
    {"optimisation"},
    {"formats"},
    {"recordings", "matching"},
    {"run_folder", "losses", "nets"},
    {"training"},
    {"depth", "flow", "motion", "fusion", "mapping", "slam", "representation", "discovery"},
    {"evaluation", "show", "catalogue", "pretrained", "installation", "doctor", "gallery"},
    {"perceive"},
    {"commands"},
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
