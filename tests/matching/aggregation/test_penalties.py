"""The rules for jumps: their curves, and settings that cannot work. Their effect is tested in test_semi_global.py."""

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.matching.aggregation.penalties import Penalties, TwoImagePenalties


def test_p2_falls_with_contrast_but_not_below_p1():
    p2 = Penalties(p1=16, p2=160, contrast=12.0).p2_of_difference()
    assert p2[[0, 12, 255]].tolist() == [160, 80, 16]
    assert (np.diff(p2) <= 0).all()


def test_the_papers_rule_divides_by_the_difference():
    p2 = Penalties(p1=16, p2=160, adapt="inverse").p2_of_difference()
    assert p2[[0, 1, 2, 5, 10, 200]].tolist() == [160, 160, 80, 32, 16, 16]


def test_paper_and_released_code_differ_in_what_is_cheaper_on_vertical_paths():
    steps = np.array([(1, 0), (0, 1), (0, -1)])
    printed, released = (
        TwoImagePenalties(p1=12, vertical=2, as_released=code).table(steps).values for code in (False, True)
    )
    assert printed[:, 0, 0, :2].tolist() == [[12, 12], [6, 6], [6, 6]]
    assert released[:, 0, 0, :2].tolist() == [[12, 12], [6, 12], [12, 6]]


@pytest.mark.parametrize("values", [{"p1": 20, "p2": 10}, {"p1": -1}, {"contrast": 0.0}])
def test_penalties_that_cannot_work_are_named(values):
    with pytest.raises(InputError, match="p1="):
        Penalties(**values)


@pytest.mark.parametrize("values", [{"p1": 20, "p2": 10}, {"one_edge": 0.5}, {"vertical": 0.0}])
def test_two_image_penalties_that_cannot_work_are_named(values):
    with pytest.raises(InputError, match="one_edge="):
        TwoImagePenalties(**values)
