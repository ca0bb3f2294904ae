"""Flow that teaches itself: what is seen of the whole images is taught to a student who sees only a part of them.

Paper:  Liu, King, Lyu, Xu. DDFlow: Learning Optical Flow with Unlabeled Data Distillation. AAAI 2019 (crops hide what was
        seen); Jonschkowski et al. What Matters in Unsupervised Optical Flow. ECCV 2020, section 3.5.
Idea:   windows of one size begin at o_a in image a and at o_b in image b, and are resized by (s_x, s_y):
        the whole images' flow f is (s_x, s_y) (f - (o_b - o_a)) to the student                            -> Crop.flow()
        c = exp(-|f_ab + f_ba(p + f_ab)|^2 / (sigma^2 (h^2 + w^2))): near 1 where there and back closes   -> consistency()
        weight = c of the teacher, sigma 0.003, times 1 - c of the student, sigma 0.03;
        loss = mean over all pixels of weight sqrt(|teacher - student|^2 + 0.001^2), of both components -> self_supervision()
        The teacher and the weights receive no gradient.
Differs: c is 0 where the flow leaves the image: it cannot close there, which is where the crop hides what it leads to.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from firstsight.geometry.pixels import resize, resize_flow
from firstsight.losses.consistency import round_trip
from firstsight.losses.robust import charbonnier

Flow = Float[Tensor, "batch 2 height width"]
Mask = Float[Tensor, "batch 1 height width"]
Images = Float[Tensor, "batch colours height width"]
# of the student, whose images may have another size
StudentFlow = Float[Tensor, "batch 2 rows columns"]
StudentMask = Float[Tensor, "batch 1 rows columns"]
StudentImages = Float[Tensor, "batch colours rows columns"]


class Crop(NamedTuple):
    """Windows of one size in two images of one size: (row, column) where each begins, their size, the student's; all px."""

    begin_a: tuple[int, int]
    begin_b: tuple[int, int]
    size: tuple[int, int]
    resized_to: tuple[int, int]

    def images(self, image_a: Images, image_b: Images) -> tuple[StudentImages, StudentImages]:
        """Returns what the student sees of both images."""
        windows = (self._window(image, begin) for image, begin in ((image_a, self.begin_a), (image_b, self.begin_b)))
        of_a, of_b = (resize(window, *self.resized_to) for window in windows)
        return of_a, of_b

    def flow(self, flow_ab: Flow) -> StudentFlow:
        """Returns the whole images' flow as the student should find it, in px of its own grid."""
        down, right = (b - a for a, b in zip(self.begin_a, self.begin_b, strict=True))
        within = self._window(flow_ab, self.begin_a) - flow_ab.new_tensor([right, down])[:, None, None]
        return resize_flow(within, *self.resized_to)

    def weight(self, weight_a: Mask) -> StudentMask:
        """Returns a map of the whole image a on the student's grid."""
        return resize(self._window(weight_a, self.begin_a), *self.resized_to)

    def _window(self, values: Tensor, begin: tuple[int, int]) -> Tensor:
        rows, columns = (slice(first, first + length) for first, length in zip(begin, self.size, strict=True))
        return values[..., rows, columns]


def border_crop(height: int, width: int, border: int = 64) -> Crop:
    """UFlow's crop: the same window in both images, `border` px less at each side, resized to the whole images' size."""
    inner = (height - 2 * border, width - 2 * border)
    return Crop((border, border), (border, border), inner, (height, width))


@torch.no_grad()
def consistency(flow_ab: Flow, flow_ba: Flow, sigma: float) -> Mask:
    """Returns how well the way there and back closes, in [0, 1]; `sigma` is a share of the image's diagonal."""
    gap, inside = round_trip(flow_ab, flow_ba)
    height, width = flow_ab.shape[-2:]
    closeness = (-gap.square().sum(1, keepdim=True) / (sigma**2 * (height**2 + width**2))).exp()
    return torch.where(inside, closeness, 0)


def self_supervision(
    student: tuple[StudentFlow, StudentFlow],
    teacher: tuple[Flow, Flow],
    crop: Crop,
    sigma_student: float = 0.03,
    sigma_teacher: float = 0.003,
) -> Float[Tensor, ""]:
    """The loss of the student's flow from a to b; `student` and `teacher` are flows (ab, ba) of the crop and of the whole.

    For the other direction give both pairs turned round and the crop with its two beginnings exchanged.
    """
    taught = crop.weight(consistency(*teacher, sigma_teacher)) * (1 - consistency(*student, sigma_student))
    error = charbonnier(crop.flow(teacher[0]).detach() - student[0], alpha=0.5)
    return (taught * error).mean()
