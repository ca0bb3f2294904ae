"""What is true of every method: what its line of the catalogue and its docstring say is so."""

import dataclasses
import inspect
import subprocess
import sys

import pytest

from firstsight import catalogue, roles
from firstsight.errors import InputError
from firstsight.training import Trainable

every_method = pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.name)


@every_method
def test_the_line_says_what_the_class_is(entry: catalogue.Entry):
    method = entry.load()
    role = getattr(roles, entry.role)
    assert issubclass(method, role)
    assert issubclass(method, Trainable) == entry.learns
    assert entry.family in entry.target


@every_method
def test_the_class_is_final_and_leaves_the_call_to_its_role(entry: catalogue.Entry):
    method, role = entry.load(), getattr(roles, entry.role)
    assert vars(method).get("__final__") is True
    assert not method.__subclasses__()
    assert not inspect.isabstract(method)
    if "__call__" in vars(role) and "__call__" not in role.__abstractmethods__:
        assert inspect.getattr_static(method, "__call__") is vars(role)["__call__"]


@every_method
def test_the_docstring_has_its_headings(entry: catalogue.Entry):
    assert all(entry.section(heading) for heading in ("Paper", "Idea", "Differs", "Role"))
    assert entry.section("Role").startswith(entry.role)
    assert entry.description == inspect.getdoc(entry.module)


@every_method
def test_the_settings_are_frozen_and_have_defaults(entry: catalogue.Entry):
    config = entry.module.Config
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen
    assert next(iter(inspect.signature(entry.load()).parameters.values())).default is None
    assert config() == config()


def test_names_are_in_kebab_case_and_lead_to_different_classes():
    assert all(name == name.lower().replace("_", "-").replace(" ", "-") for name in catalogue.METHODS)
    assert len({line.target for line in catalogue.METHODS.values()}) == len(catalogue.METHODS)


def test_the_catalogue_is_read_without_importing_a_method():
    program = (
        "import sys; from firstsight import catalogue; "
        "[(e.role, e.learns, e.family, e.section('Paper')) for e in catalogue.entries()]; "
        "print({'torch', 'numpy', 'cv2', 'numba'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("lucas-kande", "lucas-kande: no such method; did you mean lucas-kanade?"),
        ("Lucas_Kanade", "Lucas_Kanade: no such method; did you mean lucas-kanade?"),
        ("magic", "magic: no such method; see firstsight methods"),
        (
            "runs/depth",
            "runs/depth: no such folder; give the folder of a training, or a name of `firstsight methods`",
        ),
    ],
)
def test_a_wrong_name_is_answered_in_one_line(name: str, line: str):
    with pytest.raises(InputError) as refused:
        catalogue.find(name)
    assert str(refused.value) == line
