"""Dense optical flow by inverse search of patches, checked forward against backward.

Paper:  Kroeger, Timofte, Dai, Van Gool. Fast Optical Flow using Dense Inverse Search. ECCV 2016.
Idea:   patches on a grid each find their displacement by Lucas-Kanade steps whose Hessian is computed once, on the patch of
        the first image ("inverse"); overlapping patches are averaged where they explain the image, coarse to fine, and a
        few steps of variational refinement smooth the result (sections 2.1-2.4)      -> cv2.DISOpticalFlow, displacement()
        valid = |f + f'|^2 < relative (|f|^2 + |f'|^2) + absolute      (UnFlow, eq. 2) -> forward_backward_consistent()
Differs: OpenCV's implementation, which also hands good displacements from patch to patch (spatial propagation).
Role:   FlowEstimator.  Flow in px of the given grid.
"""

from dataclasses import dataclass
from typing import Literal, final

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

from firstsight.geometry.images import to_grey
from firstsight.geometry.warp import forward_backward_consistent
from firstsight.roles import Flow, FlowEstimator, Images

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


@dataclass(frozen=True, kw_only=True)
class Config:
    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    consistency_relative: float = 0.01  # share of the flow's length by which the way back may miss (squared)
    consistency_absolute_px2: float = 0.5


def displacement(
    grey_a: UInt8[np.ndarray, "height width"], grey_b: UInt8[np.ndarray, "height width"], config: Config
) -> Float32[np.ndarray, "height width 2"]:
    """Where each pixel of a goes in b, in px; dense, also where it cannot be right."""
    return cv2.DISOpticalFlow.create(PRESETS[config.preset]).calc(grey_a, grey_b, None)


@final
class DenseInverseSearch(FlowEstimator):
    def __init__(self, config: Config | None = None):
        self.config = config or Config()

    def __call__(self, image_a: Images, image_b: Images) -> Flow:
        pairs = [(to_grey(a[None]), to_grey(b[None])) for a, b in zip(image_a, image_b, strict=True)]
        flow_ab = torch.stack([_channels_first(displacement(a, b, self.config)) for a, b in pairs])
        flow_ba = torch.stack([_channels_first(displacement(b, a, self.config)) for a, b in pairs])
        valid = forward_backward_consistent(
            flow_ab, flow_ba, self.config.consistency_relative, self.config.consistency_absolute_px2
        )
        return Flow(flow_ab, valid)


def _channels_first(flow: Float32[np.ndarray, "height width 2"]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))
