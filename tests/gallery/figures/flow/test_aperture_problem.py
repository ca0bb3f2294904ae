"""That each patch's windows know what the figure says, and that constraint lines are where they belong."""

import numpy as np
import pytest

from firstsight.flow.lucas_kanade import Kind
from firstsight.gallery.figures.flow import moving_patches
from firstsight.gallery.figures.flow.aperture_problem import KNOWN, constraint_lines, experiment, inside, numbers
from firstsight.gallery.figures.flow.moving_patches import BLANK, GREY, MOTION_PX, SLANTED, TEXTURE, painted, placed


def test_stripes_give_normal_flow_texture_full_flow_and_a_blank_wall_none():
    found = experiment(0.5)
    values = {metric.name: metric.value for metric in numbers(found)}
    for patch, row, column in placed():
        assert found.kind[inside(row, column, found.size)].size > 0
        assert values[f"{patch.name}: {KNOWN[patch.expected]}"] > 99
        assert patch.expected == Kind.NONE or values[f"{patch.name}: error"] < 0.1


def test_what_is_knowable_is_the_motion_along_the_gradient():
    gradient, stripe = np.array([0.5, np.sqrt(0.75)]), np.array([-np.sqrt(0.75), 0.5])
    assert SLANTED.knowable_px @ gradient == pytest.approx(gradient @ MOTION_PX)
    assert SLANTED.knowable_px @ stripe == pytest.approx(0, abs=1e-9)
    assert TEXTURE.knowable_px == pytest.approx(MOTION_PX)
    assert not BLANK.knowable_px.any()


def test_the_image_moves_as_one(monkeypatch):
    monkeypatch.setattr(moving_patches, "NOISE", 0.0)
    still, moved = (painted(40, motion, np.random.default_rng(0)) for motion in ((0.0, 0.0), (2.0, 1.0)))
    assert moved[1:, 2:] == pytest.approx(still[:-1, :-2], abs=1e-6)
    assert np.ptp(still) > 0.4
    assert still[60, 100] == pytest.approx(GREY)  # the blank wall


def test_a_constraint_line_holds_the_motions_that_explain_its_pixel():
    gradient, difference = np.array([[0.3, -0.2], [0.0, 0.1]], np.float32), np.array([0.05, -0.02], np.float32)
    for (a, b), g, d in zip(constraint_lines(gradient, difference).get_segments(), gradient, difference, strict=True):
        assert [g @ a + d, g @ b + d] == pytest.approx([0, 0], abs=1e-6)
        assert np.linalg.norm(a - b) > 4
