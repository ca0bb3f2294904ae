"""The documentation is true: every Python snippet runs, links lead somewhere, every page can be reached.

The blocks of a page run one after the other, as a reader would, in one namespace and in an empty folder. A block after a line
`<!-- not run: REASON -->` is parsed and its imports run, nothing more. Simulated worlds are made small.
"""

import ast
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
SMALL_WORLD = "sim:street:frames=3,height=64,width=128"
GENERATED = runpy.run_path(str(ROOT / "tools" / "generate_reference.py"))
MADE = GENERATED["pages"]().keys()
# Pages that are marked nowhere else: why their blocks do not run.
NOT_RUN = {"training.md": "trains, and uses what was trained; tests/commands/test_train.py does both"}


class Block(NamedTuple):
    line: int
    code: str
    not_run: str | None


def blocks(page: Path) -> list[Block]:
    """The Python blocks of a page; a file of the repository is shown in a block of another kind (docs/examples.md)."""
    text = page.read_text()
    found = re.finditer(r"(?:<!-- not run: ([^>]+) -->\n)?^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(text.count("\n", 0, m.start(2)), m[2], m[1] or NOT_RUN.get(page.name)) for m in found]


def write_graph() -> None:
    """A square of four poses, closed by a loop."""
    poses = ("0 0 0", "1 0 1.5708", "1 1 3.1416", "0 1 -1.5708")
    lines = [f"VERTEX_SE2 {node} {pose}" for node, pose in enumerate(poses)]
    lines += [f"EDGE_SE2 {a} {(a + 1) % 4} 1 0 1.5708 100 0 0 100 0 100" for a in range(4)]
    Path("GRAPH.g2o").write_text("\n".join(lines) + "\n")


def make_run() -> None:
    from firstsight.perceive.run import perceive

    perceive(SMALL_WORLD, Path("runs/demo"))


# What a page takes for granted.
PREPARED: dict[str, Callable[[], None]] = {
    "pose_graphs.md": write_graph,
    "run_folder.md": make_run,
}


def imports_of(code: str) -> str:
    tree = ast.parse(code)
    return "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_every_python_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    PREPARED.get(page.name, lambda: None)()
    namespace: dict[str, object] = {}
    for block in blocks(page):
        code = imports_of(block.code) if block.not_run else re.sub(r'"sim:street[^"]*"', f'"{SMALL_WORLD}"', block.code)
        # line numbers of a traceback are those of the page
        exec(compile("\n" * block.line + code, page, "exec"), namespace)


def test_blocks_are_found_with_their_marks(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```python\na = 1\n```\n\n<!-- not run: needs a drive -->\n```python\nimport re\nb = a\n```\n"
        '```\nno = 1\n```\n\n``` { .python }\n--8<-- "examples/x.py"\n```\n'
    )
    assert blocks(page) == [Block(3, "a = 1\n", None), Block(8, "import re\nb = a\n", "needs a drive")]
    assert imports_of("import re\nb = a\n") == "import re"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_pages_of_the_site(page: Path):
    """README's links are read in the repository; a page of docs/ may only lead to other pages, which the site has."""
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if link.startswith("https://"):
            continue
        target = (page.parent / link).resolve()
        made = target.is_relative_to(DOCS) and target.relative_to(DOCS).as_posix() in MADE
        inside = target.is_relative_to(ROOT if page.parent == ROOT else DOCS)
        assert inside, f"{page.name}: {link} is no page of the site"
        assert target.exists() or made, f"{page.name}: {link} leads nowhere"


def test_snippets_and_the_navigation_lead_to_files():
    shown = re.findall(r'^--8<-- "(.+)"$', (DOCS / "examples.md").read_text(), re.MULTILINE)
    assert shown == [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "examples").glob("*.py"))]
    named = set(re.findall(r"^ *- (?:[^:\n]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    written = {path.name for path in DOCS.glob("*.md")}
    made = {name for name in MADE if name == "methods/index.md" or name.startswith("reference/")}
    assert named == written | made


def test_the_reference_has_every_module_with_something_to_call(tmp_path: Path):
    GENERATED["main"](tmp_path)
    page = (tmp_path / "methods" / "semi-global-matching.md").read_text()
    assert "\n::: firstsight.depth.semi_global_matching.Config\n" in page
    assert "\n::: firstsight.depth.semi_global_matching.SemiGlobalMatching\n" in page
    assert "\n::: firstsight.losses.photometric\n" in (tmp_path / "reference" / "losses.md").read_text()
    assert "\n::: firstsight.matching.costs.census\n" in (tmp_path / "reference" / "matching.md").read_text()
    assert "| [geometry](geometry.md) |" in (tmp_path / "reference" / "index.md").read_text()


def test_every_part_with_methods_has_a_page_of_reference():
    from firstsight import catalogue

    assert {entry.family for entry in catalogue.entries()} <= GENERATED["PARTS"].keys()
