"""LARS: each matrix moves by a share of its own norm, so that large batches and rates stay stable.

Source: You, Gitman, Ginsburg. Large Batch Training of Convolutional Networks. arXiv:1708.03888, 2017, algorithm 1.
    g <- gradient + decay w,  trust = coefficient |w| / |g|,  v <- momentum v + rate trust g,  w <- w - v
Differs: the norm of g is that of the sum, as in SimCLR (Chen et al. ICML 2020), where the paper adds the norms of both parts.
    Biases and norms (parameters of one axis) are neither adapted nor decayed, as in SimCLR and BYOL; there trust is 1.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

TRUST_COEFFICIENT = 0.001  # SimCLR, BYOL


class Lars(torch.optim.Optimizer):
    """Groups may have their own `lr`, `momentum` and `weight_decay`."""

    def __init__(self, groups: Iterable[dict[str, Any]], rate: float, momentum: float = 0.9, weight_decay: float = 0.0):
        super().__init__(groups, {"lr": rate, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # ty: ignore[incompatible-method-override]
        """Moves every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        decayed = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        velocity = state.setdefault("velocity", torch.zeros_like(parameter))
        velocity.mul_(group["momentum"]).add_(group["lr"] * trust(parameter, decayed) * decayed)
        parameter.sub_(velocity)


def trust(parameter: Tensor, gradient: Tensor) -> Tensor | float:
    """The local rate: 1 for biases and norms, and where the parameter or its gradient is 0."""
    if parameter.ndim < 2:
        return 1.0
    size, slope = parameter.norm(), gradient.norm()
    adapted = TRUST_COEFFICIENT * size / slope.clamp_min(torch.finfo(slope.dtype).tiny)
    return torch.where((size > 0) & (slope > 0), adapted, 1.0)
