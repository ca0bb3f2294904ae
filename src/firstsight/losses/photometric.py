"""How differently two images look, pixel by pixel: structural similarity and absolute difference.

Paper:  Wang, Bovik, Sheikh, Simoncelli. Image Quality Assessment: From Error Visibility to Structural Similarity. 2004;
        Godard, Mac Aodha, Brostow. Unsupervised Monocular Depth Estimation with Left-Right Consistency. 2017, eq. 2.
Idea:   colours differ between two cameras where structure does not, so most of the weight lies on structure.
        mu, var, cov: means, variances and covariance over 3x3 pixels
        SSIM = (2 mu_a mu_b + C1) (2 cov + C2) / ((mu_a^2 + mu_b^2 + C1) (var_a + var_b + C2))
        dissimilarity = clip((1 - SSIM) / 2, 0, 1)                                        -> dissimilarity()
        photometric = alpha dissimilarity + (1 - alpha) |a - b|, mean over the colours    -> photometric()
        With q over the windows that hold pixel p, g the gradient that arrives and mu_a, mu_b those of q:
        d SSIM / d b(p) = 1/9 sum_q g(q) [P + R (a(p) - mu_a) - T (b(p) - mu_b)]  -> photometric_kernels.differentiate()
        L, K the two fractions of SSIM (light, contrast), d1, d2 below them:
        P = 2 K (mu_a - mu_b L) / d1,  R = 2 L / d2,  T = 2 L K / d2
Differs: boxes as in the paper's code, not Gaussian windows; only whole windows, so that the map is two pixels smaller
        than the image each way, and so is the absolute difference. float32 on a CPU takes kernels that walk down the
        rows once each way and keep nothing; elsewhere torch does the same, and differentiates it as often as wanted.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from firstsight.errors import InputError
from firstsight.losses.photometric_kernels import C1, C2, MIN_WIDTH, compare, differentiate

ALPHA = 0.85
# px: width of the squares that are compared.
WINDOW = 3

Images = Float[Tensor, "batch colours height width"]


def photometric(a: Images, b: Images, alpha: float = ALPHA) -> Float[Tensor, "batch 1 height-2 width-2"]:
    """How the surroundings of each pixel differ, the outermost rows and columns left out; in [0, 1] for images in [0, 1].

    Raises InputError for images that differ in shape or hold no whole window.
    """
    if a.ndim != 4 or a.shape != b.shape or min(a.shape[2:]) < WINDOW:
        raise InputError(
            f"photometric: images of {tuple(a.shape)} and {tuple(b.shape)}; give two of one shape "
            f"(batch, channels, height, width), at least {WINDOW}x{WINDOW} px"
        )
    plain = any(image.dtype != torch.float32 or image.device.type != "cpu" for image in (a, b))
    if not plain and a.shape[-1] >= MIN_WIDTH:
        return _Photometric.apply(a, b, alpha)
    return alpha * dissimilarity(a, b).mean(1, keepdim=True) + (1 - alpha) * absolute(a, b)


def absolute(a: Images, b: Images) -> Float[Tensor, "batch 1 height-2 width-2"]:
    """|a - b| where windows are whole, mean over the colours."""
    return (a - b)[..., 1:-1, 1:-1].abs().mean(1, keepdim=True)


def dissimilarity(a: Images, b: Images) -> Float[Tensor, "batch colours height-2 width-2"]:
    """clip((1 - SSIM) / 2, 0, 1), 0 where the surroundings are equal."""
    mean_a, mean_b = box(a), box(b)
    means, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    spread, together = box(a * a + b * b) - squares, box(a * b) - means
    similarity = (2 * means + C1) * (2 * together + C2) / ((squares + C1) * (spread + C2))
    return ((1 - similarity) / 2).clamp(0, 1)


def box(values: Float[Tensor, "... height width"]) -> Float[Tensor, "... height-2 width-2"]:
    """Means of 3x3. Sums of slices: several times as fast as pooling on a CPU."""
    rows = values[..., :-2, :] + values[..., 1:-1, :] + values[..., 2:, :]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


class _Photometric(torch.autograd.Function):
    """photometric() by kernels. The backward computes the windows again, which costs less than to keep them."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, alpha: float) -> Tensor:
        a, b = a.contiguous(), b.contiguous()
        ctx.save_for_backward(a, b)
        ctx.alpha = alpha
        batch, _, height, width = a.shape
        out = a.new_empty(batch, 1, height - 2, width - 2)
        for_each(
            lambda *one: compare(one[0], one[1], np.float32(alpha), width, one[2]), planes(a), planes(b), flat(out)
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, b = ctx.saved_tensors
        alpha, width, arriving = np.float32(ctx.alpha), a.shape[-1], flat(gradients[0].contiguous())
        by: list[Tensor | None] = [None, None]
        for i, (there, here) in enumerate(((b, a), (a, b))):
            if ctx.needs_input_grad[i]:
                out = by[i] = torch.empty_like(here)
                for_each(
                    lambda *one: differentiate(one[0], one[1], alpha, one[2], width, one[3]),
                    planes(there),
                    planes(here),
                    arriving,
                    planes(out),
                )
        return by[0], by[1], None


def planes(images: Tensor) -> Float32[np.ndarray, "batch colours pixels"]:
    return images.detach().flatten(2).numpy()


def flat(maps: Tensor) -> Float32[np.ndarray, "batch pixels"]:
    return maps.detach().flatten(1).numpy()


def for_each(kernel: Callable[..., None], *batches: np.ndarray) -> None:
    """The kernel for each sample, on as many threads as torch would use."""
    threads = min(torch.get_num_threads(), len(batches[0]))
    if threads <= 1:
        for one in zip(*batches, strict=True):
            kernel(*one)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(kernel, *batches))
