"""Flow that a network refines: it begins as the search, its change is scaled with the images, video alone makes it better."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from firstsight.errors import InputError
from firstsight.evaluation.flow import FlowErrors
from firstsight.flow.learned import supervised
from firstsight.flow.learned.from_video import Pair
from firstsight.flow.learned.refined_search import Config, RefinedSearch, RememberedSearch, Searched, searched
from firstsight.recordings.recording import FlowImage, Recording
from firstsight.recordings.simulated import simulate
from firstsight.roles import Flow, FlowEstimator
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Arrays
from firstsight.training.fit import Runtime, fit
from firstsight.training.layered.pairs import LayeredPairs
from firstsight.training.random_numbers import StepRandom
from firstsight.training.trainable import StepContext

SMALL = Config(size=(64, 96), widths=(8, 12, 16), features=8)


def textures(height: int, width: int) -> Tensor:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((1, 3, height // 4, width // 4))).float()
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def test_it_begins_as_the_search():
    torch.manual_seed(0)
    method, image = RefinedSearch(SMALL).eval(), textures(64, 96)
    found = method(image, image.roll((2, -3), (2, 3)))
    start = method.search(image, image.roll((2, -3), (2, 3)))
    assert (found.flow - start.flow).abs().max() < 0.5
    assert found.flow[0, :, 30, 50].tolist() == pytest.approx([-3, 2], abs=0.4)


def test_doubt_is_small_where_the_search_is_sure():
    """1 - 1 / (1 + e^2) for errors of 0, 0.5 and 3 px where the way back confirms it, 1 where it does not."""
    valid, error = (torch.tensor(row)[None, None, None] for row in ([1.0, 1.0, 1.0, 0.0], [0.0, 0.5, 3.0, 0.0]))
    start = Searched(torch.zeros(1, 2, 1, 4), valid, error)
    assert start.doubt.flatten().tolist() == pytest.approx([0, 0.2, 0.9, 1])


def test_what_is_not_in_doubt_stays(monkeypatch: pytest.MonkeyPatch):
    """A change of (2, -1) px is taken over by a quarter where doubt is a quarter."""
    method, image = RefinedSearch(SMALL), textures(64, 96)
    change = torch.tensor([2.0, -1.0])[None, :, None, None].expand(1, 2, 32, 48)
    monkeypatch.setattr(method.refiner, "forward", lambda *_: [change])
    monkeypatch.setattr(Searched, "doubt", property(lambda start: torch.full_like(start.valid, 0.25)))
    found = method.whole(image, image) - searched(method.search, image, image).flow
    assert found.mean((0, 2, 3)).tolist() == pytest.approx([0.5, -0.25], abs=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (128, 288)])
def test_the_change_is_scaled_with_the_images(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    """(2, -1) px of 96x64 are (6, -2) px of 288x128, where the search is in doubt."""
    method, image = RefinedSearch(SMALL), textures(*size)
    change = torch.tensor([2.0, -1.0])[None, :, None, None].expand(1, 2, 32, 48)
    monkeypatch.setattr(method.refiner, "forward", lambda *_: [change])
    monkeypatch.setattr(Searched, "doubt", property(lambda start: torch.ones_like(start.valid)))
    found = method.whole(image, image)
    expected = [2.0, -1.0] if size == (64, 96) else [6.0, -2.0]
    assert (found - searched(method.search, image, image).flow).mean((0, 2, 3)).tolist() == pytest.approx(
        expected, abs=1e-3
    )


def test_what_the_network_is_shown_of_larger_images_is_in_px_of_its_own(monkeypatch: pytest.MonkeyPatch):
    """Images twice as large: a flow of 8 px is one of 4, of which it is shown 4 / 20."""
    method, image, shown = RefinedSearch(SMALL), textures(128, 192), []
    layers = method.refiner.levels[0]
    monkeypatch.setattr(layers, "forward", lambda maps: shown.append(maps) or torch.zeros(1, 8, 32, 48))
    with torch.no_grad():
        method.whole(image, image.roll(8, 3))
    (maps,) = shown
    assert maps.shape == (1, 11, 64, 96)
    assert maps[0, 7, 20:40, 30:60].mean().item() == pytest.approx(4 / 20, abs=0.01)
    assert maps[0, 8, 20:40, 30:60].abs().max().item() < 0.02
    assert maps[0, 9, 20:40, 30:60].mean().item() > 0.9


def test_true_flow_and_video_are_learned_from_as_the_settings_say():
    torch.manual_seed(0)
    of_truth = RefinedSearch(SMALL)
    assert of_truth.wanted.fields == ("images", "flow_ab", "valid")
    pairs = LayeredPairs("sim:layers:pairs=2", of_truth.wanted)
    rows = [pairs.sample(index) for index in (0, 1)]
    batch = supervised.Batch(*(torch.from_numpy(np.stack([row[n] for row in rows])) for n in supervised.Batch._fields))
    loss = of_truth.loss(batch, StepContext(0, 10, StepRandom(0, 0, 2)))
    assert loss.parts["epe_px"].item() == pytest.approx(loss.parts["epe_of_search_px"].item(), abs=0.3)
    of_video = RefinedSearch(replace(SMALL, truth=False, teach_from=0.0, teach_ramp=0.0))
    assert of_video.wanted.fields == ("images",)
    parts = of_video.loss(Pair(batch.images), StepContext(0, 10, StepRandom(0, 0, 2))).parts
    assert set(parts) == {"photometric", "smoothness", "taught", "seen_share"}


def test_the_derivatives_of_a_batch_are_the_means_of_its_halves():
    torch.manual_seed(0)
    method = RefinedSearch(replace(SMALL, truth=False, teach_from=0.0, teach_ramp=0.0))
    image = textures(64, 96)
    images = torch.stack([torch.cat([image, image.roll(2, 3)]), torch.cat([image.flip(2), image.flip(2).roll(-3, 2)])])
    images = (255 * images).byte()

    def derivatives(rows: slice) -> list[Tensor]:
        method.zero_grad()
        method.loss(Pair(images[rows]), StepContext(7, 10, StepRandom(0, 7, 2, rows))).total.backward()
        return [parameter.grad.clone() for parameter in method.parameters() if parameter.grad is not None]

    whole, first, second = (derivatives(rows) for rows in (slice(0, 2), slice(0, 1), slice(1, 2)))
    largest = max(float(one.abs().max()) for one in whole)
    for one, a, b in zip(whole, first, second, strict=True):
        torch.testing.assert_close(one, (a + b) / 2, atol=1e-4 * largest, rtol=0)


def test_a_pair_that_was_searched_is_not_searched_again():
    """Other images are, and there is no more room than was given: 64 x 96 px of (2 + 1) float32 and a bool are 80 kB."""
    image, asked = textures(64, 96), []

    class Counting(FlowEstimator):
        def estimate(self, image_a, image_b) -> Flow:
            asked.append(float(image_a.sum()))
            return Flow(image_a[:, :2], image_a[:, :1] > 0, image_b[:, :1])

    remembered = RememberedSearch(Counting(), most_bytes=2 * 79_872)
    first = remembered(image, image.roll(1, 3))
    again = remembered(image.clone(), image.roll(1, 3))
    assert len(asked) == 1
    assert torch.equal(first.flow, again.flow)
    remembered(image.roll(1, 3), image)
    assert len(asked) == 2, "there and back are two"
    for _ in range(2):
        remembered(image.roll(2, 3), image)
    assert len(asked) == 4, "the third pair finds no room"


def test_settings_that_cannot_be_and_export_are_one_line(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="refined-search: 2 widths; give 3 to 5"):
        Config(widths=(8, 8))
    with pytest.raises(InputError, match="refined-search: size 60x96"):
        Config(size=(60, 96))
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    with pytest.raises(InputError, match="refined-search: cannot be exported"):
        RefinedSearch(SMALL).whole(textures(64, 96), textures(64, 96))


def errors_px(method: FlowEstimator, street: Recording) -> tuple[float, float]:
    """EPE of visible and of all pixels, all answers counted."""
    errors = FlowErrors()
    for frame in range(0, 8, 2):
        image_a, image_b = (street.images["left"][frame + k] for k in (0, 1))
        flow = method(image_a, image_b).flow[0].permute(1, 2, 0).numpy()
        everywhere = np.ones(flow.shape[:2], bool)
        errors.add(FlowImage(flow, everywhere, everywhere), street.truth.flow[frame])
    found = {metric.name: metric.value for metric in errors.metrics()}
    return found["flow EPE visible"], found["flow EPE"]


@pytest.mark.slow
def test_video_alone_makes_it_better_than_the_search(tmp_path: Path):
    """On two streets that it has not seen: what is hidden or leaves the image is found better, the rest as well as before."""
    torch.manual_seed(0)
    config, recipe = RefinedSearch.PRESETS["video"]
    method, rows = RefinedSearch(config), []
    for seed in (1, 2, 3):
        clips = Clips(simulate("street", seed=seed, frames=25, height=64, width=192), method.wanted)
        rows += [clips.sample(i)["images"] for i in range(24)]
    streets = [simulate("street", seed=seed, frames=9, height=64, width=192) for seed in (7, 8)]
    before = np.mean([errors_px(method.search, street) for street in streets], 0)
    data = Arrays(method.wanted, {"images": np.stack(rows)})
    fit(method, data, replace(recipe, steps=300), tmp_path, runtime=Runtime(device="cpu"))
    after = np.mean([errors_px(method.eval(), street) for street in streets], 0)
    print(f"EPE visible / all: {before[0]:.3f} / {before[1]:.3f} px of the search, {after[0]:.3f} / {after[1]:.3f} px")
    assert after[1] < 0.93 * before[1]
    assert after[0] < 1.01 * before[0]
