"""How differently two images are ordered around each pixel: the soft census, which brightness and contrast hardly change.

Paper:  Zabih, Woodfill. Non-parametric Local Transforms for Computing Visual Correspondence. ECCV 1994;
        Meister, Hur, Roth. UnFlow: Unsupervised Learning of Optical Flow with a Bidirectional Census Loss. AAAI 2018;
        Jonschkowski et al. What Matters in Unsupervised Optical Flow. ECCV 2020, whose two constants these are.
Idea:   with g the grey level in 0 .. 255 and o the 48 offsets to the other pixels of a 7x7 window,
        t_o(p) = g(p + o) - g(p),  s = t / sqrt(0.81 + t^2), nearly the sign of t                         -> order_of()
        d = s_a - s_b,  census(p) = sum_o d_o(p)^2 / (0.1 + d_o(p)^2), a Hamming distance with soft steps -> census()
        s_-o(p) = -s_o(p - o), so d_-o(p)^2 = d_o(p - o)^2: half of the offsets give the other half.
Units:  a count of neighbours, from 0 to less than 48. Offset changes nothing; gain little where |t| is well above 0.9.
Differs: only whole windows, so that the map is six pixels smaller than the image each way, as photometric() does it;
        UFlow multiplies the outermost three pixels by 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from firstsight.errors import InputError
from firstsight.geometry.images import LUMA
from firstsight.losses.census_kernels import OFFSETS, RADIUS, SOFT_HAMMING, SOFT_SIGN, compare, differentiate
from firstsight.losses.photometric import for_each

GREY_LEVELS = 255

Images = Float[Tensor, "batch colours height width"]
Grey = Float[Tensor, "batch height width"]


def census(a: Images, b: Images) -> Float[Tensor, "batch 1 height-6 width-6"]:
    """How many neighbours of each pixel are ordered otherwise, softly; for images in [0, 1], RGB or of one channel.

    The outermost three pixels are left out. Raises InputError for images that differ in shape or hold no whole window.
    """
    window = 2 * RADIUS + 1
    if a.shape != b.shape or a.shape[1] not in (1, 3) or min(a.shape[2:]) < window:
        raise InputError(
            f"census: images of {tuple(a.shape)} and {tuple(b.shape)}; give two of one shape "
            f"(batch, 1 or 3 channels, height, width), at least {window}x{window} px"
        )
    of_a, of_b = grey_levels(a), grey_levels(b)
    plain = any(grey.dtype != torch.float32 or grey.device.type != "cpu" for grey in (of_a, of_b))
    sums = by_slices(of_a, of_b) if plain else _Census.apply(of_a, of_b)
    return sums[:, None, RADIUS:-RADIUS, RADIUS:-RADIUS]


def grey_levels(images: Images) -> Grey:
    """Returns luma of RGB, or the one channel there is, in 0 .. 255."""
    weights = images.new_tensor(LUMA if images.shape[1] == 3 else (1.0,))
    return (images * (GREY_LEVELS * weights)[:, None, None]).sum(1)


def by_slices(a: Grey, b: Grey) -> Grey:
    """Returns the sums over the neighbours that lie in the image, on any device and as often differentiable as wanted."""
    height, width = a.shape[1:]
    total = torch.zeros_like(a)
    for down, right in OFFSETS:
        first, last = max(0, -right), width - max(0, right)
        here = (slice(None), slice(0, height - down), slice(first, last))
        there = (slice(None), slice(down, height), slice(first + right, last + right))
        squared = (order_of(a[there] - a[here]) - order_of(b[there] - b[here])).square()
        distance = squared / (SOFT_HAMMING + squared)
        total[here] += distance
        total[there] += distance
    return total


def order_of(difference: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """t / sqrt(0.81 + t^2) of differences of grey levels."""
    return difference / (SOFT_SIGN + difference.square()).sqrt()


class _Census(torch.autograd.Function):
    """by_slices() by kernels. The backward computes the distances again, which costs less than to keep them."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        out = torch.zeros_like(a)
        for_each(compare, a.detach().numpy(), b.detach().numpy(), out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        by_a, by_b = torch.zeros_like(a), torch.zeros_like(b)
        arriving = gradients[0].contiguous()
        for_each(differentiate, *(each.numpy() for each in (a, b, arriving, by_a, by_b)))
        return by_a, by_b
