"""What is done to files that hold arrays, weights, other files or tables; and which changes suit a file of which name."""

import gzip
import io
import json
import sqlite3
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.contents import BINARY, IMAGE, INTEGERS, JSON, TEXT, Change, changed_node, odd_floats, word


def npz_array(content: bytes, random: Random) -> bytes:
    """An array of an .npz has another shape, type or values, is missing, or is a JSON text with another value."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = random.choice(sorted(arrays))
    arrays[name] = changed_array(name, arrays[name], random)
    if arrays[name] is None:
        del arrays[name]
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def changed_array(name: str, array: np.ndarray, random: Random) -> np.ndarray | None:
    """The array as something else; None: without it."""
    if name == "tree" and random.random() < 0.7:
        text = json.dumps(changed_node(json.loads(array.tobytes()), random))
        return np.frombuffer(text.encode(), np.uint8)
    what = random.randrange(7)
    if what == 0:
        return None
    if what == 1:
        return array.astype(random.choice(("f4", "i8", "u1", "c8", "U5", "?")))
    if what == 2:
        return array.ravel()[: array.size // 2]
    if what == 3:
        return array[None]
    if what == 4:
        return np.zeros((0, *array.shape[1:]), array.dtype)
    if what == 5:
        return np.array(random.choice((0, "word", np.nan)))
    spoilt = array.astype(float)
    spoilt.flat[random.randrange(max(spoilt.size, 1))] = random.choice((np.nan, np.inf, -1, 1e300))
    return spoilt if array.dtype.kind == "f" else np.nan_to_num(spoilt).astype(array.dtype)


def safetensors_header(content: bytes, random: Random) -> bytes:
    """The JSON header of weights says something else, with its right or a wrong length."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    packed = json.dumps(changed_node(header, random)).encode()
    told = random.choice((len(packed), len(packed), len(packed), *INTEGERS))
    return struct.pack("<Q", told % 2**64) + packed + content[8 + length :]


def spoilt_weights(content: bytes, random: Random) -> bytes:
    """Some weights are not finite."""
    (length,) = struct.unpack("<Q", content[:8])
    return content[: 8 + length] + odd_floats(content[8 + length :], random)


def header_word(content: bytes, random: Random) -> bytes:
    """A word of the text in front of binary values becomes another."""
    marked = content.find(b"end_header\n") + 11
    end = marked if marked > 10 else min(len(content), 15)
    return word(content[:end], random) + content[end:]


def zip_field(content: bytes, random: Random) -> bytes:
    """A field of a record of a zip file has another value."""
    marks = [mark for mark in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06") if mark in content]
    starts = [place for mark in marks for place in occurrences(content, mark)]
    place, size = random.choice(starts) + 4 + 2 * random.randrange(20), random.choice((2, 4))
    value = random.choice((0, 1, 9, 99, 2**15, *INTEGERS)) % 2 ** (8 * size)
    return content[:place] + value.to_bytes(size, "little") + content[place + size :]


def occurrences(content: bytes, mark: bytes) -> list[int]:
    """Where the mark begins."""
    return [place for place in range(len(content)) if content.startswith(mark, place)]


def zip_members(content: bytes, random: Random) -> bytes:
    """A zip file whose members have other names or contents."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        chosen = random.randrange(len(old.namelist()))
        for number, name in enumerate(old.namelist()):
            inside = old.read(name)
            if number == chosen:
                name, inside = random.choice(
                    ((other_name(name, random), inside), (name, other_content(name, inside, random)))
                )
            new.writestr(name, inside, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)))
    return packed.getvalue()


def tar_members(content: bytes, random: Random) -> bytes:
    """A tar file, compressed as before, one of whose members has another name, content, kind or size."""
    is_gzip = content[:2] == b"\x1f\x8b"
    packed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(fileobj=packed, mode="w") as new:
        members = old.getmembers()
        chosen = random.randrange(len(members))
        for number, member in enumerate(members):
            inside = old.extractfile(member).read()  # ty: ignore
            if number == chosen:
                what = random.randrange(4)
                member.name = other_name(member.name, random) if what == 0 else member.name
                inside = other_content(member.name, inside, random) if what == 1 else inside
                member.type = random.choice((tarfile.SYMTYPE, tarfile.DIRTYPE, b"S")) if what == 2 else member.type
                member.size = random.choice((0, 1, 10**7, 2**62)) if what == 3 else len(inside)
            new.addfile(member, io.BytesIO(inside) if member.size == len(inside) else None)
    return gzip.compress(packed.getvalue()) if is_gzip else packed.getvalue()


def repacked(content: bytes, random: Random) -> bytes:
    """A compressed text or archive with a change inside."""
    return gzip.compress(random.choice((*BINARY, *TEXT))(gzip.decompress(content), random))


def other_name(name: str, random: Random) -> str:
    return random.choice(("../" + name, "/tmp/" + name, name + ".txt", "a/" * 200 + name, "", "é" + name, "x.png"))


def other_content(name: str, content: bytes, random: Random) -> bytes:
    return random.choice(changes_of(name))(content, random)


def table_cell(content: bytes, random: Random) -> bytes:
    """A value of an SQLite database becomes another, or a row is missing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.db3"
        path.write_bytes(content)
        database = sqlite3.connect(path)
        tables = [row[0] for row in database.execute("select name from sqlite_master where type='table'")]
        table = random.choice(sorted(tables))
        columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
        rows = [row[0] for row in database.execute(f"select rowid from {table}")]
        row, column = random.choice(rows), random.choice(columns)
        if random.random() < 0.15:
            database.execute(random.choice((f"delete from {table}", f"drop table {table}")))
        elif random.random() < 0.15:
            database.execute(f"delete from {table} where rowid={row}")
        else:
            value = random.choice((None, 0, -1, 2**63 - 1, 1.5, "noon", b"", b"\0" * 5, "x/y", random.randbytes(60)))
            database.execute(f"update {table} set {column}=? where rowid=?", (value, row))
        database.commit()
        database.close()
        return path.read_bytes()


BY_SUFFIX: dict[str, tuple[Change, ...]] = {
    **dict.fromkeys((".txt", ".csv", ".yaml", ".g2o", ".graph", ".bal"), TEXT),
    **dict.fromkeys((".json", ".jsonl"), (*JSON, *TEXT)),
    ".png": IMAGE,
    ".bin": (odd_floats, odd_floats),
    ".npz": (npz_array, npz_array, npz_array, zip_field),
    ".safetensors": (safetensors_header, safetensors_header, spoilt_weights),
    ".pth": (zip_field,),
    ".ply": (header_word, header_word),
    ".pgm": (header_word, header_word),
    ".zip": (zip_field, zip_members),
    ".tar": (tar_members,),
    ".tgz": (tar_members, repacked),
    ".gz": (repacked,),
    ".db3": (table_cell, table_cell, table_cell),
}


def changes_of(name: str) -> tuple[Change, ...]:
    """The changes that suit a file of this name: about half know what is in it."""
    return (*BY_SUFFIX.get(Path(name).suffix, ()), *BY_SUFFIX.get(Path(name).suffix, ()), *BINARY)
