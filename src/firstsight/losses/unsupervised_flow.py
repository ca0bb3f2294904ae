"""What a flow network is trained with where no true flow is known: interchangeable parts, one function.

Paper:  Jonschkowski, Stone, Barron, Gordon, Konolige, Angelova. What Matters in Unsupervised Optical Flow. ECCV 2020;
        Wang et al. Occlusion Aware Unsupervised Learning of Optical Flow. CVPR 2018; Meister, Hur, Roth. UnFlow. AAAI 2018;
        Yin, Shi. GeoNet. CVPR 2018, eq. 8 for the consistency of both flows.
Idea:   photometric = sum m rho(a, b(p + f_ab)) / sum m, m what is seen of a in b, without gradient        -> photometric_term()
            rho: (census + 0.01)^0.4, or SSIM with absolute difference, or the Charbonnier penalty of the difference
            m:   the range map, or the way there and back, or 1; and always that p + f_ab lies in b
        smoothness = (mean |d^k f / dx^k| e_x + mean |d^k f / dy^k| e_y) / 2, e = exp(-150 mean_c |dI|)     -> smoothness_term()
            k = 1 with weight 4 (Sintel), k = 2 with weight 2 (KITTI), on the flow at a quarter of the resolution
        consistency = sum [near] |f_ab + f_ba(p + f_ab)|_1 / sum [near]: GeoNet's, weight 0.2 there, off here
        each the mean of both directions                                                               -> unsupervised_flow()
Differs: |x| in place of UFlow's sqrt(x^2 + 0.001^2) in the smoothness. Self-supervision needs a second pass through the
        network and is a term of its own (self_supervision.py). SSIM is compared together with the absolute difference.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from firstsight.geometry.pixels import resize, resize_flow
from firstsight.geometry.warp import warp_by_flow
from firstsight.losses.census import census
from firstsight.losses.consistency import returns_near, round_trip
from firstsight.losses.occlusion import seen_by_range, seen_by_round_trip
from firstsight.losses.photometric import photometric
from firstsight.losses.robust import charbonnier, power_law
from firstsight.losses.smoothness import edge_aware

Images = Float[Tensor, "batch 3 height width"]
Flow = Float[Tensor, "batch 2 height width"]
Mask = Float[Tensor, "batch 1 height width"]
Scalar = Float[Tensor, ""]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which parts, and how much each counts; UFlow's for Sintel."""

    photometric: Literal["census", "ssim", "charbonnier"] = "census"
    occlusion: Literal["range-map", "forward-backward", "none"] = "range-map"
    photometric_weight: float = 1.0
    smoothness_order: Literal[1, 2] = 1
    smoothness_weight: float = 4.0
    # by which the mean absolute difference of colours in [0, 1] is multiplied
    edge_sharpness: float = 150.0
    # the flow is smoothed on a grid coarser by this factor
    smoothness_scale: int = 4
    consistency_weight: float = 0.0


class Terms(NamedTuple):
    """The terms, weighted, means of both directions; and what is seen of each image in the other, 0 to 1, without gradient."""

    photometric: Scalar
    smoothness: Scalar
    consistency: Scalar
    seen_a: Mask
    seen_b: Mask

    def total(self) -> Scalar:
        """Returns the loss: the sum of the terms."""
        return self.photometric + self.smoothness + self.consistency


def unsupervised_flow(
    image_a: Images, image_b: Images, flow_ab: Flow, flow_ba: Flow, config: Config | None = None
) -> Terms:
    """The terms of the flows (px) between two images (RGB in [0, 1]); the settings are UFlow's unless given."""
    c = config or Config()
    ways = ((image_a, image_b, flow_ab, flow_ba), (image_b, image_a, flow_ba, flow_ab))
    seen_a, seen_b = (seen_in_other(there, back, c.occlusion) for _, _, there, back in ways)
    looks = [
        photometric_term(here, other, there, seen, c.photometric)
        for (here, other, there, _), seen in zip(ways, (seen_a, seen_b), strict=True)
    ]
    rough = [smoothness_term(there, here, c) for here, _, there, _ in ways]
    closing = [flow_ab.new_zeros(())]
    if c.consistency_weight > 0:
        closing = [consistency_term(there, back) for _, _, there, back in ways]
    weights = (c.photometric_weight, c.smoothness_weight, c.consistency_weight)
    terms = (weight * torch.stack(each).mean() for weight, each in zip(weights, (looks, rough, closing), strict=True))
    return Terms(*terms, seen_a, seen_b)


def seen_in_other(flow_ab: Flow, flow_ba: Flow, occlusion: str) -> Mask:
    """Returns what is seen of a in b by one of the ways to tell; 1 everywhere for "none"."""
    if occlusion == "range-map":
        return seen_by_range(flow_ba)
    if occlusion == "forward-backward":
        return seen_by_round_trip(flow_ab, flow_ba)
    return torch.ones_like(flow_ab[:, :1])


def photometric_term(image_a: Images, image_b: Images, flow_ab: Flow, seen_a: Mask, kind: str) -> Scalar:
    """Returns how differently a and the warped b look where a is seen and b is not left, per pixel that counts."""
    warped, inside = warp_by_flow(image_b, flow_ab)
    if kind == "census":
        looks = power_law(census(image_a, warped))
    elif kind == "ssim":
        looks = photometric(image_a, warped)
    else:
        looks = charbonnier(image_a - warped).mean(1, keepdim=True)
    return masked_mean(looks, seen_a * inside)


def smoothness_term(flow_ab: Flow, image_a: Images, config: Config) -> Scalar:
    """Returns the roughness of the flow, in px of the coarser grid."""
    height, width = (max(size // config.smoothness_scale, 1) for size in flow_ab.shape[-2:])
    rough = edge_aware(
        resize_flow(flow_ab, height, width),
        resize(image_a, height, width),
        config.smoothness_order,
        config.edge_sharpness,
    )
    return rough.mean() / 2


def consistency_term(flow_ab: Flow, flow_ba: Flow) -> Scalar:
    """Returns how far the way there and back is from closing (px, both components), where it nearly does: GeoNet's L_gc."""
    gap, inside = round_trip(flow_ab, flow_ba)
    return masked_mean(gap.abs().sum(1, keepdim=True), returns_near(flow_ab, flow_ba) * inside)


def masked_mean(values: Float[Tensor, "batch 1 rows columns"], weight: Mask) -> Scalar:
    """Returns the weighted mean of each sample, 0 where nothing counts, then of all: samples weigh the same however much counts.

    `values` may lack the same margin of the image at each side.
    """
    margin = (weight.shape[-2] - values.shape[-2]) // 2
    within = weight[..., margin : margin + values.shape[-2], margin : margin + values.shape[-1]]
    return ((within * values).sum((1, 2, 3)) / within.sum((1, 2, 3)).clamp(min=1e-6)).mean()
