"""The index of a folder of tar shards: where each image lies and what its class is, read once and then mapped into memory.

    .firstsight-index/KEY.npy    one row for each image, shard after shard
    .firstsight-index/KEY.json   the names of the classes and the number of images in each shard

KEY is made of the names, sizes and modification times of all shards, so that an index is never taken for that of other
shards. It lies beside the shards, or where they cannot be written to in the training's own folder.
"""

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import replacing, write_json
from firstsight.formats.storage.npz import DAMAGED
from firstsight.reading import read_bytes, require_regular
from firstsight.recordings.files import IMAGE_SUFFIXES, natural_key
from firstsight.training.data.archives.unpacking import MAX_IMAGE_BYTES, readable
from firstsight.training.data.dataset import digest

FOLDER = ".firstsight-index"
NO_CLASS = -1
LABEL_SUFFIXES = ("cls", "json")
# A label file that is larger than this is none.
MAX_LABEL_BYTES = 2**16


class ShardIndex(NamedTuple):
    """`rows` have the fields shard, offset, size, label (NO_CLASS where there is none) and name."""

    paths: list[Path]
    counts: list[int]
    classes: list[str]
    rows: np.ndarray


class Entry(NamedTuple):
    """An image in a shard, with the name of its class."""

    name: str
    offset: int
    size: int
    label: str | None


def shard_index(folder: Path, scratch: Path) -> ShardIndex:
    """The index of the shards in a folder, made if there is none of them as they are now."""
    paths = sorted(folder.glob("*.tar"), key=natural_key)
    for path in paths:
        require_regular(path, "shard")
    stats = [path.stat() for path in paths]
    key = digest(f"{p.name} {s.st_size} {s.st_mtime_ns}" for p, s in zip(paths, stats, strict=True))
    for place in (folder / FOLDER, scratch / FOLDER):
        if (place / f"{key}.json").exists():
            return read_index(place, key, paths)
    entries = [shard_entries(path) for path in paths]
    for place in (folder / FOLDER, scratch / FOLDER):
        try:
            write_index(place, key, entries)
        except OSError:
            continue
        return read_index(place, key, paths)
    raise InputError(f"{folder}: its index can be written neither here nor in {scratch}; make room in one of them")


def read_index(place: Path, key: str, paths: list[Path]) -> ShardIndex:
    """Raises InputError where a file of it is damaged."""
    try:
        about = json.loads(read_bytes(place / f"{key}.json", "index"))
        require_regular(place / f"{key}.npy", "index")
        rows = np.load(place / f"{key}.npy", mmap_mode="r")
        if len(rows) != sum(about["counts"]) or len(paths) != len(about["counts"]):
            raise ValueError("its parts are of different lengths")
        require_rows(rows, len(paths), len(about["classes"]))
        return ShardIndex(paths, about["counts"], about["classes"], rows)
    except DAMAGED as error:
        raise InputError(f"{place / key}: damaged index ({error}); remove the folder {place}") from None


def require_rows(rows: np.ndarray, shards: int, classes: int) -> None:
    """Raises ValueError or KeyError where a row is none, or names a shard, a class or a place that there is not."""
    for name, kind, lowest, above in (
        ("shard", "<i4", 0, shards),
        ("label", "<i4", NO_CLASS, classes),
        ("offset", "<i8", 0, None),
        ("size", "<i8", 0, MAX_IMAGE_BYTES + 1),
    ):
        values = rows[name]
        if values.dtype != kind or (values < lowest).any() or (above is not None and (values >= above).any()):
            raise ValueError(f"its {name}s are none")
    if rows["name"].dtype.kind != "S":
        raise ValueError("its names are none")


def write_index(place: Path, key: str, entries: Sequence[Sequence[Entry]]) -> None:
    """Writes the rows and then what makes them valid, and removes what was there before."""
    old = [path for path in place.glob("[!.]*") if path.stem != key]
    classes = sorted({entry.label for shard in entries for entry in shard if entry.label is not None})
    place.mkdir(parents=True, exist_ok=True)
    with replacing(place / f"{key}.npy") as part:
        np.save(part, table(entries, classes))
    write_json(place / f"{key}.json", {"classes": classes, "counts": [len(shard) for shard in entries]})
    for path in old:
        path.unlink(missing_ok=True)


def table(entries: Sequence[Sequence[Entry]], classes: Sequence[str]) -> np.ndarray:
    """The rows of the index."""
    numbers = {name: number for number, name in enumerate(classes)}
    width = max((len(entry.name.encode()) for shard in entries for entry in shard), default=1)
    kinds = [("shard", "<i4"), ("label", "<i4"), ("offset", "<i8"), ("size", "<i8"), ("name", f"S{width}")]
    rows = [
        (
            number,
            NO_CLASS if entry.label is None else numbers[entry.label],
            entry.offset,
            entry.size,
            entry.name.encode(),
        )
        for number, shard in enumerate(entries)
        for entry in shard
    ]
    return np.array(rows, kinds)


def shard_entries(path: Path) -> list[Entry]:
    """The images of a shard in their order, `key.jpg` with the class that `key.cls` or `key.json` says."""
    found: list[tuple[str, tarfile.TarInfo]] = []
    labels: dict[str, str] = {}
    length = path.stat().st_size
    with readable(path), tarfile.open(path, "r:") as archive:
        for member in archive:
            if not member.isreg() or member.issparse():
                continue
            if member.offset_data + member.size > length or member.size > MAX_IMAGE_BYTES:
                raise InputError(f"{path}: {member.name} has {member.size} bytes, the shard {length}; copy it again")
            key, suffix = split_key(member.name)
            if f".{suffix}" in IMAGE_SUFFIXES:
                found.append((key, member))
            elif suffix in LABEL_SUFFIXES and member.size <= MAX_LABEL_BYTES:
                content = archive.extractfile(member)
                label = None if content is None else label_of(suffix, content.read())
                labels |= {} if label is None else {key: label}
    return [Entry(member.name, member.offset_data, member.size, labels.get(key)) for key, member in found]


def split_key(name: str) -> tuple[str, str]:
    """What the files of a sample have in common, and the suffix: all behind the first dot of the file's own name."""
    folder, _, last = name.rpartition("/")
    key, _, suffix = last.partition(".")
    return f"{folder}/{key}", suffix.lower()


def label_of(suffix: str, content: bytes) -> str | None:
    """The class in a label file: the text of .cls; in .json the value of "label", "cls" or "class"."""
    text = content.decode(errors="replace").strip()
    if suffix == "cls":
        return text
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = [values[name] for name in ("label", "cls", "class") if name in values] if isinstance(values, dict) else []
    return str(found[0]) if found and isinstance(found[0], str | int) else None
