"""A module for each verb of the command line with its flags; what takes heavy imports to do stands in `work`."""

from importlib import import_module
from inspect import getdoc
from typing import Any

import tyro

from firstsight.terminal import columns_of, say

VERBS = (
    "perceive",
    "learn",
    "doctor",
    "show",
    "evaluate",
    "train",
    "export",
    "reconstruct",
    "optimise",
    "simulate",
    "methods",
    "gallery",
)
HELP = """usage: firstsight [-q | -v] COMMAND ...

firstsight learns to see from what a robot records, without labels.

{commands}

  -q, --quiet     Show no progress and no notes, only results and errors.
  -v, --verbose   Show what libraries log, and where in the code an error arose.
  --version       Print the version.
  -h, --help      Print this. firstsight COMMAND --help: the flags of a command.

Completion with the tab key: docs/commands.md"""


def print_help() -> None:
    """Prints what `firstsight --help` says: a sentence for each verb."""
    commands = [(f"  {verb}", (getdoc(command(verb)) or "").partition("\n")[0]) for verb in VERBS]
    say(*HELP.format(commands="\n".join(columns_of(commands, 80))).splitlines())


def complete() -> None:
    """Answers tyro's own flags, such as --tyro-print-completion, for all verbs at once."""
    tyro.extras.subcommand_cli_from_dict({verb: command(verb) for verb in VERBS}, prog="firstsight")


def command(verb: str) -> Any:
    """Returns what tyro reads a verb's flags from."""
    return getattr(import_module(f"firstsight.commands.{verb}"), verb)
