"""Depth of one image from its neighbours and the motion between them: a plane sweep with semi-global aggregation.

Paper:  Collins. A Space-Sweep Approach to True Multi-Image Matching. CVPR 1996; planes and homographies as in Gallup et al.,
        Real-Time Plane-Sweeping Stereo with Multiple Sweeping Directions, CVPR 2007, section 3.
Idea:   sweep a plane through space; where it cuts a surface, all neighbours warped through it look like the image.
        H_v(w) = K (R_v + w t_v n^T) K^-1,  n = (0, 0, 1), w the inverse depth           -> homography()
        w_k = k step, so that a step moves no pixel by more than ~1 px in any neighbour  -> inverse_depths()
        C(p, k) = mean of the better half over v of the cost between I and I_v warped by H_v(w_k)          -> sweep()
        S = semi-global sum of C, w(p) = argmin_k S, refined between planes                -> matching.aggregation.semi_global, matching.selection.winner
        valid where S stands out and is low, where the parallax tells depths apart, and not in small patches -> trusted()
Differs: census codes by default instead of absolute differences (exposure changes along a recording); the better half of the neighbours, since what
         one of two directions of motion hides the other mostly shows (Kang, Szeliski, Chai, CVPR 2001, "temporal selection").
Role:   MultiViewDepthEstimator, in the unit of the motion. A static world is assumed: what moves along with the camera looks far
        away, and no test of the images alone can tell. Choose neighbours so far away that surfaces move by several pixels.
"""

from dataclasses import dataclass, field
from typing import Literal, final, no_type_check

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from numba import njit
from torch import Tensor

from firstsight.geometry.camera import scale_intrinsics
from firstsight.geometry.images import to_grey
from firstsight.kernels.lanes import LANES
from firstsight.matching.aggregation.penalties import JumpRule, Penalties
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate, path_types
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.volumes import MatchingCost, Volume
from firstsight.matching.selection.consistency import drop_speckles
from firstsight.matching.selection.filling import fill_from_background
from firstsight.matching.selection.winner import Peaks, find_peaks
from firstsight.roles import Depth, MultiViewDepthEstimator

Grey = UInt8[np.ndarray, "height width"]
InverseDepth = Float32[np.ndarray, "height width"]

BESIDE = 4  # planes: a slanted or weakly textured surface has low costs in several


@dataclass(frozen=True, kw_only=True)
class Config:
    max_width_px: int = 640  # wider images are matched at a whole fraction of their size
    nearest_baselines: float = 1.5  # the nearest plane, in lengths of the longest motion
    max_planes: int = 128  # rounded up to a multiple of 32
    cost: MatchingCost = field(default_factory=Census)
    penalties: JumpRule = field(default_factory=Penalties)  # of one image: the neighbours are not rectified
    paths: Literal[4, 8, 16] = 8
    min_parallax_px: float = 3.0  # shift between infinity and the answer that some neighbour must show
    max_peak_ratio: float = 0.6  # cost of the answer over the lowest one elsewhere
    max_cost: float = 0.468  # of the answer, as a share of the largest cost; a random match has about a half
    speckle_area_px: int = 100  # smaller patches of even inverse depth are dropped


def homography(
    neighbour_from_image: Float64[np.ndarray, "4 4"], intrinsics: Float64[np.ndarray, "3 3"], inverse_depth: float
) -> Float64[np.ndarray, "3 3"]:
    """Returns where the neighbour sees the image's pixels, were they all on the plane z = 1 / inverse_depth."""
    motion = neighbour_from_image[:3, :3].copy()
    motion[:, 2] += inverse_depth * neighbour_from_image[:3, 3]
    return intrinsics @ motion @ np.linalg.inv(intrinsics)


def parallax(
    neighbours_from_image: Float64[np.ndarray, "views 4 4"],
    intrinsics: Float64[np.ndarray, "3 3"],
    inverse_depth: InverseDepth,
) -> Float32[np.ndarray, "height width"]:
    """px by which each pixel's image moves between infinity and its inverse depth, in the neighbour that shows it best."""
    height, width = inverse_depth.shape
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    best = np.zeros(x.size)
    for neighbour_from_image in neighbours_from_image:
        far = homography(neighbour_from_image, intrinsics, 0.0) @ pixels
        near = far + np.outer(intrinsics @ neighbour_from_image[:3, 3], inverse_depth.ravel())
        shift = near[:2] / np.maximum(near[2], 1e-9) - far[:2] / np.maximum(far[2], 1e-9)
        best = np.maximum(best, np.hypot(*shift))
    return best.reshape(height, width).astype(np.float32)


def inverse_depths(
    config: Config,
    neighbours_from_image: Float64[np.ndarray, "views 4 4"],
    intrinsics: Float64[np.ndarray, "3 3"],
    size: tuple[int, int],
) -> Float64[np.ndarray, " planes"]:
    """Planes from infinity to `nearest_baselines` lengths of the longest motion, as many as needed (and allowed) for 1 px steps."""
    longest = np.linalg.norm(neighbours_from_image[:, :3, 3], axis=1).max()
    nearest = 1 / (config.nearest_baselines * max(longest, 1e-9))
    small = np.float32(1e-3 * nearest)  # parallax grows linearly with small inverse depth
    shift = np.quantile(parallax(neighbours_from_image, intrinsics, np.full(size, small)), 0.9) * nearest / small
    count = min(int(np.ceil(shift)) + 1, config.max_planes)
    return np.linspace(0, nearest, -(-count // LANES) * LANES)


def sweep(
    cost: MatchingCost,
    image: Grey,
    neighbours: list[Grey],
    homographies: Float64[np.ndarray, "views planes 3 3"],
) -> Volume:
    """C(p, k): mean cost of the better half of the neighbours; one that does not show the point counts as a random match."""
    views = np.empty((len(neighbours), *image.shape), cost.dtype)
    slices = np.empty((homographies.shape[1], *image.shape), cost.dtype)
    single = cost.single
    described, random_match = single.describe(image), cost.dtype.type(single.largest / 2)
    for k, plane in enumerate(slices):
        for view, neighbour, neighbour_from_pixel in zip(views, neighbours, homographies[:, k], strict=True):
            view[:] = single.between(described, single.describe(warp(neighbour, neighbour_from_pixel)))
            _mark_unseen(neighbour_from_pixel, random_match, view)
        _mean_of_better_half(views.reshape(len(views), -1), plane.reshape(-1))
    return cost.smoothed(np.ascontiguousarray(slices.transpose(1, 2, 0)))


def warp(neighbour: Grey, neighbour_from_pixel: Float64[np.ndarray, "3 3"]) -> Grey:
    """The neighbour seen on the image's grid through a homography."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(
        neighbour, neighbour_from_pixel, neighbour.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


@njit(cache=True)
@no_type_check
def _mark_unseen(h, random_match, costs):
    """Sets costs (height, width) to `random_match` where h (3, 3) leads out of the neighbour, which has the same size."""
    height, width = costs.shape
    for y in range(height):
        u, v, z = h[0, 1] * y + h[0, 2], h[1, 1] * y + h[1, 2], h[2, 1] * y + h[2, 2]
        for x in range(width):
            zx = z + h[2, 0] * x
            ux, vx = u + h[0, 0] * x, v + h[1, 0] * x
            inside = (zx > 0) & (ux >= 0) & (ux <= zx * (width - 1)) & (vx >= 0) & (vx <= zx * (height - 1))
            costs[y, x] = costs[y, x] if inside else random_match


@njit(cache=True)
@no_type_check
def _mean_of_better_half(views, mean):
    """views (n, pixels), sorted in place pixel by pixel; mean (pixels,), written, rounded where it holds integers."""
    count = views.shape[0]
    better = (count + 1) // 2
    half = np.float32(0.5 * (mean.dtype.type(0.5) == 0))
    for i in range(better):
        for j in range(i + 1, count):
            _order(views[i], views[j])
    for p in range(mean.shape[0]):
        total = np.float32(0)
        for i in range(better):
            total += np.float32(views[i, p])
        mean[p] = mean.dtype.type(total / np.float32(better) + half)


@njit(cache=True)
@no_type_check
def _order(a, b):
    """Swaps the elements of a and b (pixels,) where a is the larger."""
    for p in range(a.shape[0]):
        low = a[p] if a[p] < b[p] else b[p]
        b[p] = b[p] if a[p] < b[p] else a[p]
        a[p] = low


def trusted(config: Config, peaks: Peaks, planes: int) -> Bool[np.ndarray, "height width"]:
    """Returns where the estimate stands out, matches well, and is not the nearest plane, beyond which nothing was tried."""
    low = peaks.lowest <= config.max_cost * config.cost.largest * config.paths
    return low & (peaks.ratio <= config.max_peak_ratio) & (peaks.position < planes - 1.5)


@final
class PlaneSweep(MultiViewDepthEstimator):
    """Raises InputError for penalties that do not fit together. Depth is 0 where not valid."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        cost = self.config.cost
        path_types(cost.dtype, cost.largest, self.config.penalties, self.config.paths)

    def estimate(
        self,
        image: Float32[Tensor, "1 3 height width"],
        neighbours: Float32[Tensor, "views 3 height width"],
        neighbour_from_image: Float64[Tensor, "views 4 4"],
        intrinsics: Float64[Tensor, "3 3"],
    ) -> Depth:
        height, width = image.shape[-2:]
        fraction = -(-width // self.config.max_width_px)
        rows, columns = height // fraction, width // fraction
        greys = [
            cv2.resize(to_grey(view[None]), (columns, rows), interpolation=cv2.INTER_AREA)
            for view in (image[0], *neighbours)
        ]
        small = scale_intrinsics(intrinsics.cpu(), columns / width, rows / height).numpy()
        inverse_depth, valid = self._match(greys[0], greys[1:], neighbour_from_image.cpu().numpy(), small)
        inverse_depth = cv2.resize(inverse_depth, (width, height), interpolation=cv2.INTER_LINEAR)
        valid = cv2.resize(valid.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        depth = np.divide(1, inverse_depth, out=np.zeros_like(inverse_depth), where=valid)
        found = (torch.from_numpy(part)[None, None].to(image.device) for part in (depth, valid))
        return Depth(*found)

    def _match(
        self,
        image: Grey,
        neighbours: list[Grey],
        neighbours_from_image: Float64[np.ndarray, "views 4 4"],
        intrinsics: Float64[np.ndarray, "3 3"],
    ) -> tuple[InverseDepth, Bool[np.ndarray, "height width"]]:
        config = self.config
        planes = inverse_depths(config, neighbours_from_image, intrinsics, image.shape)
        homographies = [[homography(motion, intrinsics, w) for w in planes] for motion in neighbours_from_image]
        cost = sweep(config.cost, image, neighbours, np.array(homographies))
        settings = SemiGlobal(image, config.penalties, config.paths, largest=config.cost.largest)
        peaks = find_peaks(aggregate(cost, settings), BESIDE)
        inverse_depth = cv2.medianBlur(peaks.position, 3) * np.float32(planes[1])
        valid = trusted(config, peaks, len(planes))
        valid &= parallax(neighbours_from_image, intrinsics, inverse_depth) >= config.min_parallax_px
        valid = drop_speckles(peaks.position, valid, config.speckle_area_px)
        guessed = fill_from_background(inverse_depth, valid)  # so that nothing wrong bleeds in where it is enlarged
        return guessed, valid
