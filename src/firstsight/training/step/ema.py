"""Teachers: moving averages of students (Tarvainen, Valpola. Mean Teachers. NeurIPS 2017, equation 2)."""

import torch
from torch import nn


@torch.no_grad()
def update_ema(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher = momentum teacher + (1 - momentum) student, for parameters; buffers are the student's."""
    mine, theirs = ([p.data for p in module.parameters()] for module in (teacher, student))
    if mine:
        torch._foreach_mul_(mine, momentum)
        torch._foreach_add_(mine, theirs, alpha=1 - momentum)
    for buffer, other in zip(teacher.buffers(), student.buffers(), strict=True):
        buffer.copy_(other)
