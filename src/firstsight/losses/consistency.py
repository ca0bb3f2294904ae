"""Two estimates of the same thing from two sides agree: disparities of both cameras, flows both ways.

Paper:  Godard, Mac Aodha, Brostow. Unsupervised Monocular Depth Estimation with Left-Right Consistency. 2017, eq. 4;
        Yin, Shi. GeoNet: Unsupervised Learning of Dense Depth, Optical Flow and Camera Pose. CVPR 2018, eq. 8.
Idea:   |d^l(x) - d^r(x - d^l(x))| and |d^r(x) - d^l(x + d^r(x))|, positive disparities in px            -> left_right()
        f_ab(p) + f_ba(p + f_ab(p)), zero where going there and back ends where it began                 -> round_trip()
Differs: eq. 4 is printed with a plus; with disparities that are positive, left pixel x is right pixel x - d^l.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from firstsight.geometry.pixels import Sampled
from firstsight.geometry.warp import warp_by_disparity, warp_by_flow

Disparities = Float[Tensor, "batch 1 height width"]
Flow = Float[Tensor, "batch 2 height width"]


def left_right(left: Disparities, right: Disparities) -> tuple[Disparities, Disparities]:
    """How far each camera's disparity is from the other's at the pixel that it points to (px). Borders are repeated."""
    from_right = warp_by_disparity(right, left).values
    from_left = warp_by_disparity(left, -right).values
    return (left - from_right).abs(), (right - from_left).abs()


def round_trip(flow_ab: Flow, flow_ba: Flow) -> Sampled:
    """Returns where going to b and back ends, from where it began (px); `inside` where b is not left."""
    back = warp_by_flow(flow_ba, flow_ab)
    return Sampled(flow_ab + back.values, back.inside)


def returns_near(
    flow_ab: Flow, flow_ba: Flow, absolute_px: float = 3.0, relative: float = 0.05
) -> Float[Tensor, "batch 1 height width"]:
    """GeoNet's mask: 1 where the round trip is shorter than max(absolute, relative |f_ab|), 0 elsewhere; no gradient."""
    with torch.no_grad():
        gap, _ = round_trip(flow_ab, flow_ba)
        allowed = (relative * flow_ab.norm(dim=1, keepdim=True)).clamp(min=absolute_px)
        return (gap.norm(dim=1, keepdim=True) < allowed).to(gap.dtype)
