"""Whether features still say anything. Both numbers fall to their least when all samples get the same features.

Sources: Chen, He. Exploring Simple Siamese Representation Learning. CVPR 2021, section 4.1 (the standard deviation);
Garrido et al. RankMe. ICML 2023, equation 1 (the effective rank, Roy and Vetterli 2007).
"""

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

Features = Float32[Tensor, "rows features"]


@torch.no_grad()
def feature_std(features: Features) -> float:
    """Returns the deviation of normalised features times the root of their number: 1 where they point anywhere, 0 where alike."""
    unit = F.normalize(features.float(), dim=1)
    return float(unit.std(0, correction=0).mean() * features.shape[1] ** 0.5)


@torch.no_grad()
def effective_rank(features: Features) -> float:
    """exp of the entropy of the singular values: from 1 to the smaller of the matrix's sizes."""
    values = torch.linalg.svdvals(features.float())
    share = values / values.sum().clamp_min(1e-12) + 1e-7
    return float(torch.exp(-(share * share.log()).sum()))
