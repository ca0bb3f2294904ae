"""Folders of trained methods that are damaged, or of an earlier version."""

import json

import pytest
import torch

from firstsight import pretrained
from firstsight.errors import InputError
from firstsight.representation.energy.rbm import Rbm


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    pretrained.save(Rbm.of_preset("tiny"), tmp_path)
    return tmp_path


def rewrite(folder, change) -> None:
    """The folder's config.json, changed."""
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(change(about)))


@pytest.mark.parametrize(("change", "line"), [
    (lambda about: None, "holds no JSON object; restore it"),
    (lambda about: {k: v for k, v in about.items() if k != "config"}, "null where an object of settings is expected"),
    (lambda about: about | {"config": None}, "null where an object of settings is expected"),
    (lambda about: about | {"config": about["config"] | {"pixels": "x"}}, 'pixels: "x" where one of drawn, grey is'),
    (lambda about: about | {"config": about["config"] | {"hidden": 10**9}}, "no method can be built with these settings"),
    (lambda about: about | {"config": about["config"] | {"hidden": 10**30}}, "0 where a whole number is expected"),
    (lambda about: about | {"config": about["config"] | {"hidden": -1}}, "hidden = -1: at least 1 is needed"),
    (lambda about: about | {"config": about["config"] | {"hidden": 21}}, "weight weight is"),
    (lambda about: about | {"method": None}, "None is no method of this version"),
    (lambda about: about | {"method": "os:system"}, "os:system is no method of this version"),
])  # fmt: skip
def test_damaged_settings_are_one_line(folder, change, line):
    rewrite(folder, change)
    with pytest.raises(InputError, match=line):
        pretrained.load(folder)


def test_weights_of_before_modules_moved_are_loaded(folder):
    rewrite(folder, lambda about: about | {"method": "firstsight.representation.rbm:Rbm"})
    assert isinstance(pretrained.load(folder), Rbm)
