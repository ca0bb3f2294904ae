import cv2
import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.flow import point_tracking
from firstsight.flow.lucas_kanade import (
    Config,
    Kind,
    LucasKanade,
    eigenvalues,
    kinds,
    lucas_kanade,
    lucas_kanade_numba,
    normal_equations,
    pseudo_inverse,
    step,
)
from firstsight.flow.point_tracking import track_points, window_profile
from firstsight.geometry.images import to_tensor
from firstsight.geometry.warp import warp_by_flow
from firstsight.recordings.simulated import simulate

HEIGHT, WIDTH = 96, 128


def waves(x: np.ndarray, y: np.ndarray, seed: int = 0) -> np.ndarray:
    """A band-limited texture about 0.5: sinusoids of 12 to 32 px in all directions, known at every (x, y)."""
    rng = np.random.default_rng(seed)
    angles, periods, phases = rng.uniform(0, np.pi, 16), rng.uniform(12, 32, 16), rng.uniform(0, 2 * np.pi, 16)
    total = np.zeros(np.broadcast(x, y).shape)
    for angle, period, phase in zip(angles, periods, phases, strict=True):
        total += np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / period + phase)
    return 0.5 + 0.06 * total


def plaid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As `waves`, with 21 px as a multiple of all periods along x and y."""
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (5, 3))
    terms = [np.sin(2 * np.pi * (i * x + j * y) / 21 + phases[i, j]) for i in range(-2, 3) for j in range(3) if i or j]
    return 0.5 + 0.04 * np.sum(terms, 0)


def grid() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    return x, y


def grey(image: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(image)[None, None].to(dtype)


def shifted(u: float, v: float, texture=waves) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images whose flow is (u, v)."""
    x, y = grid()
    return grey(texture(x, y)), grey(texture(x - u, y - v))


def inner_errors(flow: torch.Tensor, true: np.ndarray) -> np.ndarray:
    """End-point errors away from the border, px; true (2,) or (2, h, w)."""
    gap = flow[0].numpy() - (true if true.ndim == 3 else true[:, None, None])
    return np.hypot(*gap)[16:-16, 16:-16]


def colour(image: torch.Tensor) -> torch.Tensor:
    """Three equal channels with seven tenths of the contrast, which keeps waves() within [0, 1]."""
    return (0.5 + 0.7 * (image - 0.5)).expand(-1, 3, -1, -1).contiguous()


@pytest.mark.parametrize("window", ["gaussian", "box"])
def test_equation(window):
    """One step is the weighted least squares solution of g u = -d over each window, by a loop over its pixels."""
    rng = np.random.default_rng(1)
    gradient, difference = rng.normal(size=(1, 2, 7, 9)), 0.1 * rng.normal(size=(1, 1, 7, 9))
    profile = window_profile(window, 5).astype(np.float64)
    zero = torch.zeros(1, 2, 7, 9, dtype=torch.float64)
    matrix, right = normal_equations(
        torch.from_numpy(gradient), torch.from_numpy(difference), zero, torch.from_numpy(profile)
    )
    flow = step(matrix, right, zero, 1e-9)
    for y in range(7):
        for x in range(9):
            rows, targets = [], []
            for i in range(-2, 3):
                for j in range(-2, 3):
                    if 0 <= y + i < 7 and 0 <= x + j < 9:
                        root = np.sqrt(profile[i + 2] * profile[j + 2])
                        rows.append(root * gradient[0, :, y + i, x + j])
                        targets.append(-root * difference[0, 0, y + i, x + j])
            expected = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
            np.testing.assert_allclose(flow[0, :, y, x].numpy(), expected, atol=1e-9)


def test_a_window_whose_pixels_moved_differently_so_far_is_solved_for_one_flow():
    """g (u - u0) + d = 0 with u0 of each pixel: if all pixels say the same u, it is found whatever u0 was."""
    rng = np.random.default_rng(2)
    gradient, begin = torch.from_numpy(rng.normal(size=(2, 1, 2, 8, 8)))
    difference = -(gradient * (0.4 - 0.1 * begin)).sum(1, keepdim=True)
    matrix, right = normal_equations(
        gradient, difference, 0.1 * begin, torch.from_numpy(window_profile("box", 5)).double()
    )
    np.testing.assert_allclose(step(matrix, right, 0.1 * begin, 1e-9).numpy(), 0.4)


def test_eigenvalues_and_inverses_are_those_of_the_matrix():
    rng = np.random.default_rng(3)
    roots = rng.normal(size=(40, 2, 2))
    roots[20:, 1] = 1e-4 * roots[20:, 1]  # nearly one direction only
    full = roots.transpose(0, 2, 1) @ roots
    matrix = torch.from_numpy(np.stack([full[:, 0, 0], full[:, 0, 1], full[:, 1, 1]])[None, :, None])
    values = eigenvalues(matrix)
    np.testing.assert_allclose(values[0, :, 0].T.numpy(), np.linalg.eigvalsh(full), atol=1e-12)
    kind = kinds(values, 1e-6)
    inverse = pseudo_inverse(matrix, values, kind)[0, :, 0].T.numpy()
    assert {int(Kind.FULL), int(Kind.NORMAL)} <= set(kind.flatten().tolist())
    for i in range(40):
        if kind[0, 0, 0, i] == Kind.NONE:
            assert not inverse[i].any()
            continue
        known, directions = np.linalg.eigh(full[i])
        parts = known.argsort()[-int(kind[0, 0, 0, i]) :]
        expected = sum(np.outer(directions[:, k], directions[:, k]) / known[k] for k in parts)
        np.testing.assert_allclose(inverse[i], expected[[0, 0, 1], [0, 1, 1]], rtol=1e-6, atol=1e-9)


def test_a_shift_by_parts_of_a_pixel_is_recovered_to_a_hundredth():
    """Where a window holds whole periods; elsewhere bilinear reading, which blurs only b, leaves some hundredths."""
    true = np.array([0.3, -0.2])
    for solve in (lucas_kanade, lucas_kanade_numba):
        flow, kind, _ = solve(*shifted(*true, plaid), Config(window="box", window_px=21))
        assert inner_errors(flow, true).max() < 0.01
        assert (kind == Kind.FULL).all()
        assert np.median(inner_errors(solve(*shifted(*true), Config()).flow, true)) < 0.04


def test_two_pixels_take_eight_iterations_without_a_pyramid():
    true, images = np.array([2.0, 0.0]), shifted(2.0, 0.0)
    assert inner_errors(lucas_kanade_numba(*images, Config(levels=1, iterations=8)).flow, true).max() < 0.01
    assert inner_errors(lucas_kanade_numba(*images, Config(levels=1, iterations=1)).flow, true).max() > 0.1


def test_a_large_shift_takes_the_pyramid():
    true = np.array([9.0, -6.0])
    assert inner_errors(lucas_kanade_numba(*shifted(*true), Config()).flow, true).max() < 0.01
    assert inner_errors(lucas_kanade_numba(*shifted(*true), Config(levels=1)).flow, true).max() > 3


def test_an_affine_motion_is_recovered():
    x, y = grid()
    true = np.stack([0.02 * (x - 64) + 0.01 * (y - 48) + 0.5, -0.015 * (x - 64) + 0.03 * (y - 48) - 0.3])
    flow = lucas_kanade_numba(grey(waves(x + true[0], y + true[1])), grey(waves(x, y)), Config()).flow
    assert np.median(inner_errors(flow, true)) < 0.07
    assert np.percentile(inner_errors(flow, true), 99) < 0.3


@pytest.mark.parametrize("angle_deg", [0, 30, 90])
def test_stripes_tell_the_flow_along_their_gradient_only(angle_deg):
    """The aperture problem: the image moves by (0.8, 0.5), and what stripes show of it is its projection."""
    x, y = grid()
    normal = np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])
    along = normal[0] * x + normal[1] * y
    moved = along - normal @ [0.8, 0.5]
    stripes = [grey(0.5 + 0.2 * np.sin(2 * np.pi * position / 14)) for position in (along, moved)]
    for solve in (lucas_kanade, lucas_kanade_numba):
        flow, kind, (values,) = solve(*stripes, Config())
        inner = np.s_[..., 16:-16, 16:-16]
        assert (kind[inner] == Kind.NORMAL).all()
        assert values[0][inner].abs().max() < 1e-4 * values[1][inner].min()
        assert inner_errors(flow, normal * (normal @ [0.8, 0.5])).max() < 0.03
    assert not LucasKanade()(*map(colour, stripes)).valid[inner].any()


def test_constant_images_know_nothing():
    image = torch.full((1, 1, 40, 50), 0.5)
    for solve in (lucas_kanade, lucas_kanade_numba):
        flow, kind, values = solve(image, image, Config())
        assert not flow.any()
        assert (kind == Kind.NONE).all()
        assert values.abs().max() < 1e-9
    assert not LucasKanade()(colour(image), colour(image)).valid.any()


def test_truth_explains_the_images_better_than_flows_beside_it():
    x, y = grid()
    true = np.stack([0.02 * (x - 64), 0.03 * (y - 48) - 0.3])
    a, b = grey(waves(x + true[0], y + true[1])), grey(waves(x, y))

    def residual(flow: torch.Tensor) -> float:
        return float((warp_by_flow(b, flow).values - a)[..., 16:-16, 16:-16].square().mean())

    for flow in (torch.from_numpy(true)[None].float(), lucas_kanade(a, b, Config()).flow):
        for shift in ([0.2, 0.0], [-0.2, 0.0], [0.0, 0.2], [0.0, -0.2]):
            assert residual(flow) < 0.2 * residual(flow + torch.tensor(shift)[:, None, None])


def test_derivatives_are_those_of_the_function():
    x, y = np.meshgrid(np.arange(12.0), np.arange(10.0))
    noise = 0.01 * np.random.default_rng(4).normal(size=x.shape)
    a, b = (grey(waves(2 * x + s, 2 * y - s) + noise, torch.float64).requires_grad_() for s in (0.0, 0.6))
    config = Config(window_px=5, levels=2, iterations=2)
    assert torch.autograd.gradcheck(lambda a, b: lucas_kanade(a, b, config)[::2], (a, b), fast_mode=True)


def test_the_estimator_is_differentiable_when_asked():
    a, b = (colour(image).requires_grad_() for image in shifted(0.3, -0.2))
    LucasKanade()(a, b).flow.sum().backward()
    assert torch.isfinite(a.grad).all()
    assert b.grad.abs().max() > 0


def test_derivatives_of_constant_images_are_numbers():
    image = torch.full((1, 1, 20, 20), 0.5, requires_grad=True)
    flow, _, values = lucas_kanade(image, image, Config())
    (flow.sum() + values.sum()).backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize(("size", "window", "seed"), [((61, 83), "gaussian", 5), ((64, 90), "box", 6)])
def test_the_fast_path_equals_the_differentiable_one(size, window, seed):
    """To a thousandth of a pixel: the same operations, rounded in another order."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.uniform(size=(*size, 2)).astype(np.float32), (0, 0), 2)
    noise = 0.5 + 3 * (noise - noise.mean())
    a = np.ascontiguousarray(noise[..., 0])
    b = np.roll(a, (1, 2), (0, 1)) + 0.05 * noise[..., 1]
    config = Config(window=window)
    slow, fast = (solve(grey(a), grey(b), config) for solve in (lucas_kanade, lucas_kanade_numba))
    assert (slow.kind == fast.kind).all()
    assert (slow.flow - fast.flow).abs().max() < 1e-3
    torch.testing.assert_close(slow.eigenvalues, fast.eigenvalues, rtol=1e-3, atol=1e-7)


def test_what_becomes_hidden_is_not_valid():
    """A patch moves 6 px to the right over a background that stays."""
    x, y = grid()
    background, patch = waves(x, y, 7), waves(x, y, 8)
    images = []
    for left in (50, 56):
        image = background.copy()
        image[30:66, left : left + 36] = patch[30:66, :36]
        images.append(colour(grey(image)))
    flow, valid, _ = LucasKanade(Config(window_px=9))(*images)
    assert valid[0, 0, 34:62, 87:91].float().mean() < 0.5  # background at 86 to 91 goes behind the patch
    assert valid[0, 0, 38:58, 58:78].float().mean() > 0.95
    assert (flow[0, 0, 38:58, 58:78] - 6).abs().median() < 0.05


def test_what_leaves_the_image_is_not_valid():
    _, valid, _ = LucasKanade()(*map(colour, shifted(8.0, 0.0)))
    assert not valid[..., -8:].any()
    assert valid[..., 24:-32].float().mean() > 0.95


def test_the_simulated_street_is_seen_better_than_by_standing_still():
    """Visible pixels, 6.9 px of motion in the mean: EPE 0.68 px where valid (nine tenths), 1.0 px everywhere."""
    recording = simulate("street")
    left, truth = recording.images["left"], recording.truth.flow[5]
    flow, valid, _ = LucasKanade()(to_tensor(left[5]), to_tensor(left[6]))
    visible, answered = truth.valid & truth.visible, valid[0, 0].numpy()
    error = np.linalg.norm(flow[0].permute(1, 2, 0).numpy() - truth.flow, axis=-1)
    assert error[visible & answered].mean() < 0.8
    assert error[visible].mean() < 1.2
    assert answered[visible].mean() > 0.85
    assert answered[truth.valid & ~truth.visible].mean() < 0.2
    assert error[visible].mean() < 0.2 * np.linalg.norm(truth.flow, axis=-1)[visible].mean()


def test_images_that_cannot_be_used_are_refused():
    image = torch.rand(1, 3, 40, 50)
    with pytest.raises(InputError, match="window of 15 px"):
        LucasKanade()(image[..., :14], image[..., :14])
    image[0, 0, 3, 3] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        LucasKanade()(image, torch.rand(1, 3, 40, 50))


def test_the_smallest_image_and_odd_sizes_give_numbers():
    for size in ((15, 15), (31, 47), (16, 200)):
        a, b = torch.rand(2, 1, 3, *size)
        flow, _, _ = LucasKanade()(a, b)
        assert flow.shape == (1, 2, *size)
        assert torch.isfinite(flow).all()


HOMOGRAPHY = np.array([[1.01, 0.02, -2.0], [-0.015, 0.99, 3.0], [2e-5, -3e-5, 1.0]])


def noise_image(seed: int = 9, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, size).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def by_homography(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The warped image and where the points are in it."""
    warped = cv2.warpPerspective(image, HOMOGRAPHY, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=4)
    return warped, cv2.perspectiveTransform(points[:, None].astype(np.float64), HOMOGRAPHY)[:, 0]


def opencv(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)
    found = cv2.calcOpticalFlowPyrLK(a, b, points[:, None], None, winSize=(21, 21), maxLevel=3, criteria=criteria)
    return found[0][:, 0], found[1][:, 0] > 0


def random_points(size: tuple[int, int], margin: float, count: int = 300) -> np.ndarray:
    low, high = (margin, margin), (size[1] - 1 - margin, size[0] - 1 - margin)
    return np.random.default_rng(10).uniform(low, high, (count, 2)).astype(np.float32)


def test_points_agree_with_opencv_and_the_truth():
    image = noise_image()
    points = random_points(image.shape, 20)
    warped, true = by_homography(image, points)
    tracks = track_points(image, warped, points)
    theirs, found = opencv(image, warped, points)
    assert tracks.valid.all()
    assert found.all()
    assert np.linalg.norm(tracks.points_b - theirs, axis=1).max() < 0.05
    assert np.median(np.linalg.norm(tracks.points_b - true, axis=1)) < 0.07
    assert tracks.mismatch.max() < 0.03


def test_points_of_a_photograph_agree_with_opencv(shared_data):
    a, b = (cv2.imread(str(shared_data / "flow" / f"rubberwhale{i}.png"), cv2.IMREAD_GRAYSCALE) for i in (1, 2))
    points = cv2.goodFeaturesToTrack(a, 400, 0.01, 8)[:, 0]
    tracks = track_points(a, b, points)
    theirs, found = opencv(a, b, points)
    both = tracks.valid & found
    gap = np.linalg.norm(tracks.points_b - theirs, axis=1)[both]
    assert both.mean() > 0.95
    assert np.percentile(gap, 98) < 0.05


@pytest.mark.parametrize("window", ["gaussian", "box"])
def test_the_smallest_eigenvalue_is_that_of_the_weighted_window(window):
    image, size = noise_image(), 11
    along_x, along_y = (
        cv2.Scharr(image.astype(np.float64) / 255, -1, *axis, scale=1 / 32) for axis in ((1, 0), (0, 1))
    )
    axis = window_profile(window, size)
    points = np.array([[50, 40], [120.0, 90.0]], np.float32)
    config = point_tracking.Config(window_px=size, window=window)
    tracks = track_points(image, image, points, config)
    for (x, y), found in zip(points.astype(int), tracks.smallest_eigenvalue, strict=True):
        matrix = np.zeros((2, 2))
        for i in range(size):
            for j in range(size):
                at = (y + i - 5, x + j - 5)
                gradient = np.array([along_x[at], along_y[at]])
                matrix += axis[i] * axis[j] * np.outer(gradient, gradient)
        np.testing.assert_allclose(found, np.linalg.eigvalsh(matrix)[0], rtol=1e-3)
    np.testing.assert_allclose(tracks.points_b, points, atol=1e-4)


def test_a_gaussian_window_follows_points_too():
    image = noise_image()
    points = random_points(image.shape, 20)
    warped, true = by_homography(image, points)
    tracks = track_points(image, warped, points, point_tracking.Config(window="gaussian"))
    assert np.median(np.linalg.norm(tracks.points_b - true, axis=1)) < 0.07


def test_points_at_and_beyond_the_border():
    """Those outside and those that leave are not valid, those on the border are followed; all are numbers."""
    b = noise_image()
    a = np.roll(b, (0, -3), (0, 1))  # everything moves 3 px to the right
    points = np.array([[5, 0.5], [0, 100.5], [160, 238.5], [318, 120], [-1, 50], [50, 240], [1e6, -1e6]], np.float32)
    tracks = track_points(a, b, points)
    assert np.isfinite(tracks.points_b).all()
    assert not tracks.valid[3:].any()
    assert tracks.valid[:3].all()
    np.testing.assert_allclose(tracks.points_b[:3], points[:3] + np.array([3, 0]), atol=0.1)
    assert (tracks.points_b[4:] == points[4:]).all()


def test_points_of_a_constant_image_and_of_stripes_are_not_valid():
    points = random_points((60, 80), 0)
    flat = np.full((60, 80), 128, np.uint8)
    stripes = np.tile((127 + 100 * np.sin(np.arange(80) / 3)).astype(np.uint8), (60, 1))
    for image in (flat, stripes):
        tracks = track_points(image, image, points)
        assert not tracks.valid.any()
        assert np.isfinite(tracks.points_b).all()


def test_points_that_become_hidden_do_not_return():
    background, patch = noise_image(11), noise_image(12)
    images = []
    for left in (100, 112):
        image = background.copy()
        image[80:160, left : left + 80] = patch[80:160, :80]
        images.append(image)
    y, x = np.mgrid[95:146:5, 183:190:2].astype(np.float32)  # background at 180 to 191 goes behind the patch
    hidden = np.column_stack([x.ravel(), y.ravel()])
    seen = np.column_stack([x.ravel() - 50, y.ravel()])
    config = point_tracking.Config(max_return_px=0.5)
    assert track_points(*images, hidden, config).valid.mean() < 0.3
    assert track_points(*images, seen, config).valid.mean() > 0.95


def test_points_that_cannot_be_used_are_refused():
    image = noise_image(size=(40, 50))
    with pytest.raises(InputError, match="NaN"):
        track_points(image, image, np.array([[np.nan, 3]], np.float32))
    with pytest.raises(InputError, match="window of 21 px"):
        track_points(image[:20], image[:20], random_points((20, 50), 0))
    assert len(track_points(image, image, np.empty((0, 2), np.float32)).valid) == 0


def test_colours_weigh_as_the_eye_weighs_them():
    """Red moves to the right and blue to the left, alike in contrast: squared weights of 0.299 and 0.114 decide for red."""
    x, y = grid()
    still = np.full_like(x, 0.5)
    image_a = torch.from_numpy(np.stack([waves(x, y), still, waves(x, y)])[None]).float()
    image_b = torch.from_numpy(np.stack([waves(x - 0.4, y), still, waves(x + 0.4, y)])[None]).float()
    flow, _, _ = LucasKanade(Config(levels=1)).windows(image_a.clamp(0, 1), image_b.clamp(0, 1))
    # the weighted mean texture moves by 0.4 (0.299 - 0.114) / (0.299 + 0.114) = 0.18 px
    assert float(flow[0, 0, 16:-16, 16:-16].median()) == pytest.approx(0.18, abs=0.03)


def test_either_image_with_a_hole_is_refused():
    good = torch.rand(1, 3, 32, 32)
    holed = good.clone()
    holed[0, 1, 5, 7] = torch.nan
    for pair in ((holed, good), (good, holed)):
        with pytest.raises(InputError, match="NaN or infinite"):
            LucasKanade().windows(*pair)


def test_a_direction_is_known_from_twice_the_threshold_on():
    """(smallest, largest) eigenvalue against a threshold of 1."""
    values = torch.tensor([[0.5, 0.5, 0.5, 1.1], [0.9, 1.9, 2.1, 2.1]])[None, :, None]
    assert kinds(values, 1.0).flatten().tolist() == [Kind.NONE, Kind.NONE, Kind.NORMAL, Kind.FULL]


def test_a_step_is_two_pixels_at_most():
    matrix = torch.tensor([1.0, 0.0, 1.0])[None, :, None, None]
    right, flow = torch.tensor([10.0, -1.5])[None, :, None, None], torch.zeros(1, 2, 1, 1)
    assert step(matrix, right, flow, 1e-5).flatten().tolist() == [2.0, -1.5]
