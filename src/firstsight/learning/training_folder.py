"""The folder of a training: what in it belongs to the training, and how that is removed without touching anything else."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firstsight import catalogue
from firstsight.errors import InputError
from firstsight.formats.storage.configuration import read_json
from firstsight.formats.storage.lock import locked
from firstsight.training.checkpoint import stable_name

OWN_FILES = ("config.json", "model.safetensors", "metrics.jsonl", "preview.png", "evaluation.json")
OWN_FOLDERS = ("checkpoints", "tensorboard", ".work")


def forget(out: Path) -> None:
    """Removes the training that the folder holds; files of somebody's own beside it stay.

    Raises InputError where the folder holds something else, or where a training is at work in it.
    """
    if not out.exists():
        return
    if not out.is_dir() or not is_training(out):
        raise InputError(f"{out}: not the folder of a training, so nothing is overwritten; choose another --out")
    with locked(out):
        for folder in (*rounds(out), out):
            remove(folder)


def is_training(folder: Path) -> bool:
    """Whether the folder's config.json is one that a training wrote: its method is one of the catalogue."""
    try:
        about: Any = read_json(folder / "config.json")
    except InputError:
        return False
    names = {stable_name(entry.target) for entry in catalogue.entries()}
    method = about.get("method") if isinstance(about, dict) else None
    return isinstance(method, str) and stable_name(method) in names and "recipe" in about


def rounds(out: Path) -> Iterator[Path]:
    """The folders of the rounds of a training of several."""
    yield from (path for path in sorted(out.iterdir()) if path.is_dir() and not path.is_symlink() and is_training(path))


def remove(folder: Path) -> None:
    """Removes what a training writes and no other; what a symbolic link leads to is never touched."""
    for name in (*OWN_FILES, *OWN_FOLDERS):
        path = folder / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir() and name in OWN_FOLDERS:
            shutil.rmtree(path)
