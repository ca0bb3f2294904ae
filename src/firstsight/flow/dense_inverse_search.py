"""Dense optical flow by inverse search of patches, checked forward against backward.

Paper:  Kroeger, Timofte, Dai, Van Gool. Fast Optical Flow using Dense Inverse Search. ECCV 2016.
Idea:   patches on a grid each find their displacement by Lucas-Kanade steps whose Hessian is computed once, on the patch of
        the first image ("inverse"); overlapping patches are averaged where they explain the image, coarse to fine, and a
        few steps of variational refinement smooth the result (sections 2.1-2.4)      -> cv2.DISOpticalFlow, search()
        What is not consistent takes the flow of what is around it and looks alike                         -> filled()
        valid = |f + f'|^2 < relative (|f|^2 + |f'|^2) + absolute      (UnFlow, eq. 2) -> warp.forward_backward_check()
Differs: OpenCV's implementation, which also hands good displacements from patch to patch (spatial propagation). It
        starts from a quick search corrected by coarse block matches, which finds small things that move far     -> start()
        and goes on to full resolution where the image is small enough; the paper stops at a half or a quarter of it.
Role:   FlowEstimator.  Flow in px of the given grid.
"""

from dataclasses import dataclass
from typing import Literal, final

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.flow.coarse_matches import Matches, coarse_matches
from firstsight.flow.expected_error import expected_error_px
from firstsight.geometry.images import to_grey
from firstsight.geometry.warp import forward_backward_check
from firstsight.matching.selection.edge_aware import smooth
from firstsight.roles import Flow, FlowEstimator, Images

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
FINEST_PIXELS = 640 * 480  # the finest scale searched has at most so many, for time
MAX_MISMATCH = 40.0  # grey levels
# Widths in px of the windows of mismatch(), and of the opening and the median of merged(), in whole and halved images.
WHOLE, HALVED = (7, 5), (3, 3)
ELSEWHERE = 1.5  # steps of the coarse search: a match this far from the flow is another one
CLEARLY = 0.75
MIN_PX = 48  # OpenCV crashes on images a few patches wide
FILL_REACH_PX, FILL_EDGE = 40.0, 25.0  # of the smoothing that fills; grey levels between surfaces

Grey = UInt8[np.ndarray, "height width"]
Displacement = Float32[np.ndarray, "height width 2"]


@dataclass(frozen=True, kw_only=True)
class Config:
    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    finest_scale: int | None = (
        None  # stop at 1 / 2^finest_scale of the resolution; None: 0 up to 640x480, then as needed
    )
    refinement_iterations: int = 5  # 10 cost a quarter more and changed no error on the simulated street
    consistency_relative: float = 0.01  # share of the squared lengths of the two flows by which the way back may miss
    consistency_absolute_px2: float = 0.5


def finest_scale(height: int, width: int) -> int:
    """The first scale with at most FINEST_PIXELS."""
    scale = 0
    while (height >> scale) * (width >> scale) > FINEST_PIXELS:
        scale += 1
    return scale


def search(
    grey_a: Grey, grey_b: Grey, begin: Displacement, preset: str, finest: int, refinement_iterations: int
) -> Displacement:
    """OpenCV's search near `begin`, down to 1 / 2^finest of the resolution."""
    method = cv2.DISOpticalFlow.create(PRESETS[preset])
    method.setFinestScale(finest)
    method.setVariationalRefinementIterations(refinement_iterations)
    return method.calc(grey_a, grey_b, begin.copy())


def mismatch(grey_a: Grey, grey_b: Grey, flow: Displacement, window_px: int) -> Float32[np.ndarray, "height width"]:
    """How different the images are along the flow in grey levels, bounded, the mean over a window."""
    height, width = grey_a.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = x + flow[..., 0], y + flow[..., 1]
    gap = np.abs(cv2.remap(grey_b, u, v, cv2.INTER_LINEAR).astype(np.float32) - grey_a)
    inside = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    bounded = np.where(inside, np.minimum(gap, MAX_MISMATCH), MAX_MISMATCH / 2)
    return cv2.blur(bounded, (window_px, window_px))


def start(grey_a: Grey, grey_b: Grey, matches: Matches) -> Displacement:
    """A quick search, and the coarse matches where they lie elsewhere and explain the images clearly better.

    Images large enough are halved for it.
    """
    height, width = grey_a.shape
    if min(height, width) >= 2 * MIN_PX:
        size = ((width + 1) // 2, (height + 1) // 2)
        half_a, half_b = (cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in (grey_a, grey_b))
        halved = Matches(matches.flow[::2, ::2] / 2, matches.consistent[::2, ::2], matches.step_px / 2)
        return cv2.resize(merged(half_a, half_b, halved, 1, *HALVED), (width, height)) * np.float32(2)
    return merged(grey_a, grey_b, matches, 2, *WHOLE)


def merged(grey_a: Grey, grey_b: Grey, matches: Matches, finest: int, window_px: int, speck_px: int) -> Displacement:
    """The quick search down to 1 / 2^finest, with the matches that it missed."""
    flow = search(grey_a, grey_b, np.zeros((*grey_a.shape, 2), np.float32), "fast", finest, 5)
    elsewhere = np.linalg.norm(matches.flow - flow, axis=-1) > ELSEWHERE * matches.step_px
    better = mismatch(grey_a, grey_b, matches.flow, window_px) < CLEARLY * mismatch(grey_a, grey_b, flow, window_px)
    missed = (matches.consistent & elsewhere & better).astype(np.uint8)
    missed = cv2.morphologyEx(missed, cv2.MORPH_OPEN, np.ones((speck_px, speck_px), np.uint8)) > 0
    chosen = np.where(missed[..., None], matches.flow, flow)
    return np.dstack([cv2.medianBlur(np.ascontiguousarray(chosen[..., axis]), speck_px) for axis in (0, 1)])


def displacements(grey_a: Grey, grey_b: Grey, config: Config) -> tuple[Displacement, Displacement]:
    """Returns where each pixel of a goes in b and of b in a, in px; dense, also where it cannot be right."""
    height, width = grey_a.shape
    finest = finest_scale(height, width) if config.finest_scale is None else config.finest_scale
    size = (width >> finest, height >> finest)
    small_a, small_b = (cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in (grey_a, grey_b))
    matches_ab, matches_ba = coarse_matches(small_a, small_b)

    def refined(from_grey: Grey, to_grey: Grey, begin: Float32[np.ndarray, "rows columns 2"]) -> Displacement:
        enlarged = cv2.resize(begin, (width, height)) * np.float32(2**finest)
        return search(from_grey, to_grey, enlarged, config.preset, finest, config.refinement_iterations)

    return (
        refined(grey_a, grey_b, start(small_a, small_b, matches_ab)),
        refined(grey_b, grey_a, start(small_b, small_a, matches_ba)),
    )


def filled(flow: Displacement, valid: Bool[np.ndarray, "height width"], grey: Grey) -> Displacement:
    """The flow, and where it is not valid the mean of the valid flow around, over what looks alike."""
    if not valid.any():
        return flow
    guide = cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32)
    weight, nowhere = valid + np.float32(1e-6), np.zeros(valid.shape, bool)
    around = [
        smooth(np.ascontiguousarray(flow[..., axis]), weight, guide, nowhere, FILL_REACH_PX, FILL_EDGE)
        for axis in (0, 1)
    ]
    return np.where(valid[..., None], flow, np.dstack(around))


@final
class DenseInverseSearch(FlowEstimator):
    """Raises InputError for images less than MIN_PX high or wide."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()

    def estimate(self, image_a: Images, image_b: Images) -> Flow:
        height, width = image_a.shape[-2:]
        if min(height, width) < MIN_PX:
            raise InputError(
                f"images of {width}x{height} px: flow needs at least {MIN_PX} px each way; use larger ones"
            )
        pairs = [self._pair(a[None], b[None]) for a, b in zip(image_a, image_b, strict=True)]
        return Flow(*(torch.cat(parts).to(image_a.device) for parts in zip(*pairs, strict=True)))

    def _pair(self, image_a: Images, image_b: Images) -> tuple[Tensor, Tensor, Tensor]:
        """(flow, valid, error in px) of one pair."""
        grey_a, grey_b = to_grey(image_a), to_grey(image_b)
        flows = displacements(grey_a, grey_b, self.config)
        there, back = (torch.from_numpy(flow.transpose(2, 0, 1).copy())[None] for flow in flows)
        valid, gap = forward_backward_check(
            there, back, self.config.consistency_relative, self.config.consistency_absolute_px2
        )
        seen = valid[0, 0].numpy()
        dense = filled(flows[0], seen, grey_a).transpose(2, 0, 1).copy()
        error = expected_error_px(grey_a, gap[0, 0].numpy(), seen)
        return torch.from_numpy(dense)[None], valid, torch.from_numpy(error)[None, None]
