"""Where a vision transformer looks: attention as images.

Paper:  Caron et al. Emerging Properties in Self-Supervised Vision Transformers. ICCV 2021, figures 1, 3, 8 to 10.
Idea:   attention = softmax(q k' / sqrt(d)) of a block, of every head                    VisionTransformer.attend()
        the row of CLS: what the whole image's token takes from each patch                      -> cls_attention()
        the row of a patch: what that patch takes from the others                               -> query_attention()
        the fewest patches that hold a share of it                                                -> mass_threshold()
        every head in a colour of its own, each pixel that of the head which looks at it most          -> coloured_heads()
Differs: the authors draw one head at a time or mix colours by hand; here a pixel has one colour.
Units:  attention is a share, 1 over all tokens; what CLS and registers get is left out of the images.
"""

import colorsys

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from firstsight.nets.vit import Attended, VisionTransformer, whole_patches

Maps = Float[Tensor, "batch heads rows columns"]


def cls_attention(vit: VisionTransformer, images: Float[Tensor, "batch 3 height width"], block: int = -1) -> Maps:
    """What CLS takes from each patch."""
    return token_attention(vit, vit.attend(images, block), images, 0)


def query_attention(
    vit: VisionTransformer, images: Float[Tensor, "batch 3 height width"], place: tuple[int, int], block: int = -1
) -> Maps:
    """What the patch at (row, column) takes from each patch."""
    _, columns = whole_patches(tuple(images.shape[-2:]), vit.config.patch)
    token = vit.prefix + place[0] * columns + place[1]
    return token_attention(vit, vit.attend(images, block), images, token)


def token_attention(
    vit: VisionTransformer, attended: Attended, images: Float[Tensor, "batch 3 height width"], token: int
) -> Maps:
    grid = whole_patches(tuple(images.shape[-2:]), vit.config.patch)
    return attended.attention[:, :, token, vit.prefix :].unflatten(-1, grid)


def mass_threshold(maps: Maps, share: float) -> Bool[Tensor, "batch heads rows columns"]:
    """The fewest patches that hold at least `share` of each map."""
    flat = maps.flatten(2)
    sizes, order = flat.sort(-1, descending=True)
    before = sizes.cumsum(-1) - sizes
    kept = before < share * flat.sum(-1, keepdim=True)
    return torch.zeros_like(kept).scatter(-1, order, kept).unflatten(-1, maps.shape[-2:])


def at_pixels(maps: Float[Tensor, "batch heads rows columns"], patch: int) -> Float[Tensor, "batch heads height width"]:
    """Every patch's value at each of its pixels."""
    return F.interpolate(maps, scale_factor=patch, mode="nearest")


def coloured_heads(
    images: Float[Tensor, "batch 3 height width"], maps: Maps, share: float, patch: int
) -> Float[Tensor, "batch 3 height width"]:
    """The images in grey, and in the colour of a head where it looks by itself: its largest patches that hold `share`."""
    kept = mass_threshold(maps, share)
    strength = torch.where(kept, maps / maps.amax((2, 3), keepdim=True), 0.0)
    strongest = at_pixels(strength, patch).max(1, keepdim=True)
    colours = head_colours(maps.shape[1]).to(images)[strongest.indices[:, 0]].permute(0, 3, 1, 2)
    grey = images.mean(1, keepdim=True)
    return torch.where(strongest.values > 0, 0.35 * grey + 0.65 * colours, 0.6 * grey.expand_as(images))


def head_colours(heads: int) -> Float[Tensor, "heads 3"]:
    """Evenly round the circle of hues."""
    return torch.tensor([colorsys.hsv_to_rgb(head / heads, 0.85, 1.0) for head in range(heads)])
