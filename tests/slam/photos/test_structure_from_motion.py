"""Simulated photos give their cameras and points, real ones too; parts against slow loops; what does not fit is said."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.evaluation.trajectory import absolute_errors_m
from firstsight.gallery.figures.slam.photo_reconstruction import camera_errors_m, collected, errors_px, in_truth
from firstsight.recordings.simulated.photo_set import photo_set
from firstsight.roles.reconstruction import Lenses
from firstsight.slam.photos.features import MatchingConfig
from firstsight.slam.photos.growth import OTHER_FOCALS, register
from firstsight.slam.photos.lenses import LensGroups, lens_groups
from firstsight.slam.photos.model import Collection
from firstsight.slam.photos.pairs import pair_of
from firstsight.slam.photos.settling import narrowest_cosines
from firstsight.slam.photos.start import initial_model, start_pairs
from firstsight.slam.photos.structure_from_motion import (
    Config,
    StructureFromMotion,
    levelled,
    reconstruct,
    seen_photo,
)
from firstsight.slam.photos.tracks import joined_tracks

SIZE = (240, 320)


@pytest.fixture(scope="module")
def taken():
    return photo_set(9, SIZE)


@pytest.fixture(scope="module")
def collection(taken):
    """The focal length is not known."""
    return collected(taken, MatchingConfig())


@pytest.fixture(scope="module")
def found(collection):
    return reconstruct(collection, Config())


def extent(taken) -> float:
    return float(np.linalg.norm(np.ptp(taken.world_from_camera[:, :3, 3], axis=0)))


def test_simulated_photos_give_their_cameras(taken, found):
    rebuilt = found.reconstruction
    assert len(rebuilt.names) == 9
    assert not found.left_out
    assert found.mean_error_px < 0.4
    assert np.median(camera_errors_m(rebuilt, taken)) < 0.002 * extent(taken)
    assert rebuilt.lenses.intrinsics[0, 0, 0] == pytest.approx(taken.intrinsics[0, 0], rel=0.01)


def test_points_lie_on_the_scene(taken, found):
    """The floor is at 0, the table's top at 0.75 m, and nothing below or beyond the walls."""
    points = in_truth(found.reconstruction, taken).points_world
    assert len(points) > 500
    assert (points[:, 2] > -0.03).mean() > 0.99
    on_table = (np.abs(points[:, 0] - 0.9) < 0.4) & (np.abs(points[:, 1]) < 0.5) & (points[:, 2] < 0.8)
    assert on_table.sum() > 50
    assert np.median(np.abs(points[on_table, 2] - 0.75)) < 0.006  # 3 mm measured, from 320 pixels and 1.5 m


def test_adjustment_is_what_makes_it_exact(taken, collection, found):
    alone = reconstruct(collection, Config(adjusts=False))
    assert alone.mean_error_px > 1.2 * found.mean_error_px
    errors = [np.median(camera_errors_m(outcome.reconstruction, taken)) for outcome in (found, alone)]
    assert errors[0] < 0.5 * errors[1]


def test_no_perturbation_fits_better(found):
    rebuilt, rng = found.reconstruction, np.random.default_rng(0)
    for _ in range(3):
        moved = rebuilt.points_world + rng.normal(0, 0.01, rebuilt.points_world.shape)
        assert errors_px(rebuilt._replace(points_world=moved)).mean() > found.mean_error_px


def test_a_known_lens_is_kept(taken):
    outcome = reconstruct(collected(taken, MatchingConfig(), known=True), Config(lens="fixed"))
    assert outcome.reconstruction.lenses.intrinsics[0, 0, 0] == taken.intrinsics[0, 0]
    assert np.median(camera_errors_m(outcome.reconstruction, taken)) < 0.002 * extent(taken)


def test_results_repeat(collection, found):
    again = reconstruct(collection, Config()).reconstruction
    assert (again.world_from_camera == found.reconstruction.world_from_camera).all()
    assert (again.points_world == found.reconstruction.points_world).all()


def test_every_point_is_seen_twice_within_the_threshold_and_under_an_angle(found):
    rebuilt, seen = found.reconstruction, found.reconstruction.observations
    assert errors_px(rebuilt).max() < Config().threshold_px
    assert np.bincount(seen.point).min() >= 2
    directions = rebuilt.points_world[seen.point] - rebuilt.world_from_camera[seen.camera, :3, 3]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    order = np.argsort(seen.point, kind="stable")
    cosines = narrowest_cosines(seen.point[order], directions[order], len(rebuilt.points_world))
    assert np.degrees(np.arccos(cosines.max())) > 1.4  # towards the point, not along the sighting


def test_a_photo_through_an_unknown_lens_finds_its_focal_length(taken, collection, monkeypatch):
    """Assumed twice as long: no pose explains the photo well before other lengths are tried."""
    names, features, _, pairs = collection
    intrinsics = np.stack([taken.intrinsics, taken.intrinsics * np.array([[2, 1, 1], [1, 2, 1], [1, 1, 1]])])
    lens = (np.arange(9) == 4).astype(np.int64)
    two = LensGroups(lens, Lenses(np.array([SIZE, SIZE]), intrinsics, np.zeros((2, 2))), np.array([False, True]))
    others = [pair for pair in pairs if 4 not in (pair.a, pair.b)]
    tracks, start = (
        joined_tracks(pairs, [len(f.pixels) for f in features]),
        start_pairs(collection, others, Config())[0],
    )
    seen = []
    for tried in (OTHER_FOCALS, (1.0,)):
        monkeypatch.setattr("firstsight.slam.photos.growth.OTHER_FOCALS", tried)
        model = initial_model(Collection(names, features, two, pairs), tracks, start, Config())
        register(model, 4, Config())
        seen.append(int((model.used & (tracks.photo == 4)).sum()))
        if tried is OTHER_FOCALS:
            assert model.lenses.intrinsics[1, 0, 0] == pytest.approx(taken.intrinsics[0, 0], rel=0.25)
    assert seen[0] > 1.3 * seen[1]


def test_of_two_scenes_the_largest_is_kept_and_the_rest_said(taken, collection):
    """Photos 0 to 5, two that match each other alone, and one that matches none."""
    kept = tuple(p for p in collection.pairs if p.b < 6 or (p.a, p.b) == (6, 7))
    outcome = reconstruct(collection._replace(pairs=kept), Config())
    assert outcome.reconstruction.names == collection.names[:6]
    assert outcome.left_out == {
        "006": "belongs to another scene, of 2 photos",
        "007": "belongs to another scene, of 2 photos",
        "008": "shows nothing that another photo shows",
    }


def test_a_photo_with_false_matches_is_left_out(collection):
    rng = np.random.default_rng(0)
    pairs = [
        pair._replace(rows=np.stack([rng.permutation(pair.rows[:, 0]), pair.rows[:, 1]], 1)) if pair.b == 8 else pair
        for pair in collection.pairs
    ]
    outcome = reconstruct(collection._replace(pairs=tuple(pairs)), Config())
    assert outcome.left_out == {"008": "too few of its points agree with the others"}
    assert outcome.mean_error_px < 0.5


def test_photos_that_share_nothing_are_one_line(collection):
    with pytest.raises(InputError, match="no two photos show the same points"):
        reconstruct(collection._replace(pairs=()), Config())
    with pytest.raises(InputError, match="a step aside"):
        reconstruct(collection, Config(min_start_points=10**6))


def test_levelling_changes_no_residual_and_puts_up_where_photos_have_it(taken, found):
    rebuilt = found.reconstruction
    turn = cv2.Rodrigues(np.array([0.5, -1.2, 0.8]))[0]
    poses = rebuilt.world_from_camera.copy()
    poses[:, :3, :3] = turn @ poses[:, :3, :3]
    poses[:, :3, 3] = 7 * poses[:, :3, 3] @ turn.T + [3, 4, 5]
    elsewhere = rebuilt._replace(world_from_camera=poses, points_world=7 * rebuilt.points_world @ turn.T + [3, 4, 5])
    again = levelled(elsewhere)
    np.testing.assert_allclose(errors_px(again), errors_px(rebuilt), atol=1e-6)
    np.testing.assert_allclose(again.points_world, rebuilt.points_world, atol=1e-6)
    up = in_truth(rebuilt, taken).world_from_camera[:, :3, :3] @ np.linalg.inv(rebuilt.world_from_camera[:, :3, :3])
    assert np.degrees(np.arccos(up[0][2, 2])) < 5
    assert np.sqrt((rebuilt.world_from_camera[:, :3, 3] ** 2).sum(1).mean()) == pytest.approx(1)


@pytest.mark.slow
def test_real_photos_of_a_kitchen(shared_data):
    """7-Scenes: every sixth frame, shuffled, nothing said of the lens. The reference is KinectFusion's, of the depth camera:
    COLMAP (pycolmap 4.2.1) on the same photos is as far from it (median 0.0189 m, RMSE 0.0246 m)."""
    folder = shared_data / "seven_scenes"
    frames = np.random.default_rng(0).permutation(np.arange(0, 180, 6)).tolist()
    config, photos = MatchingConfig(), [folder / f"frame-{frame:06d}.color.jpg" for frame in frames]
    rebuilt = StructureFromMotion(replace(Config(), matching=config))(photos)
    assert len(rebuilt.names) == 30
    assert errors_px(rebuilt).mean() < 0.7
    true = np.stack([np.loadtxt(folder / name.replace("color.jpg", "pose.txt")) for name in rebuilt.names])
    errors_m = absolute_errors_m(rebuilt.world_from_camera, true, "sim3")
    assert np.median(errors_m) < 0.025  # of an extent of 0.86 m
    assert 480 < rebuilt.lenses.intrinsics[0, 0, 0] < 540  # the colour camera's, about 525 by its makers


def test_a_real_pair_has_the_motion_of_its_rig(shared_data):
    """Middlebury's cones: rectified, so that the camera moves along its x axis and does not turn."""
    photos = [shared_data / "middlebury" / "cones" / name for name in ("im2.png", "im6.png")]
    config = Config(lens="fixed")
    seen = [seen_photo(path, config.matching) for path in photos]
    groups = lens_groups([lens for _, lens in seen])
    features = tuple(found for found, _ in seen)
    pair = pair_of(0, 1, features, groups, config.matching)
    assert pair is not None
    outcome = reconstruct(Collection(("im2.png", "im6.png"), features, groups, (pair,)), config)
    left_from_right = (
        np.linalg.inv(outcome.reconstruction.world_from_camera[0]) @ outcome.reconstruction.world_from_camera[1]
    )
    along = left_from_right[:3, 3] / np.linalg.norm(left_from_right[:3, 3])
    assert outcome.mean_error_px < 0.5
    assert along[0] > np.cos(np.radians(3))
    assert np.degrees(np.linalg.norm(cv2.Rodrigues(left_from_right[:3, :3])[0])) < 1
