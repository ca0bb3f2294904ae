"""What of one image can be seen in the other, told by the flows between them; never a way for gradients.

Paper:  Wang, Yang, Yang, Zhao, Wang, Xu. Occlusion Aware Unsupervised Learning of Optical Flow. CVPR 2018, eq. 2;
        Meister, Hur, Roth. UnFlow: Unsupervised Learning of Optical Flow with a Bidirectional Census Loss. AAAI 2018, eq. 2.
Idea:   every pixel y of b lands in a at y' = y + f_ba(y); what nothing lands on is hidden in b:
        V(x) = sum_y max(0, 1 - |x_1 - y'_1|) max(0, 1 - |x_2 - y'_2|)                                      -> range_map()
        visible = min(1, V)                                                                          -> seen_by_range()
        visible where the way there and back closes,
        |f + f'|^2 < 0.01 (|f|^2 + |f'|^2) + 0.5 px^2, f' = f_ba(p + f_ab(p)), and b is not left -> seen_by_round_trip()
Differs: the lecture's bullet says "forward-backward" and its figure shows the range map; both are here.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from firstsight.geometry.pixels import pixel_grid
from firstsight.geometry.warp import forward_backward_check

Flow = Float[Tensor, "batch 2 height width"]
Mask = Float[Tensor, "batch 1 height width"]


@torch.no_grad()
def range_map(flow_ba: Flow) -> Mask:
    """How many pixels of b come to each pixel of a: their bilinear weights, summed. What leaves the image, or is NaN, is lost."""
    height, width = flow_ba.shape[-2:]
    target = pixel_grid(height, width, flow_ba.dtype, flow_ba.device) + flow_ba
    corner = target.floor()
    rest = target - corner
    counts = flow_ba.new_zeros(len(flow_ba), height * width)
    for down in (0, 1):
        for right in (0, 1):
            x, y = corner[:, 0] + right, corner[:, 1] + down
            weight = (rest[:, 0] if right else 1 - rest[:, 0]) * (rest[:, 1] if down else 1 - rest[:, 1])
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = torch.where(inside, y * width + x, 0).long()
            counts.scatter_add_(1, index.flatten(1), torch.where(inside, weight, 0).flatten(1))
    return counts.unflatten(1, (1, height, width))


def seen_by_range(flow_ba: Flow) -> Mask:
    """Returns min(1, V) on the grid of a: 0 where nothing of b comes, 1 where a whole pixel does or more."""
    return range_map(flow_ba).clamp(max=1)


@torch.no_grad()
def seen_by_round_trip(flow_ab: Flow, flow_ba: Flow, relative: float = 0.01, absolute_px2: float = 0.5) -> Mask:
    """Returns 1 on the grid of a where the way to b and back closes, 0 elsewhere."""
    closes, _ = forward_backward_check(flow_ab, flow_ba, relative, absolute_px2)
    return closes.to(flow_ab.dtype)
