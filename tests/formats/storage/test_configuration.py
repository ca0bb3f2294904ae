"""Settings as JSON and back; whatever a file holds, it ends in one line."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest

from firstsight.errors import InputError
from firstsight.formats.storage.configuration import from_json, read_json, to_json


class Norm(Enum):
    BATCH = 1
    LAYER = 2


@dataclass(frozen=True)
class Inner:
    size: tuple[int, int] = (4, 6)
    scales: tuple[float, ...] = (0.5,)


@dataclass(frozen=True)
class Outer:
    hidden: int
    rate: float = 0.1
    shuffled: bool = True
    name: str = "a"
    pixels: Literal["drawn", "grey"] = "drawn"
    norm: Norm = Norm.BATCH
    folder: Path = Path("x")
    clip: float | None = None
    either: int | str = 3
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


WHOLE = Outer(
    7, 2.0, False, "b", "grey", Norm.LAYER, Path("y"), 1.5, "word", Inner((1, 2), (0.25, 1.0)), (Inner(), Inner((8, 9)))
)


@pytest.mark.parametrize("settings", [WHOLE, Outer(3)])
def test_settings_come_back(settings):
    assert from_json(Outer, to_json(settings), "c.json") == settings


def test_whole_numbers_are_numbers():
    found = from_json(Outer, {"hidden": 1, "rate": 2, "inner": {"scales": [1]}}, "c.json")
    assert found.rate == 2.0
    assert type(found.rate) is type(found.inner.scales[0]) is float


@pytest.mark.parametrize(("changes", "line"), [
    (None, "c.json: null where an object of settings is expected"),
    ([1], r"c.json: \[1\] where an object of settings is expected"),
    ({"deep": 1}, "c.json: unknown setting deep; it has hidden, rate"),
    ({"hidden": "many"}, 'c.json: hidden: "many" where a whole number is expected'),
    ({"hidden": 1.5}, "c.json: hidden: 1.5 where a whole number is expected"),
    ({"hidden": True}, "c.json: hidden: true where a whole number is expected"),
    ({"hidden": None}, "c.json: hidden: null where a whole number is expected"),
    ({"rate": "fast"}, 'c.json: rate: "fast" where a number is expected'),
    ({"shuffled": 1}, "c.json: shuffled: 1 where true or false is expected"),
    ({"name": 3}, "c.json: name: 3 where a text is expected"),
    ({"pixels": "x"}, 'c.json: pixels: "x" where one of drawn, grey is expected'),
    ({"pixels": ["drawn"]}, "c.json: pixels: .* where one of drawn, grey is expected"),
    ({"norm": "none"}, 'c.json: norm: "none" where one of BATCH, LAYER is expected'),
    ({"folder": 3}, "c.json: folder: 3 where a path is expected"),
    ({"clip": "no"}, 'c.json: clip: "no" where a number is expected'),
    ({"either": [1]}, r"c.json: either: \[1\] where a text is expected"),
    ({"inner": 3}, "c.json: inner: 3 where an object of settings is expected"),
    ({"inner": {"size": 3}}, "c.json: inner: size: 3 where a list is expected"),
    ({"inner": {"size": [1, 2, 3]}}, r"c.json: inner: size: \[1, 2, 3\] where a list of 2 is expected"),
    ({"inner": {"size": [1, None]}}, "c.json: inner: size: null where a whole number is expected"),
    ({"many": [{}, 1]}, "c.json: many: 1 where an object of settings is expected"),
])  # fmt: skip
def test_other_values_are_one_line(changes, line):
    value = {"hidden": 1, **changes} if isinstance(changes, dict) else changes
    with pytest.raises(InputError, match=f"^{line}"):
        from_json(Outer, value, "c.json")


def test_a_missing_setting_is_named():
    with pytest.raises(InputError, match=r"c\.json: setting hidden is missing"):
        from_json(Outer, {}, "c.json")


@pytest.mark.parametrize("content", [b"null", b"[1]", b"3", b"{", b"\xff\xfe", b"[" * 100_000, b""])
def test_a_file_that_is_no_object_is_named(tmp_path, content):
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(InputError, match=r"c\.json: .*; restore it$"):
        read_json(tmp_path / "c.json")


class Flag(TypedDict):
    frame: int
    reason: str


@dataclass
class Record:
    flags: list[Flag]
    loops: list[tuple[int, int]]
    facts: dict[str, Any]


def test_lists_and_objects_come_back():
    content = {"flags": [{"frame": 3, "reason": "dark"}], "loops": [[1, 2], [4, 9]], "facts": {"a": [None]}}
    found = from_json(Record, content, "run.json")
    assert found == Record([{"frame": 3, "reason": "dark"}], [(1, 2), (4, 9)], {"a": [None]})


@pytest.mark.parametrize(("changes", "line"), [
    ({"flags": {}}, "run.json: flags: {} where a list is expected"),
    ({"flags": [{}]}, "run.json: flags: setting frame is missing"),
    ({"flags": [{"frame": 1.5, "reason": "dark"}]}, "run.json: flags: frame: 1.5 where a whole number is expected"),
    ({"flags": [7]}, "run.json: flags: 7 where an object of settings is expected"),
    ({"loops": [[1]]}, r"run.json: loops: \[1\] where a list of 2 is expected"),
    ({"facts": []}, r"run.json: facts: \[\] where an object is expected"),
])  # fmt: skip
def test_what_does_not_fit_lists_and_objects_is_one_line(changes, line):
    with pytest.raises(InputError, match=f"^{line}$"):
        from_json(Record, {"flags": [], "loops": [], "facts": {}} | changes, "run.json")
