"""The command that installs an extra suits the installation at hand."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from firstsight import extras
from firstsight.extras import install_command


class Installed:
    """An installation whose record of where it came from says `origin`."""

    def __init__(self, origin: dict | None):
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


def installed(monkeypatch: pytest.MonkeyPatch, origin: dict | None) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(origin))


def test_from_a_clone_the_clone_is_named(monkeypatch, tmp_path: Path):
    clone = tmp_path / "my clone"
    clone.mkdir()
    (clone / "pyproject.toml").touch()
    installed(monkeypatch, {"url": clone.as_uri(), "dir_info": {"editable": True}})
    assert install_command("view") == f"pip install -e '{clone}[view]'"
    monkeypatch.chdir(clone)
    assert install_command("view") == "pip install -e '.[view]'"
    installed(monkeypatch, {"url": clone.as_uri(), "dir_info": {}})
    assert install_command("view") == "pip install '.[view]'"
    assert install_command() == "pip install '.'"


def test_from_an_index_the_package_is_named(monkeypatch, tmp_path: Path):
    for file in (tmp_path / "site-packages" / "firstsight" / "extras.py",):
        monkeypatch.setattr(extras, "__file__", str(file))
    installed(monkeypatch, None)
    assert install_command("view") == "pip install 'firstsight[view]'"
    assert install_command() == "pip install firstsight"


def test_a_clone_that_is_gone_is_not_named(monkeypatch, tmp_path: Path):
    installed(monkeypatch, {"url": (tmp_path / "gone").as_uri(), "dir_info": {}})
    assert install_command("view") == "pip install 'firstsight[view]'"
