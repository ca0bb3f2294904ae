"""Paint by hand: with noise that is equal everywhere each pattern is arithmetic, and noise that climbs shows where it is read."""

import numpy as np
import pytest

from firstsight.recordings.simulated.textures import (
    albedo,
    books,
    bricks,
    facade,
    fractal_noise,
    lattice_noise,
    noise_table,
    octave,
    picture,
    planks,
    road,
    sky_colour,
    tiles,
)

PAINT = (0.2, 0.4, 0.6)
SHARP = 0.001


def even(value: float = 0.0, **cells: float) -> np.ndarray:
    """Noise of one value but in the named lattice places, `at_3_5=-0.6` for row 3, column 5."""
    noise = np.full((256, 256), value, np.float32)
    for name, other in cells.items():
        _, row, column = name.split("_")
        noise[int(row), int(column)] = other
    return noise


def climbing() -> np.ndarray:
    """Row plus a thousandth of the column."""
    return (np.arange(256)[:, None] + np.arange(256) / 1000).astype(np.float32)


def mixed(share: float, other: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(a + share * (b - a) for a, b in zip(PAINT, other, strict=True))


def is_(colour: tuple[float, ...], expected: tuple[float, ...]) -> bool:
    return colour == pytest.approx(expected, abs=2e-6)


def test_noise_is_smooth_between_lattice_points_and_goes_round():
    """A quarter of the way is 0.15625 of it: x^2 (3 - 2 x)."""
    assert lattice_noise(climbing(), 2.25, 5.5) == pytest.approx(5.5 + 2.15625e-3, abs=1e-5)
    assert lattice_noise(climbing(), -0.75, 256.0) == pytest.approx(0.255 * (1 - 0.15625), abs=1e-6)
    assert lattice_noise(climbing(), 0.0, 255.5) == pytest.approx(127.5, abs=1e-4)
    assert octave(climbing(), 4.0, 8.0, 2) == pytest.approx(2 + 118 + 0.001 * (1 + 74), abs=1e-4)
    assert octave(climbing(), 0.5, 0.25, -1) == pytest.approx(198 - 0.5 + 0.001 * 220, abs=1e-4)


@pytest.mark.parametrize(("short_m", "weight"), [(0.0001, 4.0), (0.05, 4.0), (3.0, 3.015037), (8.0, 1.6), (40.0, 1.0)])
def test_octaves_come_and_go_with_the_footprint(short_m: float, weight: float):
    """Four octaves and a fifth that is fading in; from 3 m on some are too coarse: log2(8) + 0.4 is 0.6 before the last."""
    assert fractal_noise(even(1.0), 1.5, 2.5, 0.0, 0.0, short_m) == pytest.approx(weight, abs=1e-5)


@pytest.mark.parametrize(
    ("s", "t", "blur_s", "blur_t", "share"),
    [
        (1.0, 3.0, SHARP, SHARP, 1.0),
        (1.0, -3.0, SHARP, SHARP, 1.0),
        (7.0, 2.94, SHARP, SHARP, 1.0),
        (2.6, 3.0, SHARP, SHARP, 0.0),
        (5.9, 3.0, SHARP, SHARP, 0.0),
        (1.0, 2.92, SHARP, SHARP, 0.0),
        (1.0, 3.08, SHARP, SHARP, 0.0),
        (4.0, 0.07, SHARP, SHARP, 1.0),
        (4.0, -0.19, SHARP, SHARP, 1.0),
        (4.0, 0.05, SHARP, SHARP, 0.0),
        (4.0, 0.21, SHARP, SHARP, 0.0),
        (4.0, 6.01, SHARP, SHARP, 1.0),
        (4.0, 6.13, SHARP, SHARP, 1.0),
        (4.0, 5.99, SHARP, SHARP, 0.0),
        (4.0, 6.15, SHARP, SHARP, 0.0),
        # 0.7 of the dash's beginning, 0.8 of its end, half as bright since it is half as long as the blur
        (1.0, 3.0, 5.0, SHARP, 0.28),
        # three quarters of either edge, and 0.14 / 0.28 + 0.25 of the brightness
        (4.0, 6.07, SHARP, 0.28, 0.75**3),
    ],
)
def test_a_road_has_dashed_lines_a_double_one_and_edges(s: float, t: float, blur_s: float, blur_t: float, share: float):
    assert is_(road(PAINT, s, t, blur_s, blur_t), mixed(share, (0.75, 0.75, 0.72)))


@pytest.mark.parametrize(
    ("x", "y", "colour"),
    [
        (0.3, 1.0, PAINT),
        (0.3, 0.1, (0.62, 0.6, 0.56)),
        (0.3, 0.17, PAINT),
        (0.61, 1.0, PAINT),
        (0.65, 1.0, (0.78, 0.77, 0.74)),
        (1.95, 1.0, (0.78, 0.77, 0.74)),
        (1.99, 1.0, PAINT),
        (1.0, 0.75, PAINT),
        (1.0, 0.85, (0.78, 0.77, 0.74)),
        (1.0, 2.4, (0.78, 0.77, 0.74)),
        (1.0, 2.5, PAINT),
        (1.3, 1.0, (0.78, 0.77, 0.74)),
        (1.0, 1.5, (0.185, 0.2035, 0.23125)),
        (0.73, 1.5, (0.185, 0.2035, 0.23125)),
        (1.26, 1.5, (0.185, 0.2035, 0.23125)),
        (1.34, 1.5, (0.185, 0.2035, 0.23125)),
        (1.87, 0.91, (0.1555, 0.17105, 0.194375)),
        (1.0, 2.0, (0.448, 0.3143, 0.28875)),
    ],
)
def test_a_house_front_has_windows_with_curtains(x: float, y: float, colour: tuple[float, float, float]):
    """In the second column and storey, where chance is a half: the curtain begins at 1.7 m."""
    assert is_(facade(even(), PAINT, 2.6 + x, 3.0 + y, SHARP, SHARP), colour)


@pytest.mark.parametrize(
    ("x", "y", "colour"),
    [
        (1.0, 1.0, (0.18, 0.12, 0.18)),
        (0.79, 2.19, (0.18, 0.12, 0.18)),
        (1.81, 1.0, (0.18, 0.12, 0.18)),
        (0.7, 1.0, (0.7, 0.68, 0.64)),
        (1.9, 1.0, (0.7, 0.68, 0.64)),
        (1.0, 2.3, (0.7, 0.68, 0.64)),
        (0.6, 1.0, PAINT),
        (1.96, 1.0, PAINT),
        (1.0, 2.4, PAINT),
        (0.3, 0.1, (0.62, 0.6, 0.56)),
    ],
)
def test_where_chance_is_small_the_ground_floor_has_a_door(x: float, y: float, colour: tuple[float, float, float]):
    """Chance is 0.5 - 0.3 in the cell (0, 0), read at row 3, column 5, and 0.2 above it, where there is no door."""
    noise = even(at_3_5=-0.6, at_3_18=-0.6)
    assert is_(facade(noise, PAINT, x, y, SHARP, SHARP), colour)
    assert is_(facade(noise, PAINT, 1.0, 4.5, SHARP, SHARP), (0.149, 0.1639, 0.18625))


@pytest.mark.parametrize(
    ("s", "t", "colour"),
    [
        (0.2, 0.2, (0.22, 0.44, 0.66)),
        (0.01, 0.44, (0.22, 0.44, 0.66)),
        (0.65, 1.1, (0.18, 0.36, 0.54)),
        (0.25, 0.65, PAINT),
        (0.004, 0.65, (0.136, 0.176, 0.216)),
        (0.447, 0.65, (0.136, 0.176, 0.216)),
        (0.2, 0.453, (0.136, 0.176, 0.216)),
        (0.2, 0.895, (0.136, 0.176, 0.216)),
    ],
)
def test_tiles_differ_and_have_dark_joints(s: float, t: float, colour: tuple[float, float, float]):
    """Tones: 0.75 + 0.5 * 0.7 of the first tile, 0.75 + 0.5 * 0.3 of the second in the third row, 1 of the others."""
    assert is_(tiles(even(at_3_5=0.4, at_10_31=-0.4), PAINT, s, t, SHARP, SHARP), colour)


def test_tiles_far_away_are_alike():
    """Blurred by two tiles: half of the differences, and joints of 0.45066: 1 - 0.741111^2."""
    share, tone = 0.8 * 0.45066, 0.75 + 0.5 * 0.5 * 0.5
    expected = tuple(tone * p + share * (0.12 - tone * p) for p in PAINT)
    assert tiles(even(), PAINT, 0.225, 0.2, 0.9, SHARP) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("s", "t", "colour"),
    [
        (0.16, 0.06, (0.23, 0.46, 0.69)),
        (0.32, 0.18, (0.17, 0.34, 0.51)),
        (0.0, 0.18, PAINT),
        (0.16, 0.3, PAINT),
        (0.015, 0.255, PAINT),
        (0.005, 0.3, (0.44, 0.464, 0.48)),
        (0.315, 0.3, (0.44, 0.464, 0.48)),
        (0.16, 0.18, (0.434, 0.452, 0.462)),
        (0.16, 0.245, (0.44, 0.464, 0.48)),
        (0.16, 0.355, (0.44, 0.464, 0.48)),
    ],
)
def test_bricks_lie_in_bond(s: float, t: float, colour: tuple[float, float, float]):
    """Every other row is moved by half a brick. Tones: 0.7 + 0.6 * 0.75 of the first, 0.7 + 0.6 * 0.25 of the next above."""
    assert is_(bricks(even(at_3_5=0.5, at_10_18=-0.5), PAINT, s, t, SHARP, SHARP), colour)


@pytest.mark.parametrize(
    ("s", "t", "colour"),
    [
        (0.0, 0.06, PAINT),
        (0.69, 0.116, PAINT),
        (0.7, 0.06, (0.095, 0.141, 0.194)),
        (0.697, 0.06, (0.095, 0.141, 0.194)),
        (0.0, 0.121, (0.095, 0.141, 0.194)),
        (0.0, 0.119, (0.095, 0.141, 0.194)),
    ],
)
def test_planks_have_seams(s: float, t: float, colour: tuple[float, float, float]):
    assert is_(planks(even(), PAINT, s, t, 0.0, 0.0, SHARP), colour)


@pytest.mark.parametrize(
    ("s", "t", "colour"),
    [
        (0.02, 0.1, (0.52, 0.28, 0.58)),
        (0.02, 0.12, (0.26, 0.14, 0.29)),
        (0.02, 0.14, (0.52, 0.28, 0.58)),
        (0.003, 0.29, (0.52, 0.28, 0.58)),
        (0.042, 0.035, (0.52, 0.28, 0.58)),
        (0.001, 0.1, (0.03, 0.02, 0.02)),
        (0.044, 0.1, (0.03, 0.02, 0.02)),
        (0.02, 0.025, (0.03, 0.02, 0.02)),
        (0.02, 0.298, (0.03, 0.02, 0.02)),
        (0.065, 0.46, (0.45, 0.4, 0.4)),
    ],
)
def test_books_have_spines_with_a_band(s: float, t: float, colour: tuple[float, float, float]):
    """The first book's numbers are 0.6, 0.3 and 0.8: its height, the place of its band, its colours."""
    assert is_(books(even(at_3_5=0.2, at_146_5=-0.4, at_3_164=0.6), s, t, SHARP, SHARP), colour)


def test_a_picture_is_warm_or_cool():
    """Of even noise 0.2 the cool colour alone, with 0.08 of the light one; of -0.1 three quarters of the warm."""
    assert is_(picture(even(0.2), 0.3, 0.7), (0.19708, 0.3412, 0.3102))
    assert is_(picture(even(-0.1), 0.3, 0.7), (0.4745, 0.265, 0.15))


@pytest.mark.parametrize(
    ("material", "s", "t", "colour"),
    [
        (0, 0.3, 0.7, (0.2064, 0.4128, 0.6192)),
        (1, 4.0, 1.0, (0.208, 0.416, 0.624)),
        (2, 0.3, 1.0, (0.206, 0.412, 0.618)),
        (3, 0.2, 0.2, (0.20817, 0.41634, 0.62451)),
        (4, 0.0, 0.06, (0.212744, 0.425488, 0.638232)),
        (5, 0.3, 0.7, (0.1827862, 0.3655725, 0.5483587)),
        (6, 0.3, 0.7, (0.3288241, 0.307667, 0.2334305)),
        (7, 0.02, 0.03, (0.204, 0.408, 0.612)),
        (7, 0.07, 0.03, (0.7242, 0.73746, 0.6987)),
        (7, 0.07, 0.08, (0.204, 0.408, 0.612)),
        (8, 0.3, 1.3, (0.7725, 0.7725, 0.7416)),
        (8, 0.3, 1.2, (0.206, 0.412, 0.618)),
        (8, 0.3, 0.8, (0.206, 0.412, 0.618)),
        (9, 0.16, 0.06, (0.207872, 0.415744, 0.623616)),
        (10, 0.02, 0.1, (0.47498, 0.42164, 0.42164)),
    ],
)
def test_each_material_has_its_pattern_and_its_grain(material: int, s: float, t: float, colour: tuple[float, ...]):
    """Even noise of 0.05 is a grain of 0.2 and a chance of 0.525 everywhere."""
    assert is_(albedo(even(0.05), material, PAINT, s, t, 0.0, 0.0, SHARP), colour)


def test_a_long_footprint_blurs_along_itself():
    """Half a metre along s: the check pattern's grain has no part in it, a stripe across t keeps its edge."""
    assert is_(albedo(even(), 8, PAINT, 0.3, 0.25, 10.0, 0.0, SHARP), mixed(0.5, (0.75, 0.75, 0.72)))
    assert is_(albedo(even(), 8, PAINT, 0.3, 0.24, 0.0, 0.0195, SHARP), mixed(0.25, (0.75, 0.75, 0.72)))
    assert is_(albedo(even(), 1, PAINT, 0.0, 3.0, 0.2, 0.0, SHARP), mixed(0.5, (0.75, 0.75, 0.72)))


@pytest.mark.parametrize(
    ("value", "z", "colour"),
    [
        (0.0, 0.35, (0.41, 0.55, 0.84)),
        (0.0, -0.1, (0.66, 0.74, 0.84)),
        (0.4, 0.01, (0.6461111, 0.7294444, 0.84)),
        (0.4, 0.35, (0.5948, 0.6844, 0.8652)),
        (0.9, 0.35, (0.762, 0.806, 0.888)),
        (-0.4, 0.35, (0.41, 0.55, 0.84)),
    ],
)
def test_the_sky_is_blue_above_and_clouds_hide_at_most_most_of_it(value: float, z: float, colour: tuple[float, ...]):
    assert is_(sky_colour(even(value), 0.6, 0.5, z), colour)


def test_the_textures_of_the_worlds_stay():
    """What random noise gives, so that figures stated of a world stay those of this world."""
    noise = noise_table()
    assert fractal_noise(noise, 1.234, 5.678, 0.06, 0.08, 0.03) == pytest.approx(0.093941, abs=3e-5)
    assert fractal_noise(noise, -7.5, 3.25, 0.9, -0.4, 0.3) == pytest.approx(0.934051, abs=3e-5)
    assert picture(noise, 0.37, 0.81) == pytest.approx((0.31344, 0.169377, 0.167016), abs=3e-5)
    assert sky_colour(noise, -0.7, 0.2, 0.35) == pytest.approx((0.588142, 0.679558, 0.864292), abs=3e-5)
    expected = (0.148537, 0.297074, 0.445611)
    assert planks(noise, PAINT, 1.7, 0.5, 0.02, 0.01, 0.004) == pytest.approx(expected, abs=3e-5)
