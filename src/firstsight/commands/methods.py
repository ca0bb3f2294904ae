"""`firstsight methods`: the catalogue."""

import shutil
from collections.abc import Sequence
from textwrap import shorten
from typing import Annotated, Any

from tyro.conf import Positional

from firstsight import catalogue
from firstsight.commands.parsing import Switch, option, parse
from firstsight.errors import InputError
from firstsight.suggestions import unknown
from firstsight.terminal import say, say_json


def main(arguments: Sequence[str]) -> None:
    parse(methods, "methods", arguments)


def methods(
    name: Positional[
        Annotated[str | None, option("[METHOD]", "A method's name: everything about it is shown.")]
    ] = None,
    /,
    role: Annotated[str | None, option("ROLE")] = None,
    trainable: Switch = False,
    json: Switch = False,
) -> None:
    """List the catalogue of methods, or show the paper and the equations of one.

    Args:
        role: Only methods of this role, such as FlowEstimator.
        trainable: Only methods that can be trained.
        json: Print the catalogue, or the method, as JSON.
    """
    entries = chosen(name, role, trainable)
    if json:
        say_json([described(entry) for entry in entries])
    elif name is not None:
        entry = entries[0]
        say(f"{entry.name}  ({entry.target.replace(':', '.')})", "", *entry.description.splitlines())
    else:
        say(*listing(entries, shutil.get_terminal_size().columns))


def chosen(name: str | None, role: str | None, trainable: bool) -> list[catalogue.Entry]:
    """Returns the methods that are asked for. Raises InputError for an unknown name or role."""
    if name is not None:
        return [catalogue.find(name)]
    entries = [entry for entry in catalogue.entries() if not trainable or entry.learns]
    if role is None:
        return entries
    roles = {role_of(entry) for entry in catalogue.entries()}
    if role not in roles:
        raise InputError(f"--role {unknown(role, 'role', sorted(roles))}")
    return [entry for entry in entries if role_of(entry) == role]


def trainable(name: str) -> catalogue.Entry:
    """Raises InputError where there is no such method, or where it is not trainable."""
    entry = catalogue.find(name)
    if not entry.learns:
        learning = [other.name for other in catalogue.entries() if other.learns]
        raise InputError(f"{name}: is not trainable; methods that are: {', '.join(learning)}")
    return entry


def listing(entries: Sequence[catalogue.Entry], width: int) -> list[str]:
    """Returns a line for each method under its family's name, as wide as the terminal. Names are never cut."""
    indent = 2 + max(len(entry.name) for entry in entries) + 2 if entries else 0
    lines: list[str] = []
    for family in dict.fromkeys(entry.family for entry in entries):
        lines.append(family)
        for entry in entries:
            if entry.family == family:
                words = shorten(summary(entry), max(width - indent, 20), placeholder=" ...")
                lines.append(f"  {entry.name}".ljust(indent) + words)
    return [*lines, "", "All about one: firstsight methods NAME"]


def described(entry: catalogue.Entry) -> dict[str, Any]:
    """Returns what is known of a method without importing it, as a value for JSON."""
    return {
        "name": entry.name,
        "family": entry.family,
        "role": role_of(entry),
        "trainable": entry.learns,
        "summary": summary(entry),
        "paper": entry.section("Paper"),
        "class": entry.target.replace(":", "."),
    }


def summary(entry: catalogue.Entry) -> str:
    return entry.description.partition("\n")[0].rstrip(".")


def role_of(entry: catalogue.Entry) -> str:
    """Returns the name of the role that a method fulfils."""
    role_line = entry.section("Role")
    return "".join(letter if letter.isalnum() else " " for letter in role_line).split()[0] if role_line else ""
