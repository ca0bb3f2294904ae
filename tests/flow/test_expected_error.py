"""The error that a flow tells of itself, against values by hand and against the error that it has."""

import cv2
import numpy as np
import pytest

from firstsight.flow.dense_inverse_search import DenseInverseSearch
from firstsight.flow.expected_error import expected_error_px, smaller_eigenvalue
from firstsight.geometry.images import to_tensor


def ramps() -> np.ndarray:
    """Grey levels that climb by 3 a px to the right, and in the lower half by 4 a px downwards as well."""
    y, x = np.mgrid[:60, :40]
    return (3 * x + np.where(y < 30, 0, 4 * (y - 30))).astype(np.uint8)


def test_the_smaller_eigenvalue_is_that_of_the_lesser_direction():
    """One gradient alone, of whatever direction, leaves an eigenvalue of 0; so does none."""
    assert smaller_eigenvalue(ramps())[15, 20] == pytest.approx(0, abs=1e-3)
    assert smaller_eigenvalue(ramps())[45, 20] == pytest.approx(0, abs=1e-2)
    crossed = np.zeros((60, 60), np.uint8)
    crossed[20:41, :] = (np.arange(21) * 6)[:, None]  # 6 a px down
    crossed[:, 30:] = (np.arange(30) * 2)[None]  # 2 a px to the right
    assert smaller_eigenvalue(crossed)[50, 50] == pytest.approx(0, abs=1e-3)
    assert smaller_eigenvalue(crossed)[30, 28] > 1


def test_the_error_is_half_of_the_gap_where_texture_is_plenty():
    grey = np.random.default_rng(1).integers(0, 255, (40, 50)).astype(np.uint8)
    gap, valid = np.full((40, 50), 0.8, np.float32), np.ones((40, 50), bool)
    np.testing.assert_allclose(expected_error_px(grey, gap, valid)[10:30, 10:40], 0.4, atol=0.01)
    valid[:, 25:] = False
    gap[:, 25:] = 6
    error = expected_error_px(grey, gap, valid)
    np.testing.assert_allclose(
        error[10:30, 10:25], 0.4, atol=0.01, err_msg="what is not valid says nothing of its neighbours"
    )
    np.testing.assert_allclose(error[10:30, 25:40], 3.0, atol=0.01)


def test_without_texture_nothing_is_certain():
    """0.6 grey levels over the root of the least eigenvalue, 0.001."""
    flat, none = np.full((30, 30), 90, np.uint8), np.zeros((30, 30), np.float32)
    np.testing.assert_allclose(expected_error_px(flat, none, none == 0), 0.6 / np.sqrt(1e-3), rtol=1e-5)


def test_where_the_flow_says_that_it_errs_it_errs_more():
    """A textured image with a blank part, all of it moved by (5, -3) px."""
    noise = np.random.default_rng(2).uniform(0, 255, (150, 220, 3)).astype(np.float32)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
    image[50:100, 80:150] = 128
    image = image.astype(np.uint8)
    flow, valid, error_px = DenseInverseSearch()(to_tensor(image[10:130, 10:210]), to_tensor(image[13:133, 5:205]))
    wrong = np.linalg.norm(flow[0].permute(1, 2, 0).numpy() - [5, -3], axis=-1)[12:-12, 12:-12]
    told, seen = error_px[0, 0].numpy()[12:-12, 12:-12], valid[0, 0].numpy()[12:-12, 12:-12]
    sure = seen & (told < 0.1)
    assert sure.mean() > 0.4
    assert np.median(told[40:70, 70:110]) > 1, "in the blank part"
    assert wrong[sure].mean() < 0.1
    assert wrong[seen & (told > 0.5)].mean() > 2 * wrong[sure].mean()
