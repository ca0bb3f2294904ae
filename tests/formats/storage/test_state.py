import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.storage.state import Checkpoint, fingerprint, read_state, write_state


def test_what_is_written_is_read(tmp_path: Path):
    points = np.array([[1.5, -2.0, np.nan]], np.float32)
    state = {"frame": 7, "name": "a", "none": None, "views": [{"points": points, "at": 3}], "array": {"array": 1}}
    write_state(tmp_path / "state.npz", state)
    again = read_state(tmp_path / "state.npz")
    assert again["views"][0]["points"].dtype == np.float32
    np.testing.assert_array_equal(again["views"][0]["points"], points)
    again["views"][0]["points"] = state["views"][0]["points"] = None
    assert again == state


class Planted:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_planted_pickle_runs_nothing(tmp_path: Path):
    (tmp_path / "state.npz").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    with pytest.raises(InputError, match="not a readable state"):
        read_state(tmp_path / "state.npz")
    np.savez(tmp_path / "object.npz", tree=np.array([Planted(tmp_path / "ran")], dtype=object))
    with pytest.raises(InputError, match="not a readable state"):
        read_state(tmp_path / "object.npz")
    assert not (tmp_path / "ran").exists()


def test_a_cut_file_is_refused(tmp_path: Path):
    write_state(tmp_path / "whole.npz", {"points": np.ones((50, 3))})
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-40])
    with pytest.raises(InputError, match=r"cut\.npz"):
        read_state(tmp_path / "cut.npz")


def other_shape(points: np.ndarray) -> np.ndarray:
    return points.reshape(2, 3)


def other_type(points: np.ndarray) -> np.ndarray:
    return points.astype(np.float32)


def other_value(points: np.ndarray) -> np.ndarray:
    return points + (points == 4.0)


@pytest.mark.parametrize("change", [other_shape, other_type, other_value])
def test_an_array_that_is_not_as_it_was_written_is_refused(tmp_path: Path, change):
    points = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    write_state(tmp_path / "state.npz", {"frame": 2, "points": points})
    with np.load(tmp_path / "state.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "copied.npz", **arrays)
    assert read_state(tmp_path / "copied.npz")["points"].tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    np.savez(tmp_path / "changed.npz", **arrays | {"0": change(points)})
    with pytest.raises(
        InputError, match=r"changed\.npz: not a readable state \(it is not as it was written\); delete it"
    ):
        read_state(tmp_path / "changed.npz")


def test_a_plain_value_that_is_not_as_it_was_written_is_refused(tmp_path: Path):
    write_state(tmp_path / "state.npz", {"frame": 2, "points": np.ones(3)})
    with np.load(tmp_path / "state.npz") as archive:
        arrays = dict(archive)
    tree = arrays["tree"].tobytes().replace(b"2", b"7")
    np.savez(tmp_path / "state.npz", **arrays | {"tree": np.frombuffer(tree, np.uint8)})
    with pytest.raises(InputError, match=r"state\.npz: not a readable state \(it is not as it was written\)"):
        read_state(tmp_path / "state.npz")


def test_a_fingerprint_is_of_all_values_and_the_same_everywhere():
    points = np.array([[1, 2, 3], [4, 5, 6]], np.int16)
    assert fingerprint({"points": points, "frame": 3}) == "e9a85e0bb94fa0b687e4ffa3fac1c315"
    assert fingerprint({"points": np.asfortranarray(points), "frame": 3}) == "e9a85e0bb94fa0b687e4ffa3fac1c315"
    assert fingerprint({"points": points.T, "frame": 3}) != "e9a85e0bb94fa0b687e4ffa3fac1c315"
    assert fingerprint({"points": points, "frame": 3.0}) != "e9a85e0bb94fa0b687e4ffa3fac1c315"
    assert fingerprint({"points": np.zeros((0, 3))}) != fingerprint({"points": np.zeros((3, 0))})


@pytest.mark.parametrize("tree", ["[" * 5000, '{"dict": []}', '{"dict": 3}', '{"array": 9}', '{"list": 1}', "\xff"])
def test_a_tree_of_another_kind_is_refused(tmp_path: Path, tree: str):
    np.savez(tmp_path / "state.npz", tree=np.frombuffer(tree.encode("latin-1"), np.uint8))
    with pytest.raises(InputError, match=r"state\.npz: not a readable state"):
        read_state(tmp_path / "state.npz")


def test_a_packing_that_is_not_known_is_refused(tmp_path: Path):
    write_state(tmp_path / "state.npz", {"points": np.ones((50, 3))})
    content = (tmp_path / "state.npz").read_bytes()
    entry = content.rindex(b"PK\x01\x02")
    (tmp_path / "state.npz").write_bytes(content[: entry + 10] + b"\x63\x00" + content[entry + 12 :])
    with pytest.raises(InputError, match=r"state\.npz: not a readable state"):
        read_state(tmp_path / "state.npz")


def kept(number: int) -> dict:
    return {"frame": number, "method": {"grows": [{"at": k} for k in range(number)], "gain": 0.5}}


def test_of_a_list_that_grows_each_item_is_written_once(tmp_path: Path):
    checkpoint = Checkpoint(tmp_path / "state.npz")
    assert checkpoint.read() is None
    checkpoint.write(kept(2))
    names = ["method.000000.npz", "method.000001.npz"]
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == names
    # an item that were written again would be 0 again
    write_state(tmp_path / "state" / names[0], {"at": 70})
    checkpoint.write(kept(3))
    again = Checkpoint(tmp_path / "state.npz")
    assert again.read() == {"frame": 3, "method": {"grows": [{"at": 70}, {"at": 1}, {"at": 2}], "gain": 0.5}}
    write_state(tmp_path / "state" / names[1], {"at": 71})
    again.write(kept(4))
    found = Checkpoint(tmp_path / "state.npz").read()
    assert found is not None
    assert [item["at"] for item in found["method"]["grows"]] == [70, 71, 2, 3]


@pytest.mark.parametrize("damage", ["state.npz", "state/method.000001.npz", "missing"])
def test_a_damaged_checkpoint_is_none_and_nothing_is_left_of_it(tmp_path: Path, damage: str):
    checkpoint = Checkpoint(tmp_path / "state.npz")
    checkpoint.write(kept(2))
    if damage == "missing":
        (tmp_path / "state.npz").unlink()
    else:
        (tmp_path / damage).write_bytes(b"PK")
    (tmp_path / "other.txt").touch()
    assert checkpoint.read() is None
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]
    checkpoint.write(kept(1))
    assert checkpoint.read() == {"frame": 1, "method": {"grows": [{"at": 0}], "gain": 0.5}}


def test_what_was_linked_or_a_folder_is_dropped_and_the_target_of_a_link_stays(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis").touch()
    (tmp_path / "state").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "state.npz").mkdir()
    Checkpoint(tmp_path / "state.npz").drop()
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "thesis").exists()
    (tmp_path / "state.npz").symlink_to(tmp_path / "elsewhere")
    Checkpoint(tmp_path / "state.npz").drop()
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "thesis").exists()
