"""What a method asks of the data: the fields of its batch, the size of images, which frames make a sample, in which order.

class Batch(NamedTuple):                                    # in the method's module; names are those of `fields`
    images: UInt8[Tensor, "batch time 3 height width"]
    flow_ab: Float32[Tensor, "batch 2 height width"]
    valid: Bool[Tensor, "batch 1 height width"]

wanted = Wanted(Batch, size=(192, 640), clip=frames(0, 1))
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np


class Clip(NamedTuple):
    """The frames of a sample as offsets from its own frame: of each an inclusive range, from which (seed, step) draws.

    Their order is that of the time axis of the fields, and is kept: `frames(1, 0)` shows the later frame first.
    """

    ranges: tuple[tuple[int, int], ...]

    @property
    def drawn(self) -> bool:
        """Whether the offsets differ from step to step."""
        return any(low != high for low, high in self.ranges)

    @property
    def reach(self) -> tuple[int, int]:
        """The earliest and the latest offset, the sample's own frame included."""
        return min(0, *(low for low, _ in self.ranges)), max(0, *(high for _, high in self.ranges))

    @property
    def possible(self) -> list[int]:
        """All offsets that can occur."""
        return sorted({offset for low, high in self.ranges for offset in range(low, high + 1)})

    def offsets(self, seed: int) -> list[int]:
        """The offsets of one sample in one step."""
        if not self.drawn:
            return [low for low, _ in self.ranges]
        rng = np.random.default_rng(seed)
        return [int(rng.integers(low, high + 1)) for low, high in self.ranges]


def frames(*offsets: int) -> Clip:
    """A clip of fixed offsets: `frames(-1, 0, 1)` is a frame with the one before and the one after."""
    return Clip(tuple((offset, offset) for offset in offsets))


def drawn(*ranges: tuple[int, int]) -> Clip:
    """A clip whose offsets are drawn from inclusive ranges: `drawn((0, 0), (1, 5), (-40, -20))`."""
    return Clip(ranges)


@dataclass(frozen=True)
class Wanted:
    """`batch` is the method's NamedTuple; `size` (height, width) is that of images and maps, None where there are none.

    "stream": row r of the batches walks through its share of the data frame by frame, so that a method can carry a memory
    from step to step; the field `starts` says where a row begins anew. `method` is the name that messages call the learner
    by; `open_dataset` fills it in.
    """

    batch: type[Any]
    size: tuple[int, int] | None = None
    clip: Clip = frames(0)  # noqa: RUF009
    order: Literal["shuffled", "stream"] = "shuffled"
    method: str = "this method"

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the batch's fields."""
        return self.batch._fields
