"""Networks answer as they do alone, in the units and on the pixels of the images; what does not fit is one line."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.external import models, session
from firstsight.external.session import import_runtime

Write = Callable[..., Path]
METRES = {"role": "depth", "output": {"quantity": "depth_m"}}
PAIR = ("a", "b")


class Convolved(nn.Module):
    """Between 1 and 11 m by a convolution, known where it is below 6 m."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        depth = 1 + 10 * self.conv(image).sigmoid()
        return depth, (depth < 6).float()


def constant(*values: float) -> Callable[..., Tensor]:
    """A network that answers with the same values at every pixel of its (first) image."""

    def answer(image: Tensor, *others: Tensor) -> Tensor:
        zero = (image + sum(others))[:, :1] * 0
        return torch.cat([zero + value for value in values], 1)

    return answer


@pytest.mark.parametrize("size", [(32, 48), (50, 31)])
def test_depth_is_the_modules_own(written: Write, size: tuple[int, int]):
    network = Convolved()
    output = {"quantity": "depth_m", "name": "depth", "valid": "known"}
    model = models.load(written(network, {"role": "depth", "output": output}, outputs=("depth", "known")))
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected, known = network(image)
    depth, valid, _ = model(image)
    assert (type(model), model.scale) == (models.ExternalDepth, "metric")
    torch.testing.assert_close(depth, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(valid, known > 0.5)
    assert not valid.all()
    assert valid.any()


def test_images_are_given_as_the_description_says(written: Write):
    about = {"range": "0-255", "mean": [10, 20, 30], "std": [2, 4, 5], "channel_order": "bgr"}
    image = torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(3, 32, 48)
    # blue 153, green 102, red 51
    expected = torch.tensor([[(153 - 10) / 2, (102 - 20) / 4, (51 - 30) / 5]])
    first = models.load(written(lambda x: x.mean((2, 3)), {"role": "encoder", "input": about}))
    torch.testing.assert_close(first(image), expected, rtol=1e-4, atol=0)
    about |= {"channels": "last"}
    path = written(lambda x: x.mean((1, 2)), {"role": "encoder", "input": about}, shape=(1, 32, 48, 3), free=False)
    with pytest.raises(InputError, match="takes images of 32 x 48 alone; state that as size: fixed"):
        models.load(path)
    about |= {"size": {"fixed": [32, 48]}}
    last = models.load(
        written(lambda x: x.mean((1, 2)), {"role": "encoder", "input": about}, shape=(1, 32, 48, 3), free=False)
    )
    # exported for one image: two are given one after the other
    torch.testing.assert_close(last(image[None].repeat(2, 1, 3, 2)), expected.repeat(2, 1), rtol=1e-4, atol=0)


def test_a_network_for_bytes_is_given_bytes(written: Write):
    about: dict[str, Any] = {"role": "encoder", "input": {"range": "0-255"}}
    import_runtime()
    import onnx

    path = written(lambda x: x.mean((2, 3)), about)
    graph = onnx.load(path)
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    node = onnx.helper.make_node("Cast", ["image"], ["cast"], to=onnx.TensorProto.FLOAT)
    for one in graph.graph.node:
        one.input[:] = ["cast" if name == "image" else name for name in one.input]
    graph.graph.node.insert(0, node)
    onnx.save(graph, path)
    image = torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(3, 8, 12) + 0.0005
    torch.testing.assert_close(models.load(path)(image), torch.tensor([[51.0, 102.0, 153.0]]))
    path.with_suffix(".json").write_text('{"role": "encoder"}')
    with pytest.raises(InputError, match="takes uint8; say range 0-255 in its description"):
        models.load(path)


def test_flow_is_in_pixels_of_the_images(written: Write):
    """2 px right and 1 px up of 32x64 are 5 px right and 1.5 px up of 48x160; from b to a it is the opposite."""

    def answer(a: Tensor, b: Tensor) -> Tensor:
        sign = (a - b).mean((1, 2, 3), keepdim=True).sign()
        return torch.cat([2 * sign, -1 * sign], 1).expand(-1, 2, 32, 64)

    about = {"role": "flow", "input": {"size": {"fixed": [32, 64]}}}
    path = written(answer, about, inputs=PAIR, shape=(1, 3, 32, 64), free=False)
    image = torch.rand(1, 3, 48, 160) / 2
    flow, valid, error_px = models.load(path)(image + 0.5, image)
    torch.testing.assert_close(flow[0, :, 7, 11], torch.tensor([5.0, -1.5]))
    assert (flow.amin((2, 3)) - flow.amax((2, 3))).abs().max() < 1e-5
    assert int(valid.sum()) == (160 - 5) * (48 - 2)  # the rest leaves the image
    assert error_px is not None
    assert error_px.shape == (1, 1, 48, 160)


def test_flow_with_channels_last_and_a_mask_of_its_own(written: Write):
    def answer(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return constant(3.0, 4.0)(a, b).movedim(1, -1), (a[:, :1] > 0.5).float().movedim(1, -1)

    about = {"role": "flow", "output": {"channels": "last", "valid": 1}}
    a = torch.zeros(1, 3, 32, 48)
    a[:, :, :, :10] = 1
    flow, valid, error_px = models.load(written(answer, about, inputs=PAIR, outputs=("flow", "mask")))(a, a)
    assert flow[0, :, 20, 9].tolist() == [3, 4]
    assert (int(valid.sum()), error_px) == (320, None)
    assert flow.shape == (1, 2, 32, 48)


def test_disparity_of_a_coarse_grid(written: Write):
    """-3 px on a grid of quarter size are 12 px of the input of 16x32, and 36 px of an image of 32x96."""

    def answer(left: Tensor, right: Tensor) -> Tensor:
        return F.avg_pool2d(constant(-3.0)(left, right), 4)

    about: dict[str, Any] = {"role": "stereo", "input": {"size": {"fixed": [16, 32]}}}
    image = torch.rand(1, 3, 32, 96)
    with pytest.raises(InputError, match=r"come out on 4 x 8, the input is 16 x 32; .* 4 for px of that grid"):
        models.load(written(answer, about, inputs=PAIR))(image, image)
    about["output"] = {"factor": -4}
    disparity, valid = models.load(written(answer, about, inputs=PAIR))(image, image)
    torch.testing.assert_close(disparity, torch.full((1, 1, 32, 96), 36.0))
    assert valid.all()


def test_inverse_depth_tells_depth_up_to_factor_and_shift(written: Write):
    about = {"role": "depth", "output": {"quantity": "inverse_depth"}}
    model = models.load(written(lambda x: 7 * x[:, 0], about))  # without a dimension for its channel
    image = torch.tensor([[0.1, 0.4], [0.0, 0.2]]).expand(1, 3, 2, 2)
    depth, valid, _ = model(image)
    assert model.scale == "unknown"
    assert valid.flatten().tolist() == [True, True, False, True]
    torch.testing.assert_close(depth.flatten()[[0, 1, 3]], torch.tensor([20.0, 5.0, 10.0]))
    dark = model(torch.zeros(1, 3, 2, 2))
    assert not dark.valid.any()


def test_depth_up_to_a_factor_and_in_other_units(written: Write):
    relative = models.load(written(constant(-2500.0), {"role": "depth", "output": {"quantity": "depth", "factor": -1}}))
    assert (relative.scale, float(relative(torch.rand(3, 8, 8)).depth[0, 0, 1, 2])) == ("unknown", 2500)
    millimetres = {"role": "depth", "output": {"quantity": "depth_m", "factor": 0.001}}
    depth, valid, _ = models.load(written(constant(2500.0), millimetres))(torch.rand(3, 8, 8))
    assert float(depth[0, 0, 1, 2]) == pytest.approx(2.5)
    assert valid.all()


def test_what_is_not_finite_is_not_valid_and_spreads_to_no_pixel(written: Write):
    about = METRES | {"input": {"size": {"fixed": [4, 8]}}}
    model = models.load(written(lambda x: 1 / (x[:, :1] > 0.5).float() + 1, about))
    image = torch.ones(1, 3, 8, 16)
    image[..., :8] = 0
    depth, valid, _ = model(image)
    assert depth.isfinite().all()
    assert valid[0, 0, 4].tolist() == [False] * 9 + [True] * 7
    assert depth[valid].unique().tolist() == [2]


@pytest.mark.parametrize(("pooling", "expected"), [("first", [[1.0, 2.0]]), ("mean", [[3.0, 5.0]])])
def test_tokens_become_one_vector(written: Write, pooling: str, expected: list[list[float]]):
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]]])
    about = {"role": "encoder", "output": {"pooling": pooling}}
    assert models.load(written(lambda x: tokens + 0 * x.mean(), about))(torch.rand(3, 8, 8)).tolist() == expected


@pytest.mark.parametrize(
    ("network", "about", "words", "more"),
    [
        (constant(1.0), METRES | {"input": {"names": ["left"]}}, "has no input left; name image in", {}),
        (
            constant(1.0),
            {"role": "depth", "output": {"quantity": "depth_m", "name": "depth"}},
            "has no output depth; name one of out in",
            {},
        ),
        (
            constant(1.0),
            {"role": "depth", "output": {"quantity": "depth_m", "name": 1}},
            "has no output 1; name one of out",
            {},
        ),
        (constant(1.0, 2.0), {"role": "flow"}, r"takes 1 inputs \(image\) where the role flow gives 2", {}),
        (constant(1.0), METRES, r"takes 2 inputs \(a, b\) where the role depth gives 1", {"inputs": PAIR}),
        (
            nn.Conv2d(1, 1, 1),
            METRES,
            r"has shape \(batch, 1, height, width\) where images are \(batch, 3",
            {"shape": (1, 1, 8, 8)},
        ),
        (
            constant(1.0),
            METRES | {"input": {"channels": "last"}},
            r"where images are \(batch, height, width, 3\)",
            {},
        ),
        (
            constant(1.0),
            METRES | {"input": {"size": {"fixed": [32, 64]}}},
            "takes images of 32 x 48 alone; state that as size: fixed",
            {"free": False},
        ),
        (constant(1.0, 2.0), METRES, r"gives an output of shape \(1, 2, 96, 160\) where the role depth needs", {}),
        (constant(1.0), {"role": "encoder"}, r"gives features of shape \(1, 1, 96, 160\); an encoder needs", {}),
        (
            lambda x: x[:, :1] + F.interpolate(F.avg_pool2d(x[:, :1], 64), scale_factor=64),
            METRES,
            "fails on an input of 96 x 160 .*; see size: multiple_of",
            {"shape": (1, 3, 64, 128)},
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    written: Write, network: Any, about: dict[str, Any], words: str, more: dict[str, Any]
):
    path = written(network, about, **more)
    with pytest.raises(InputError, match=words) as caught:
        models.check(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_network_is_one_line(written: Write):
    path = written(constant(1.0), METRES)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"net\.onnx: cannot be opened as an ONNX network") as caught:
        models.load(path)
    assert "\n" not in str(caught.value)


def test_the_runtime_is_an_optional_part(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"ONNX Runtime is not installed: .*\[export\]"):
        import_runtime()


@pytest.mark.parametrize(
    ("usable", "used"),
    [
        (["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"], ["CUDA", "CPU"]),
        (["AzureExecutionProvider", "CPUExecutionProvider"], ["CPU"]),
    ],
)
def test_a_gpu_is_used_where_the_runtime_has_it(monkeypatch: pytest.MonkeyPatch, usable: list[str], used: list[str]):
    asked: list[str] = []
    runtime = SimpleNamespace(
        SessionOptions=SimpleNamespace,
        get_available_providers=lambda: usable,
        InferenceSession=lambda path, options, providers: asked.extend(providers),
    )
    monkeypatch.setattr(session, "import_runtime", lambda: runtime)
    session.opened(Path("net.onnx"))
    assert asked == [f"{name}ExecutionProvider" for name in used]
