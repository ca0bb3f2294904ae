"""Writes docs/methods/: one page per method of the catalogue, from its docstring. Run by `make docs`."""

from pathlib import Path

from firstsight import catalogue

FOLDER = Path(__file__).parents[1] / "docs" / "methods"


def page(entry: catalogue.Entry) -> str:
    target = entry.target.replace(":", ".")
    return f"# {entry.name}\n\n`{target}`\n\n```text\n{entry.description}\n```\n\n::: {target}\n"


def index() -> str:
    rows = [
        f"| [{entry.name}]({entry.name}.md) | {entry.family} | {entry.said('Role')} | {entry.said('Paper')} |"
        for entry in catalogue.entries()
    ]
    return "# Methods\n\n| method | family | role | paper |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "index.md").write_text(index())
    for entry in catalogue.entries():
        (FOLDER / f"{entry.name}.md").write_text(page(entry))


if __name__ == "__main__":
    main()
