"""Weights come back, with what is said about them; weights that do not fit are named."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from firstsight.errors import InputError
from firstsight.formats.storage.weights import load_into, load_weights, save_weights

WEIGHTS = {"weight": torch.tensor([[1.0, -2.0], [3.0, 0.5]]), "bias": torch.tensor([7.0, 8.0])}


def test_weights_come_back_with_what_is_said_about_them(tmp_path: Path):
    save_weights(tmp_path / "plain.safetensors", WEIGHTS)
    save_weights(tmp_path / "told.safetensors", {"turned": WEIGHTS["weight"].T}, {"method": "dino", "steps": 3})
    assert {name: value.tolist() for name, value in load_weights(tmp_path / "plain.safetensors").items()} == {
        "weight": [[1.0, -2.0], [3.0, 0.5]],
        "bias": [7.0, 8.0],
    }
    assert load_weights(tmp_path / "told.safetensors")["turned"].tolist() == [[1.0, 3.0], [-2.0, 0.5]]
    with (
        safe_open(tmp_path / "plain.safetensors", "pt") as plain,
        safe_open(tmp_path / "told.safetensors", "pt") as told,
    ):
        assert not plain.metadata()
        assert json.loads(told.metadata()["about"]) == {"method": "dino", "steps": 3}


def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"w\.safetensors: missing"):
        load_weights(tmp_path / "w.safetensors")
    save_weights(tmp_path / "w.safetensors", WEIGHTS)
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-3])
    with pytest.raises(InputError, match=r"w\.safetensors: not readable as safetensors"):
        load_weights(tmp_path / "w.safetensors")


def test_weights_that_fit_are_taken():
    layer = nn.Linear(2, 2)
    load_into(layer, WEIGHTS, Path("w"))
    assert layer(torch.tensor([1.0, 1.0])).tolist() == [6.0, 11.5]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": WEIGHTS["weight"]}, "w: weight bias is missing"),
        ({**WEIGHTS, "scale": torch.ones(1)}, "w: weight scale is not one of this method"),
        ({**WEIGHTS, "bias": torch.ones(3)}, r"w: weight bias is \(3,\), expected \(2,\)"),
        ({**WEIGHTS, "bias": torch.tensor([1.0, float("nan")])}, "w: weight bias is not finite"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_taken(tensors, message):
    layer = nn.Linear(2, 2)
    before = layer.weight.tolist()
    with pytest.raises(InputError, match=message):
        load_into(layer, tensors, Path("w"))
    assert layer.weight.tolist() == before
