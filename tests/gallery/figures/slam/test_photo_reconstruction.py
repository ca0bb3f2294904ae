"""That the photo set is what it says, and that the figure's numbers say what it shows."""

import jaxtyping
import numpy as np
import pytest

from firstsight.gallery.figures.slam.photo_reconstruction import common_points, experiment, most_shared, numbers
from firstsight.recordings.simulated.photo_set import LOOKED_AT_M, photo_set


@pytest.fixture(scope="module")
def found():
    """Types and shapes are checked where the figure is drawn; here it would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        result = experiment(0.5)
    return result


def test_the_numbers_say_what_the_figure_shows(found):
    values = {metric.name: metric.value for metric in numbers(found)}
    assert values["photos placed"] == 8
    assert values["reprojection error"] < min(0.3, 0.9 * values["without adjustment"])
    assert values["camera"] < 0.5 * values["camera without adjustment"]
    assert values["focal length"] == pytest.approx(found.taken.intrinsics[0, 0], rel=0.01)


def test_the_photos_shown_share_points_that_lie_apart(found):
    rebuilt = found.adjusted.reconstruction
    shown = most_shared(found, 4)
    points = common_points(rebuilt, shown)
    assert len(set(shown)) == 4
    assert len(set(points)) == len(points) >= 5
    gaps = np.linalg.norm(rebuilt.points_world[points][:, None] - rebuilt.points_world[points], axis=-1)
    assert (gaps + np.eye(len(points))).min() > 0.2


def test_photos_show_the_table_from_where_the_truth_says():
    taken = photo_set(3, (60, 80))
    for pose in taken.world_from_camera:
        seen = taken.intrinsics @ (np.linalg.inv(pose) @ [*LOOKED_AT_M, 1])[:3]
        assert np.linalg.norm(seen[:2] / seen[2] - [39.5, 29.5]) < 20
        assert abs(pose[2, 0]) < 0.12  # held level
    assert (photo_set(3, (60, 80)).photos[1] == taken.photos[1]).all()
    assert (taken.photos[0] != taken.photos[1]).any()
