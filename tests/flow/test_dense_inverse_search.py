import cv2
import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.flow.dense_inverse_search import Config, DenseInverseSearch, filled, finest_scale
from firstsight.geometry.images import to_tensor

HEIGHT, WIDTH = 120, 200


def texture(seed: int = 0) -> np.ndarray:
    """Blurred coloured noise."""
    noise = np.random.default_rng(seed).uniform(0, 255, (HEIGHT, WIDTH, 3)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def moved(image_b: np.ndarray, flow_ab: np.ndarray) -> np.ndarray:
    """Image a of image b: a(p) = b(p + flow_ab(p)), so that the flow is known on the grid of a."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    return cv2.remap(image_b, x + flow_ab[..., 0], y + flow_ab[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def smooth_flow() -> np.ndarray:
    """A zoom about the centre with a shift, at most 6 px."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    return np.stack([0.03 * (x - WIDTH / 2) + 2.0, 0.04 * (y - HEIGHT / 2) - 1.5], -1).astype(np.float32)


def endpoint_error(flow: torch.Tensor, true: np.ndarray) -> np.ndarray:
    return np.linalg.norm(flow[0].permute(1, 2, 0).numpy() - true, axis=-1)


def test_a_smooth_flow_is_recovered():
    true = smooth_flow()
    image_b = texture()
    flow, valid, _ = DenseInverseSearch()(to_tensor(moved(image_b, true)), to_tensor(image_b))
    inner = np.zeros((HEIGHT, WIDTH), bool)
    inner[8:-8, 8:-8] = True
    assert endpoint_error(flow, true)[inner].mean() < 0.3
    assert valid[0, 0].numpy()[inner].mean() > 0.95


def test_pixels_that_leave_the_image_are_not_valid():
    true = np.full((HEIGHT, WIDTH, 2), (12.0, 0.0), np.float32)
    image_b = texture()
    image_a = moved(image_b, true)
    image_a[:, -12:] = texture(5)[:, -12:]  # what leaves is seen nowhere in b
    _, valid, _ = DenseInverseSearch()(to_tensor(image_a), to_tensor(image_b))
    assert not valid[0, 0, :, -11:].any()  # the column of the seam may go either way
    assert valid[0, 0, 10:-10, 20:-30].float().mean() > 0.95


def patch_that_moves(background: np.ndarray, patch: np.ndarray, x: int, width: int = 40) -> np.ndarray:
    image = background.copy()
    image[40:80, x : x + width] = patch[40:80, :width]
    return image


def test_pixels_that_become_hidden_are_not_valid():
    background, patch = texture(1), texture(2)
    images = [to_tensor(patch_that_moves(background, patch, x)) for x in (80, 90)]
    _, valid, _ = DenseInverseSearch()(*images)
    hidden = valid[0, 0, 42:78, 121:129]  # of the background, 120 to 129 goes behind the patch
    assert hidden.float().mean() < 0.5
    assert valid[0, 0, 50:70, 90:110].float().mean() > 0.95


def test_a_small_thing_that_moves_far_is_found():
    """It moves farther than it is wide, which a coarse-to-fine search from zero does not see."""
    background, patch = texture(1), texture(2)
    images = [patch_that_moves(background, patch, x, width=14) for x in (60, 79)]
    flow, _, _ = DenseInverseSearch()(*(to_tensor(image) for image in images))
    assert np.median(endpoint_error(flow, np.array([19.0, 0.0]))[45:75, 62:72]) < 1
    plain = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    lost = plain.calc(*(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images), start)
    assert np.median(np.linalg.norm(lost - [19, 0], axis=-1)[45:75, 62:72]) > 5


def test_constant_images_give_numbers():
    image = torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    flow, valid, _ = DenseInverseSearch()(image, image)
    assert torch.isfinite(flow).all()
    assert flow.abs().max() < 1e-3
    assert valid.all()


def test_presets_differ_in_accuracy():
    true, image_b = smooth_flow(), texture()
    errors = {
        preset: endpoint_error(
            DenseInverseSearch(Config(preset=preset, finest_scale=scale))(
                to_tensor(moved(image_b, true)), to_tensor(image_b)
            ).flow,
            true,
        ).mean()
        for preset, scale in (("ultrafast", 2), ("medium", 0))
    }
    assert errors["medium"] < errors["ultrafast"]


def test_the_finest_scale_follows_the_size():
    assert [finest_scale(*size) for size in ((96, 320), (480, 640), (375, 1242), (1080, 1920))] == [0, 0, 1, 2]


def test_tiny_images_are_refused():
    image = torch.zeros(1, 3, 40, 100)
    with pytest.raises(InputError, match="100x40"):
        DenseInverseSearch()(image, image)


@pytest.mark.parametrize("direction_deg", [20.0, 110.0, 250.0])
def test_small_things_that_move_far_are_found_in_every_direction(direction_deg: float):
    """A patch of 56 px moves by 60 px, an eighth of the width being 62."""
    size, angle = (360, 500), np.radians(direction_deg)
    x, y = np.round([60 * np.cos(angle), 60 * np.sin(angle)]).astype(int)
    rng = np.random.default_rng(7)
    ground, patch = (cv2.GaussianBlur(rng.uniform(0, 255, (*size, 3)), (0, 0), 3) for _ in range(2))
    ground, patch = (cv2.normalize(i, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8) for i in (ground, patch))
    image_a, image_b = ground.copy(), ground.copy()
    image_a[150:206, 220:276] = image_b[150 + y : 206 + y, 220 + x : 276 + x] = patch[:56, :56]
    flow, _, _ = DenseInverseSearch()(to_tensor(image_a), to_tensor(image_b))
    inside = flow[0, :, 160:196, 230:266].reshape(2, -1).median(1).values
    assert inside.tolist() == pytest.approx([x, y], abs=0.5)


def test_what_is_not_valid_takes_the_flow_of_what_looks_alike():
    """A dark and a bright surface move differently; each fills its own gap. Valid flow stays."""
    grey = np.where(np.arange(60) < 20, 40, 200).astype(np.uint8) * np.ones((50, 1), np.uint8)
    flow = np.where(np.arange(60)[:, None] < 20, (7.0, -2.0), (-3.0, 1.0)).astype(np.float32) * np.ones((50, 1, 1))
    valid = np.ones((50, 60), bool)
    valid[10:30, 8:45] = False
    guessed = np.where(valid[..., None], flow, 50.0).astype(np.float32)
    dense = filled(guessed, valid, grey)
    np.testing.assert_allclose(dense[20, [10, 17, 24, 40]], [[7, -2], [7, -2], [-3, 1], [-3, 1]], atol=0.2)
    np.testing.assert_array_equal(dense[valid], guessed[valid])
    np.testing.assert_array_equal(filled(guessed, np.zeros_like(valid), grey), guessed)
