"""The bilateral mean against a plain loop, at an edge, and as the last step that makes a corrupted map better."""

import cv2
import numpy as np
import pytest

from firstsight.matching.selection.consistency import MatchClass, classify
from firstsight.matching.selection.filling import fill_classified
from firstsight.matching.selection.smoothing import bilateral, gaussian


def plain_bilateral(position: np.ndarray, guide: np.ndarray, sigma_px: float, threshold: float) -> np.ndarray:
    height, width = position.shape
    radius = int(np.ceil(3 * sigma_px))
    smooth = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        total = weight = 0.0
        for v in range(max(y - radius, 0), min(y + radius + 1, height)):
            for u in range(max(x - radius, 0), min(x + radius + 1, width)):
                if abs(float(guide[v, u]) - float(guide[y, x])) < threshold:
                    w = np.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * sigma_px**2))
                    total, weight = total + w * position[v, u], weight + w
        smooth[y, x] = total / weight
    return smooth


@pytest.mark.parametrize("sigma_px", [0.3, 1.2, 1.9])  # windows of 3, 9 and 13, smaller and larger than the image
@pytest.mark.parametrize("kind", ["disparity", "float image", "uint8 image"])
def test_equals_a_plain_loop(sigma_px, kind):
    generator = np.random.default_rng(0)
    position = (generator.random((11, 19)) * 20).astype(np.float32)
    image = generator.integers(0, 256, position.shape).astype(np.uint8)
    guide = {"disparity": position, "float image": (image / 255).astype(np.float32), "uint8 image": image}[kind]
    threshold = {"disparity": 5.0, "float image": 0.301, "uint8 image": 60.0}[kind]
    expected = plain_bilateral(position, guide, sigma_px, threshold)
    np.testing.assert_allclose(bilateral(position, guide, sigma_px, threshold), expected, rtol=1e-5)


def test_the_published_window():
    assert gaussian(5.99).shape == (37, 37)
    assert gaussian(4.64).shape == (29, 29)
    assert gaussian(4.64)[14, 14] == 1


def noisy_step() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, truth with noise, and an image that is dark before and bright behind the edge."""
    truth = np.full((40, 60), 10, np.float32)
    truth[:, 25:] = 30
    noise = np.random.default_rng(1).normal(0, 0.3, truth.shape)
    return truth, (truth + noise).astype(np.float32), np.where(truth > 20, 200, 40).astype(np.uint8)


@pytest.mark.parametrize("by_image", [False, True])
def test_noise_goes_and_the_edge_stays(by_image):
    truth, noisy, image = noisy_step()
    smooth = bilateral(noisy, image if by_image else noisy)
    assert np.abs(smooth - truth).max() < 0.1
    assert np.abs(noisy - truth).max() > 0.9


def test_a_guide_without_the_edge_blurs_it():
    truth, noisy, image = noisy_step()
    assert np.abs(bilateral(noisy, np.zeros_like(image)) - truth).max() > 5


def test_constants_stay():
    constant = np.full((20, 30), 12.25, np.float32)
    np.testing.assert_array_equal(cv2.medianBlur(constant, 5), constant)
    np.testing.assert_allclose(bilateral(constant, constant), constant, rtol=3e-6)


def corrupted_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A square before a wall: true disparity, what a matcher might say of it, and disparity of the right image.

    Noise of 0.3 px everywhere; a tenth of the pixels, blocks of them, and all that only one camera sees are random.
    """
    generator = np.random.default_rng(2)
    truth, of_right = np.full((100, 200), 12, np.float32), np.full((100, 200), 12, np.uint16)
    truth[30:70, 90:150], of_right[30:70, 60:120] = 30, 30
    wrong = (generator.random(truth.shape) < 0.1) | (generator.random((20, 40)) < 0.05).repeat(5, 0).repeat(5, 1)
    wrong[30:70, 72:90], wrong[:, :12] = True, True
    disparity = np.where(wrong, generator.random(truth.shape) * 64, truth + generator.normal(0, 0.3, truth.shape))
    return truth, disparity.astype(np.float32), of_right


def test_every_step_makes_a_corrupted_map_better():
    truth, disparity, of_right = corrupted_scene()
    classes = classify(disparity, of_right, 1.0, 64)
    correct_only = np.where(classes == MatchClass.CORRECT, disparity, 0)
    filled = fill_classified(disparity, classes)
    median = cv2.medianBlur(filled, 5)
    steps = [correct_only, filled, median, bilateral(median, median)]
    mean_error_px = [float(np.abs(step - truth).mean()) for step in steps]
    assert mean_error_px == sorted(mean_error_px, reverse=True)
    np.testing.assert_allclose(mean_error_px, [3.33, 0.236, 0.0954, 0.0467], rtol=0.02)
    bad_share = [float(np.mean(np.abs(step - truth) > 1)) for step in steps]
    # the median costs the square's four corners a pixel each
    np.testing.assert_allclose(bad_share, [0.228, 0.00085, 0.00105, 0.00105], rtol=0.02)
