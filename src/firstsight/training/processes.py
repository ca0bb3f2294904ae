"""One process or many: `torchrun` sets the stage, everything else asks here.

Under `torchrun` each process works on its share of every batch, on its own GPU where there are some (nccl), on the CPU
otherwise (gloo). The gradients of a step are averaged in one message when all of them are known, so that parts of a batch,
parameters that a step leaves out and losses over the rows of all processes need no special care. Every method here fits one
GPU, so nothing is sharded.
"""

import os
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn

from firstsight.errors import InputError

_alone: ContextVar[bool] = ContextVar("alone", default=False)


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

    def barrier(self) -> None:
        """Waits for the other processes."""
        if self.size > 1:
            dist.barrier()

    def agreed(self, number: int) -> int:
        """The first process's number."""
        return int(_from_first(torch.tensor(number, device=self.device))) if self.size > 1 else number

    def any(self, condition: bool) -> bool:
        """Whether the condition holds in some process."""
        return condition if self.size == 1 else bool(_total(torch.tensor(float(condition), device=self.device)) > 0)


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


def process_count() -> int:
    """How many processes work together; 1 inside of `alone`."""
    together = dist.is_available() and dist.is_initialized() and not _alone.get()
    return dist.get_world_size() if together else 1


@contextmanager
def alone() -> Generator[None]:
    """Lets this process ask no other, whatever it computes: for work that only the first one does."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of the processes' values, without gradient; the value itself where there is one process."""
    count = process_count()
    return value.detach() if count == 1 else _total(value) / count


def _total(value: Tensor) -> Tensor:
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def _from_first(value: Tensor) -> Tensor:
    dist.broadcast(value, 0)
    return value


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _total(gradients[0].contiguous()).chunk(dist.get_world_size())[dist.get_rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _total(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _total(gradients[0].contiguous())


def gather_rows(rows: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, "all_rows ..."]:
    """The rows of all processes, in the order of the samples in the batch, with gradient. All have equally many.

    A loss that every process computes of all rows gets the gradients of one process that has the whole batch.
    """
    return rows if process_count() == 1 else _GatherRows.apply(rows.contiguous())


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of the processes' values, with gradient."""
    return value if process_count() == 1 else _Sum.apply(value)


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes; a parameter that no process used keeps none."""
    count = process_count()
    if count == 1 or not parameters:
        return
    used = torch.tensor([parameter.grad is not None for parameter in parameters], device=parameters[0].device)
    anywhere = _total(used.float()).gt(0).tolist()
    kept = [parameter for parameter, some in zip(parameters, anywhere, strict=True) if some]
    if not kept:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in kept]
    means = _total(torch.cat([gradient.flatten() for gradient in gradients])) / count
    for parameter, mean in zip(kept, means.split([p.numel() for p in kept]), strict=True):
        parameter.grad = mean.view_as(parameter).to(parameter.dtype)


@torch.no_grad()
def begin_equal(module: nn.Module) -> None:
    """Gives every process the first one's parameters and persistent buffers."""
    if process_count() > 1:
        for tensor in module.state_dict().values():
            _from_first(tensor)


class StopSignal:
    """Whether the process was asked to end (SIGTERM)."""

    received = False


@contextmanager
def stop_signal() -> Generator[StopSignal]:
    """Turns the first SIGTERM into a note, so that work can be saved; a second one ends the process as ever."""
    stop, owner = StopSignal(), os.getpid()

    def handle(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # in a process that was forked meanwhile, such as one that decodes samples
        if os.getpid() != owner:
            os.kill(os.getpid(), number)
        stop.received = True

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
