"""What MODEL.json may say, and the line that says what it may not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from firstsight.errors import InputError
from firstsight.external.description import Description, Input, Output, Size, is_model_file, read_description


@pytest.mark.parametrize(
    ("size", "found"),
    [
        (Size(), (375, 1242)),
        (Size(fixed=(360, 480)), (360, 480)),
        (Size(multiple_of=8), (376, 1240)),
        (Size(shortest_side=518, multiple_of=14), (518, 1722)),
        (Size(longest_side=518, multiple_of=14), (154, 518)),
        (Size(longest_side=621), (188, 621)),
        (Size(multiple_of=1000), (1000, 1000)),
    ],
)
def test_the_size_at_which_a_network_sees_an_image(size: Size, found: tuple[int, int]):
    assert size.of(375, 1242) == found


def described(folder: Path, about: Any) -> Path:
    (folder / "net.onnx").touch()
    (folder / "net.json").write_text(about if isinstance(about, str) else json.dumps(about))
    return folder / "net.onnx"


def test_what_is_said_is_read(tmp_path: Path):
    path = described(
        tmp_path,
        {
            "role": "depth",
            "input": {"size": {"fixed": [32, 64]}, "range": "0-255", "mean": [1, 2, 3.5], "names": ["pixels"]},
            "output": {"quantity": "inverse_depth", "name": "depth"},
        },
    )
    size = Size(fixed=(32, 64))
    assert read_description(path) == Description(
        role="depth",
        input=Input(size=size, range="0-255", mean=(1.0, 2.0, 3.5), names=("pixels",)),
        output=Output(quantity="inverse_depth", name="depth"),
    )
    assert read_description(described(tmp_path, {"role": "flow"})).quantity == "flow_px"


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ("{", "net.json: missing or not JSON"),
        ({}, "setting role is missing"),
        ({"role": "detector"}, 'role: "detector" where one of depth, stereo, flow, encoder is expected'),
        ({"role": "flow", "colour": 1}, "unknown setting colour; it has role, input, output"),
        ({"role": "depth"}, "output: setting quantity is missing; give one of depth_m, depth, inverse_depth"),
        ({"role": "flow", "output": {"quantity": "depth_m"}}, "quantity: depth_m where one of flow_px is expected"),
        ({"role": "flow", "output": {"factor": 0}}, "factor: 0.0 where a finite number other than 0 is expected"),
        ({"role": "flow", "output": {"pooling": "mean"}}, "pooling: is for features alone"),
        ({"role": "encoder", "output": {"valid": "mask"}}, "valid: features are always valid"),
        ({"role": "flow", "input": {"std": [1, 0, 1]}}, "mean and std must be finite, std above 0"),
        ('{"role": "flow", "input": {"mean": [1, NaN, 1]}}', "mean and std must be finite, std above 0"),
        ({"role": "flow", "input": {"names": ["a"]}}, "a network of role flow takes two inputs; name each once"),
        ({"role": "flow", "input": {"names": ["a", "a"]}}, "a network of role flow takes two inputs; name each once"),
        ({"role": "encoder", "input": {"names": []}}, "a network of role encoder takes one input; name each once"),
        ({"role": "flow", "input": {"size": {"fixed": [8]}}}, "size: fixed: .* where a list of 2 is expected"),
        ({"role": "flow", "input": {"size": {"multiple_of": 0}}}, "size: 0 where whole numbers above 0 are expected"),
        ({"role": "flow", "input": {"size": {"fixed": [8, 8], "longest_side": 9}}}, "give one of fixed, longest_side"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, about: Any, words: str):
    with pytest.raises(InputError, match=words) as caught:
        read_description(described(tmp_path, about))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "net.json") in str(caught.value)


def test_a_description_lies_beside_its_network(tmp_path: Path):
    with pytest.raises(InputError, match=r"net\.onnx: no such file; give the path of an ONNX network"):
        read_description(tmp_path / "net.onnx")
    (tmp_path / "net.onnx").touch()
    with pytest.raises(InputError, match=r"net\.json: missing; it must say what net\.onnx is"):
        read_description(tmp_path / "net.onnx")


@pytest.mark.parametrize("name", ["net.pt2", "net.pt", "net.PTH", "net.ckpt"])
def test_files_that_can_run_code_are_refused_unopened(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert is_model_file(tmp_path / name)
    with pytest.raises(InputError, match="can run code when it is opened; export the network as ONNX"):
        read_description(tmp_path / name)


def test_names_of_methods_are_no_files():
    assert not is_model_file("lucas-kanade")
    assert not is_model_file("runs/depth")


@pytest.mark.parametrize("number", [0, 1])
def test_the_published_ones_of_the_documentation_are_read(tmp_path: Path, number: int):
    page = (Path(__file__).parents[2] / "docs" / "external_models.md").read_text()
    blocks = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found = read_description(described(tmp_path, blocks[number]))
    assert len(blocks) == 2
    assert (found.role, found.quantity) == [("depth", "inverse_depth"), ("flow", "flow_px")][number]
    # a camera of 720x1280
    assert found.input.size.of(720, 1280) == [(518, 924), (360, 480)][number]
