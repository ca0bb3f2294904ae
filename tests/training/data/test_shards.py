"""Millions of images: three small shards, their index, labels and order."""

import io
import json
import os
import tarfile
from itertools import chain, pairwise
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.training.data import order
from firstsight.training.data.archives import shard_index
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.dataset import Joined
from firstsight.training.data.images import image_folder
from firstsight.training.data.loading import batches
from firstsight.training.data.opening import open_dataset
from firstsight.training.data.wanted import Wanted

ALONE = Wanted(ImageBatch, (4, 4))


class Labelled(NamedTuple):
    images: object
    label: object
    index: object


def png_of(value: int) -> bytes:
    done, content = cv2.imencode(".png", np.full((8, 8, 3), value, np.uint8))
    assert done
    return content.tobytes()


def write_shard(path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def numbered(first: int, count: int) -> dict[str, bytes]:
    """Images first, first + 1, ... of class number % 3, the label before the image or behind it."""
    files = {}
    for number in range(first, first + count):
        pair = [(f"{number:04d}.png", png_of(number)), (f"{number:04d}.cls", str(number % 3 + 9).encode())]
        files |= dict(pair if number % 2 else pair[::-1])
    return files


@pytest.fixture
def shards(tmp_path):
    """Twelve images in shards of 3, 4 and 5."""
    for name, first, count in (("000002", 7, 5), ("000000", 0, 3), ("000001", 3, 4)):
        write_shard(tmp_path / "shards" / f"shard-{name}.tar", numbered(first, count))
    return tmp_path / "shards"


def values(data) -> list[int]:
    return [int(data.sample(i)["images"][0, 0, 0, 0]) for i in range(len(data))]


def test_shards_hold_all_images_in_their_order(shards, tmp_path):
    data = open_dataset([str(shards)], ALONE, tmp_path / "scratch")
    assert values(data) == list(range(12))
    assert data.blocks().tolist() == [3, 4, 5]
    assert data.parts[0].name(3).endswith("shards/shard-000001.tar/0003.png")


def test_labels_stand_beside_the_images_and_keep_their_numbers(shards, tmp_path):
    data = open_dataset([str(shards)], Wanted(Labelled, (4, 4)), tmp_path)
    assert data.classes == ("9", "10", "11")
    assert data.labels.tolist() == [0, 1, 2] * 4


def test_labels_of_json_files(tmp_path):
    files = {"a/0.jpg.png": png_of(1), "a/1.png": png_of(2), "a/1.json": json.dumps({"label": "cat"}).encode()}
    files |= {"b/1.png": png_of(3), "b/1.json": b'{"cls": 7}', "b/2.png": png_of(4), "b/2.json": b"[" * 50_000}
    write_shard(tmp_path / "shards" / "0.tar", files)
    index = shard_index.shard_index(tmp_path / "shards", tmp_path)
    # a/0.jpg.png is an extra file of sample a/0, not its image; the label of b/2 cannot be read
    assert [row["name"].decode() for row in index.rows] == ["a/1.png", "b/1.png", "b/2.png"]
    assert index.classes == ["7", "cat"]
    assert index.rows["label"].tolist() == [1, 0, shard_index.NO_CLASS]
    with pytest.raises(InputError, match="its samples have no label"):
        open_dataset([str(tmp_path / "shards")], Wanted(Labelled, (4, 4)), tmp_path)


def test_the_index_is_written_once_and_made_anew_for_other_shards(shards, tmp_path, monkeypatch):
    open_dataset([str(shards)], ALONE, tmp_path / "scratch")
    written = sorted(path.name for path in (shards / ".firstsight-index").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(shard_index, "shard_entries", None)
        assert len(open_dataset([str(shards)], ALONE, tmp_path / "scratch")) == 12
    stat = (shards / "shard-000001.tar").stat()
    os.utime(shards / "shard-000001.tar", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    before = open_dataset([str(shards)], ALONE, tmp_path).fingerprint()
    renewed = sorted(path.name for path in (shards / ".firstsight-index").iterdir())
    assert len(written) == len(renewed) == 2
    assert not set(written) & set(renewed)
    write_shard(shards / "shard-000003.tar", numbered(12, 1))
    assert values(open_dataset([str(shards)], ALONE, tmp_path)) == list(range(13))
    assert open_dataset([str(shards)], ALONE, tmp_path).fingerprint() != before


def test_the_index_lies_in_the_training_where_the_shards_cannot_be_written_to(shards, tmp_path):
    (shards / ".firstsight-index").write_text("a file where the folder would be")
    data = open_dataset([str(shards)], ALONE, tmp_path / "scratch")
    assert values(data) == list(range(12))
    assert len(list((tmp_path / "scratch" / ".firstsight-index").iterdir())) == 2


def test_a_damaged_index_is_one_line(shards, tmp_path):
    open_dataset([str(shards)], ALONE, tmp_path)
    (rows,) = (shards / ".firstsight-index").glob("*.npy")
    whole = rows.read_bytes()
    # a bracket that the header opens and never closes is an error of Python's own tokenizer
    for damage in (whole[:200], b"", whole.replace(b"(12,)", b"(12,("), whole.replace(b"}", b"{")):
        rows.write_bytes(damage)
        with pytest.raises(InputError, match=r"damaged index .*; remove the folder"):
            open_dataset([str(shards)], ALONE, tmp_path)


def shown(data, steps: range, rows: slice = slice(0, 4)) -> list[list[int]]:
    read = batches(data, seed=5, batch=4, rows=rows, steps=steps)
    return [batch.images[:, 0, 0, 0, 0].tolist() for _, batch in read]


def test_an_epoch_shows_all_images_once_shard_by_shard_and_resumes_anywhere(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(order, "WINDOW", 1)
    data = open_dataset([str(shards)], ALONE, tmp_path)
    whole = shown(data, range(6))
    first, second = (list(chain(*epoch)) for epoch in (whole[:3], whole[3:]))
    assert sorted(first) == list(range(12))
    assert sorted(second) == list(range(12))
    of_shard = [0] * 3 + [1] * 4 + [2] * 5
    changes = sum(of_shard[a] != of_shard[b] for a, b in pairwise(first))
    assert changes == 2
    assert shown(data, range(4, 6)) == whole[4:]
    assert shown(data, range(6), slice(2, 4)) == [step[2:] for step in whole]
    monkeypatch.setattr(order, "WINDOW", 12)
    mixed = list(chain(*shown(data, range(3))))
    assert sorted(mixed) == list(range(12))
    assert sum(of_shard[a] != of_shard[b] for a, b in pairwise(mixed)) > 4


def test_workers_read_the_same(shards, tmp_path):
    data = open_dataset([str(shards)], ALONE, tmp_path)
    alone = shown(data, range(6))
    read = batches(data, seed=5, batch=4, rows=slice(0, 4), steps=range(6), workers=2, keep_bytes=0)
    assert [batch.images[:, 0, 0, 0, 0].tolist() for _, batch in read] == alone


def test_shards_beside_a_folder_of_images(shards, labelled_images, tmp_path):
    data = Joined([*open_dataset([str(shards)], ALONE, tmp_path).parts, image_folder(labelled_images, ALONE)])
    assert data.blocks().tolist() == [3, 4, 5, 1, 1, 1]
    assert len(values(data)) == 15


def test_damaged_shards_are_one_line(shards, tmp_path):
    path = shards / "shard-000001.tar"
    content = path.read_bytes()
    # the content of the first image lies behind the first header
    path.write_bytes(content[:700])
    with pytest.raises(InputError, match=r"shard-000001\.tar: "):
        open_dataset([str(shards)], ALONE, tmp_path)
    path.write_bytes(content[:512] + bytes(50) + content[562:])
    data = open_dataset([str(shards)], ALONE, tmp_path)
    with pytest.raises(InputError, match=r"shard-000001\.tar/000\d\.png: damaged or truncated image"):
        values(data)


def test_a_shard_that_is_a_link_to_nothing_is_one_line(shards, tmp_path):
    (shards / "shard-000003.tar").symlink_to(tmp_path / "moved.tar")
    with pytest.raises(InputError, match=r"shard-000003\.tar: missing shard; restore it"):
        open_dataset([str(shards)], ALONE, tmp_path)


def test_shards_without_images_are_one_line(tmp_path):
    write_shard(tmp_path / "shards" / "0.tar", {"0.txt": b"none"})
    with pytest.raises(InputError, match="shards: no images in its 1 shards"):
        open_dataset([str(tmp_path / "shards")], ALONE, tmp_path)
    write_shard(tmp_path / "shards" / "0.tar", numbered(0, 2))
    with pytest.raises(InputError, match="frames= is not for shards"):
        open_dataset([f"{tmp_path / 'shards'}@frames=0:1"], ALONE, tmp_path)


@pytest.mark.parametrize(("field", "value"), [("shard", 3), ("label", 3), ("label", -2), ("offset", -1), ("size", -1)])
def test_an_index_that_names_what_there_is_not_is_one_line(shards, tmp_path, field, value):
    """Such a row would have read another file, or nothing."""
    open_dataset([str(shards)], ALONE, tmp_path)
    (path,) = (shards / ".firstsight-index").glob("*.npy")
    rows = np.load(path)
    rows[field][5] = value
    np.save(path, rows)
    with pytest.raises(InputError, match=rf"damaged index \(its {field}s are none\); remove the folder"):
        open_dataset([str(shards)], ALONE, tmp_path)
