"""What a killed reconstruction need not do again: features and matches, in `.work` of the output folder until it is complete."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_text
from firstsight.formats.storage.configuration import read_json
from firstsight.formats.storage.state import fingerprint, read_state, write_state
from firstsight.roles.state import State
from firstsight.slam.photos.features import Features
from firstsight.slam.photos.lenses import PhotoLens
from firstsight.slam.photos.pairs import Pair

# files that a reconstruction keeps, in `.work`; nothing else is ever deleted
OWN = ("settings.json", "features/*.npz", "pairs/*.npz", ".*.part*", "features/.*.part*", "pairs/.*.part*")
SUMMARY_KEYS = {"version", "photos", "placed", "left_out", "lenses"}
SETTINGS_KEYS = {"version", "photos", "fov_deg"}

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Scratch:
    """The output folder while it is being filled. `settings` say what the work depends on: others' is not continued."""

    folder: Path
    settings: dict[str, Any]

    @property
    def path(self) -> Path:
        """The folder in which the work is kept."""
        return self.folder / ".work"

    def begin(self, overwrite: bool) -> None:
        """Raises InputError where the folder holds something else, or a reconstruction that is not to be overwritten."""
        refuse_others(self.folder)
        self.refuse_folders()
        summary = self.folder / "summary.json"
        if summary.exists() and not overwrite:
            raise InputError(f"{self.folder}: holds a reconstruction; choose another --out, or --overwrite it")
        if overwrite or noted(self.path / "settings.json") != self.settings:
            self.clear()
            summary.unlink(missing_ok=True)
            write_text(self.path / "settings.json", json.dumps(self.settings))

    def refuse_folders(self) -> None:
        """Raises InputError where something else than a file is in the place of one that is kept, or of a folder of these."""
        for folder in (self.path, self.path / "features", self.path / "pairs"):
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file, where a folder of this reconstruction belongs; remove it")
        for path in (path for pattern in OWN for path in self.path.glob(pattern)):
            if path.is_dir():
                raise InputError(f"{path}: is a folder, where a file of this reconstruction belongs; remove it")

    def clear(self) -> None:
        """Deletes what a reconstruction kept, and the folders that are then empty."""
        for pattern in OWN:
            for path in self.path.glob(pattern):
                if path.is_file():
                    path.unlink()
        for folder in (self.path / "features", self.path / "pairs", self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def features(self, name: str, seen: Callable[[], tuple[Features, PhotoLens]]) -> tuple[Features, PhotoLens]:
        """What was kept of a photo; else what is seen in it now, which is kept."""
        return kept(self.path / "features" / f"{name}.npz", features_of, seen, features_state)

    def pairs(self, first: int, features: str, found: Callable[[], list[Pair]]) -> list[Pair]:
        """The pairs of photo `first` with later ones that were kept; else those found now, which are kept.

        Pairs name photos and features by number: only those of the very same `features` (`features_key`) are taken.
        """

        def read(state: State) -> list[Pair]:
            if state["features"] != features:
                raise ValueError("pairs of other features")
            return pairs_of(state)

        return kept(
            self.path / "pairs" / f"{first:06d}.npz",
            read,
            found,
            lambda pairs: {"features": features} | pairs_state(pairs),
        )


def refuse_others(folder: Path) -> None:
    """Raises InputError where a folder is a file, or holds files of somebody's own and nothing of a reconstruction."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose another --out")
    if not folder.exists():
        return
    summary = folder / "summary.json"
    if summary.exists() and not is_summary(summary):
        raise InputError(f"{summary}: is not of a reconstruction; choose another --out")
    if not summary.exists() and not is_begun(folder):
        raise InputError(f"{folder}: the folder holds other files; choose another --out")


def is_begun(folder: Path) -> bool:
    """Whether a folder holds nothing yet, or the work of a reconstruction that was killed."""
    settings = noted(folder / ".work" / "settings.json")
    if isinstance(settings, dict) and set(settings) >= SETTINGS_KEYS:
        return True
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return all(path.parent == folder / ".work" and path.match(".*.part*") for path in files)


def is_summary(path: Path) -> bool:
    """Whether a file is the summary of a reconstruction."""
    content = noted(path)
    return isinstance(content, dict) and set(content) >= SUMMARY_KEYS


def noted(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or it is damaged."""
    try:
        return read_json(path)
    except InputError:
        return None


def kept(path: Path, read: Callable[[State], Kept], made: Callable[[], Kept], state: Callable[[Kept], State]) -> Kept:
    """What the file holds; where there is none, or it is damaged, what is made now, which the file then holds."""
    if path.exists() or path.is_symlink():
        try:
            return read(read_state(path))
        except (InputError, KeyError, TypeError, ValueError):
            path.unlink()
    value = made()
    write_state(path, state(value))
    return value


def features_state(seen: tuple[Features, PhotoLens]) -> State:
    """Features and lens of a photo as arrays and plain values."""
    found, lens = seen
    return {"features": found._asdict(), "lens": lens._asdict()}


def features_key(features: Sequence[Features]) -> str:
    """A text that tells the features of these photos, in this order, from all others."""
    return fingerprint({"pixels": [found.pixels for found in features]})


def features_of(state: State) -> tuple[Features, PhotoLens]:
    """The features and lens that `features_state` made this of."""
    lens = PhotoLens(**state["lens"])
    height, width = lens.size
    return Features(**state["features"]), lens._replace(size=(height, width))


def pairs_state(pairs: Sequence[Pair]) -> State:
    """Pairs as arrays and plain values."""
    return {"pairs": [pair._asdict() for pair in pairs]}


def pairs_of(state: State) -> list[Pair]:
    """The pairs that `pairs_state` made this of."""
    return [Pair(**pair) for pair in state["pairs"]]
