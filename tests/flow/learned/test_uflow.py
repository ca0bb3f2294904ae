"""Unsupervised flow: what is asked for when, what a crop teaches, and that video alone makes flow better."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from firstsight.errors import InputError
from firstsight.evaluation.flow import FlowErrors
from firstsight.flow.learned import pwc_net
from firstsight.flow.learned.from_video import Pair, TaughtPair, lesson_of_crop, lesson_of_run
from firstsight.flow.learned.uflow import Config, UFlow
from firstsight.losses import unsupervised_flow as losses
from firstsight.recordings.recording import FlowImage
from firstsight.recordings.simulated import simulate
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Arrays
from firstsight.training.fit import Runtime, fit
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import StepContext

SMALL = Config(
    size=(64, 64),
    pwc=pwc_net.Config(size=(64, 64), pyramid=(8, 12, 16), reach=2, decoder=(16, 8), context=(8, 8, 8, 8, 8, 8)),
)


def test_teaching_begins_late_and_rises():
    lessons = replace(SMALL, teach_weight=0.6, teach_from=0.5, teach_ramp=0.2)
    found = [lessons.teaching_at(progress) for progress in (0.0, 0.49, 0.5, 0.55, 0.7, 1.0)]
    assert found == pytest.approx([0, 0, 0, 0.15, 0.6, 0.6])
    assert replace(SMALL, teach_ramp=0.0).teaching_at(0.5) == 0.3


def test_occlusion_is_told_from_a_share_on():
    lessons = replace(SMALL, occlusion_from=0.25)
    assert [lessons.terms_at(progress).occlusion for progress in (0.0, 0.24, 0.25)] == ["none", "none", "range-map"]


def test_a_crop_teaches_nothing_to_what_finds_the_same_there():
    """Flow that is 3 px everywhere is 3 * 64 / 52 px in a crop that is enlarged; what says otherwise is taught."""
    images = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)

    def steady(x: float) -> tuple[Tensor, Tensor]:
        flow = torch.tensor([x, -1.5 * x / 3])[None, :, None, None].expand(1, 2, 64, 64)
        return flow, -flow

    def unsure(x: float):
        """The way back does not close, so that the student may be taught."""
        return lambda image_a, image_b: (steady(x)[0], steady(x)[1] + 40)

    right = lesson_of_crop(unsure(3 * 64 / 52), images, steady(3))
    wrong = lesson_of_crop(unsure(3 * 64 / 52 + 2), images, steady(3))
    back_alone = lesson_of_crop(lambda *_: (steady(3 * 64 / 52)[0], steady(3 * 64 / 52)[1]), images, steady(3))
    assert back_alone.item() < 1e-3
    assert wrong.item() == pytest.approx(right.item() + 0.5, abs=1e-3), (
        "2 px of one component, both ways, one of them right"
    )


def test_what_a_run_is_sure_of_teaches():
    """Off by 0.5 and -2 px where it expects errors of 0 and 2 px, weights 1 and 1/5; off by 9 px where it knows nothing."""
    flow = torch.zeros(1, 2, 1, 3)
    truth = torch.tensor([[[0.5, 0.0, 9.0]], [[0.0, -2.0, 9.0]]])[None]
    batch = TaughtPair(
        torch.zeros(1, 2, 3, 1, 3, dtype=torch.uint8),
        truth,
        torch.tensor([True, True, False])[None, None, None],
        torch.tensor([0.0, 2.0, 0.0])[None, None, None],
    )
    assert lesson_of_run(flow, batch).item() == pytest.approx((0.5 + 2 / 5) / (1 + 1 / 5))
    assert lesson_of_run(flow, batch._replace(taught_valid=batch.taught_valid & False)).item() == 0


def test_a_run_teaches_only_where_it_is_told_to():
    assert UFlow(SMALL).wanted.fields == ("images",)
    torch.manual_seed(0)
    taught = UFlow(replace(SMALL, taught_weight=0.5, recoloured_share=0.0))
    assert taught.wanted.fields == ("images", "taught_flow_ab", "taught_valid", "taught_flow_error")
    images = torch.randint(0, 255, (1, 2, 3, 64, 64), dtype=torch.uint8)
    batch = TaughtPair(images, torch.full((1, 2, 64, 64), 3.0), torch.ones(1, 1, 64, 64) > 0, torch.zeros(1, 1, 64, 64))
    loss = taught.loss(batch, StepContext(0, 10, StepRandom(0, 0, 1)))
    flow_ab, _ = taught.both_ways(images[:, 0] / 255, images[:, 1] / 255)
    assert loss.parts["taught by the run"].item() == pytest.approx(0.5 * (flow_ab - 3).abs().sum(1).mean().item())
    assert loss.total.item() == pytest.approx(sum(loss.parts[n].item() for n in loss.parts if n != "seen_share"))


def test_the_loss_has_the_terms_of_the_settings():
    torch.manual_seed(0)
    method = UFlow(SMALL)
    batch = Pair(torch.randint(0, 255, (2, 2, 3, 64, 64), dtype=torch.uint8))
    early = method.loss(batch, StepContext(0, 10, StepRandom(0, 0, 2)))
    late = method.loss(batch, StepContext(7, 10, StepRandom(0, 7, 2)))
    assert "taught" not in early.parts
    assert early.total.item() == pytest.approx(sum(early.parts[name].item() for name in ("photometric", "smoothness")))
    expected = sum(late.parts[name].item() for name in ("photometric", "smoothness", "taught"))
    assert late.total.item() == pytest.approx(expected)
    rougher = replace(SMALL, terms=replace(SMALL.terms, smoothness_weight=8.0))
    torch.manual_seed(0)
    doubled = UFlow(rougher).loss(batch, StepContext(0, 10, StepRandom(0, 0, 2)))
    assert doubled.parts["smoothness"].item() == pytest.approx(2 * early.parts["smoothness"].item())


def test_the_derivatives_of_a_batch_are_the_means_of_its_halves():
    """So that two processes learn what one learns, up to rounding."""
    torch.manual_seed(0)
    method = UFlow(SMALL)
    batch = Pair(torch.randint(0, 255, (4, 2, 3, 64, 64), dtype=torch.uint8))

    def derivatives(rows: slice) -> list[Tensor]:
        method.zero_grad()
        method.loss(Pair(batch.images[rows]), StepContext(7, 10, StepRandom(0, 7, 4, rows))).total.backward()
        return [parameter.grad.clone() for parameter in method.parameters()]

    whole, first, second = (derivatives(rows) for rows in (slice(0, 4), slice(0, 2), slice(2, 4)))
    largest = max(float(one.abs().max()) for one in whole)
    for one, a, b in zip(whole, first, second, strict=True):
        torch.testing.assert_close(one, (a + b) / 2, atol=1e-4 * largest, rtol=0)


def test_shares_out_of_range_are_one_line():
    with pytest.raises(InputError, match=r"^teach_from 1.2, teach_ramp 0.1: give shares"):
        Config(teach_from=1.2)


def epe(method: UFlow, seed: int) -> float:
    """Of visible pixels of a street, all answers counted, px."""
    street = simulate("street", seed=seed, frames=9, height=64, width=192)
    errors = FlowErrors()
    for frame in range(0, 8, 2):
        image_a, image_b = (street.images["left"][frame + k] for k in (0, 1))
        flow = method.eval()(image_a, image_b).flow[0].permute(1, 2, 0).numpy()
        everywhere = street.truth.flow[frame].valid | True
        errors.add(FlowImage(flow, everywhere, everywhere), street.truth.flow[frame])
    return next(metric.value for metric in errors.metrics() if metric.name == "flow EPE visible")


@pytest.mark.slow
def test_video_alone_makes_flow_better(tmp_path):
    """On a street that it has not seen, against no flow at all, which is what it begins with."""
    torch.manual_seed(0)
    config = replace(UFlow.PRESETS["tiny"].config, terms=losses.Config(smoothness_weight=1.0, smoothness_scale=2))
    method = UFlow(config)
    rows = []
    for seed in (1, 2):
        clips = Clips(simulate("street", seed=seed, frames=25, height=64, width=192), method.wanted)
        rows += [clips.sample(i)["images"] for i in range(24)]
    before = epe(method, 7)
    recipe = Recipe(steps=300, batch=4, learning_rate=1e-3, warm_up=0.05, schedule="cosine", log_every=100)
    fit(method, Arrays(method.wanted, {"images": torch.stack([torch.from_numpy(r) for r in rows]).numpy()}), recipe,
        tmp_path, runtime=Runtime(device="cpu"))  # fmt: skip
    after = epe(method, 7)
    print(f"EPE of visible pixels: {before:.3f} px before, {after:.3f} px after")
    assert after < 0.7 * before
