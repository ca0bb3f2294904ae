"""Frozen dataclasses as JSON and back, so that weights can be loaded into the method they were trained as."""

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from firstsight.errors import InputError
from firstsight.reading import read_bytes

PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def to_json(value: Any) -> Any:
    """What `json` can write: dataclasses as objects, tuples as lists, enums by name, paths as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, Path) else value


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises InputError for a file that is missing, damaged or holds something else."""
    try:
        content = json.loads(read_bytes(path, "file"))
    except (InputError, ValueError, RecursionError):
        raise InputError(f"{path}: missing or not JSON; restore it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no JSON object; restore it")
    return content


def from_json(kind: Any, value: Any, where: str) -> Any:
    """The value as `kind`: a dataclass, TypedDict, tuple, list, dict, enum, path, Literal, optional or plain type.

    Raises InputError, naming `where` it was read, for settings that `kind` does not have and values of another type.
    """
    if is_dataclass(kind) or is_typeddict(kind):
        return _object(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _any_of(get_args(kind), value, where)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is list:
        return list(_tuple((*get_args(kind), ...), value, where))
    if origin is dict:
        _, part = get_args(kind)
        _expected(value, isinstance(value, dict), "an object", where)
        return {name: from_json(part, inner, f"{where}: {name}") for name, inner in value.items()}
    if origin is Literal:
        return _expected(value, value in get_args(kind), f"one of {', '.join(map(str, get_args(kind)))}", where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        known = isinstance(value, str) and value in kind.__members__
        return kind[_expected(value, known, f"one of {', '.join(kind.__members__)}", where)]
    if isinstance(kind, type) and issubclass(kind, Path):
        return kind(_expected(value, isinstance(value, str), "a path", where))
    if kind is float:
        return float(_expected(value, type(value) in (int, float), PLAIN[float], where))
    if kind is int:
        return _expected(value, type(value) is int and abs(value) < 2**63, PLAIN[int], where)
    if kind in PLAIN:
        return _expected(value, type(value) is kind, PLAIN[kind], where)
    return value


def _object(kind: Any, value: Any, where: str) -> Any:
    """The value as a dataclass or TypedDict."""
    _expected(value, isinstance(value, dict), "an object of settings", where)
    hints = get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise InputError(f"{where}: unknown setting {unknown[0]}; it has {', '.join(hints)}")
    for name in _required(kind):
        if name not in value:
            raise InputError(f"{where}: setting {name} is missing")
    return kind(**{name: from_json(hints[name], part, f"{where}: {name}") for name, part in value.items()})


def _required(kind: Any) -> list[str]:
    """The names of a dataclass or TypedDict that have no default."""
    if is_typeddict(kind):
        return sorted(kind.__required_keys__)
    return [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]


def _any_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value as the first of the kinds that it fits."""
    if value is None and type(None) in kinds:
        return None
    *others, last = [kind for kind in kinds if kind is not type(None)]
    for kind in others:
        try:
            return from_json(kind, value, where)
        except InputError:
            continue
    return from_json(last, value, where)


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _expected(value, isinstance(value, list | tuple), "a list", where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    _expected(value, len(kinds) == len(value), f"a list of {len(kinds)}", where)
    return tuple(from_json(kind, part, where) for kind, part in zip(kinds, value, strict=True))


def _expected(value: Any, fits: bool, what: str, where: str) -> Any:
    if not fits:
        raise InputError(f"{where}: {json.dumps(to_json(value))[:40]} where {what} is expected")
    return value
