"""Penalties of a difference that grow more slowly than its square, so that a few large ones do not rule a sum.

Paper:  Sun, Roth, Black. A Quantitative Analysis of Current Practices in Optical Flow Estimation. IJCV 2014;
        Meister, Hur, Roth. UnFlow: Unsupervised Learning of Optical Flow with a Bidirectional Census Loss. AAAI 2018;
        Jonschkowski et al. What Matters in Unsupervised Optical Flow. ECCV 2020.
Idea:   (x^2 + epsilon^2)^alpha, alpha = 0.45 and epsilon = 0.001 in UnFlow                                -> charbonnier()
        (|x| + epsilon)^q, q = 0.4 and epsilon = 0.01 in UFlow                                           -> power_law()
Units:  those of the difference to the power 2 alpha or q; both penalties are above 0 at 0.
"""

from jaxtyping import Float
from torch import Tensor


def charbonnier(
    difference: Float[Tensor, "*shape"], epsilon: float = 1e-3, alpha: float = 0.45
) -> Float[Tensor, "*shape"]:
    """Returns the generalised Charbonnier penalty, element by element; smooth at 0."""
    return (difference.square() + epsilon**2) ** alpha


def power_law(difference: Float[Tensor, "*shape"], epsilon: float = 0.01, q: float = 0.4) -> Float[Tensor, "*shape"]:
    """Returns UFlow's penalty, element by element; its slope jumps at 0, where the derivative is taken to be 0."""
    return (difference.abs() + epsilon) ** q
