"""What holds for every method of a role that takes images: once for the whole catalogue, so that no method's test repeats it.

A batch equals its rows, uint8 is what it is divided by 255, values have their type, unit and size, and a GPU changes little.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from firstsight import catalogue
from firstsight.errors import InputError
from firstsight.recordings.opening import open_recording
from firstsight.roles import (
    Depth,
    DepthCompleter,
    DepthEstimator,
    Discoverer,
    Encoder,
    FlowEstimator,
    MultiViewDepthEstimator,
    StereoEstimator,
)

HEIGHT, WIDTH = 64, 128
# Of learned methods, whose sums are taken in another order for another batch; classical ones are exact.
LEARNED_TOLERANCE = 2e-5
GPU_TOLERANCE = 1e-3


class Scene(NamedTuple):
    """Three frames of a street: arrays as they were recorded, and what is true of them."""

    left: list[np.ndarray]
    right: list[np.ndarray]
    depth: list[tuple[np.ndarray, np.ndarray]]
    neighbours_from_first: np.ndarray
    intrinsics: np.ndarray


@pytest.fixture(scope="module")
def scene() -> Scene:
    recording = open_recording(f"sim:street:frames=3,height={HEIGHT},width={WIDTH}")
    poses = recording.truth.world_from_camera
    sparse = np.zeros((HEIGHT, WIDTH), bool)
    sparse[::3, ::3] = True
    return Scene(
        [frame.image("left") for frame in recording],
        [frame.image("right") for frame in recording],
        [(truth.depth, truth.valid & sparse) for truth in recording.truth.depth],
        np.linalg.inv(poses[1:]) @ poses[0],
        recording.rig.reference.intrinsics,
    )


def batch(images: list[np.ndarray]) -> Tensor:
    """uint8 (batch, 3, height, width)."""
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())


def sparse_depth(scene: Scene, frames: slice) -> Depth:
    depth, valid = (torch.from_numpy(np.stack(part))[:, None] for part in zip(*scene.depth[frames], strict=True))
    return Depth(depth, valid)


# What a method of each role is asked about frames of the scene; `change` is applied to its images.
Ask = Callable[[Any, Scene, slice, Callable[[Tensor], Tensor]], Any]
ASKED: dict[type, Ask] = {
    StereoEstimator: lambda m, s, f, change: m(change(batch(s.left[f])), change(batch(s.right[f]))),
    FlowEstimator: lambda m, s, f, change: m(change(batch(s.left[f])), change(batch(s.left[1:][f]))),
    DepthCompleter: lambda m, s, f, change: m(change(batch(s.left[f])), sparse_depth(s, f)),
    DepthEstimator: lambda m, s, f, change: m(change(batch(s.left[f]))),
    Encoder: lambda m, s, f, change: m(change(batch(s.left[f]))),
    Discoverer: lambda m, s, f, change: m(change(batch(s.left[f]))),
    MultiViewDepthEstimator: lambda m, s, _, change: m(
        change(batch(s.left[:1])), change(batch(s.left[1:])), s.neighbours_from_first, s.intrinsics
    ),
}
ENTRIES = [entry for entry in catalogue.entries() if entry.role in {role.__name__ for role in ASKED}]
every_method = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def ask(entry: catalogue.Entry, method: Any, scene: Scene, frames: slice, change=lambda images: images) -> Any:
    asked = next(asked for role, asked in ASKED.items() if role.__name__ == entry.role)
    with torch.no_grad():
        return asked(method, scene, frames, change)


def made(entry: catalogue.Entry) -> Any:
    """With its own settings; one that learns is small, has random weights and, where it needs them, cameras it knows."""
    torch.manual_seed(0)
    kind = entry.load()
    if not entry.learns:
        return kind()
    method = kind(tiny_config(entry, kind)).eval()
    for buffer in method.buffers():
        if buffer.ndim == 0 and buffer.is_floating_point():
            buffer.fill_(1.0)  # such as the reach of monodepth's cameras
    return method


def tiny_config(entry: catalogue.Entry, kind: type) -> Any:
    presets = getattr(kind, "PRESETS", None)
    return presets["tiny"].config if presets else entry.module.TINY_CONFIG


def parts(found: Any) -> tuple[Tensor, ...]:
    """The tensors of an answer; the error that is expected is None where a method does not tell it."""
    return tuple(part for part in found if part is not None) if isinstance(found, tuple) else (found,)


def tolerance(entry: catalogue.Entry) -> float:
    return LEARNED_TOLERANCE if entry.learns else 0.0


def assert_close(entry: catalogue.Entry, expected: Any, found: Any, within: float) -> None:
    for a, b in zip(parts(expected), parts(found), strict=True):
        assert a.dtype == b.dtype
        gap = (a.double() - b.double()).abs() / a.double().abs().clamp_min(1.0)
        assert gap.max() <= within, entry.name


@every_method
def test_a_batch_equals_its_rows(entry: catalogue.Entry, scene: Scene):
    if entry.role == "MultiViewDepthEstimator":
        pytest.skip("takes one image; its batch are the neighbours")
    method = made(entry)
    both = ask(entry, method, scene, slice(0, 2))
    rows = [ask(entry, method, scene, slice(i, i + 1)) for i in range(2)]
    joined = tuple(torch.cat(part) for part in zip(*(parts(row) for row in rows), strict=True))
    assert_close(entry, joined, both, tolerance(entry))
    assert not torch.equal(parts(rows[0])[0], parts(rows[1])[0])


@every_method
def test_values_have_their_type_size_and_unit(entry: catalogue.Entry, scene: Scene):
    value, *valid = parts(ask(entry, made(entry), scene, slice(0, 1)))
    assert value.dtype == torch.float32
    assert len(value) == 1
    if entry.role == "Encoder":
        assert value.ndim == 2
        assert value.isfinite().all()
        return
    assert value.shape[-2:] == (HEIGHT, WIDTH)
    if entry.role == "Discoverer":
        assert value.min() >= 0
        assert torch.allclose(value.sum(1), torch.ones(1, HEIGHT, WIDTH), atol=1e-5)
        return
    assert value.shape[1] == (2 if entry.role == "FlowEstimator" else 1)
    assert valid[0].dtype == torch.bool
    assert valid[0].shape == (1, 1, HEIGHT, WIDTH)
    assert valid[0].any() or entry.learns, "random weights may confirm nothing"
    assert value.isfinite().all()
    if entry.role != "FlowEstimator":
        assert (value[valid[0]] > 0).all()


@every_method
def test_grey_levels_and_their_share_of_255_are_one(entry: catalogue.Entry, scene: Scene):
    method = made(entry)
    of_levels = ask(entry, method, scene, slice(0, 1))
    of_shares = ask(entry, method, scene, slice(0, 1), lambda images: images.double() / 255)
    assert_close(entry, of_levels, of_shares, 0.0)


@every_method
def test_one_image_is_taken_as_an_array_and_without_a_batch(entry: catalogue.Entry, scene: Scene):
    method = made(entry)
    expected = ask(entry, method, scene, slice(0, 1))
    as_array = ask(entry, method, scene, slice(0, 1), lambda x: x[0].permute(1, 2, 0).numpy() if len(x) == 1 else x)
    unbatched = ask(entry, method, scene, slice(0, 1), lambda x: x[0] if len(x) == 1 else x)
    assert_close(entry, expected, as_array, 0.0)
    assert_close(entry, expected, unbatched, 0.0)


@every_method
def test_floats_that_are_grey_levels_are_refused(entry: catalogue.Entry, scene: Scene):
    with pytest.raises(InputError, match=rf"^{entry.role}: \w+: .* with values from .*; give RGB as"):
        ask(entry, made(entry), scene, slice(0, 1), lambda images: images.float())


@every_method
def test_what_is_given_stays_as_it_was_and_the_answer_comes_again(entry: catalogue.Entry, scene: Scene):
    method, before = made(entry), [image.copy() for image in scene.left]
    shares = lambda images: images.float() / 255  # noqa: E731
    assert_close(entry, *(ask(entry, method, scene, slice(0, 1), shares) for _ in range(2)), 0.0)
    assert all(np.array_equal(a, b) for a, b in zip(before, scene.left, strict=True))


@every_method
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_answers_alike(entry: catalogue.Entry, scene: Scene):
    method = made(entry)
    expected = ask(entry, method, scene, slice(0, 1))
    on_gpu = method.cuda() if isinstance(method, nn.Module) else method
    found = ask(entry, on_gpu, scene, slice(0, 1), lambda images: images.cuda())
    assert all(part.device.type == "cuda" for part in parts(found))
    assert_close(entry, expected, tuple(part.cpu() for part in parts(found)), GPU_TOLERANCE)
