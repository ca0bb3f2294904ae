"""Light on a surface, by hand: a ray for each term."""

import numpy as np
import pytest

from firstsight.recordings.simulated.scene import Light
from firstsight.recordings.simulated.sensing.raycast import Hits, Met
from firstsight.recordings.simulated.sensing.shading import NOISE_STARTS, SensorNoise, expose, illumination

LIGHT = Light(sun=(0.5, 0.4, 0.3), ambient=(0.1, 0.2, 0.3), towards_sun=(0.0, 3.0, 4.0), haze_m=30.0)


def met(normal: tuple[float, float, float], distance: float = 0.0, triangle: int = 7, point=(0.0, 0.0, 0.0)) -> Met:
    one = np.zeros(1, np.float32)
    hits = Hits(np.array([distance], np.float32), np.array([triangle]), np.zeros(1, np.int64), one, one)
    return Met(hits, np.array([point], np.float64), np.array([normal], np.float32))


def exposed(paint, met: Met, light: Light = LIGHT, *, sunlit: bool = True, noise=(0.0, 0.0, 0.0)) -> list[int]:
    given = np.array([paint], np.float32), met, np.array([sunlit]), illumination(light), np.array([noise], np.float32)
    return expose(*given)[0].tolist()


def test_the_sky_has_its_own_light():
    """255 times the root of 0.25, 0.04 and what exceeds 1, with a half for rounding; noise is 1.5 levels."""
    sky = met((0, 0, 0), triangle=-1, distance=1e4)
    assert exposed((0.25, 0.04, 2.0), sky) == [128, 51, 255]
    assert exposed((0.25, 0.04, 2.0), sky, noise=(4.0, -2.0, 3.0)) == [134, 48, 255]
    assert exposed((0.0, -1.0, 0.0), sky, noise=(-4.0, 0.0, 2.0)) == [0, 0, 3]


@pytest.mark.parametrize(
    ("normal", "sunlit", "expected"),
    [
        # upwards: ambient light whole, and 0.8 of the sun, which stands 3 to the side and 4 up
        ((0, 0, 1), True, [180, 184, 187]),
        ((0, 0, 1), False, [81, 114, 140]),
        # downwards: 0.6 of the ambient light and no sun
        ((0, 0, -1), True, [62, 88, 108]),
        # sideways, towards 0.6 of the sun: 0.8 of the ambient light; across: 0.72
        ((0, 1, 0), True, [157, 161, 165]),
        ((-1, 0, 0), True, [68, 97, 119]),
    ],
)
def test_lambert_and_light_from_above(normal, sunlit: bool, expected: list[int]):
    assert exposed((1.0, 1.0, 1.0), met(normal), sunlit=sunlit) == expected


def test_haze_takes_half_of_the_contrast_at_its_distance():
    """Black at 30 m is half of the haze (0.6, 0.66, 0.74), at 10 m a quarter of it."""
    assert exposed((0.0, 0.0, 0.0), met((0, 0, 1), distance=30.0)) == [140, 146, 155]
    assert exposed((0.0, 0.0, 0.0), met((0, 0, 1), distance=10.0)) == [99, 104, 110]


def test_lamps_shine_on_what_faces_them_and_a_little_round_corners():
    """Lamps 2 m above, and 2 m aside: (0.3 + 0.7) / 2.4 and 0.3 / 2.4 of light; a third lies 1 m below: 0.3 / 1.35."""
    places = ((1.0, 1.0, 3.0), (3.0, 1.0, 1.0), (1.0, 1.0, 0.0))
    light = Light(ambient=(0.0, 0.0, 0.0), lamp=(0.3, 0.2, 0.1), lamps_m=places, haze_m=1e9)
    # 0.4166667 + 0.125 + 0.2222222 = 0.7638889 times the lamps' colour
    assert exposed((1.0, 1.0, 1.0), met((0, 0, 1), point=(1, 1, 1)), light) == [122, 100, 70]


def test_noise_is_white_and_a_window_of_one_strip():
    noise = SensorNoise(50_000, seed=3)
    window = noise.window(50_000, np.random.default_rng(5))
    assert window.shape == (50_000, 3)
    assert (window.mean(), window.std()) == pytest.approx((0, 1), abs=0.01)
    assert np.corrcoef(window.T)[np.triu_indices(3, 1)] == pytest.approx(np.zeros(3), abs=0.02)
    other = noise.window(50_000, np.random.default_rng(6))
    assert np.corrcoef(window[:, 0], other[:, 0])[0, 1] == pytest.approx(0, abs=0.02)
    assert NOISE_STARTS == 1_048_576
