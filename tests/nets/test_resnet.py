"""Residual networks have the published names of weights, and compute what figure 5 of the paper says."""

import pytest
import torch
import torch.nn.functional as F

from firstsight.nets.resnet import LAYOUTS, ResNet
from firstsight.nets.unet import UNet


def published_names(layers: int) -> set[str]:
    """The rule of torchvision's checkpoints."""
    blocks, bottleneck = LAYOUTS[layers]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", *(f"bn1.{part}" for part in norm), "fc.weight", "fc.bias"}
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            prefix = f"layer{stage}.{block}"
            for i in range(1, 4 if bottleneck else 3):
                names |= {f"{prefix}.conv{i}.weight", *(f"{prefix}.bn{i}.{part}" for part in norm)}
            if block == 0 and (stage > 1 or bottleneck):
                names |= {f"{prefix}.downsample.0.weight", *(f"{prefix}.downsample.1.{part}" for part in norm)}
    return names


@pytest.mark.parametrize(("layers", "parameters"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_names_and_number_of_weights_are_the_published_ones(layers, parameters):
    net = ResNet(layers, classes=1000)
    assert set(net.state_dict()) == published_names(layers)
    assert sum(p.numel() for p in net.parameters()) == parameters


def slowly(net: ResNet, image: torch.Tensor) -> torch.Tensor:
    """From the weights by their names, block by block."""
    weights = net.state_dict()

    def conv(x, name, stride=1):
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights.get(f"{name}.bias"), stride, weight.shape[-1] // 2)

    def norm(x, name):
        if f"{name}.weight" not in weights:
            return x
        mean, variance, gain, offset = (
            weights[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * gain + offset

    x = F.max_pool2d(F.relu(norm(conv(image, "conv1", 2), "bn1")), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(100):
            name = f"layer{stage}.{block}"
            if f"{name}.conv1.weight" not in weights:
                break
            stride = 2 if stage > 1 and block == 0 else 1
            convs = 3 if f"{name}.conv3.weight" in weights else 2
            inner = x
            for i in range(1, convs + 1):
                inner = norm(conv(inner, f"{name}.conv{i}", stride if i == convs - 1 else 1), f"{name}.bn{i}")
                inner = F.relu(inner) if i < convs else inner
            if f"{name}.downsample.0.weight" in weights:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = F.relu(x + inner)
    return x.mean((2, 3))


@pytest.mark.parametrize("layers", [18, 50])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_equation(layers, norm):
    torch.manual_seed(0)
    net = ResNet(layers, width=8, norm=norm).eval()
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0, 0.1)
    image = torch.rand(2, 3, 64, 96)
    assert torch.allclose(net(image), slowly(net, image), atol=1e-5)


@pytest.mark.parametrize("layers", [18, 50])
def test_features_halve_stage_by_stage(layers):
    net = ResNet(layers, width=8)
    maps = net.features(torch.zeros(2, 3, 64, 96))
    assert [m.shape[1] for m in maps] == list(net.channels)
    assert [m.shape[2:] for m in maps] == [(64 // k, 96 // k) for k in (2, 4, 8, 16, 32)]


def test_without_norm_a_block_begins_as_the_identity():
    net = ResNet(18, width=8, norm="none")
    x = torch.rand(1, 8, 6, 6)
    assert torch.equal(net.layer1(x), x)
    assert not any("running" in name for name in net.state_dict())


def test_channels_that_enter_are_free():
    assert ResNet(18, width=8, in_channels=6)(torch.zeros(1, 6, 64, 64)).shape == (1, 64)


def test_the_decoder_answers_at_four_scales():
    torch.manual_seed(0)
    encoder = ResNet(18, width=8, norm="none")
    decoder = UNet(encoder.channels, outputs=2, width=4)
    image = torch.rand(2, 3, 64, 96, requires_grad=True)
    outputs = decoder(encoder.features(image))
    assert [a.shape for a in outputs] == [(2, 2, 64 // k, 96 // k) for k in (1, 2, 4, 8)]
    assert all(bool(((a > 0) & (a < 1)).all()) for a in outputs)
    sum(a.sum() for a in outputs).backward()
    assert image.grad.abs().sum() > 0
    assert all(p.grad is not None for p in decoder.parameters())
