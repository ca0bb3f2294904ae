"""The pair of the correlation volume moves as it says, and patches tell it."""

import numpy as np

from firstsight.gallery.figures.flow.correlation_volume import PATCHES, SINGLE, experiment, mosaic, numbers, points


def test_the_flow_is_that_of_ground_and_shape():
    pair = experiment().pair
    np.testing.assert_allclose(pair.flow[:, ~pair.on_shape].T, [[1, 0]] * int((~pair.on_shape).sum()), atol=1e-6)
    np.testing.assert_allclose(pair.flow[:, pair.on_shape].T, [[-3, 2]] * int(pair.on_shape.sum()), atol=1e-6)
    assert 0.08 < pair.on_shape.mean() < 0.5


def test_patches_tell_the_motion_and_single_pixels_less():
    measured = {metric.name: metric.value for metric in numbers(experiment())}
    assert measured[f"best displacement is right, {PATCHES}"] > 85
    assert measured[f"best displacement is right, {SINGLE}"] < 0.8 * measured[f"best displacement is right, {PATCHES}"]


def test_tiles_lie_where_their_displacement_says():
    """The ground's motion (1, 0) is in the fifth row, sixth column; there the ground agrees with itself."""
    found = experiment()
    height, width = found.pair.flow.shape[1:]
    tiles = mosaic(found.scores[PATCHES])
    tile = tiles[4 * (height + 2) :, 5 * (width + 2) :][:height, :width]
    x, y = points(found.pair)["ground"]
    assert tile[y, x] > 0.95
    assert tile[found.pair.on_shape].mean() < 0.6
