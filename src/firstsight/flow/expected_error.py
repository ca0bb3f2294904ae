"""How wrong a flow is likely to be, told by the flow itself and by the image.

Paper:  Shi, Tomasi. Good Features to Track. CVPR 1994 (a window's structure tensor G says how well its motion is determined);
        Sundaram, Brox, Keutzer. Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow. ECCV 2010
        (section 3, there and back).
Idea:   the way there and back that does not close measures both errors; where the image has no texture, or only an edge,
        noise of the grey levels moves the flow by noise / sqrt(l), l the smaller eigenvalue of G:
        error^2 = (gap share)^2 mean |f + f'|^2 + noise^2 / l                                 -> expected_error_px()
        The mean is over valid pixels of a window, since a wrong flow may close by chance.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from firstsight.geometry.images import to_grey
from firstsight.roles.border import Images

GAP_SHARE = 0.5
GAP_WINDOW_PX = 7
MAX_GAP_PX = 20.0
NOISE = 0.6  # grey levels, of the mean over the window
TEXTURE_SIGMA_PX = 2.5
LEAST_TEXTURE = 1e-3  # of the eigenvalue, squared grey levels per px^2

Map = Float32[np.ndarray, "height width"]


def expected_errors_px(
    image_a: Images, gap_px: Float[Tensor, "batch 1 height width"], valid: Bool[Tensor, "batch 1 height width"]
) -> Float32[Tensor, "batch 1 height width"]:
    """expected_error_px() of each image; on the images' device, without derivatives."""
    errors = [
        expected_error_px(to_grey(image[None]), gap[0].float().numpy(), seen[0].numpy())
        for image, gap, seen in zip(image_a.detach().cpu(), gap_px.detach().cpu(), valid.cpu(), strict=True)
    ]
    return torch.from_numpy(np.stack(errors))[:, None].to(image_a.device)


def expected_error_px(
    grey: UInt8[np.ndarray, "height width"], gap_px: Map, valid: Bool[np.ndarray, "height width"]
) -> Map:
    """Standard deviation of the flow's error in px; `gap_px` is how far the way there and back misses each pixel."""
    squared, weight = np.minimum(gap_px, MAX_GAP_PX) ** 2, valid.astype(np.float32)
    window = (GAP_WINDOW_PX, GAP_WINDOW_PX)
    around = cv2.blur(squared * weight, window) / np.maximum(cv2.blur(weight, window), 1e-3)
    by_gap = np.float32(GAP_SHARE**2) * np.where(valid, around, squared)
    return np.sqrt(by_gap + np.float32(NOISE**2) / np.maximum(smaller_eigenvalue(grey), LEAST_TEXTURE))


def smaller_eigenvalue(grey: UInt8[np.ndarray, "height width"]) -> Map:
    """Of the structure tensor, the mean of the outer products of the gradient around each pixel."""
    image = grey.astype(np.float32)
    x, y = cv2.Sobel(image, -1, 1, 0, scale=1 / 8), cv2.Sobel(image, -1, 0, 1, scale=1 / 8)
    xx, xy, yy = (cv2.GaussianBlur(product, (0, 0), TEXTURE_SIGMA_PX) for product in (x * x, x * y, y * y))
    half = (xx + yy) / 2
    return half - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
