import numpy as np

from firstsight.motion.support_planes import level, on_support

INTRINSICS = np.array([[100.0, 0, 79.5], [0, 100.0, 40.0], [0, 0, 1]])
SHAPE = (96, 160)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth of a road 1.5 m below the camera under a wall 20 m ahead, with a box on it; where the road is."""
    y, _ = np.mgrid[: SHAPE[0], : SHAPE[1]]
    road = (y - 40) / 100 / 1.5
    rho = np.maximum(road, 1 / 20)
    ground = road > 1 / 20
    rho[45:75, 60:100], ground[45:75, 60:100] = 1 / 6, False
    return rho.astype(np.float32), ground


def test_the_road_is_found_and_the_box_on_it_is_not():
    rho, ground = scene()
    noisy = rho + np.random.default_rng(0).normal(0, 0.002, SHAPE).astype(np.float32)
    found = on_support(noisy, np.ones(SHAPE, bool), np.full(SHAPE, 0.008, np.float32), INTRINSICS, 0.1)
    assert found[ground].mean() > 0.95
    box = np.zeros(SHAPE, bool)
    box[48:66, 64:96] = True  # its foot touches the road
    assert found[box].mean() < 0.2
    assert found[:35].mean() < 0.05


def test_only_static_pixels_vote():
    rho, _ = scene()
    nobody = on_support(rho, np.zeros(SHAPE, bool), np.full(SHAPE, 0.005, np.float32), INTRINSICS, 0.1)
    assert not nobody.any()


def test_a_wall_carries_nothing():
    rho = np.full(SHAPE, 0.1, np.float32)
    assert not on_support(rho, np.ones(SHAPE, bool), np.full(SHAPE, 0.005, np.float32), INTRINSICS, 0.1).any()


def test_level_planes_have_a_normal_that_points_down():
    road = np.array([0.0, 1 / 150, -40 / 150])
    wall = np.array([0.0, 0.0, 0.1])
    side = np.array([1 / 300, 0.0, -79.5 / 300])
    above = -road
    assert level(np.stack([road, wall, side, above]), INTRINSICS).tolist() == [True, False, False, False]
