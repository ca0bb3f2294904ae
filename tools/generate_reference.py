"""Writes docs/methods/, one page per method of the catalogue, and docs/reference/, one per part of the package. Run by `make docs`.

The pages name what mkdocstrings shows: of a method its equations, its Config with every field, and its class with
`__call__` and `estimate`; of a module what has a docstring.
"""

import sys
from pathlib import Path

from firstsight import catalogue

DOCS = Path(__file__).parents[1] / "docs"
SOURCE = Path(catalogue.__file__).parent
# The parts of the package that are meant to be used from Python, in the order of the house.
PARTS = {
    "geometry": "transforms, cameras, pixels, warps, epipolar geometry",
    "optimisation": "solvers: sparse Cholesky, bundle adjustment, pose from points",
    "roles": "what methods take and return",
    "formats": "files in and out",
    "recordings": "opening recordings, and simulated ones",
    "matching": "costs, aggregation and selection of matches",
    "losses": "maps and plain functions to learn from",
    "nets": "parts that several methods share",
    "training": "fit, recipes, samples",
    "depth": "depth from pairs, sequences and single images",
    "flow": "motion of pixels",
    "motion": "odometry and moving objects",
    "fusion": "sensors together",
    "mapping": "clouds, surfaces, grids",
    "slam": "pose graphs, landmarks, photos, loops",
    "representation": "features",
    "discovery": "objects without labels",
    "evaluation": "metrics with their protocols",
}
EVERY_MEMBER = "    options:\n      show_if_no_docstring: true\n      inherited_members: true\n"


def method_page(entry: catalogue.Entry) -> str:
    """The equations of a method, its settings and its class."""
    module, name = entry.target.split(":")
    source = SOURCE.parent.joinpath(*module.split(".")).with_suffix(".py")
    settings = f"::: {module}.Config\n{EVERY_MEMBER}\n" if "\nclass Config" in source.read_text() else ""
    return (
        f"# {entry.name}\n\n`{module}.{name}`\n\n```text\n{entry.description}\n```\n\n"
        f"{settings}::: {module}.{name}\n{EVERY_MEMBER}"
    )


def method_index() -> str:
    """The table of all methods."""
    rows = [
        f"| [{entry.name}]({entry.name}.md) | {entry.family} | {entry.section('Role')} | {entry.section('Paper')} |"
        for entry in catalogue.entries()
    ]
    return "# Methods\n\n| method | family | role | paper |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def part_page(part: str) -> str:
    """The modules of a part, in the order of their paths."""
    files = sorted(path for path in (SOURCE / part).rglob("*.py") if path.name != "__init__.py")
    modules = [".".join(("firstsight", *path.relative_to(SOURCE).with_suffix("").parts)) for path in files]
    sections = "\n".join(f"::: {module}\n" for module in modules)
    return f"# {part}\n\n{PARTS[part].capitalize()}.\n\n{sections}"


def part_index() -> str:
    """The table of all parts."""
    rows = [f"| [{part}]({part}.md) | {content} |" for part, content in PARTS.items()]
    return "# Reference\n\n| part | what is in it |\n|---|---|\n" + "\n".join(rows) + "\n"


def pages() -> dict[str, str]:
    """Every page by its path inside docs/."""
    methods = {f"methods/{entry.name}.md": method_page(entry) for entry in catalogue.entries()}
    parts = {f"reference/{part}.md": part_page(part) for part in PARTS}
    return methods | parts | {"methods/index.md": method_index(), "reference/index.md": part_index()}


def main(docs: Path) -> None:
    for name, content in pages().items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
