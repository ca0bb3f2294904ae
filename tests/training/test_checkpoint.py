"""What a checkpoint must match, which folders are checkpoints, and what is wrong with one."""

import json
from pathlib import Path

import pytest

from firstsight.errors import InputError
from firstsight.training.checkpoint import (
    checksum,
    damage_of,
    difference,
    fixed,
    newest,
    place,
    require_same,
    stable_name,
    written,
)

BLAKE2B_OF_ABC = (
    "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
    "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
)


def test_methods_are_known_by_their_family():
    assert stable_name("firstsight.depth.learned.monodepth:Monodepth") == "depth:Monodepth"
    assert stable_name("toy:Toy") == "toy:Toy"
    assert stable_name("firstsight:Toy") == "firstsight:Toy"


def test_the_first_difference_is_told():
    assert difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}) == "b: c: 2 there, 3 here"
    assert difference({"a": 1}, {"a": 1, "z": 2}) == "z: None there, 2 here"
    assert difference("x", {"a": 1}) == "x there, {'a': 1} here"


def test_what_may_change_when_a_training_is_continued():
    recipe = {"steps": 3, "batch": 2, "log_every": 1, "checkpoint_every": 5, "micro_batch": 1, "seed": 0}
    assert fixed(recipe) == {"batch": 2, "seed": 0}
    assert fixed(None) is None
    mine = {"format": 1, "method": "depth:Monodepth", "recipe": recipe, "data": {"count": 4}}
    theirs = {**mine, "method": "firstsight.depth.monodepth:Monodepth", "recipe": {**recipe, "steps": 9}, "more": 1}
    require_same(theirs, mine, Path("c.json"))
    for change, line in (
        ({"format": 7}, r"^c\.json: format 7, this version reads 1"),
        ({"data": {"count": 3}}, r"^c\.json: its data differs \(count: 3 there, 4 here\)"),
        ({"recipe": {**recipe, "batch": 8}}, r"^c\.json: its recipe differs \(batch: 8 there, 2 here\)"),
        ({"method": "flow:Pwc"}, r"^c\.json: its method differs \(flow:Pwc there, depth:Monodepth here\)"),
    ):
        with pytest.raises(InputError, match=line):
            require_same({**theirs, **change}, mine, Path("c.json"))


def test_folders_that_are_checkpoints_oldest_first(tmp_path: Path):
    files = ("00000010/model.safetensors", "00000002/state.json", "12/state.json", ".part-00000014/state.json", "x/a")
    for name in files:
        (tmp_path / "checkpoints" / name).parent.mkdir(parents=True)
        (tmp_path / "checkpoints" / name).touch()
    (tmp_path / "checkpoints" / "00000004").mkdir()
    assert [path.name for path in written(tmp_path)] == ["00000002", "00000010"]
    assert place(tmp_path, 10) == tmp_path / "checkpoints" / "00000010"


def whole(folder: Path, step: int) -> Path:
    path = place(folder, step)
    path.mkdir(parents=True)
    for name in ("model.safetensors", "optimiser.safetensors", "process-0.safetensors"):
        (path / name).write_bytes(b"abc")
    files = {name: BLAKE2B_OF_ABC for name in ("model.safetensors", "optimiser.safetensors", "process-0.safetensors")}
    (path / "state.json").write_text(json.dumps({"state": 2, "step": step, "files": files}))
    return path


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("process-0.safetensors", None, "process-0.safetensors is missing"),
        ("process-0.safetensors", b"abd", "process-0.safetensors is not what was written"),
        ("state.json", b"{", "state.json is not readable"),
        ("state.json", b'{"state": 2, "step": 7, "files": {"model.safetensors": ""}}', "state.json names no files"),
        ("state.json", b'{"state": 2, "step": 7, "files": []}', "state.json names no files"),
        ("state.json", b"{}", "state.json names no files"),
    ],
)
def test_what_is_wrong_with_a_checkpoint(tmp_path: Path, name: str, content: bytes | None, damage: str):
    older, path, remarks = whole(tmp_path, 3), whole(tmp_path, 7), []
    assert checksum(path / "model.safetensors") == BLAKE2B_OF_ABC
    assert damage_of(path) == ""
    assert newest(tmp_path, remarks.append) == path
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    assert damage_of(path) == damage
    assert newest(tmp_path, remarks.append) == older
    assert remarks == [f"{path}: damaged ({damage}); using the checkpoint before it"]


def test_a_checkpoint_of_another_version_is_named(tmp_path: Path):
    path = whole(tmp_path, 7)
    (path / "state.json").write_text('{"step": 7, "state": 1}')
    with pytest.raises(InputError, match="written by another version"):
        damage_of(path)
    assert newest(tmp_path / "empty", print) is None


def test_a_setting_that_is_null_differs_from_one_that_is_missing():
    assert difference({"a": 1, "b": None}, {"a": 1}) == "b: None there, None here"
    assert difference({"a": 1}, {"a": 1, "c": 2}) == "c: None there, 2 here"
    assert difference({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}) == "a: y: 2 there, 3 here"
