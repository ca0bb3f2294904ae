"""Scores of two images' features over a window, of features with mean 0 and spread 1.

Paper:  Jonschkowski et al. What Matters in Unsupervised Optical Flow. ECCV 2020, section 3.1 (cost volume normalisation).
Without it PWC-Net's scores are so small at first that 500 steps teach it nothing (benchmarks/learned_flow.md).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from firstsight.matching.correlation.local import Window, correlation
from firstsight.nets.flow_decoder import SLOPE

LEAST_VARIANCE = 1e-6

Maps = Float[Tensor, "batch channels height width"]


def compared(of_a: Maps, of_b: Maps, window: Window) -> Float[Tensor, "batch displacements height width"]:
    """Leaky scores; each image's features are normalised over all channels and pixels."""
    return F.leaky_relu(correlation(normal(of_a), normal(of_b), window), SLOPE)


def normal(maps: Maps) -> Maps:
    mean, variance = maps.mean((1, 2, 3), keepdim=True), maps.var((1, 2, 3), keepdim=True, correction=0)
    return (maps - mean) * (variance + LEAST_VARIANCE).rsqrt()
