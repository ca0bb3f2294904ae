"""What was decoded is kept until the bytes are spent."""

import numpy as np
import pytest

from firstsight.training.data.memory import ENTRY_BYTES, KEEP_BYTES, Budget, Kept


def test_a_budget_is_spent_to_the_last_byte():
    budget = Budget(10)
    assert [budget.take(size) for size in (11, 4, 7, 6, 1, 0)] == [False, True, False, True, False, True]
    assert budget.left == 0
    assert (KEEP_BYTES, ENTRY_BYTES, Budget().left) == (2_147_483_648, 256, 0)


def test_values_are_kept_while_there_is_room_and_cannot_be_changed():
    """Two arrays of 16 bytes and what they take besides, and then none."""
    read, kept = [], Kept(Budget(2 * (16 + 256) + 271))

    def reading(name: str):
        return lambda: read.append(name) or np.full(2, len(read), np.float64)

    for name in ("a", "b", "c", "a", "c", "b"):
        kept.get(name, reading(name))
    assert read == ["a", "b", "c", "c"]
    assert kept.get("b", reading("b")).tolist() == [2, 2]
    with pytest.raises(ValueError, match="read-only"):
        kept.get("a", reading("a"))[0] = 7
    Kept().get("a", reading("a"))[0] = 7
