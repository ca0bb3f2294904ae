"""Logs as arrays: clips within episodes, over one file and over several."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.training.data.batch import collate
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.loading import batches
from firstsight.training.data.opening import open_dataset
from firstsight.training.data.wanted import Wanted, drawn, frames


class Moves(NamedTuple):
    actions: object
    goal: object


class Shown(NamedTuple):
    images: object


class Demonstrated(NamedTuple):
    actions: object
    state: object


class Numbered(NamedTuple):
    actions: object
    index: object
    starts: object


def log(path, count: int = 6, first: int = 0, **more):
    """Action of frame i is (i, -i), its goal 10 i."""
    numbers = np.arange(first, first + count, dtype=np.float64)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, actions=np.stack([numbers, -numbers], 1), goal=10 * numbers.astype(np.int64), **more)
    return path


def numbers(data) -> list[list[int]]:
    return [data.sample(i)["actions"][:, 0].astype(int).tolist() for i in range(len(data))]


def opened(path, kind=Moves, clip=frames(0), order="shuffled"):  # noqa: B008
    return open_dataset([str(path)], Wanted(kind, None, clip, order), Path("unused"))


def test_arrays_are_read_by_name_over_time(tmp_path):
    data = opened(log(tmp_path / "log.npz"), clip=frames(0, 2))
    batch = collate(Moves, [data.sample(1), data.sample(3)])
    assert batch.actions.tolist() == [[[1, -1], [3, -3]], [[3, -3], [5, -5]]]
    assert batch.goal.tolist() == [[10, 30], [30, 50]]
    assert (batch.actions.dtype, batch.goal.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("marks", [{"episode": np.array([4, 4, 4, 9, 4, 4])}, {"episode_ends": np.array([3, 4, 6])}])
def test_clips_do_not_cross_the_ends_of_episodes(tmp_path, marks):
    path = log(tmp_path / "log.npz", **marks)
    assert numbers(opened(path, clip=frames(0, 1))) == [[0, 1], [1, 2], [4, 5]]
    assert numbers(opened(path, clip=frames(-1, 0, 1))) == [[0, 1, 2]]
    assert len(opened(path, clip=drawn((0, 0), (1, 2)))) == 1
    assert opened(path, clip=frames(0)).sequence_lengths() == [3, 1, 2]


def test_each_file_of_a_folder_is_an_episode_of_its_own(tmp_path):
    log(tmp_path / "logs" / "2.npz", 3)
    log(tmp_path / "logs" / "10.npz", 2, first=50)
    data = opened(tmp_path / "logs", clip=frames(0, 1))
    assert numbers(data) == [[0, 1], [1, 2], [50, 51]]
    assert data.sequence_lengths() == [2, 1]


def test_a_source_says_what_a_field_is_called_there(tmp_path):
    np.savez(tmp_path / "log.npz", action=np.arange(3), target=np.array([7, 8, 9]), goal=np.zeros(3))
    data = opened(f"{tmp_path / 'log.npz'}@actions=action@goal=target")
    assert data.sample(2)["actions"].tolist() == [2]
    assert data.sample(2)["goal"].tolist() == [9]
    with pytest.raises(InputError, match=r"log\.npz: it has no act, from which this method learns"):
        opened(f"{tmp_path / 'log.npz'}@actions=act")
    with pytest.raises(InputError, match=r"log\.npz@action=: arrays can have actions, goal"):
        opened(f"{tmp_path / 'log.npz'}@action=action")


def test_a_stream_of_episodes_says_where_each_begins(tmp_path):
    data = opened(log(tmp_path / "log.npz", episode_ends=np.array([2, 6])), kind=Numbered, order="stream")
    read = [batch for _, batch in batches(data, seed=0, batch=2, rows=slice(0, 2), steps=range(3))]
    assert [batch.index.tolist() for batch in read] == [[0, 3], [1, 4], [2, 5]]
    assert [batch.starts.tolist() for batch in read] == [[True, True], [False, False], [True, False]]


def test_images_of_a_log_are_scaled_like_any_other(tmp_path):
    images = np.zeros((3, 4, 4, 3), np.uint8)
    images[2, ..., 1] = 9
    np.savez(tmp_path / "log.npz", images=images)
    data = open_dataset([str(tmp_path / "log.npz")], Wanted(Shown, (2, 2), frames(0, 1)), tmp_path)
    assert data.sample(1)["images"].shape == (2, 3, 2, 2)
    assert data.sample(1)["images"][:, 1, 0, 0].tolist() == [0, 9]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"states": np.zeros(3)}, "log.npz: it has no actions, from which this method learns; it has states; say with"),
        ({"actions": np.zeros(3), "goal": np.zeros(2)}, "different numbers of frames (actions 3, goal 2)"),
        ({"actions": np.zeros(3), "goal": np.array("x")}, "different numbers of frames (actions 3, goal 0)"),
        ({"actions": np.zeros(3), "goal": np.array(["a", "b", "c"])}, "log.npz: goal holds <U1, not numbers"),
        ({"actions": np.zeros(3), "goal": np.array([{}, 1, 2])}, "log.npz: not a readable .npz of plain arrays"),
        ({"actions": np.zeros(3), "goal": np.zeros(3), "episode": np.zeros(2)}, "log.npz: episode has shape (2,)"),
        (
            {"actions": np.zeros(3), "goal": np.zeros(3), "episode_ends": np.array([2])},
            "must rise to the number of frames, 3",
        ),
        ({"actions": np.zeros(3), "goal": np.zeros(3), "episode_ends": np.array([2, 2, 3])}, "must rise"),
        ({"actions": np.zeros(3), "goal": np.zeros(3), "episode_ends": np.array([])}, "must rise"),
        ({"actions": np.zeros(3), "goal": np.zeros(3), "episode_ends": np.array(3)}, "episode_ends is int64 ():"),
        ({"actions": np.zeros(3), "goal": np.zeros(3), "episode_ends": np.array([[1], [3]])}, "is int64 (2, 1):"),
        ({"actions": np.zeros(3), "goal": np.zeros(3), "episode_ends": np.array(["3"])}, "is <U1 (1,):"),
        ({"actions": np.zeros(3), "goal": np.zeros(3), "episode_ends": np.array([1.5, 3])}, "is float64 (2,):"),
        (
            {"actions": np.zeros(3), "goal": np.zeros(3), "episode_ends": np.array([2**63 - 1, -(2**63), 3])},
            "must rise to the number of frames, 3",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "log.npz", **arrays)
    with pytest.raises(InputError) as error:
        opened(tmp_path / "log.npz")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_episodes_that_are_too_short_and_damaged_files_are_one_line(tmp_path):
    path = log(tmp_path / "log.npz", 4, episode_ends=np.array([2, 4]))
    with pytest.raises(InputError, match=r"log\.npz: its longest episode has 2 frames; a sample takes 3"):
        opened(path, clip=frames(-1, 0, 1))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"log\.npz: not a readable \.npz"):
        opened(path)


def test_images_of_another_layout_are_refused(tmp_path):
    np.savez(tmp_path / "log.npz", images=np.zeros((2, 3, 4, 4), np.uint8))
    with pytest.raises(InputError, match=r"images are uint8 \(2, 3, 4, 4\); write them as uint8"):
        open_dataset([str(tmp_path / "log.npz")], Wanted(Shown, (2, 2)), tmp_path)


def test_arrays_in_memory_name_what_is_missing():
    with pytest.raises(InputError, match="toy: it has no goal, from which bc learns; it has actions"):
        Arrays(Wanted(Moves, method="bc"), {"actions": np.zeros(3)}, "toy")


def test_real_demonstrations(shared_data):
    """166 episodes of PushT, as their authors count them."""
    data = open_dataset(
        [f"{shared_data}/pusht/episodes.npz@actions=action"], Wanted(Demonstrated, None, frames(0, 1, 2)), shared_data
    )
    assert len(data) == 20378 - 2 * 166
    assert data.sequence_lengths()[:2] == [161 - 2, 279 - 161 - 2]
    assert data.sample(0)["actions"][0].tolist() == [233.0, 71.0]
