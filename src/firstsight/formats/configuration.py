"""Frozen dataclasses as JSON and back, so that weights can be loaded into the method they were trained as."""

import types
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from firstsight.errors import InputError


def to_json(value: Any) -> Any:
    """What `json` can write: dataclasses as objects, tuples as lists, enums by name, paths as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, Path) else value


def from_json(kind: Any, value: Any, where: str) -> Any:
    """The value as `kind`. Raises InputError, naming `where` it was read, for fields that `kind` does not have."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        unknown = sorted(set(value) - set(hints))
        if unknown:
            raise InputError(f"{where}: unknown setting {unknown[0]}; it has {', '.join(hints)}")
        return kind(**{name: from_json(hints[name], part, where) for name, part in value.items()})
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return from_json(next(part for part in get_args(kind) if part is not type(None)), value, where)
    if origin is tuple:
        inner = get_args(kind)
        kinds = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else inner
        return tuple(from_json(k, part, where) for k, part in zip(kinds, value, strict=True))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[value]
    if isinstance(kind, type) and issubclass(kind, Path):
        return kind(value)
    return value
