"""Light, sharpness and what images hold."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from firstsight.doctor import images
from firstsight.doctor.samples import GreyImage, Samples, grey_image


def blur_by_loops(image: np.ndarray, half: int = 5) -> float:
    """Equations 1 to 6 of Crete et al., pixel by pixel, with the image mirrored at its border as cv2.blur does."""
    height, width = image.shape
    values = []
    for vertical in (True, False):
        again = np.empty_like(image)
        for y in range(height):
            for x in range(width):
                total = 0.0
                for k in range(-half, half + 1):
                    i, j = (y + k, x) if vertical else (y, x + k)
                    i, j = abs(i), abs(j)
                    i, j = (2 * (height - 1) - i if i >= height else i), (2 * (width - 1) - j if j >= width else j)
                    total += image[i, j]
                again[y, x] = total / (2 * half + 1)
        kept = lost = 0.0
        for y in range(1 if vertical else 0, height):
            for x in range(0 if vertical else 1, width):
                before = (y - 1, x) if vertical else (y, x - 1)
                sharp, blurred = abs(image[y, x] - image[before]), abs(again[y, x] - again[before])
                kept += sharp
                lost += max(0.0, sharp - blurred)
        values.append((kept - lost) / kept)
    return max(values)


def with_grey(samples: Samples, change) -> Samples:
    """The samples with every image's grey values changed."""
    return replace(samples, images={f: p._replace(grey=change(p.grey)) for f, p in samples.images.items()})


def test_blur_effect_against_loops():
    image = np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)
    assert images.blur_effect(image) == pytest.approx(blur_by_loops(image.astype(np.float64)), abs=1e-4)


def test_blur_grows_with_blurring(rooms_samples: Samples):
    grey = next(iter(rooms_samples.images.values())).grey
    blurs = [images.blur_effect(cv2.GaussianBlur(grey, (0, 0), sigma)) for sigma in (0.1, 1.0, 2.0, 4.0)]
    assert blurs == sorted(blurs)
    assert blurs[0] < images.BLURRED < blurs[-1]


def test_blurred_recordings_are_noted(rooms_samples: Samples):
    assert images.sharpness(rooms_samples).verdict == "ok"
    blurred = with_grey(rooms_samples, lambda grey: cv2.GaussianBlur(grey, (0, 0), 5.0))
    assert images.sharpness(blurred).verdict == "note"


def test_exposure(rooms_samples: Samples):
    assert images.exposure(rooms_samples).verdict == "ok"
    dark = with_grey(rooms_samples, lambda grey: grey // 12)
    assert "too dark" in images.exposure(dark).advice
    bright = {f: p._replace(bright=0.5) for f, p in rooms_samples.images.items()}
    assert "overexposed" in images.exposure(replace(rooms_samples, images=bright)).advice


def test_flicker(rooms_samples: Samples):
    halved = {f: p._replace(grey=p.grey // 2 if f % 2 else p.grey) for f, p in rooms_samples.images.items()}
    assert "brightness jumps" in images.exposure(replace(rooms_samples, images=halved)).advice


def test_an_image_keeps_what_was_clipped_and_its_colour():
    image = np.zeros((480, 1280, 3), np.uint8)
    image[:, 320:] = 255
    image[:, 640:] = (200, 100, 50)
    grey: GreyImage = grey_image(image)
    assert grey.grey.shape == (240, 640)
    assert (grey.dark, grey.bright) == (0.25, 0.25)
    assert grey.colour == pytest.approx(75.0)
