"""Archives: the same samples as the folder, unpacked within limits and by content, and one line for each damage."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.training.data.archives import unpacking
from firstsight.training.data.archives.unpacking import scratch_folder
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.opening import open_dataset
from firstsight.training.data.wanted import Wanted

ALONE = Wanted(ImageBatch, (16, 16))


def reds(samples) -> list[int]:
    return [int(samples.sample(i)["images"][0, 0].mean()) for i in range(len(samples))]


def tar_of(folder, path):
    with tarfile.open(path, "w") as archive:
        archive.add(folder, "in")
    return path


def zip_of(folder, path, method: int = zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for inside in sorted(folder.rglob("*.png")):
            archive.write(inside, inside.relative_to(folder))
    return path


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "zip"])
def test_a_folder_and_its_archives_hold_the_same(labelled_images, tmp_path, kind):
    pack = {"tar.gz": gzip, "tgz": gzip, "tar.bz2": bz2, "tar.xz": lzma}
    source = labelled_images if kind == "folder" else tmp_path / f"packed.{kind}"
    if kind == "zip":
        zip_of(labelled_images, source)
    elif kind != "folder":
        plain = tar_of(labelled_images, tmp_path / "plain.tar")
        source.write_bytes(pack[kind].compress(plain.read_bytes()) if kind in pack else plain.read_bytes())
    samples = open_dataset([str(source)], ALONE, tmp_path / "scratch")
    assert reds(samples) == [50, 100, 150]
    assert samples.parts[0].class_names() == ["cat", "cat", "dog"]
    assert samples.sample(0)["images"].shape == (1, 3, 16, 16)
    assert reds(open_dataset([str(source)] * 2, ALONE, tmp_path / "scratch")) == [50, 100, 150] * 2


def test_two_archives_of_one_name_and_size_are_told_apart(tmp_path):
    """They were unpacked to one file: b's images were a's."""
    for folder, value in (("a", 60), ("b", 61)):
        (tmp_path / folder / "in").mkdir(parents=True)
        png.write_image(tmp_path / folder / "in" / "0.png", np.full((16, 16, 3), value, np.uint8))
        plain = tar_of(tmp_path / folder / "in", tmp_path / folder / "pics.tar").read_bytes()
        packed = gzip.compress(plain, mtime=0)
        # the trailing zeros of gzip files are ignored: both archives get one size
        (tmp_path / folder / "pics.tar.gz").write_bytes(packed + bytes(2000 - len(packed)))
    assert len({(tmp_path / f / "pics.tar.gz").stat().st_size for f in "ab"}) == 1
    scratch = tmp_path / "scratch"
    assert reds(open_dataset([str(tmp_path / f / "pics.tar.gz") for f in "ab"], ALONE, scratch)) == [60, 61]


def packed_zeros(path, count: int):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("0.png")
        member.size = count
        archive.addfile(member, io.BytesIO(bytes(count)))
    path.write_bytes(gzip.compress(content.getvalue()))
    return path


def test_an_archive_that_unpacks_to_too_much_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "HARMLESS_BYTES", 100_000)
    bomb = packed_zeros(tmp_path / "bomb.tgz", 30_000_000)
    assert bomb.stat().st_size * 100 < 30_000_000
    with pytest.raises(InputError, match=r"bomb\.tgz: unpacks to more than [\d,]+ bytes; unpack it yourself"):
        open_dataset([str(bomb)], ALONE, tmp_path / "scratch")
    assert not list((tmp_path / "scratch").rglob("*.tar*"))


def test_the_disk_is_never_filled(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2**30 + 10_000)
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: usage)
    packed = packed_zeros(tmp_path / "large.tgz", 2_000_000)
    with pytest.raises(InputError, match=r"large\.tgz: no room to unpack it in"):
        open_dataset([str(packed)], ALONE, tmp_path / "scratch")


def test_what_was_unpacked_is_used_again_and_removed_when_the_training_has_ended(
    labelled_images, tmp_path, monkeypatch
):
    packed = tmp_path / "in.tgz"
    packed.write_bytes(gzip.compress(tar_of(labelled_images, tmp_path / "in.tar").read_bytes()))

    def is_interrupted() -> None:
        with scratch_folder(tmp_path / "scratch") as scratch:
            open_dataset([str(packed)], ALONE, scratch)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        is_interrupted()
    assert len(list((tmp_path / "scratch").rglob("*.tar"))) == 1
    monkeypatch.setattr(unpacking, "unpack", None)
    with scratch_folder(tmp_path / "scratch") as scratch:
        assert reds(open_dataset([str(packed)], ALONE, scratch)) == [50, 100, 150]
    assert not list((tmp_path / "scratch").iterdir())


def damaged_gzip(content: bytes) -> bytes:
    """A wrong bit in the compressed data."""
    packed = bytearray(gzip.compress(content))
    packed[40] ^= 0xFF
    return bytes(packed)


@pytest.mark.parametrize("damage", ["cut", "bits"])
def test_a_damaged_tgz_is_one_line(labelled_images, tmp_path, damage):
    content = tar_of(labelled_images, tmp_path / "in.tar").read_bytes()
    packed = damaged_gzip(content) if damage == "bits" else gzip.compress(content)[:300]
    (tmp_path / "bad.tgz").write_bytes(packed)
    with pytest.raises(InputError, match=r"bad\.tgz: not a readable archive"):
        open_dataset([str(tmp_path / "bad.tgz")], ALONE, tmp_path / "scratch")
    assert not list((tmp_path / "scratch").rglob("*.tar"))


def test_a_cut_gzip_of_no_tar_is_one_line(tmp_path):
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(b"x" * 5000)[:30])
    with pytest.raises(InputError, match=r"cut\.tar\.gz: not a readable archive"):
        open_dataset([str(tmp_path / "cut.tar.gz")], ALONE, tmp_path)


def test_an_encrypted_zip_is_one_line(labelled_images, tmp_path):
    path = zip_of(labelled_images, tmp_path / "in.zip")
    patch_central_directory(path, 8, 1)
    with pytest.raises(InputError, match=r"in\.zip: it is encrypted; unpack it and give the folder"):
        open_dataset([str(path)], ALONE, tmp_path)


def test_an_unknown_method_of_packing_is_one_line(labelled_images, tmp_path):
    path = zip_of(labelled_images, tmp_path / "in.zip")
    patch_central_directory(path, 10, 99)
    with pytest.raises(InputError, match=r"in\.zip: cat/0\.png is packed with method 99"):
        open_dataset([str(path)], ALONE, tmp_path)


def patch_central_directory(path, offset: int, value: int) -> None:
    """Sets a two-byte value of the first entry of a zip's list of members."""
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + offset : entry + offset + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)


def test_damaged_deflate_is_one_line(labelled_images, tmp_path):
    path = zip_of(labelled_images, tmp_path / "in.zip")
    content = bytearray(path.read_bytes())
    begin = 30 + len("cat/0.png")
    content[begin : begin + 8] = b"\xff" * 8
    path.write_bytes(content)
    samples = open_dataset([str(path)], ALONE, tmp_path)
    with pytest.raises(InputError, match=r"in\.zip: not a readable archive"):
        samples.sample(0)
    assert int(samples.sample(2)["images"][0, 0].mean()) == 150
    with pytest.raises(zlib.error):
        zlib.decompress(b"\xff" * 8, -15)


def test_a_zip_member_that_is_too_large_for_an_image_is_one_line(labelled_images, tmp_path, monkeypatch):
    monkeypatch.setattr("firstsight.training.data.archives.reading.MAX_IMAGE_BYTES", 10)
    with pytest.raises(InputError, match=r"in\.zip: cat/0\.png unpacks to \d+ bytes, too many for an image"):
        open_dataset([str(zip_of(labelled_images, tmp_path / "in.zip"))], ALONE, tmp_path)


@pytest.mark.parametrize("size", [2**63, 2**40, 10**6])
def test_a_tar_member_that_is_larger_than_the_archive_is_one_line(tmp_path, size):
    member = tarfile.TarInfo("0.png")
    member.size = size
    (tmp_path / "in.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(InputError, match=r"in\.tar: "):
        open_dataset([str(tmp_path / "in.tar")], ALONE, tmp_path)


def test_an_archive_without_images_is_one_line(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("none")
    with pytest.raises(InputError, match=r"in\.tar: no images in this archive"):
        open_dataset([str(tar_of(tmp_path / "in", tmp_path / "in.tar"))], ALONE, tmp_path)
    with pytest.raises(InputError, match=r"none\.zip: no images in this archive"):
        open_dataset([str(zip_of(tmp_path / "in", tmp_path / "none.zip"))], ALONE, tmp_path)
