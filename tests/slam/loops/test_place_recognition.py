"""Candidates are far along the path and stand out; summaries of rendered images find the revisits of a walk."""

import numpy as np
import pytest

from firstsight.recordings.simulated import simulate
from firstsight.slam.loops.place_recognition import Config, candidates
from firstsight.slam.loops.travelled import path_length
from firstsight.slam.photos.features import MatchingConfig, photo_features
from firstsight.slam.photos.pairs import photo_summaries


def test_candidates_are_left_since_and_stand_out():
    similarity = np.full((30, 30), 0.01)
    for i in range(29):
        similarity[i + 1, i] = 0.6  # each looks like the one before
    similarity[25, 3:8] = [0.3, 0.4, 0.5, 0.4, 0.3]  # one island
    similarity[25, 23] = 0.9  # not left since
    similarity[20, 2] = 0.11  # less than a fifth of what the place before scores
    found = candidates(similarity, 0.2 * np.arange(30), Config(island=2))
    assert found.tolist() == [[5, 25]]


def test_several_candidates_of_one_place_come_best_first():
    similarity = np.zeros((20, 20))
    similarity[19, [1, 6, 11]] = [0.3, 0.5, 0.4]
    assert candidates(similarity, np.arange(20.0), Config(per_place=2)).tolist() == [[6, 19], [11, 19]]


@pytest.fixture(scope="module")
def walk() -> tuple[np.ndarray, np.ndarray]:
    """Similarities of frames of a walk that comes back, and the true poses."""
    recording = simulate("rooms", frames=320, height=120, width=160)
    frames = [*range(0, 24, 6), *range(40, 280, 20), *range(290, 320, 6)]
    config = MatchingConfig(max_features=400, contrast=0.01)
    features = [photo_features(recording[frame].image(), config) for frame in frames]
    summaries = photo_summaries(features, 32)
    assert recording.truth.world_from_camera is not None
    return summaries @ summaries.T, recording.truth.world_from_camera[frames]


def test_revisits_of_a_walk_are_found(walk: tuple[np.ndarray, np.ndarray]):
    similarity, poses = walk
    found = candidates(similarity, path_length(poses, np.full(len(poses), 3.0)), Config())
    for revisit in range(len(poses) - 5, len(poses) - 1):  # each passes within a step of one of the first frames
        best = next(a for a, b in found.tolist() if b == revisit)
        assert np.linalg.norm(poses[best, :3, 3] - poses[revisit, :3, 3]) < 0.5
