"""Overwriting a training removes what a training wrote, and nothing of anybody else's."""

import json
import os
from pathlib import Path

import pytest

from firstsight.errors import InputError
from firstsight.formats.storage.lock import locked
from firstsight.learning.training_folder import forget

RECORD = {"format": 1, "method": "energy:Rbm", "config": {}, "recipe": {}}


def training(folder: Path) -> Path:
    (folder / "checkpoints" / "00000010").mkdir(parents=True)
    (folder / "checkpoints" / "00000010" / "model.safetensors").write_bytes(b"weights")
    for name in ("model.safetensors", "metrics.jsonl", "preview.png"):
        (folder / name).write_bytes(b"own")
    (folder / "config.json").write_text(json.dumps(RECORD | {"method": "representation:Rbm"}))
    return folder


def test_own_files_go_and_others_stay(tmp_path: Path):
    out = training(tmp_path / "out")
    (out / "thesis").mkdir()
    (out / "thesis" / "chapter.tex").write_text("mine")
    (out / "notes.txt").write_text("mine")
    forget(out)
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "thesis"]
    assert (out / "thesis" / "chapter.tex").read_text() == "mine"


@pytest.mark.parametrize(
    "content", ['{"my": "project"}', "null", "[]", "{", '{"method": "energy:Magic", "recipe": {}}', '{"method": 3}']
)
def test_a_folder_of_somebodys_own_survives(tmp_path: Path, content: str):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "thesis").mkdir()
    with pytest.raises(InputError, match="not the folder of a training, so nothing is overwritten"):
        forget(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "thesis"]


def test_what_links_lead_to_survives(tmp_path: Path):
    out, elsewhere = training(tmp_path / "out"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("mine")
    os.symlink(elsewhere, out / ".work")
    (out / "preview.png").unlink()
    os.symlink(elsewhere / "thesis.tex", out / "preview.png")
    linked = tmp_path / "linked"
    os.symlink(out, linked)
    forget(linked)
    assert list(out.iterdir()) == []
    assert (elsewhere / "thesis.tex").read_text() == "mine"


def test_rounds_go_too_and_foreign_folders_stay(tmp_path: Path):
    out = training(tmp_path / "out")
    training(out / "first")
    (out / "first" / "kept.txt").write_text("mine")
    (out / "other").mkdir()
    (out / "other" / "config.json").write_text('{"my": "project"}')
    forget(out)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "first/kept.txt",
        "other/config.json",
    ]


def test_a_training_at_work_is_not_overwritten(tmp_path: Path):
    out = training(tmp_path / "out")
    with locked(out), pytest.raises(InputError, match="another firstsight is writing to it"):
        forget(out)
    assert (out / "model.safetensors").exists()


def test_nothing_there_is_fine(tmp_path: Path):
    forget(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
