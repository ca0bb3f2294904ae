"""Batch normalisation over the samples of all processes (torch's own works on GPUs only)."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from firstsight.training.processes import process_count, sum_over_processes


@contextmanager
def synchronised(module: nn.Module) -> Generator[None]:
    """Lets the batch normalisations of a module see the batch of all processes; alone they are torch's own."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)] if process_count() > 1 else []
    for norm in norms:
        norm.__dict__["forward"] = partial(normalised, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


def normalised(norm: _BatchNorm, values: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch channels ..."]:
    """What `norm` makes of the batch of all processes, in value and gradient; it follows that batch's mean and variance."""
    if process_count() == 1 or not (norm.training or norm.running_mean is None):
        return type(norm).forward(norm, values)
    given, values = values.dtype, values.float()
    axes, shape = [axis for axis in range(values.ndim) if axis != 1], [1, -1, *[1] * (values.ndim - 2)]
    own_count = values.new_tensor([values.numel() / values.shape[1]])
    total = sum_over_processes(torch.cat([values.sum(axes), own_count]))
    count = total[-1].detach()
    mean = total[:-1] / count
    centred = values - mean.view(shape)
    variance = sum_over_processes(centred.square().sum(axes)) / count
    follow(norm, mean.detach(), variance.detach(), float(count))
    normal = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.weight is not None:
        normal = normal * norm.weight.view(shape) + norm.bias.view(shape)
    return normal.to(given)


def follow(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: float) -> None:
    """Moves the running mean and the (unbiased) running variance, as torch does."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * count / max(count - 1, 1), share)
