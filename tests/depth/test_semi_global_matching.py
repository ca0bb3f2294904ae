"""The stereo method: exact scenes, OpenCV beside it, real pairs with truth."""

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from firstsight.depth.semi_global_matching import Config, CrossBased, SemiGlobalMatching
from firstsight.errors import InputError
from firstsight.geometry.images import to_grey, to_tensor
from firstsight.matching.aggregation.penalties import Penalties
from firstsight.matching.costs.absolute_difference import AbsoluteDifference
from firstsight.matching.costs.normalised_correlation import NormalisedCorrelation
from firstsight.roles import Disparity

HEIGHT, WIDTH = 80, 240


def dots(seed: int, width: int = WIDTH) -> np.ndarray:
    """Smooth random texture (height, width), float32 grey values."""
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, width)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 1.0)
    return (127 + 55 * texture / texture.std()).clip(0, 255)


def pair_of(right: np.ndarray, disparity: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The stereo pair whose left image shows right(x - disparity)."""
    y, x = np.mgrid[:HEIGHT, : right.shape[1]].astype(np.float32)
    left = cv2.remap(right, x - disparity.astype(np.float32), y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return tuple(to_tensor(np.dstack([image.clip(0, 255).astype(np.uint8)] * 3)) for image in (left, right))


def two_planes() -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """A square at 24 px before a wall at 8 px: the pair, the disparity, and the wall's strip that the right camera misses."""
    wall, square = dots(1), dots(2)
    left, right = np.roll(wall, 8, axis=1), wall.copy()
    left[20:60, 100:160] = square[20:60, 100:160]
    right[20:60, 76:136] = square[20:60, 100:160]
    truth = np.full((HEIGHT, WIDTH), 8.0)
    truth[20:60, 100:160] = 24
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[20:60, 84:100] = True
    left, right = (to_tensor(np.dstack([image.astype(np.uint8)] * 3)) for image in (left, right))
    return left, right, truth, hidden


def bad_share(disparity: np.ndarray, truth: np.ndarray, where: np.ndarray, threshold_px: float = 1.0) -> float:
    return float((np.abs(disparity - truth)[where] > threshold_px).mean())


def maps(estimate: Disparity) -> tuple[np.ndarray, np.ndarray]:
    return estimate.disparity[0, 0].numpy(), estimate.valid[0, 0].numpy()


@pytest.mark.parametrize("paths", [4, 8])
def test_slanted_plane_to_a_fraction_of_a_pixel(paths):
    truth = np.broadcast_to(np.linspace(6, 26, WIDTH), (HEIGHT, WIDTH))
    disparity, valid = maps(SemiGlobalMatching(Config(max_disparity_px=32, paths=paths))(*pair_of(dots(0), truth)))
    inner = valid.copy()
    inner[:, :32] = False
    assert inner[:, 32:].mean() > 0.95
    assert np.median(np.abs(disparity - truth)[inner]) < 0.15
    assert bad_share(disparity, truth, inner) < 0.01


def test_half_occlusion_is_not_valid_but_guessed_as_background():
    left, right, truth, hidden = two_planes()
    disparity, valid = maps(SemiGlobalMatching(Config(max_disparity_px=32))(left, right))
    assert valid[hidden].mean() < 0.1
    assert bad_share(disparity, truth, hidden) < 0.1
    seen = ~hidden
    seen[:, :32] = False
    assert valid[seen].mean() > 0.95
    assert bad_share(disparity, truth, seen & valid) < 0.01


def test_pixels_whose_match_lies_outside_the_right_image_are_not_valid():
    left, right, _, _ = two_planes()
    _, valid = maps(SemiGlobalMatching(Config(max_disparity_px=32))(left, right))
    assert valid[:, :7].mean() < 0.005  # a chance match within reach may pass the check


def test_exposure_of_one_camera_changes_little():
    left, right, truth, hidden = two_planes()
    match = SemiGlobalMatching(Config(max_disparity_px=32))
    disparity, valid = maps(match(left, 0.1 + 0.6 * right))
    seen = valid & ~hidden
    assert seen[:, 32:].mean() > 0.85
    assert bad_share(disparity, truth, seen) < 0.01


def test_agrees_with_opencv():
    left, right, _, hidden = two_planes()
    peer = cv2.StereoSGBM_create(0, 32, 3, 72, 288, 1, 63, 10, 100, 2, cv2.STEREO_SGBM_MODE_HH)
    theirs = peer.compute(to_grey(left), to_grey(right)).astype(np.float32) / 16
    ours, valid = maps(SemiGlobalMatching(Config(max_disparity_px=32))(left, right))
    both = valid & (theirs >= 0) & ~hidden
    assert both.mean() > 0.7
    assert bad_share(ours, theirs, both) < 0.01


def test_pickled_it_is_small_and_does_the_same():
    left, right, _, _ = two_planes()
    match = SemiGlobalMatching(Config(max_disparity_px=32))
    before = match(left, right)
    frozen = pickle.dumps(match)
    assert len(frozen) < 10_000
    torch.testing.assert_close(pickle.loads(frozen)(left, right).disparity, before.disparity)


def test_the_range_follows_the_image_width():
    """An eighth of 480 px reaches 60 px and is rounded up to 64 candidates: 50 px is found."""
    right = dots(4, width=480)
    truth = np.full((HEIGHT, 480), 50.0)
    disparity, valid = maps(SemiGlobalMatching()(*pair_of(right, truth)))
    inner = np.zeros(truth.shape, bool)
    inner[:, 70:] = True
    assert valid[inner].mean() > 0.95
    assert bad_share(disparity, truth, inner & valid) < 0.01


@pytest.mark.parametrize(
    "settings",
    [
        {"max_disparity_px": 0},
        {"penalties": Penalties(p2=70_000)},
    ],
)
def test_impossible_settings_are_named(settings):
    with pytest.raises(InputError):
        SemiGlobalMatching(Config(**settings))


def middlebury(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Left and right RGB, true disparity (0: unknown), and how many disparities to try."""
    if name == "motorcycle":
        truth = np.load(folder / "motorcycle_disp.npz")
        truth = np.nan_to_num(truth[truth.files[0]], posinf=0.0).astype(np.float32)
        left, right, candidates = folder / "motorcycle_left.png", folder / "motorcycle_right.png", 96
    else:
        truth = cv2.imread(str(folder / "cones" / "disp2.pgm"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 4
        left, right, candidates = folder / "cones" / "im2.png", folder / "cones" / "im6.png", 64
    left, right = (cv2.imread(str(path))[:, :, ::-1].copy() for path in (left, right))
    return left, right, truth, candidates


@pytest.mark.parametrize("name", ["motorcycle", "cones"])
def test_real_pairs_with_fewer_errors_than_opencv_where_it_answers(shared_data, name):
    left, right, truth, candidates = middlebury(shared_data / "middlebury", name)
    ours, valid = maps(SemiGlobalMatching(Config(max_disparity_px=candidates))(to_tensor(left), to_tensor(right)))
    peer = cv2.StereoSGBM_create(0, candidates, 3, 72, 288, 1, 63, 10, 100, 2, cv2.STEREO_SGBM_MODE_HH)
    theirs = peer.compute(*(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (left, right))) / 16
    answered = (theirs >= 0) & (truth > 0)
    assert bad_share(ours, truth, answered, 2) <= bad_share(theirs, truth, answered, 2)
    assert valid[truth > 0].mean() > answered[truth > 0].mean()
    assert bad_share(ours, truth, valid & (truth > 0), 2) < 0.05


def test_simulated_street_below_five_percent():
    simulated = pytest.importorskip("firstsight.recordings.simulated")
    recording = simulated.simulate("street", frames=2)
    images = (to_tensor(recording.images[name][0]) for name in recording.rig.stereo)
    disparity, valid = maps(SemiGlobalMatching()(*images))
    truth = recording.truth.disparity[0]
    wrong = ~valid | (np.abs(disparity - truth.disparity) > 1)
    assert wrong[truth.visible].mean() < 0.05


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cross_based": CrossBased(passes=2, length_px=5)},
        {"cost": AbsoluteDifference(), "penalties": Penalties(), "outside": "none"},
        {"cost": NormalisedCorrelation(), "penalties": Penalties(p1=0.4, p2=4.0), "paths": 16},
    ],
    ids=["census", "cross-based", "absolute difference", "correlation"],
)
def test_any_cost_finds_the_planes_and_strips_change_nothing(settings):
    left, right, truth, hidden = two_planes()
    config = Config(max_disparity_px=32, **settings)
    disparity, valid = maps(SemiGlobalMatching(config)(left, right))
    seen = ~hidden
    seen[:, :32] = False
    assert valid[seen].mean() > 0.9
    assert bad_share(disparity, truth, seen & valid) < 0.01
    in_strips = maps(SemiGlobalMatching(replace(config, volume_bytes=2**18))(left, right))
    np.testing.assert_array_equal(in_strips[0], disparity)
    np.testing.assert_array_equal(in_strips[1], valid)


@pytest.mark.parametrize(
    ("settings", "worst"),
    [({"filling": "classified"}, 0.01), ({"sub_pixel": "parabola"}, 0.01), ({"bilateral_px": 1.5}, 0.03)],
)
def test_other_ways_to_finish(settings, worst):
    """The bilateral mean is led by the image, whose random dots know no edge between the planes."""
    left, right, truth, hidden = two_planes()
    disparity, valid = maps(SemiGlobalMatching(Config(max_disparity_px=32, **settings))(left, right))
    seen = valid & ~hidden
    seen[:, :32] = False
    assert bad_share(disparity, truth, seen) < worst
    assert bad_share(disparity, truth, hidden) < 0.1


def test_equal_images_have_no_disparity_and_no_batch_is_one_line():
    """Depth would be infinite: no answer. The image is no flat grey alone, so that its matches are sure."""
    grey = np.random.default_rng(0).integers(0, 256, (24, 96, 1), np.uint8).repeat(3, 2)
    for image in (grey, np.full((24, 96, 3), 128, np.uint8)):
        assert not SemiGlobalMatching(Config(max_disparity_px=32))(image, image).valid.any()
    with pytest.raises(InputError, match=r"StereoEstimator: left: .*shape \(0, 3, 24, 96\)"):
        SemiGlobalMatching()(torch.zeros(0, 3, 24, 96), torch.zeros(0, 3, 24, 96))
