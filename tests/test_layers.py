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
    {"evaluation", "show", "catalogue", "pretrained", "installation", "doctor", "gallery"},
    {"perceive", "reconstruct"},
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

# Files over 350 lines: what excuses them. Only kernels stay, with their reason; the others wait to be taken apart.
LONG_FILES = {
    "cli.py": "to be taken apart",
    "commands/reconstruct.py": "to be taken apart",
    "flow/lucas_kanade.py": "kernels: the Gauss-Newton step of a pyramid level and its kernels",
    "mapping/tsdf.py": "kernels: fusing, raycasting and hashing of one voxel layout",
    "matching/aggregation/cross_based.py": "kernels: one kernel per pass over the arms",
    "matching/aggregation/semi_global.py": "kernels: one kernel per path direction",
    "optimisation/bundle_adjustment.py": "to be taken apart",
    "optimisation/sparse_cholesky.py": "kernels: symbolic and numeric kernels of one factorisation",
    "slam/landmarks/ekf.py": "to be taken apart",
    "slam/loops/loop_closing.py": "to be taken apart",
    "slam/photos/photo_matching.py": "to be taken apart",
    "slam/photos/structure_from_motion.py": "to be taken apart",
    "slam/pose_graphs/factors.py": "to be taken apart",
    "slam/pose_graphs/pose_graph.py": "to be taken apart",
    "slam/pose_graphs/similarity_graph.py": "to be taken apart",
}
# Functions over 60 lines.
LONG_FUNCTIONS = {"cli.py::train"}
# Folders over twelve modules, beside their __init__.py.
FULL_FOLDERS: set[str] = set()
# Assignments to more than three names, by file: how many.
WIDE_ASSIGNMENTS = {
    "commands/export.py": 1,
    "discovery/slot_attention.py": 1,
    "doctor/calibration.py": 2,
    "doctor/focal_length.py": 2,
    "doctor/lidar.py": 3,
    "doctor/tracking.py": 1,
    "evaluation/depth.py": 1,
    "flow/coarse_matches.py": 1,
    "flow/lucas_kanade.py": 5,
    "flow/point_tracking.py": 8,
    "formats/colmap_model.py": 3,
    "formats/g2o.py": 2,
    "fusion/depth_completion.py": 4,
    "gallery/figures/discovery/slot_iterations.py": 2,
    "gallery/figures/mapping/moving_smear.py": 1,
    "gallery/figures/representation/rbm_filters.py": 2,
    "gallery/figures/slam/ekf_slam.py": 1,
    "gallery/figures/slam/slam_cost.py": 2,
    "geometry/camera.py": 2,
    "geometry/se3.py": 5,
    "losses/photometric.py": 1,
    "mapping/depth_edges.py": 1,
    "mapping/marching_cubes.py": 1,
    "mapping/point_cloud.py": 3,
    "mapping/tsdf.py": 2,
    "matching/aggregation/cross_based.py": 3,
    "matching/aggregation/semi_global.py": 5,
    "matching/aggregation/triton_kernels.py": 3,
    "matching/selection/smoothing.py": 1,
    "motion/depth_alignment.py": 1,
    "motion/moving_objects.py": 1,
    "motion/two_view.py": 1,
    "nets/vit.py": 1,
    "optimisation/bundle_adjustment.py": 6,
    "optimisation/elimination_order.py": 3,
    "optimisation/joint_adjustment.py": 2,
    "optimisation/pnp.py": 2,
    "optimisation/schur.py": 1,
    "optimisation/selected_inverse.py": 2,
    "optimisation/sparse_cholesky.py": 11,
    "optimisation/tangents.py": 4,
    "optimisation/window_adjustment.py": 3,
    "perceive/fleet.py": 2,
    "show/colour.py": 1,
    "show/figures.py": 3,
    "show/path_drawings.py": 1,
    "show/rerun_file.py": 2,
    "slam/loops/loop_verification.py": 1,
    "slam/photos/structure_from_motion.py": 1,
    "slam/pose_graphs/factors.py": 7,
    "slam/pose_graphs/incremental.py": 1,
    "slam/pose_graphs/pose_graph.py": 1,
    "slam/pose_graphs/similarity_graph.py": 4,
    "training/data/batches.py": 1,
    "training/fit.py": 1,
    "training/toys/object_images.py": 1,
    "training/views.py": 2,
}


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


def test_wide_assignments_are_those_of_the_list():
    found = Counter(name for name, node in nodes(ast.Assign) if target_count(node) > MAX_TARGETS)
    changed = {name: (found[name], WIDE_ASSIGNMENTS.get(name, 0)) for name in found.keys() | WIDE_ASSIGNMENTS.keys()}
    more = {name: counts for name, counts in changed.items() if counts[0] > counts[1]}
    fewer = {name: counts for name, counts in changed.items() if counts[0] < counts[1]}
    assert not more, f"more than {MAX_TARGETS} targets in an assignment (found, listed): split it"
    assert not fewer, "fewer than listed (found, listed): lower the number or take the file off the list"


@pytest.mark.parametrize(
    ("line", "count"),
    [("a = 1", 1), ("a, b, c, d = x", 4), ("(a, b), c.d = x", 3), ("a[i], *b = c = x", 3), ("a[i, j] = x", 1)],
)
def test_targets_are_counted(line: str, count: int):
    (assignment,) = ast.parse(line).body
    assert target_count(assignment) == count
