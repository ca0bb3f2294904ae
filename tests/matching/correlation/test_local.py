"""Correlation over a window, against loops, numbers counted by hand and the slow reference."""

import pytest
import torch
import torch.nn.functional as F

from firstsight.errors import InputError
from firstsight.matching.correlation.local import Window, by_shifts, correlation

WINDOWS = [
    Window.square(2),
    Window.square(3, 2),
    Window.disparities(21),
    Window((-1, 3), (-6, -2)),
    Window((2, 3), (1, 5), -2),
    Window((0, 0), (40, 41)),
]


def random_maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for _ in "ab"]


def test_displacements_go_row_by_row():
    assert Window.square(1).displacements == [
        (-1, -1), (0, -1), (1, -1), (-1, 0), (0, 0), (1, 0), (-1, 1), (0, 1), (1, 1)
    ]  # fmt: skip
    assert Window.disparities(3).displacements == [(0, 0), (-1, 0), (-2, 0)]
    assert Window((1, 2), (-1, 0), 3).displacements == [(-3, 3), (0, 3), (-3, 6), (0, 6)]
    assert len(Window.square(10, 2).displacements) == 441, "FlowNetC: 21 x 21 displacements up to 20 px"


def test_scores_counted_by_hand():
    """Two channels, a row of three pixels: the mean over the channels, 0 where the other pixel lies outside."""
    a = torch.tensor([[[[1.0, 2, 3]], [[0.0, 1, -1]]]])
    b = torch.tensor([[[[4.0, 5, 6]], [[2.0, -2, 8]]]])
    expected = [
        [0, (2 * 4 + 1 * 2) / 2, (3 * 5 + 1 * 2) / 2],  # one to the left
        [(1 * 4) / 2, (2 * 5 - 2) / 2, (3 * 6 - 8) / 2],
        [(1 * 5) / 2, (2 * 6 + 8) / 2, 0],  # one to the right
    ]
    found = correlation(a, b, Window((0, 0), (-1, 1)))
    assert found[0, :, 0].tolist() == expected


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("channels", [1, 6])
def test_kernels_equal_loops(window: Window, channels: int):
    a, b = (maps.detach() for maps in random_maps(2, channels, 7, 19))
    found = correlation(a, b, window)
    for k, (dx, dy) in enumerate(window.displacements):
        for y, x in ((0, 0), (3, 5), (6, 18), (2, 17), (5, 1)):
            inside = 0 <= y + dy < 7 and 0 <= x + dx < 19
            expected = (a[:, :, y, x] * b[:, :, y + dy, x + dx]).mean(1) if inside else torch.zeros(2)
            torch.testing.assert_close(found[:, k, y, x], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("shape", [(2, 5, 6, 37), (1, 8, 9, 16)])
def test_derivatives_equal_those_of_the_reference(window: Window, shape: tuple[int, ...]):
    a, b = random_maps(*shape)
    expected, found = by_shifts(a, b, window), correlation(a, b, window)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    arriving = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    for by, reference in zip(
        torch.autograd.grad(found, (a, b), arriving), torch.autograd.grad(expected, (a, b), arriving), strict=True
    ):
        torch.testing.assert_close(by, reference, atol=1e-5, rtol=1e-5)


def test_the_reference_in_double_precision():
    a, b = random_maps(1, 3, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: correlation(a, b, Window((-1, 0), (0, 2))), (a, b))


def test_several_threads_give_the_same_bits():
    a, b = random_maps(1, 6, 11, 20)
    window, threads = Window.square(2), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = correlation(a, b, window)
        torch.set_num_threads(3)
        three = correlation(a, b, window)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, three)


def test_its_own_shift_is_where_a_map_agrees_best():
    """A map moved by (3, -2): the features of (x, y) are at (x + 3, y - 2) in the other one."""
    a, window = F.normalize(random_maps(1, 16, 12, 30)[0], dim=1), Window.square(4)
    scores = correlation(a, torch.roll(a, (-2, 3), (2, 3)), window)[:, :, 4:8, 4:26]
    best = scores.argmax(1)
    assert (best == window.displacements.index((3, -2))).all()


def test_a_cost_volume_of_stereo():
    """Right (x - d) against left (x), as `MatchingCost.fill` has it: the disparity is 5 everywhere."""
    left = F.normalize(random_maps(1, 16, 3, 40)[0], dim=1)
    right = torch.roll(left, -5, 3)
    assert (correlation(left, right, Window.disparities(9))[0, :, :, 10:].argmax(0) == 5).all()


@pytest.mark.parametrize("wrong", [(1, 4, 6, 20), (1, 3, 6, 21)])
def test_maps_of_two_shapes_are_one_line(wrong: tuple[int, ...]):
    with pytest.raises(InputError, match=r"^correlation: maps of \(1, 3, 6, 20\) and .*; give two of one shape$"):
        correlation(torch.zeros(1, 3, 6, 20), torch.zeros(wrong), Window.square(1))


@pytest.mark.parametrize("arguments", [((1, 0), (0, 0), 1), ((0, 0), (3, 2), 1), ((0, 0), (0, 0), 0)])
def test_a_window_without_displacements_is_one_line(arguments):
    with pytest.raises(InputError, match="first row and column before the last, and a step other than 0"):
        Window(*arguments)
