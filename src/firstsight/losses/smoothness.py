"""Depth and flow are smooth but where the image has edges.

Paper:  Heise, Klose, Jensen, Knoll. PM-Huber: PatchMatch with Huber Regularization for Stereo Matching. ICCV 2013;
        Godard, Mac Aodha, Brostow. Unsupervised Monocular Depth Estimation with Left-Right Consistency. 2017, eq. 3;
        Jonschkowski et al. What Matters in Unsupervised Optical Flow. ECCV 2020, section 3.4, for the second order.
Idea:   |d^k f / dx^k| exp(-sharpness mean_c |I(x + k) - I(x)|), and the same along y             -> edge_aware()
        Order k = 1 is zero for planes that face the camera, k = 2 for slanted ones too, whose disparity is affine.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Roughness(NamedTuple):
    """Differences between neighbours of a row, and of a column: maps smaller than the image by the order."""

    along_x: Float[Tensor, "batch channels height columns"]
    along_y: Float[Tensor, "batch channels rows width"]

    def mean(self) -> Float[Tensor, ""]:
        """Mean along x plus mean along y."""
        return self.along_x.mean() + self.along_y.mean()


def edge_aware(
    values: Float[Tensor, "batch channels height width"],
    image: Float[Tensor, "batch colours height width"],
    order: int = 1,
    sharpness: int | float = 1.0,
) -> Roughness:
    """How much the values change, less where the image does; in the values' unit."""
    return Roughness(*(_along(values, image, axis, order, sharpness) for axis in (-1, -2)))


def _along(values: Tensor, image: Tensor, axis: int, order: int, sharpness: int | float) -> Tensor:
    length = image.shape[axis] - order
    step = image.narrow(axis, order, length) - image.narrow(axis, 0, length)
    weight = (-sharpness * step.abs().mean(1, keepdim=True)).exp()
    return values.diff(n=order, dim=axis).abs() * weight
