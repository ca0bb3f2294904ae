import numpy as np

from firstsight.motion.regions import keep, label, open_share

SHAPE = (20, 30)


def flat() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log depth, residual and known of a scene without structure."""
    return np.zeros(SHAPE, np.float32), np.zeros((*SHAPE, 2), np.float32), np.ones(SHAPE, bool)


def test_connected_pixels_share_a_label():
    mask = np.zeros(SHAPE, bool)
    mask[2:6, 2:8] = mask[10:15, 3:6] = mask[5:8, 7:9] = True
    labels = label(mask, *flat(), 0.2, 5.0)
    assert labels.max() == 2
    assert np.array_equal(labels > 0, mask)
    assert labels[2, 2] == labels[7, 8] != labels[12, 4]


def test_diagonal_neighbours_are_not_connected():
    mask = np.zeros(SHAPE, bool)
    mask[2, 2] = mask[3, 3] = True
    assert label(mask, *flat(), 0.2, 5.0).max() == 2


def test_steps_of_depth_and_of_known_motion_separate():
    mask = np.ones(SHAPE, bool)
    log_depth, residual, known = flat()
    log_depth[:, 10:] = 0.5
    residual[:, 20:, 1] = 9
    assert label(mask, log_depth, residual, known, 0.2, 5.0).max() == 3
    known[:, 20] = False
    assert label(mask, log_depth, residual, known, 0.2, 5.0).max() == 2


def test_a_patch_of_a_larger_surface_is_open_and_an_object_is_not():
    labels = np.zeros(SHAPE, np.int32)
    labels[5:12, 4:10], labels[5:12, 18:24] = 1, 2
    log_depth, _, still = flat()
    log_depth[labels == 2] = -0.5
    still[labels > 0] = False
    shares = open_share(labels, log_depth, still)
    assert shares[1] > 0.9
    assert shares[2] == 0
    kept = keep(labels, shares < 0.3)
    assert set(np.unique(kept)) == {0, 2}


def test_nothing_stays_nothing():
    labels = label(np.zeros(SHAPE, bool), *flat(), 0.2, 5.0)
    assert not labels.any()
    assert keep(labels, open_share(labels, *flat()[::2]) < 0.3).max() == 0
