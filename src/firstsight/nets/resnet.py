"""Residual networks of 18, 34, 50 and 101 layers, with the names of weights that published ones have.

Paper:  He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, table 1, figure 5.
Idea:   a block adds to what it is given:  y = relu(x + F(x)), so that depth cannot make it worse   -> Basic, Bottleneck
        five stages, each at half the resolution of the one before                                 -> ResNet.features()
        names: conv1, bn1, layer1.0.conv1, layer1.0.bn1, layer2.0.downsample.0, fc, ...
Differs: Bottleneck halves in its 3x3 convolution, as published weights have it. With norm "none" there is no batch
        normalisation, convolutions have biases, and the last one of a block begins at zero, so that the block begins as
        the identity: a sample's features then do not depend on its batch, nor on how many processes share it.
"""

from typing import Literal, NamedTuple, final

from jaxtyping import Float
from torch import Tensor, nn

Norm = Literal["batch", "none"]
Map = Float[Tensor, "batch channels height width"]
NewMap = Float[Tensor, "batch out_channels rows columns"]


class Layout(NamedTuple):
    """Blocks per stage, and whether they are bottlenecks (which give four times their width)."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool

    @property
    def expansion(self) -> int:
        return 4 if self.bottleneck else 1


LAYOUTS = {
    18: Layout((2, 2, 2, 2), False),
    34: Layout((3, 4, 6, 3), False),
    50: Layout((3, 4, 6, 3), True),
    101: Layout((3, 4, 23, 3), True),
}


def convolution(in_channels: int, out_channels: int, size: int, stride: int = 1, norm: Norm = "batch") -> nn.Conv2d:
    made = nn.Conv2d(in_channels, out_channels, size, stride, size // 2, bias=norm == "none")
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


def normalisation(channels: int, norm: Norm) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


def shortcut(in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Sequential | None:
    """What brings x to the shape of F(x), None where it has it."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(convolution(in_channels, out_channels, 1, stride, norm), normalisation(out_channels, norm))


@final
class Basic(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, in_channels: int, width: int, stride: int, norm: Norm):
        super().__init__()
        self.conv1, self.bn1 = convolution(in_channels, width, 3, stride, norm), normalisation(width, norm)
        self.conv2, self.bn2 = convolution(width, width, 3, 1, norm), normalisation(width, norm)
        self.downsample = shortcut(in_channels, width, stride, norm)
        if norm == "none":
            nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Map) -> NewMap:
        inner = self.bn1(self.conv1(x)).relu()
        inner = self.bn2(self.conv2(inner))
        return (inner + (x if self.downsample is None else self.downsample(x))).relu()


@final
class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3, 1x1 to four times as many."""

    def __init__(self, in_channels: int, width: int, stride: int, norm: Norm):
        super().__init__()
        self.conv1, self.bn1 = convolution(in_channels, width, 1, 1, norm), normalisation(width, norm)
        self.conv2, self.bn2 = convolution(width, width, 3, stride, norm), normalisation(width, norm)
        self.conv3, self.bn3 = convolution(width, 4 * width, 1, 1, norm), normalisation(4 * width, norm)
        self.downsample = shortcut(in_channels, 4 * width, stride, norm)
        if norm == "none":
            nn.init.zeros_(self.conv3.weight)

    def forward(self, x: Map) -> NewMap:
        inner = self.bn1(self.conv1(x)).relu()
        inner = self.bn2(self.conv2(inner)).relu()
        inner = self.bn3(self.conv3(inner))
        return (inner + (x if self.downsample is None else self.downsample(x))).relu()


@final
class ResNet(nn.Module):
    """`width` is that of the first stage, 64 in the paper; `in_channels` the channels of its input."""

    def __init__(
        self,
        layers: Literal[18, 34, 50, 101] = 18,
        *,
        classes: int | None = None,
        in_channels: int = 3,
        width: int = 64,
        norm: Norm = "batch",
    ):
        super().__init__()
        layout = LAYOUTS[layers]
        self.channels = (width, *(width * 2**stage * layout.expansion for stage in range(4)))
        self.conv1, self.bn1 = convolution(in_channels, width, 7, 2, norm), normalisation(width, norm)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for stage, count in enumerate(layout.blocks):
            self.add_module(f"layer{stage + 1}", self._stage(layout, stage, count, width * 2**stage, norm))
        self.fc = None if classes is None else nn.Linear(self.channels[-1], classes)

    def _stage(self, layout: Layout, stage: int, count: int, width: int, norm: Norm) -> nn.Sequential:
        block, stride = Bottleneck if layout.bottleneck else Basic, 1 if stage == 0 else 2
        first = block(self.channels[stage], width, stride, norm)
        return nn.Sequential(first, *(block(self.channels[stage + 1], width, 1, norm) for _ in range(count - 1)))

    def features(self, image: Map) -> list[Tensor]:
        """The map of each stage, at 1/2, 1/4, ... 1/32 of the resolution, with `channels` channels."""
        maps = [self.bn1(self.conv1(image)).relu()]
        within = self.maxpool(maps[0])
        for stage in range(4):
            within = self.get_submodule(f"layer{stage + 1}")(within)
            maps.append(within)
        return maps

    def forward(self, image: Map) -> Float[Tensor, "batch features"]:
        """One vector per image: the mean of the last stage, or scores of classes where there are some."""
        pooled = self.features(image)[-1].mean((-2, -1))
        return pooled if self.fc is None else self.fc(pooled)
