"""One process or many: `torchrun` sets the stage, everything else asks here.

Under `torchrun` each process works on its share of every batch, on its own GPU where there are some (nccl), on the CPU
otherwise (gloo). Gradients are averaged by DistributedDataParallel: every method here fits one GPU, so nothing is sharded (FSDP2).
"""

import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from firstsight.errors import InputError


class World(NamedTuple):
    """This process, and how many there are."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """The one that writes and prints."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """The samples of a batch that this process works on. Raises InputError for a batch that cannot be shared out evenly."""
        if batch % self.size:
            raise InputError(f"a batch of {batch} cannot be shared by {self.size} processes; choose a multiple")
        own = batch // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over the processes. Buffers are each process's own."""
        if self.size == 1 or not any(p.requires_grad for p in model.parameters()):
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():  # its successor still makes buffers equal at the start, which these must not be
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def launched() -> bool:
    """Whether `torchrun` started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def world(device: str | None = None) -> Generator[World]:
    """Joins the processes that `torchrun` started, or is alone."""
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if not launched():
        yield World(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(chosen)
    joined = not dist.is_initialized()
    if joined:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        if joined:
            dist.destroy_process_group()


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of the processes' values, without gradient; the value itself where there is one process."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
