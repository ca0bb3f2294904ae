"""Single images: folders, their classes, what is left out of them, and how they are scaled."""

import os
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from firstsight.commands.work.evaluate import split
from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.recordings.opening import open_recording
from firstsight.training.data.batch import ImageBatch, collate
from firstsight.training.data.dataset import Joined, class_order
from firstsight.training.data.images import center_crop_resize, image_folder, split_names
from firstsight.training.data.opening import open_dataset, open_source
from firstsight.training.data.wanted import Wanted, frames

ALONE = Wanted(ImageBatch, (16, 16))


class WithDepth(NamedTuple):
    images: object
    depth_m: object


class Labelled(NamedTuple):
    images: object
    label: object


def write(folder, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        png.write_image(folder / name, np.full((8, 8, 3), number, np.uint8))


def test_center_crop_resize_keeps_the_proportions_and_the_middle():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    assert center_crop_resize(image, (10, 10)).shape == (3, 10, 10)
    assert center_crop_resize(image, (10, 10)).min() == 255


def test_light_of_12_bits_is_scaled_alike_in_all_images_and_it_is_said(tmp_path):
    for name, level in (("a.png", 800), ("b.png", 2100), ("c.png", 4000)):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8), level, np.uint16))
    images = open_source(str(tmp_path), Wanted(ImageBatch, (4, 4)), tmp_path)
    assert [int(images.image(i)[0, 0, 0]) for i in range(3)] == [49, 130, 249]
    assert int(images.select([0]).image(0)[0, 0, 0]) == 49
    assert images.remarks == (f"{tmp_path}: images use 12 of 16 bits: 4095 is taken for white",)


@pytest.mark.parametrize(("stored", "named"), [("png", "jpg"), ("jpg", "png")])
def test_an_image_is_known_by_its_content_and_may_be_followed_by_a_film(tmp_path, stored, named):
    content = cv2.imencode(f".{stored}", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / f"a.{named}").write_bytes(content + b"\0\0\0\x18ftypmp42" + bytes(5000))
    assert image_folder(tmp_path, Wanted(ImageBatch, (4, 4))).image(0)[0, 0, 0] == 90


def test_classes_are_numbered_over_all_sources(labelled_images, tmp_path):
    write(tmp_path / "more", "bear/0.png", "dog/0.png")
    data = open_dataset([str(labelled_images), str(tmp_path / "more")], Wanted(Labelled, (4, 4)), tmp_path)
    assert data.classes == ("bear", "cat", "dog")
    assert collate(Labelled, [data.sample(i) for i in range(5)]).label.tolist() == [1, 1, 2, 0, 2]


def test_classes_that_are_numbers_are_sorted_by_value():
    assert sorted(["10", "9", "b", "a10", "2"], key=class_order) == ["2", "9", "10", "a10", "b"]


def test_single_images_refuse_what_only_recordings_have(labelled_images, tmp_path):
    with pytest.raises(InputError, match="in: single images have no depth_m, from which vit learns; give a recording"):
        image_folder(labelled_images, Wanted(WithDepth, (4, 4), method="vit"))
    with pytest.raises(InputError, match="in: single images are no clips"):
        image_folder(labelled_images, Wanted(ImageBatch, (4, 4), frames(0, 1)))


def test_nothing_to_learn_from_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images in it"):
        open_dataset([str(tmp_path / "empty")], ALONE, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        open_dataset([str(tmp_path / "nowhere")], ALONE, tmp_path)


def test_pipes_and_links_out_of_the_folder_are_left_out(tmp_path):
    write(tmp_path, "secret.png", "in/0.png")
    os.mkfifo(tmp_path / "in" / "1.png")
    (tmp_path / "in" / "2.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in" / "3.png").symlink_to(tmp_path / "in" / "0.png")
    (tmp_path / "in" / "4.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    images = image_folder(tmp_path / "in", ALONE)
    assert images.relative_names == ["0.png", "3.png"]
    (remark,) = images.remarks
    assert "3 are no files, or links out of it, such as" in remark


def test_a_folder_of_pipes_alone_says_so(tmp_path):
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(InputError, match=r"no images in it or in its folders \(1 are no files.*such as 1\.png\)"):
        image_folder(tmp_path, ALONE)


def test_the_test_part_is_one_only_beside_a_train_part_and_below_the_source():
    assert split_names(["a/train/x/1.png", "a/test/x/1.png", "a/val/1.png", "a/other/1.png"]) == [
        "train",
        "test",
        "test",
        "",
    ]
    assert split_names(["test/1.png", "cat/1.png"]) == ["", ""]
    assert split_names(["a/train/1.png", "b/test/1.png"]) == ["", ""]
    assert split_names(["train.png", "test.png"]) == ["", ""]


def test_training_leaves_the_test_folder_out_and_says_so(tmp_path):
    write(tmp_path / "test", "train/cat/0.png", "train/dog/1.png", "test/cat/2.png")
    data = open_dataset([str(tmp_path / "test")], ALONE, tmp_path)
    assert [int(data.sample(i)["images"].max()) for i in range(len(data))] == [0, 1]
    assert data.remarks == (f"{tmp_path / 'test'}: 1 images for testing are left out, 2 are learned from",)
    assert data.fingerprint() != open_source(str(tmp_path / "test"), ALONE, tmp_path).fingerprint()


def test_a_folder_called_test_on_the_way_to_the_source_does_not_decide_the_split(tmp_path):
    """Names were looked at with the whole path: all images were known and held out at once."""
    names = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(10)]
    write(tmp_path / "train" / "test", *names)
    images = open_source(str(tmp_path / "train" / "test"), ALONE, tmp_path)
    train, test = split(images.relative_names, 100, 100)
    assert len(train) == 16
    assert len(test) == 4
    assert not set(train) & set(test)


def test_evaluation_splits_by_the_folders_of_the_source():
    names = ["train/cat/0.png", "test/cat/0.png", "train/dog/1.png", "test/dog/1.png", "extra/2.png"]
    train, test = split(names, 100, 100)
    assert sorted(train) == [0, 2]
    assert sorted(test) == [1, 3]
    assert [len(part) for part in split(["a/0.png", "a/1.png", "b/2.png"], 100, 100)] == [2, 1]


def test_the_parts_of_the_data_are_no_classes(tmp_path):
    """Folders cat/train and cat/test, or train and test alone, were two classes, of which one is known and one asked for."""
    names = ["cat/train/0.png", "cat/test/1.png", "dog/train/2.png", "dog/val/3.png", "train/4.png"]
    write(tmp_path / "animals", *names)
    images = open_source(str(tmp_path / "animals"), ALONE, tmp_path)
    classes = dict(zip(images.relative_names, images.class_names(), strict=True))
    assert classes == dict(zip(names, ["cat", "cat", "dog", "dog", "train"], strict=True))
    assert sorted(images.for_training().class_names()) == ["cat", "dog", "train"]
    write(tmp_path / "plain", "train/0.png", "test/1.png")
    assert open_source(str(tmp_path / "plain"), ALONE, tmp_path).class_names() == ["plain", "plain"]


def test_the_fingerprint_tells_data_of_other_names_or_sizes_apart(tmp_path):
    write(tmp_path, "0.png", "1.png")
    before = Joined([image_folder(tmp_path, ALONE)]).fingerprint()
    assert before == Joined([image_folder(tmp_path, ALONE)]).fingerprint()
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes() + b"more")
    resized = Joined([image_folder(tmp_path, ALONE)]).fingerprint()
    (tmp_path / "1.png").rename(tmp_path / "2.png")
    assert len({str(f) for f in (before, resized, Joined([image_folder(tmp_path, ALONE)]).fingerprint())}) == 3


def test_frames_of_a_folder_of_images(labelled_images, tmp_path):
    data = open_dataset([f"{labelled_images}@frames=1:3"], ALONE, tmp_path)
    assert [int(data.sample(i)["images"][0, 0].mean()) for i in range(len(data))] == [100, 150]


def test_a_folder_of_images_is_a_recording_where_clips_are_wanted(tmp_path):
    write(tmp_path, "0.png", "1.png", "2.png")
    data = open_dataset([str(tmp_path)], Wanted(ImageBatch, (4, 4), frames(0, 1)), tmp_path)
    assert data.sample(1)["images"][:, 0, 0, 0].tolist() == [1, 2]
    assert len(open_recording(str(tmp_path))) == 3
