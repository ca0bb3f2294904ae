"""Dense optical flow by inverse search of patches, checked forward against backward.

Paper:  Kroeger, Timofte, Dai, Van Gool. Fast Optical Flow using Dense Inverse Search. ECCV 2016.
Idea:   patches on a grid each find their displacement by Lucas-Kanade steps whose Hessian is computed once, on the patch of
        the first image ("inverse"); overlapping patches are averaged where they explain the image, coarse to fine, and a
        few steps of variational refinement smooth the result (sections 2.1-2.4)      -> cv2.DISOpticalFlow, displacement()
        valid = |f + f'|^2 < relative (|f|^2 + |f'|^2) + absolute      (UnFlow, eq. 2) -> forward_backward_consistent()
Differs: OpenCV's implementation, which also hands good displacements from patch to patch (spatial propagation). The search goes
        on to full resolution where the image is small enough; the paper stops at a half or a quarter of it.
Role:   FlowEstimator.  Flow in px of the given grid.
"""

from dataclasses import dataclass
from typing import Literal, final

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.geometry.images import to_grey
from firstsight.geometry.warp import forward_backward_consistent
from firstsight.roles import Flow, FlowEstimator, Images

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
FINEST_PIXELS = 640 * 480  # the finest scale searched has at most so many, for time
SMALLEST_PX = 48  # OpenCV crashes on images a few patches wide


@dataclass(frozen=True, kw_only=True)
class Config:
    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    finest_scale: int | None = (
        None  # stop at 1 / 2^finest_scale of the resolution; None: 0 up to 640x480, then as needed
    )
    refinement_iterations: int = 10
    consistency_relative: float = 0.01  # share of the squared lengths of the two flows by which the way back may miss
    consistency_absolute_px2: float = 0.5


def finest_scale(height: int, width: int) -> int:
    """The first scale with at most FINEST_PIXELS."""
    scale = 0
    while (height >> scale) * (width >> scale) > FINEST_PIXELS:
        scale += 1
    return scale


def displacement(
    grey_a: UInt8[np.ndarray, "height width"], grey_b: UInt8[np.ndarray, "height width"], config: Config
) -> Float32[np.ndarray, "height width 2"]:
    """Where each pixel of a goes in b, in px; dense, also where it cannot be right."""
    search = cv2.DISOpticalFlow.create(PRESETS[config.preset])
    search.setFinestScale(finest_scale(*grey_a.shape) if config.finest_scale is None else config.finest_scale)
    search.setVariationalRefinementIterations(config.refinement_iterations)
    return search.calc(grey_a, grey_b, np.zeros((*grey_a.shape, 2), np.float32))


@final
class DenseInverseSearch(FlowEstimator):
    """Raises InputError for images less than SMALLEST_PX high or wide."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()

    def __call__(self, image_a: Images, image_b: Images) -> Flow:
        height, width = image_a.shape[-2:]
        if min(height, width) < SMALLEST_PX:
            raise InputError(
                f"images of {width}x{height} px: flow needs at least {SMALLEST_PX} px each way; use larger ones"
            )
        pairs = [(to_grey(a[None]), to_grey(b[None])) for a, b in zip(image_a, image_b, strict=True)]
        flow_ab = torch.stack([channels_first(displacement(a, b, self.config)) for a, b in pairs])
        flow_ba = torch.stack([channels_first(displacement(b, a, self.config)) for a, b in pairs])
        valid = forward_backward_consistent(
            flow_ab, flow_ba, self.config.consistency_relative, self.config.consistency_absolute_px2
        )
        return Flow(flow_ab, valid)


def channels_first(flow: Float32[np.ndarray, "height width 2"]) -> Float32[Tensor, "2 height width"]:
    return torch.from_numpy(flow.transpose(2, 0, 1).copy())
