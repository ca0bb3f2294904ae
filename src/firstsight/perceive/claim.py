"""Taking a run folder: whose it is, what may be continued in it, and what may be removed from it."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from firstsight.errors import InputError
from firstsight.run_folder import RunFolder, RunRecord

PART = re.compile(r"\..+\.\d+\.part(\.[^.]+)?")
FRAME = re.compile(r"\d{6,}\.png")
SAME = ("version", "source", "settings", "sensors", "frames")


def begin(run: RunFolder, record: RunRecord, *, overwrite: bool = False) -> RunRecord:
    """The record of the unfinished run to continue, or `record`, which is then written.

    `overwrite` removes a run that is there first; files of somebody's own beside it stay. Raises InputError where the folder
    holds another run, or other files and no run.
    """
    remove_parts(run)
    if exists(run.record_path) and overwrite:
        remove_run(run)
        run.write_record(record)
        return record
    if not exists(run.record_path):
        if run.path.exists() and any(run.path.iterdir()):
            raise InputError(f"{run.path}: the folder holds other files; choose another --out")
        run.write_record(record)
        return record
    previous = run.read_record()
    for part in SAME:
        if getattr(previous, part) != getattr(record, part):
            raise InputError(
                f"{run.path}: holds a run with another {part} ({getattr(previous, part)}); "
                "choose another --out, or --overwrite it"
            )
    return previous


def remove_run(run: RunFolder) -> None:
    """Removes the files that a run writes and no other; the folder stays.

    What a symbolic link leads to is never touched. Raises InputError where the folder's record is not one of a run.
    """
    if not run.holds_run():
        raise InputError(f"{run.record_path}: not the record of a run, so nothing is overwritten; choose another --out")
    for path in products(run):
        path.unlink()
    for folder in frame_folders(run):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if run.scratch_path.is_dir():
        shutil.rmtree(run.scratch_path)
    run.record_path.unlink()


def products(run: RunFolder) -> Iterator[Path]:
    """The files of a run that are there, its record apart; links in their place count as files."""
    for path in (*run.single_files(), *frame_folders(run), run.scratch_path):
        if path.is_symlink() or path.is_file():
            yield path
    for folder in frame_folders(run):
        if folder.is_dir() and not folder.is_symlink():
            yield from (path for path in folder.iterdir() if FRAME.fullmatch(path.name) and not path.is_dir())


def remove_parts(run: RunFolder) -> None:
    """Removes what a killed process left half written. Call it while the folder is locked."""
    for folder in (run.path, *frame_folders(run)):
        if folder.is_dir() and not (folder.is_symlink() and folder != run.path):
            for path in folder.glob(".*.part*"):
                if PART.fullmatch(path.name) and path.is_file():
                    path.unlink()


def frame_folders(run: RunFolder) -> tuple[Path, ...]:
    paths = (run.depth_path, run.depth_error_path, run.flow_path, run.flow_error_path, run.moving_path)
    return tuple(path(0).parent for path in paths)


def exists(path: Path) -> bool:
    """Whether anything is there, be it a link that leads nowhere."""
    return path.exists() or path.is_symlink()
