"""Removing what `learn` wrote to a folder, and nothing else."""

from pathlib import Path

from firstsight.errors import InputError
from firstsight.learning.record import read
from firstsight.learning.training_folder import forget
from firstsight.perceive.claim import remove_run
from firstsight.run_folder import RunFolder

RUNS = ("teacher-*", "before", "after", "kept")
OWN_FILES = ("learn.json", "report.html")


def clear(out: Path) -> None:
    """Removes runs, trainings and record; files of somebody's own stay, and what a link leads to is never touched.

    Raises InputError where the folder holds something else than what was learned.
    """
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / "learn.json").is_file():
        raise InputError(f"{out}: nothing was learned there, so nothing is overwritten; choose another --out")
    read(out / "learn.json")
    for folder in sorted(path for kind in RUNS for path in out.glob(kind)):
        if folder.is_dir() and not folder.is_symlink() and RunFolder(folder).record_path.exists():
            remove_run(RunFolder(folder))
            remove_if_empty(folder)
    trained = out / "trained"
    if trained.is_dir() and not trained.is_symlink():
        for folder in sorted(path for path in trained.iterdir() if path.is_dir() and not path.is_symlink()):
            forget(folder)
            remove_if_empty(folder)
        remove_if_empty(trained)
    for name in OWN_FILES:
        (out / name).unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
