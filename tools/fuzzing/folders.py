"""What is done to a folder: the content of its files, their names, and what stands where a file should be."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from random import Random

from fuzzing.containers import changes_of

# Of so many mutations most change a content, the others a file as a whole.
OF_CONTENT = 0.8
ATTEMPTS = 20


def mutate(root: Path, random: Random) -> list[str]:
    """One to three mutations of the files below `root`; returns what was done to which."""
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        if files:
            done.append(mutate_file(chosen(files, random), root, random))
    return done


def chosen(files: list[Path], random: Random) -> Path:
    """A file; of a folder with many of one kind, the kind is drawn first."""
    suffixes = sorted({path.suffix for path in files})
    if random.random() < 0.5:
        suffix = random.choice(suffixes)
        files = [path for path in files if path.suffix == suffix]
    return random.choice(files)


def mutate_file(path: Path, root: Path, random: Random) -> str:
    """Changes the content, or the file as a whole."""
    name = str(path.relative_to(root))
    content = path.read_bytes()
    if random.random() < OF_CONTENT and content:
        for _ in range(ATTEMPTS):
            change = random.choice(changes_of(path.name))
            try:
                changed = change(content, random)
            except Exception:  # not of this kind (any more): another change
                continue
            path.write_bytes(changed)
            return f"{name}: {change.__name__}"
    change = random.choice((missing, emptied, renamed, twice, folder, pipe, link_to_nothing, exchanged, moved_up))
    with suppress(OSError):  # another file has the name: nothing is changed
        change(path, root, random)
    return f"{name}: {change.__name__}"


def missing(path: Path, root: Path, random: Random) -> None:
    path.unlink()


def emptied(path: Path, root: Path, random: Random) -> None:
    path.write_bytes(b"")


def renamed(path: Path, root: Path, random: Random) -> None:
    """A number or letter more, another suffix, or another case."""
    stem, suffix = path.stem, path.suffix
    names = (f"{stem}0{suffix}", f"{stem}{suffix}.txt", f"{stem}{suffix.upper()}", f"-{stem}{suffix}", f"ä\n{stem}")
    path.rename(path.with_name(random.choice(names)))


def twice(path: Path, root: Path, random: Random) -> None:
    """A copy with a name such as the others have."""
    number = str(random.choice((0, 1, 7, 2**70)))
    shutil.copy(path, path.with_name(number.zfill(len(path.stem)) + path.suffix))


def folder(path: Path, root: Path, random: Random) -> None:
    """A folder in its place, empty or with the file in it."""
    inside = path.read_bytes()
    path.unlink()
    path.mkdir()
    if random.random() < 0.5:
        (path / path.name).write_bytes(inside)


def pipe(path: Path, root: Path, random: Random) -> None:
    """A pipe in its place, which nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def link_to_nothing(path: Path, root: Path, random: Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def exchanged(path: Path, root: Path, random: Random) -> None:
    """Two files have each other's content."""
    files = sorted(other for other in root.rglob("*") if other.is_file())
    other = random.choice(files)
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def moved_up(path: Path, root: Path, random: Random) -> None:
    """Into the folder above, as far as that is of the sample."""
    if path.parent != root:
        path.rename(path.parent.parent / path.name)
