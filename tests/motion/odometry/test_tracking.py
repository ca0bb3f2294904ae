import cv2
import numpy as np
import pytest

from firstsight.motion.odometry.tracking import (
    TrackingConfig,
    Tracks,
    detect_corners,
    follow,
    follow_all,
    same_brightness,
)

CONFIG = TrackingConfig(corners=200)


def texture(height: int = 240, width: int = 320, seed: int = 0) -> np.ndarray:
    """Blurred noise: corners everywhere, each different."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def warped(image: np.ndarray, homography: np.ndarray) -> np.ndarray:
    return cv2.warpPerspective(
        image, homography, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def moved(pixels: np.ndarray, homography: np.ndarray) -> np.ndarray:
    return cv2.perspectiveTransform(pixels[:, None], homography)[:, 0]


def test_corners_are_spread_and_keep_away_from_the_taken():
    image = texture()
    corners = detect_corners(image, np.zeros((0, 2)), CONFIG)
    assert len(corners) > 150
    cells = np.floor(corners / [80, 60]).astype(int)
    assert len(np.unique(cells, axis=0)) == 16
    taken = corners[::2]
    more = detect_corners(image, taken, CONFIG)
    nearest = np.linalg.norm(more[:, None] - taken[None], axis=2).min(1)
    assert nearest.min() > 8
    assert len(taken) + len(more) <= CONFIG.corners


def test_an_image_without_structure_has_no_corners():
    assert detect_corners(np.full((100, 120), 90, np.uint8), np.zeros((0, 2)), CONFIG).shape == (0, 2)


def test_tracks_follow_a_homography_to_a_tenth_of_a_pixel():
    homography = np.array([[1.01, 0.02, 3.3], [-0.015, 0.99, -2.7], [2e-5, -1e-5, 1.0]])
    image = texture()
    corners = detect_corners(image, np.zeros((0, 2)), CONFIG)
    followed = follow(image, warped(image, homography), corners, corners, CONFIG)
    inside = ((moved(corners, homography) > 10) & (moved(corners, homography) < [309, 229])).all(1)
    assert followed.found[inside].mean() > 0.95
    errors = np.linalg.norm(followed.pixels - moved(corners, homography), axis=1)[followed.found & inside]
    assert np.median(errors) < 0.08
    assert np.percentile(errors, 95) < 0.2


@pytest.mark.parametrize(("gain", "offset"), [(0.4, 10.0), (0.7, -20.0), (1.5, 0.0), (1.0, 60.0)])
def test_tracks_survive_a_change_of_brightness(gain, offset):
    """Gain and offset between the images, cut off at black and white; all but a few corners are found, as without."""
    homography = np.array([[1.01, 0.02, 3.3], [-0.015, 0.99, -2.7], [2e-5, -1e-5, 1.0]])
    image = texture()
    corners = detect_corners(image, np.zeros((0, 2)), CONFIG)
    changed = np.clip(np.rint(gain * warped(image, homography).astype(float) + offset), 0, 255).astype(np.uint8)
    followed = follow(image, changed, corners, corners, CONFIG)
    inside = ((moved(corners, homography) > 10) & (moved(corners, homography) < [309, 229])).all(1)
    assert followed.found[inside].mean() > 0.9
    errors = np.linalg.norm(followed.pixels - moved(corners, homography), axis=1)[followed.found & inside]
    assert np.median(errors) < 0.1


def test_brightness_is_changed_only_where_it_differs():
    image = texture()
    assert same_brightness(image, warped(image, np.eye(3))) is image
    darker = np.rint(0.6 * image + 12).astype(np.uint8)
    assert np.abs(same_brightness(image, darker).astype(int) - darker).max() <= 1
    black = np.zeros_like(image)
    assert same_brightness(image, black) is image
    assert same_brightness(black, image) is black


def test_what_is_hidden_in_the_second_image_is_not_found():
    image = texture()
    hidden = image.copy()
    hidden[60:180, 80:240] = texture(seed=5)[60:180, 80:240]
    corners = detect_corners(image, np.zeros((0, 2)), CONFIG)
    followed = follow(image, hidden, corners, corners, CONFIG)
    deep = ((corners > [100, 80]) & (corners < [220, 160])).all(1)
    clear = ((corners < [60, 240]) | (corners > [260, -1])).all(1)
    assert followed.found[deep].mean() < 0.2
    assert followed.found[clear].mean() > 0.9


def test_a_guess_finds_what_moved_far():
    image = texture(seed=3)
    shift = np.array([[1.0, 0.0, 90.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    corners = detect_corners(image, np.zeros((0, 2)), CONFIG)
    corners = corners[corners[:, 0] < 200]
    there = warped(image, shift)
    with_guess = follow(image, there, corners, corners + np.array([88.0, 1.0]), CONFIG)
    assert with_guess.found.mean() > 0.95
    assert follow(image, there, corners, corners, CONFIG).found.mean() < 0.3


def test_a_wrong_expectation_is_given_up():
    image = texture()
    corners = detect_corners(image, np.zeros((0, 2)), CONFIG)
    tracks = Tracks(image, np.arange(len(corners)), corners, corners)
    followed = follow_all(tracks, image, corners + 150.0, CONFIG, 0.5)
    assert followed.found.all()
    assert np.abs(followed.pixels - corners).max() < 0.01


def test_no_tracks_are_followed_nowhere():
    image = texture()
    assert follow(image, image, np.zeros((0, 2)), np.zeros((0, 2)), CONFIG).found.shape == (0,)


def test_kept_tracks_know_how_far_they_went_since_the_keyframe():
    image = texture()
    corners = detect_corners(image, np.zeros((0, 2)), CONFIG)
    tracks = Tracks(image, np.arange(len(corners)), corners, corners)
    kept = tracks.advanced(image, corners + np.array([3.0, 4.0]), np.arange(0, len(corners), 3))
    assert kept.shift_px() == 5.0
    assert (kept.ids == np.arange(0, len(corners), 3)).all()
    assert (kept.at_keyframe == corners[::3]).all()
