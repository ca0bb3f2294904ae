"""A plane sweep without gaps: what several images do not tell, a network says that a run of the same camera has taught.

Paper:  Klodt, Vedaldi. Supervising the New with the Old: Learning SfM from SfM. ECCV 2018, for how the network learns; Collins.
        A Space-Sweep Approach to True Multi-Image Matching. CVPR 1996, for the sweep.
Idea:   where the sweep of an image and its neighbours is sure, its depth is kept                  -> depth.plane_sweep
        elsewhere it is the network's, times the ratio of both where both are known, near by if possible; so that it is in the
        sweep's unit, which with one camera is another one in each recording                                -> filled()
        the network's loss is that of                                                              -> depth.taught_depth
Differs: neither paper joins the two.
Role:   MultiViewDepthEstimator, in the unit of the motion.
"""

from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from firstsight.depth.plane_sweep import PlaneSweep
from firstsight.depth.taught_depth import Config, LearnsFromRun
from firstsight.geometry.images import to_grey
from firstsight.matching.selection.edge_aware import smooth
from firstsight.roles import Depth, MultiViewDepthEstimator

Map = Float32[Tensor, "1 1 height width"]
REACH_SHARE, EDGE = 0.1, 25.0  # of the filling: share of the image's width, grey levels between surfaces
LEAST_KNOWN = 0.01  # of the image, that the sweep must have found for the rest to be filled
PRIOR = 1e-3  # weight of the ratio of the whole image beside those near by


def filled(sweep: Depth, guess: Map, error: Map, image: Float32[Tensor, "1 3 height width"]) -> Depth:
    """The sweep's depth, and where it has none the guess times the ratio of both near by; all is valid then.

    `error` is that of the guess in its unit; the sweep does not tell its own, which counts as 0.
    As it is where the sweep knows hardly anything, since the guess has a unit of its own.
    """
    known = sweep.valid[0, 0].cpu().numpy()
    if known.mean() < LEAST_KNOWN:
        return sweep
    log_ratio = np.log(np.where(known, sweep.depth[0, 0].cpu().numpy(), 1)) - guess[0, 0].log().cpu().numpy()
    overall = float(np.median(log_ratio[known]))
    weights = known + np.float32(PRIOR)
    values = np.where(known, log_ratio, overall).astype(np.float32)
    grey = to_grey(image).astype(np.float32)
    around = smooth(values, weights, grey, np.zeros_like(known), REACH_SHARE * known.shape[1], EDGE)
    ratio = torch.from_numpy(np.exp(around))[None, None].to(guess.device)
    depth, error = torch.where(sweep.valid, sweep.depth, ratio * guess), torch.where(sweep.valid, 0, ratio * error)
    return Depth(depth, torch.ones_like(sweep.valid), error)


@final
class FilledSweep(MultiViewDepthEstimator, LearnsFromRun):
    """A plane sweep whose gaps are filled."""

    def __init__(self, config: Config | None = None):
        super().__init__(config)
        self.sweep = PlaneSweep()

    def estimate(
        self,
        image: Float32[Tensor, "1 3 height width"],
        neighbours: Float32[Tensor, "views 3 height width"],
        neighbour_from_image: Float64[Tensor, "views 4 4"],
        intrinsics: Float64[Tensor, "3 3"],
    ) -> Depth:
        found = self.sweep.estimate(image, neighbours, neighbour_from_image, intrinsics)
        return filled(found, *self.of_image(image), image)

    def example_inputs(self, rows: int = 2, scale: float = 1.0) -> dict[str, Any]:
        """An image with neighbours a little to both sides of it; `rows` are those of neighbours."""
        image = super().example_inputs(1, scale)["image"]
        height, width = image.shape[-2:]
        poses = torch.eye(4, dtype=torch.float64).repeat(rows, 1, 1)
        poses[:, 0, 3] = torch.linspace(-0.1, 0.1, rows, dtype=torch.float64)
        inner = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=torch.float64)
        shifted = torch.cat([image.roll(k, 3) for k in range(rows)])
        return {"image": image, "neighbours": shifted, "neighbour_from_image": poses, "intrinsics": inner}
