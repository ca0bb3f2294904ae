"""Flow by a network: of images of any size, with what the way back confirms.

Idea:   a network answers with flow at several scales, finest first, each in px of the images             -> flows()
        images are brought to a size that it takes, and the flow back to theirs                              -> whole()
        valid is what the flow from b to a takes back; the way there and back tells the error, too       -> estimate()
"""

from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from firstsight.errors import InputError
from firstsight.flow.expected_error import expected_errors_px
from firstsight.geometry.pixels import resize
from firstsight.geometry.warp import forward_backward_check
from firstsight.roles import Flow, FlowEstimator, Images
from firstsight.training.trainable import Trainable

B = TypeVar("B")
Flows = Float[Tensor, "batch 2 height width"]


def check_size(name: str, size: tuple[int, int], multiple: int) -> None:
    """Raises InputError for a size that the network's halvings do not fit."""
    if any(side % multiple or side < multiple for side in size):
        raise InputError(f"{name}: size {size[0]}x{size[1]}: both sides must be multiples of {multiple}")


class NetworkFlow(FlowEstimator, Trainable[B]):
    """Flow by a network; a subclass says what the network answers. `multiple` is that of the sides it takes."""

    multiple: ClassVar[int] = 64
    config: Any

    @abstractmethod
    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        """The flow from a to b at each scale, finest first, on grids of their own, in px of the images."""

    def whole(self, image_a: Images, image_b: Images) -> Flows:
        """The flow of images of any size, on their pixels."""
        height, width = image_a.shape[-2:]
        rows, columns = (-(-side // self.multiple) * self.multiple for side in (height, width))
        found = self.flows(resize(image_a, rows, columns), resize(image_b, rows, columns))[0]
        scale = found.new_tensor([width / columns, height / rows])[:, None, None]
        return F.interpolate(found, (height, width), mode="bilinear", align_corners=False) * scale

    def estimate(self, image_a: Images, image_b: Images) -> Flow:
        with torch.no_grad():
            both = self.whole(torch.cat([image_a, image_b]), torch.cat([image_b, image_a]))
            flow_ab, flow_ba = both.chunk(2)
            valid, gap = forward_backward_check(flow_ab, flow_ba)
        return Flow(flow_ab, valid, expected_errors_px(image_a, gap, valid))

    def example_inputs(self, rows: int = 2, scale: float = 1.0) -> dict[str, Tensor]:
        one, other = (super(NetworkFlow, self).example_inputs(rows, scale)["image"] for _ in "ab")
        return {"image_a": one, "image_b": other.roll((1, 2), (2, 3))}
