"""Batches: damaged files are named, memory stays bounded, and what is kept changes nothing."""

import tracemalloc

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.loading import batches
from firstsight.training.data.memory import ENTRY_BYTES, Budget, Kept
from firstsight.training.data.opening import open_dataset
from firstsight.training.data.wanted import Wanted

ALONE = Wanted(ImageBatch, (16, 16))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_image_is_named(labelled_images, tmp_path, workers):
    path = labelled_images / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:40])
    samples = open_dataset([str(labelled_images)], ALONE, tmp_path)
    with pytest.raises(InputError, match=r"cat/1\.png: damaged or truncated image"):
        list(batches(samples, seed=0, batch=3, rows=slice(0, 3), steps=range(1), workers=workers))


def test_an_image_that_vanished_is_named(labelled_images, tmp_path):
    samples = open_dataset([str(labelled_images)], ALONE, tmp_path)
    (labelled_images / "dog" / "2.png").unlink()
    with pytest.raises(InputError, match=r"in/dog/2\.png: cannot be read; restore it or take it out"):
        samples.sample(2)


def test_reading_many_batches_takes_the_memory_of_a_few(tmp_path):
    """300 images of 256x256: 59 MB if all were kept."""
    png.write_image(tmp_path / "0.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for number in range(1, 300):
        (tmp_path / f"{number}.png").write_bytes((tmp_path / "0.png").read_bytes())
    samples = open_dataset([str(tmp_path)], Wanted(ImageBatch, (256, 256)), tmp_path)

    def peak(keep_bytes: int) -> int:
        tracemalloc.start()
        for _ in batches(samples, seed=0, batch=4, rows=slice(0, 4), steps=range(75), keep_bytes=keep_bytes):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(0) < 8e6
    assert 10e6 < peak(10_000_000) < 18e6


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_kept_changes_no_bit(labelled_images, tmp_path, workers):
    samples = open_dataset([str(labelled_images)], ALONE, tmp_path)

    def read(keep_bytes: int) -> torch.Tensor:
        steps = batches(
            samples, seed=0, batch=4, rows=slice(0, 4), steps=range(6), workers=workers, keep_bytes=keep_bytes
        )
        return torch.stack([batch.images for _, batch in steps])

    assert torch.equal(read(0), read(2**20))
    assert torch.equal(read(0), read(1100))  # one image of 768 bytes


def test_values_are_kept_until_the_budget_is_spent_and_none_is_dropped():
    reads = []

    def value(number: int) -> np.ndarray:
        return kept.get(number, lambda: reads.append(number) or np.full(10, number, np.uint8))

    budget = Budget(2 * (10 + ENTRY_BYTES))
    kept = Kept(budget)
    for number in (1, 2, 3, 1, 2, 3):
        assert value(number).tolist() == [number] * 10
    assert reads == [1, 2, 3, 3]
    assert budget.left == 0
    with pytest.raises(ValueError, match="read-only"):
        value(1)[0] = 0


def test_nothing_is_kept_before_it_is_asked_for():
    """Datasets share the empty one; an empty scan has no bytes and must not stay there all the same."""
    kept = Kept()
    assert len(kept.get("scan", lambda: np.empty((0, 3)))) == 0
    assert len(kept.get("scan", lambda: np.ones((2, 3)))) == 2
