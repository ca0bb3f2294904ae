"""How a verb's arguments are read, and the flags that several verbs share.

A verb is a function (or a dataclass) whose parameters tyro turns into flags. Words that belong to no flag may stand anywhere.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import FlagCreatePairsOff, arg

from firstsight.errors import InputError

T = TypeVar("T")
Arity = Literal["none", "one", "many"]
"""How many values a flag takes."""


def option(metavar: str | None = None, text: str | None = None) -> Any:
    """Describes a flag whose help says in words what happens without it, instead of "(default: None)"."""
    return arg(metavar=metavar, help=text, help_behavior_hint="")


Switch = Annotated[bool, FlagCreatePairsOff, option()]
Source = Annotated[str, option("SOURCE", "A recording: a path, or sim:street, sim:rooms, sim:objects.")]
Sensors = Annotated[
    tuple[Literal["camera", "stereo", "depth", "lidar", "odometry"], ...] | None,
    option(
        "{camera,stereo,depth,lidar,odometry} ...",
        "Use only these sensors; what is left out still serves as ground truth.",
    ),
]
Frames = Annotated[str | None, option("START:STOP:STEP", "Use only these frames, as a Python slice.")]
FovDeg = Annotated[
    float | None, option("DEGREES", "Horizontal field of view, for a camera that comes without a calibration.")
]

DepthPerMetre = Annotated[
    float | None, option("VALUE", "What a metre is in 16-bit depth images, such as 1000 for millimetres.")
]


def parse(command: Callable[..., T], verb: str, arguments: Sequence[str], default: Any = tyro.MISSING_NONPROP) -> T:
    """Calls a verb with its arguments and returns what it returns. Raises InputError where a required word is missing.

    Of a dataclass `default` holds the values that its fields have unless they are given.
    """
    words, flags = split(arguments, arities(command))
    required = required_words(command)
    given = ["--help"] if asks_for_help(flags) else [*words, *flags]
    if len(words) < len(required) and given != ["--help"]:
        raise InputError(f"{verb}: {required[len(words)]} is missing; see firstsight {verb} --help")
    return tyro.cli(command, prog=f"firstsight {verb}", args=given, default=default)


def asks_for_help(flags: Sequence[str]) -> bool:
    return "-h" in flags or "--help" in flags


def split(arguments: Sequence[str], arities: Mapping[str, Arity]) -> tuple[list[str], list[str]]:
    """Returns the words that belong to no flag, and the flags with their values. An unknown flag takes all that follows."""
    words: list[str] = []
    flags: list[str] = []
    taking: Arity = "none"
    for argument in arguments:
        if argument.startswith("--") or argument == "-h":
            flags.append(argument)
            taking = "none" if "=" in argument else arities.get(argument.replace("_", "-"), "many")
        elif taking == "none":
            words.append(argument)
        else:
            flags.append(argument)
            taking = "none" if taking == "one" else "many"
    return words, flags


def arities(command: Callable[..., Any]) -> dict[str, Arity]:
    """Returns the flags of a verb with the number of values that each takes."""
    bare: Any = get_origin(command) or command
    hints = get_type_hints(bare.__init__ if isinstance(bare, type) else bare)
    names = [name for name, parameter in inspect.signature(bare).parameters.items() if not is_word(parameter)]
    return {"-h": "none", "--help": "none"} | {f"--{name.replace('_', '-')}": arity(hints[name]) for name in names}


def arity(hint: Any) -> Arity:
    if hint is bool:
        return "none"
    kinds = [hint, *get_args(hint)]
    return "many" if any(get_origin(kind) is tuple for kind in kinds) else "one"


def is_word(parameter: inspect.Parameter) -> bool:
    """Whether a parameter is given by its place rather than by a flag."""
    return parameter.kind is parameter.POSITIONAL_ONLY or tyro.conf.Positional in get_args(parameter.annotation)


def required_words(command: Callable[..., Any]) -> list[str]:
    """Returns the names, as help shows them, of the words that a verb cannot do without."""
    parameters = inspect.signature(command).parameters.values()
    return [p.name.upper() for p in parameters if is_word(p) and p.default is inspect.Parameter.empty]
