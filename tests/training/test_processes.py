"""One process among others, and one alone."""

import pytest
import torch

from firstsight.errors import InputError
from firstsight.training.processes import World, gather_rows, launched, mean_over_processes, process_count, world

CPU = torch.device("cpu")


def test_a_batch_is_shared_out_evenly():
    assert [World(rank, 4, CPU).rows(8) for rank in (0, 1, 3)] == [slice(0, 2), slice(2, 4), slice(6, 8)]
    assert World(0, 1, CPU).rows(7) == slice(0, 7)
    with pytest.raises(InputError, match="a batch of 6 cannot be shared by 4 processes"):
        World(0, 4, CPU).rows(6)
    assert [World(rank, 2, CPU).leads for rank in (0, 1)] == [True, False]


def test_alone_nobody_is_asked(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not launched()
    with world("cpu") as here:
        assert here == World(0, 1, CPU)
        here.barrier()
        assert (here.agreed(5), here.any(True), here.any(False)) == (5, True, False)
    assert process_count() == 1
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    assert gather_rows(value) is value
    assert mean_over_processes(value).tolist() == [1, 2]
    assert not mean_over_processes(value).requires_grad
    monkeypatch.setenv("RANK", "0")
    assert not launched()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched()
