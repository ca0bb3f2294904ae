"""Dense optical flow by inverse search of patches, checked forward against backward.

Paper:  Kroeger, Timofte, Dai, Van Gool. Fast Optical Flow using Dense Inverse Search. ECCV 2016.
Idea:   patches on a grid each find their displacement by Lucas-Kanade steps whose Hessian is computed once, on the patch of
        the first image ("inverse"); overlapping patches are averaged where they explain the image, coarse to fine, and a
        few steps of variational refinement smooth the result (sections 2.1-2.4)      -> cv2.DISOpticalFlow, search()
        valid = |f + f'|^2 < relative (|f|^2 + |f'|^2) + absolute      (UnFlow, eq. 2) -> forward_backward_consistent()
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
from jaxtyping import Float32, UInt8

from firstsight.errors import InputError
from firstsight.flow.coarse_matches import Matches, coarse_matches
from firstsight.geometry.images import to_grey
from firstsight.geometry.warp import forward_backward_consistent
from firstsight.roles import Flow, FlowEstimator, Images

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
FINEST_PIXELS = 640 * 480  # the finest scale searched has at most so many, for time
MAX_MISMATCH, MISMATCH_WINDOW_PX = 40.0, 7  # grey levels; px
ELSEWHERE = 1.5  # steps of the coarse search: a match this far from the flow is another one
CLEARLY = 0.75
MIN_PX = 48  # OpenCV crashes on images a few patches wide

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


def mismatch(grey_a: Grey, grey_b: Grey, flow: Displacement) -> Float32[np.ndarray, "height width"]:
    """How different the images are along the flow in grey levels, bounded, the mean over a window."""
    height, width = grey_a.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = x + flow[..., 0], y + flow[..., 1]
    gap = np.abs(cv2.remap(grey_b, u, v, cv2.INTER_LINEAR).astype(np.float32) - grey_a)
    inside = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    bounded = np.where(inside, np.minimum(gap, MAX_MISMATCH), MAX_MISMATCH / 2)
    return cv2.blur(bounded, (MISMATCH_WINDOW_PX, MISMATCH_WINDOW_PX))


def start(grey_a: Grey, grey_b: Grey, matches: Matches) -> Displacement:
    """A quick search, and the coarse matches where they lie elsewhere and explain the images clearly better."""
    flow = search(grey_a, grey_b, np.zeros((*grey_a.shape, 2), np.float32), "fast", 2, 5)
    elsewhere = np.linalg.norm(matches.flow - flow, axis=-1) > ELSEWHERE * matches.step_px
    better = mismatch(grey_a, grey_b, matches.flow) < CLEARLY * mismatch(grey_a, grey_b, flow)
    missed = (matches.consistent & elsewhere & better).astype(np.uint8)
    missed = cv2.morphologyEx(missed, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0
    merged = np.where(missed[..., None], matches.flow, flow)
    return np.dstack([cv2.medianBlur(np.ascontiguousarray(merged[..., axis]), 5) for axis in (0, 1)])


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
        pairs = [
            displacements(to_grey(a[None]), to_grey(b[None]), self.config)
            for a, b in zip(image_a, image_b, strict=True)
        ]
        flow_ab, flow_ba = (
            torch.stack([torch.from_numpy(flow.transpose(2, 0, 1).copy()) for flow in flows]).to(image_a.device)
            for flows in zip(*pairs, strict=True)
        )
        valid = forward_backward_consistent(
            flow_ab, flow_ba, self.config.consistency_relative, self.config.consistency_absolute_px2
        )
        return Flow(flow_ab, valid)
