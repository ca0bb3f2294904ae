"""Semi-global matching on a GPU: the same numbers as on the CPU, from tensors that stay on the device.

Paper:  Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008.
Idea:   a path must be followed in order, but its candidates need not wait for each other, nor do paths of one direction:
        one program per line of pixels, candidates side by side in its lanes.
        C(p, d) = Hamming(census_L(p), census_R(p - d)), summed over 3x3 pixels   -> census_transform(), census_cost()
        S(p, d) = sum over paths r of L_r(p, d)                     eq. 13, 14    -> aggregate()
        D(p) = argmin_d S(p, d), refined between them               section II-D  -> take_winners()
        all of it                                                                 -> match()
Differs: nothing from its twins in census, census_cost, semi_global and winner: integers are equal, and so are floats up to the
         rounding of the device. One launch per direction, in the order of the CPU's sums, so that results never depend on chance.
         The whole volume is held: of 8-bit costs three bytes per pixel and candidate.

Tensors lie on one CUDA (or ROCm) device. With TRITON_INTERPRET=1 in the environment before the first call, they lie on the CPU and
Triton's interpreter runs the same kernels, slowly: that is how they are tested without a GPU.
"""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, UInt8, UInt16, UInt32, UInt64
from torch import Tensor

from firstsight.errors import InputError
from firstsight.matching.census_cost import Census
from firstsight.matching.lanes import UNREACHABLE
from firstsight.matching.penalties import JumpRule
from firstsight.matching.semi_global import STEPS, Directions, path_types
from firstsight.matching.volumes import no_cost
from firstsight.matching.winner import SubPixel

Grey = UInt8[Tensor, "height width"]
Codes = UInt64[Tensor, "height width"]
Volume = (
    UInt8[Tensor, "height width candidates"]
    | UInt16[Tensor, "height width candidates"]
    | Float32[Tensor, "height width candidates"]
)
Total = (
    UInt16[Tensor, "height width candidates"]
    | UInt32[Tensor, "height width candidates"]
    | Float32[Tensor, "height width candidates"]
)
Jumps = Int32[Tensor, "directions 256 right_classes 3"] | Float32[Tensor, "directions 256 right_classes 3"]

UNREACHABLE_SUM = 1 << 24  # int32 path costs are at most 65534, and so are penalties
COLUMNS = 32  # of a row that one program walks where pixels do not wait for each other
PIXELS = 256  # that one program takes where they have nothing in common
TORCH_TYPES = {np.uint16: torch.uint16, np.uint32: torch.uint32, np.float32: torch.float32}


@dataclass(frozen=True)
class SemiGlobal:
    """How a volume is aggregated: semi_global.SemiGlobal with images on the device of the volume."""

    guide: Grey
    rule: JumpRule
    directions: Directions = 8
    right: Grey | None = None
    largest: int | float | None = None


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How a pair is matched; the settings of depth.semi_global_matching.Config that a GPU knows."""

    candidates: int
    rule: JumpRule
    cost: Census = field(default_factory=Census)
    outside: Literal["repeat", "none"] = "repeat"
    directions: Directions = 8
    sub_pixel: SubPixel = "lines"


class Winners(NamedTuple):
    """winner.Winners on the device."""

    position: Float32[Tensor, "height width"]
    of_right: UInt16[Tensor, "height width"]
    found: Bool[Tensor, "height width"]


def match(left: Grey, right: Grey, matching: Matching) -> Winners:
    """The disparity of a rectified pair for the left pixels and the right ones, before any check.

    Raises InputError where triton is missing or the penalties are too large for integers of 16 bits.
    """
    cost = census_cost(left, right, matching.candidates, matching.cost)
    if matching.outside == "none":
        leave_out_left_border(cost)
    paths = SemiGlobal(left, matching.rule, matching.directions, right, matching.cost.largest)
    return take_winners(aggregate(cost, paths), matching.sub_pixel)


def census_transform(grey: Grey, radius: tuple[int, int]) -> Codes:
    """The code of every pixel; `radius` (rows, columns) is at most 64 bits' worth, the image's border is repeated."""
    codes = torch.empty(grey.shape, dtype=torch.uint64, device=grey.device)
    grid = (-(-grey.numel() // PIXELS),)
    with torch.cuda.device_of(grey):
        _kernels().census[grid](grey.contiguous(), codes, *grey.shape, *radius, PIXELS)
    return codes


def census_cost(left: Grey, right: Grey, candidates: int, cost: Census) -> UInt8[Tensor, "height width candidates"]:
    """C(y, x, d) between left (x, y) and right (max(x - d, 0), y) as Census.fill computes it, for any number of candidates."""
    height, width = left.shape
    codes = [census_transform(image, cost.radius) for image in (left, right)]
    volume = torch.empty((height, width, candidates), dtype=torch.uint8, device=left.device)
    halvings = cost.halvings if cost.block else 0
    lanes, grid = _lanes(candidates), (height, -(-width // COLUMNS))
    with torch.cuda.device_of(left):
        _kernels().census_cost[grid](
            *codes, volume, *volume.shape, halvings, cost.reach, COLUMNS, lanes, num_warps=_warps(lanes)
        )
    return volume


def leave_out_left_border(
    volume: UInt8[Tensor, "height width candidates"],
) -> UInt8[Tensor, "height width candidates"]:
    """In place: no cost where x - d < 0, outside the right image."""
    _, width, candidates = volume.shape
    x, d = torch.arange(width, device=volume.device), torch.arange(candidates, device=volume.device)
    return volume.masked_fill_(d > x[:, None], no_cost(np.uint8))


def aggregate(cost: Volume, settings: SemiGlobal) -> Total:
    """S, the sum of the path costs; no cost where C has none. Types of sums and errors as semi_global.aggregate has them."""
    cost_type = _numpy_type(cost.dtype)
    largest = largest_cost(cost) if settings.largest is None else settings.largest
    _, total_type = path_types(cost_type, largest + settings.rule.p1 + settings.rule.p2, settings.directions)
    total = torch.empty(cost.shape, dtype=TORCH_TYPES[total_type], device=cost.device)
    down = np.array(STEPS[: settings.directions // 2])
    steps = np.concatenate([down, -down])
    jumps, right_class = _jumps(settings.rule, steps, cost)
    assert settings.right is not None or jumps.shape[2] == 1, "two-image penalties need both images"
    right = settings.guide if settings.right is None else settings.right
    arrays = (cost.contiguous(), total, settings.guide.contiguous(), right.contiguous())
    nothing = (no_cost(cost_type), no_cost(total_type), UNREACHABLE if cost_type.kind == "f" else UNREACHABLE_SUM)
    lanes = _lanes(cost.shape[2])
    with torch.cuda.device_of(cost):
        for r, step in enumerate(steps.tolist()):
            tables, flags = (jumps[r], right_class), (r == 0, jumps.shape[2] > 1)
            _kernels().add_paths[(_line_count(cost.shape, step),)](
                *arrays, *tables, *cost.shape, *step, *nothing, *flags, lanes, num_warps=_warps(lanes)
            )
    return total


def largest_cost(cost: Volume) -> float:
    """The largest cost of a volume; 0 where there is none."""
    numbers = cost if cost.is_floating_point() else cost.int()  # few operations know unsigned integers
    known = numbers.isfinite() if cost.is_floating_point() else numbers != no_cost(_numpy_type(cost.dtype))
    return float(numbers.where(known, 0).max())


def take_winners(total: Total, sub_pixel: SubPixel = "lines") -> Winners:
    """argmin over the candidates of left and right pixels, as winner.take_winners has it."""
    height, width, candidates = total.shape
    types = (torch.float32, torch.uint16, torch.bool)
    winners = Winners(*(torch.empty((height, width), dtype=dtype, device=total.device) for dtype in types))
    lanes, nothing = _lanes(candidates), no_cost(_numpy_type(total.dtype))
    with torch.cuda.device_of(total):
        _kernels().take_winners[(height, -(-width // COLUMNS))](
            total.contiguous(), *winners, width, candidates, nothing, sub_pixel, COLUMNS, lanes, num_warps=_warps(lanes)
        )
    return winners


def _jumps(rule: JumpRule, steps: np.ndarray, cost: Volume) -> tuple[Jumps, UInt8[Tensor, "256"]]:
    """The penalties of each direction by the difference of the left image, rounded for integer costs; the right classes."""
    values, left_class, right_class = rule.table(steps)
    numbers = values.astype(np.float32) if cost.is_floating_point() else np.rint(values).astype(np.int32)
    by_difference = torch.from_numpy(numbers[:, left_class]).to(cost.device)
    return by_difference.expand(len(steps), -1, -1, -1), torch.from_numpy(right_class).to(cost.device)


def _line_count(shape: tuple[int, ...], step: list[int]) -> int:
    """How many lines of a step (dx, dy) an image has: one for each pixel whose predecessor lies outside."""
    height, width = shape[:2]
    inside = max(height - abs(step[1]), 0) * max(width - abs(step[0]), 0)
    return height * width - inside


def _lanes(candidates: int) -> int:
    """The power of two that holds the candidates; at least what a warp has, whose lanes are there anyway."""
    return max(32, 1 << (candidates - 1).bit_length())


def _warps(lanes: int) -> int:
    """Four candidates per thread; one warp up to 128, since its lanes exchange numbers without a barrier."""
    return min(max(lanes // 128, 1), 8)


def _numpy_type(dtype: torch.dtype) -> np.dtype:
    """The same type of number there."""
    return torch.empty(0, dtype=dtype).numpy().dtype


def _kernels() -> ModuleType:
    """The compiled part, imported when first needed: CPU users need no triton."""
    try:
        from firstsight.matching import triton_kernels
    except ImportError:
        raise InputError("matching on a GPU needs triton 3.3 or newer: pip install 'triton>=3.3'") from None
    return triton_kernels
