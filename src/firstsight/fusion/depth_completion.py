"""Dense depth from an image and the sparse returns of a LiDAR, without learning.

Paper:  Levin, The Approximation Power of Moving Least-Squares, Math. Comp. 1998 (the local fit); Petschnigg et al. and Eisemann,
        Durand, SIGGRAPH 2004 (the joint bilateral weight); the task and its metrics: Uhrig et al., 3DV 2017.
Idea:   the inverse depth of a plane is affine in the pixel, so around each pixel p fit a plane to the returns q near it that look
        alike and lie on one surface, the one of the heaviest return q*:
        b(q) = exp(-|p - q|^2 / 2 s^2 - |I(p) - I(q)|^2 / 2 c^2)                            -> _gather()
        w(q) = b(q) exp(-(rho(q) / rho(q*) - 1)^2 / 2 t^2),  rho = 1 / depth                 -> _downweight()
        rho(p) = value at p of the affine least-squares fit of rho(q) with weights w(q)      -> _fit()
        valid where most of b agrees on that surface and returns lie around p, not only beside it.
        Before that, returns that the LiDAR sees over or past an object that hides them from the camera go -> visible_returns()
Differs: nothing is spread by morphology as in IP-Basic (Ku, Harakeh, Waslander, CRV 2018), the usual baseline without learning.
Role:   DepthCompleter. Depth in metres; beyond the reach of returns (the sky) it is not valid and 0.
"""

from dataclasses import dataclass
from typing import final, no_type_check

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32
from numba import njit

from firstsight.errors import InputError
from firstsight.roles import Depth, DepthCompleter, Images

MAX_RETURNS = 1024  # per pixel; more than a window of the usual reach can hold
RIDGE_PX2 = 0.3  # keeps the slope of a plane through returns on one line finite
DepthMap = Float32[np.ndarray, "height width"]
Valid = Bool[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class Config:
    reach_px: int = 10  # half the width of the window; no return within it: no depth
    spatial_share: float = 0.5  # s, in mean distances between returns
    colour: float = 0.08  # c, in units of the image's range
    surface: float = 0.1  # t: relative difference of depth within one surface
    min_agreement: float = 0.8  # share of b that must lie on the chosen surface
    hidden_reach_px: int = (
        8  # how far away the returns of an object that hides another return are looked for; 0: keep all
    )


# returns that a surface needs: fewer say nothing beyond their own pixels
MIN_RETURNS = 3


def visible_returns(sparse: DepthMap, valid: Valid, reach_px: int, margin: float = 0.1) -> Valid:
    """The returns that no nearer object surrounds: hidden is one with clearly nearer returns in three quadrants around it."""
    kept = valid.copy()
    _drop_hidden(np.where(valid, sparse, 0), reach_px, margin, kept)
    return kept


@njit(cache=True)
@no_type_check
def _drop_hidden(depth, reach, margin, kept):
    """depth (height, width) float32, 0 where none; kept (height, width) bool, changed in place."""
    height, width = depth.shape
    for y in range(height):
        for x in range(width):
            if kept[y, x]:
                nearer = 0
                for down in (-1, 1):
                    for right in (-1, 1):
                        nearer += _has_nearer(depth, (y, x), (down, right), reach, depth[y, x] / (1 + margin))
                kept[y, x] = nearer < 3


@njit(cache=True)
@no_type_check
def _has_nearer(depth, at, quadrant, reach, limit):
    """Whether a return below `limit` lies in one quadrant; rows above or below only, columns from its own outwards."""
    (y, x) = at
    (down, right) = quadrant
    height, width = depth.shape
    for i in range(1, reach + 1):
        for j in range(reach + 1):
            yy, xx = y + down * i, x + right * j
            if 0 <= yy < height and 0 <= xx < width and 0 < depth[yy, xx] < limit:
                return True
    return False


def mean_spacing_px(valid: Valid, reach_px: int) -> float:
    """Mean distance between returns, over the area that returns reach; at least 1."""
    reached = cv2.dilate(valid.astype(np.uint8), np.ones((2 * reach_px + 1,) * 2, np.uint8))
    return max(1.0, float(np.sqrt(reached.sum() / max(int(valid.sum()), 1))))


def complete(
    image: Float32[np.ndarray, "height width 3"], sparse: DepthMap, valid: Valid, config: Config
) -> tuple[DepthMap, Valid]:
    """Dense depth and where it is valid. A return that is not finite and above 0 is none; one alone says its own pixel."""
    valid = valid & np.isfinite(sparse) & (sparse > 0)
    sparse = np.where(valid, sparse, 0).astype(np.float32)
    seen = visible_returns(sparse, valid, config.hidden_reach_px)
    spacing = mean_spacing_px(seen, config.reach_px)
    falloff = (0.5 / (config.spatial_share * spacing) ** 2, 0.5 / config.colour**2, 0.5 / config.surface**2)
    offsets = np.concatenate([[0], np.cumsum(seen)]).astype(np.int64)  # returns before each pixel, row by row
    rows, columns = np.nonzero(seen)
    returns = np.column_stack([columns, rows, 1 / sparse[seen].astype(np.float64)]).astype(np.float32)
    inverse_depth, agreement, offset_px = (np.zeros(sparse.shape, np.float32) for _ in range(3))
    _complete(image, (returns, offsets), falloff, config.reach_px, (inverse_depth, agreement, offset_px))
    dense = (inverse_depth > 0) & (agreement >= config.min_agreement) & (offset_px <= spacing)
    return np.divide(1, inverse_depth, out=np.zeros_like(inverse_depth), where=dense), dense


@njit(cache=True, fastmath=True)
@no_type_check
def _complete(image, sparse, falloff, reach, results):
    """Fills results = (inverse depth, agreement, offset of the returns used), each (height, width) float32.

    image (height, width, 3) float32; sparse = (returns (n, 3) float32: x, y, inverse depth; offsets (height * width + 1,) int64).
    """
    near, alike, surface = falloff
    inverse_depth, agreement, offset_px = results
    height, width, _ = image.shape
    around = np.empty((MAX_RETURNS, 4), np.float32)
    for y in range(height):
        for x in range(width):
            count, heaviest = _gather(image, sparse, (y, x), reach, (near, alike), around)
            measured = sparse[1][y * width + x + 1] > sparse[1][y * width + x]
            if count >= MIN_RETURNS or measured:
                agreement[y, x] = _downweight(around[:count], around[heaviest, 3], surface)
                inverse_depth[y, x], offset_px[y, x] = _fit(around[:count])


@njit(cache=True, fastmath=True)
@no_type_check
def _gather(image, sparse, at, reach, falloff, around):
    """Writes (b, dx, dy, rho) of the returns in the window to around (MAX_RETURNS, 4); their number and which is heaviest."""
    (returns, offsets) = sparse
    (y, x) = at
    (near, alike) = falloff
    height, width, _ = image.shape
    first, last = max(x - reach, 0), min(x + reach + 1, width)
    count, heaviest = 0, 0
    for row in range(max(y - reach, 0), min(y + reach + 1, height)):
        for i in range(offsets[row * width + first], offsets[row * width + last]):
            column = np.int64(returns[i, 0])
            dx, dy = np.float32(column - x), np.float32(row - y)
            difference = np.float32(0)
            for channel in range(3):
                difference += (image[y, x, channel] - image[row, column, channel]) ** 2
            # the floor keeps the nearest of many unlike returns ahead of none
            weight = np.exp(-near * (dx * dx + dy * dy)) * (np.exp(-alike * difference) + np.float32(1e-6))
            if count < around.shape[0]:
                around[count, 0], around[count, 1] = weight, dx
                around[count, 2], around[count, 3] = dy, returns[i, 2]
                heaviest = count if weight > around[heaviest, 0] else heaviest
                count += 1
    return count, heaviest


@njit(cache=True, fastmath=True)
@no_type_check
def _downweight(around, surface_inverse_depth, falloff):
    """Turns b into w for around (n, 4); returns the share of the weight that stays."""
    before, after = np.float32(1e-30), np.float32(0)
    for i in range(around.shape[0]):
        deviation = around[i, 3] / surface_inverse_depth - 1
        before += around[i, 0]
        around[i, 0] *= np.exp(-falloff * deviation * deviation)
        after += around[i, 0]
    return after / before


@njit(cache=True, fastmath=True)
@no_type_check
def _fit(around):
    """rho at the pixel, kept within that of the returns, and the distance of their centroid; around (n, 4): w, dx, dy, rho."""
    total = np.float64(1e-30)
    x = y = rho = 0.0
    for i in range(around.shape[0]):
        w = np.float64(around[i, 0])
        total += w
        x, y, rho = x + w * around[i, 1], y + w * around[i, 2], rho + w * around[i, 3]
    x, y, rho = x / total, y / total, rho / total
    xx = yy = RIDGE_PX2 * total
    xy = x_rho = y_rho = 0.0
    lowest, highest = rho, rho
    for i in range(around.shape[0]):
        w, dx = np.float64(around[i, 0]), around[i, 1] - x
        dy, dr = around[i, 2] - y, around[i, 3] - rho
        xx, xy, yy = xx + w * dx * dx, xy + w * dx * dy, yy + w * dy * dy
        x_rho, y_rho = x_rho + w * dx * dr, y_rho + w * dy * dr
        if w > 1e-3 * total:
            lowest, highest = min(lowest, around[i, 3]), max(highest, around[i, 3])
    determinant = xx * yy - xy * xy
    slope_x, slope_y = (x_rho * yy - y_rho * xy) / determinant, (y_rho * xx - x_rho * xy) / determinant
    value = rho - slope_x * x - slope_y * y
    return np.float32(min(max(value, lowest), highest)), np.float32(np.sqrt(x * x + y * y))


@final
class DepthCompletion(DepthCompleter):
    """Raises InputError for settings that leave nothing to complete from."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        if not 1 <= self.config.reach_px <= 15:
            raise InputError(f"reach_px={self.config.reach_px}: choose 1 to 15")

    def complete(self, image: Images, sparse: Depth) -> Depth:
        completed = [
            complete(one.permute(1, 2, 0).contiguous().numpy(), depth[0].numpy(), valid[0].numpy(), self.config)
            for one, depth, valid in zip(image.detach().cpu(), sparse.depth.cpu(), sparse.valid.cpu(), strict=True)
        ]
        depth, valid = (
            torch.from_numpy(np.stack(maps))[:, None].to(image.device) for maps in zip(*completed, strict=True)
        )
        return Depth(depth, valid)
