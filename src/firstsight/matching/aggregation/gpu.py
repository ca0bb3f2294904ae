"""Semi-global matching on a GPU: the same numbers as on the CPU, from tensors that stay on the device.

Paper:  Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008.
Idea:   a path must be followed in order, but its candidates need not wait for each other, nor do the paths of a
        direction: one program per line of pixels, candidates side by side in its lanes.
        C(p, d) = Hamming(census_L(p), census_R(p - d)), summed over 3x3 pixels   -> census_transform(), census_cost()
        S(p, d) = sum over paths r of L_r(p, d)                     eq. 13, 14    -> aggregate()
        D(p) = argmin_d S(p, d), refined between them               section II-D  -> take_winners()
Differs: as the twins do that have the same names in census, census_cost, semi_global and winner: sums of integers are
         equal to theirs, of floats up to rounding. One launch per direction, in the order of the twin's sums, so that
         nothing depends on chance. The whole volume is held: of 8-bit costs three bytes per pixel and candidate.

Tensors lie on one CUDA or ROCm device. With TRITON_INTERPRET=1 in the environment before the first call they lie on the
CPU, and Triton's interpreter runs the same kernels, slowly: that is how they are tested without a GPU.
"""

from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, UInt8, UInt16, UInt32, UInt64
from torch import Tensor

from firstsight.errors import InputError
from firstsight.kernels.lanes import UNREACHABLE
from firstsight.matching.aggregation.penalties import JumpRule
from firstsight.matching.aggregation.semi_global import STEPS, SemiGlobal, path_types
from firstsight.matching.costs.census import bit_count
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.volumes import no_cost
from firstsight.matching.selection.winner import SubPixel

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


class Winners(NamedTuple):
    """winner.Winners on the device."""

    position: Float32[Tensor, "height width"]
    of_right: UInt16[Tensor, "height width"]
    found: Bool[Tensor, "height width"]


def census_transform(grey: Grey, radius: tuple[int, int]) -> Codes:
    """The code of every pixel; `radius` (rows, columns) is at most 64 bits' worth, the image's border is repeated."""
    assert 0 < bit_count(radius) <= 64, "a census window holds at most 64 neighbours"
    codes = torch.empty(grey.shape, dtype=torch.uint64, device=grey.device)
    _launch("census", (-(-grey.numel() // PIXELS),), (grey.contiguous(), codes), (*grey.shape, *radius, PIXELS))
    return codes


def census_cost(left: Grey, right: Grey, candidates: int, cost: Census) -> UInt8[Tensor, "height width candidates"]:
    """C(y, x, d) between left (x, y) and right (max(x - d, 0), y), as Census.fill; for any number of candidates."""
    height, width = left.shape
    codes = [census_transform(image, cost.radius) for image in (left, right)]
    volume = torch.empty((height, width, candidates), dtype=torch.uint8, device=left.device)
    block = (cost.halvings if cost.block else 0, cost.reach)
    numbers = (*volume.shape, *block, COLUMNS, _lanes(candidates))
    _launch("census_cost", (height, -(-width // COLUMNS)), (*codes, volume), numbers)
    return volume


def leave_out_left_border(
    volume: UInt8[Tensor, "height width candidates"],
) -> UInt8[Tensor, "height width candidates"]:
    """Removes the cost, in place, where x - d < 0, outside the right image."""
    _, width, candidates = volume.shape
    x, d = torch.arange(width, device=volume.device), torch.arange(candidates, device=volume.device)
    return volume.masked_fill_(d > x[:, None], no_cost(np.uint8))


def aggregate(cost: Volume, settings: SemiGlobal[Grey]) -> Total:
    """S, the sum of the path costs; no cost where C has none. Types and errors are those of semi_global.aggregate."""
    cost_type = _numpy_type(cost.dtype)
    largest = max_cost(cost) if settings.largest is None else settings.largest
    _, total_type = path_types(cost_type, largest, settings.rule, settings.directions)
    total = torch.empty(cost.shape, dtype=TORCH_TYPES[total_type], device=cost.device)
    down = np.array(STEPS[: settings.directions // 2])
    steps = np.concatenate([down, -down])
    jumps, right_class = _jumps(settings.rule, steps, cost)
    assert settings.right is not None or jumps.shape[2] == 1, "two-image penalties need both images"
    right = settings.guide if settings.right is None else settings.right
    arrays = (cost.contiguous(), total, settings.guide.contiguous(), right.contiguous())
    nothing = (no_cost(cost_type), no_cost(total_type), UNREACHABLE if cost_type.kind == "f" else UNREACHABLE_SUM)
    for r, step in enumerate(steps.tolist()):
        flags = (r == 0, jumps.shape[2] > 1)
        numbers = (*cost.shape, *step, *nothing, *flags, _lanes(cost.shape[2]))
        _launch("add_paths", (_line_count(cost.shape, step),), (*arrays, jumps[r], right_class), numbers)
    return total


def max_cost(cost: Volume) -> float:
    """The largest cost of a volume; 0 where there is none."""
    numbers = cost if cost.is_floating_point() else cost.int()  # few operations know unsigned integers
    known = numbers.isfinite() if cost.is_floating_point() else numbers != no_cost(_numpy_type(cost.dtype))
    return max(float(numbers.where(known, 0).max()), 0.0)


def take_winners(total: Total, sub_pixel: SubPixel = "lines") -> Winners:
    """argmin over the candidates of left and right pixels, as winner.take_winners has it."""
    height, width, candidates = total.shape
    types = (torch.float32, torch.uint16, torch.bool)
    winners = Winners(*(torch.empty((height, width), dtype=dtype, device=total.device) for dtype in types))
    nothing = no_cost(_numpy_type(total.dtype))
    numbers = (width, candidates, nothing, sub_pixel, COLUMNS, _lanes(candidates))
    _launch("take_winners", (height, -(-width // COLUMNS)), (total.contiguous(), *winners), numbers)
    return winners


def _jumps(rule: JumpRule, steps: np.ndarray, cost: Volume) -> tuple[Jumps, UInt8[Tensor, "256"]]:
    """Penalties by direction and difference of the left image, rounded for integer costs; the right classes."""
    values, left_class, right_class = rule.table(steps)
    numbers = values.astype(np.float32) if cost.is_floating_point() else np.rint(values).astype(np.int32)
    by_difference = torch.from_numpy(np.ascontiguousarray(numbers[:, left_class])).to(cost.device)
    return by_difference.expand(len(steps), -1, -1, -1), torch.from_numpy(right_class).to(cost.device)


def _line_count(shape: tuple[int, ...], step: list[int]) -> int:
    """How many lines of a step (dx, dy) an image has: one for each pixel whose predecessor lies outside."""
    height, width = shape[:2]
    inside = max(height - abs(step[1]), 0) * max(width - abs(step[0]), 0)
    return height * width - inside


def _lanes(candidates: int) -> int:
    """The power of two that holds the candidates; at least what a warp has, whose lanes are there anyway."""
    return max(32, 1 << (candidates - 1).bit_length())


def _launch(kernel: str, grid: tuple[int, ...], arrays: tuple[Tensor, ...], numbers: tuple) -> None:
    """Runs a kernel of triton_kernels on the device of its arrays; the last number is that of its lanes.

    Four lanes per thread: so 128 fit one warp, whose threads exchange numbers without a barrier. No fused
    multiplication and addition, so that floats are rounded as on the CPU.
    """
    assert all(array.is_contiguous() and array.device == arrays[0].device for array in arrays)
    warps = min(max(numbers[-1] // 128, 1), 8)
    with torch.cuda.device_of(arrays[0]):
        getattr(_kernels(), kernel)[grid](*arrays, *numbers, num_warps=warps, enable_fp_fusion=False)


def _kernels() -> ModuleType:
    """The compiled part, imported when first needed: without a GPU nobody needs triton."""
    try:
        from firstsight.matching.aggregation import triton_kernels
    except ImportError:
        raise InputError("matching on a GPU needs triton 3.3 or newer: pip install 'triton>=3.3'") from None
    return triton_kernels


def _numpy_type(dtype: torch.dtype) -> np.dtype:
    """The same type of numbers there."""
    return torch.empty(0, dtype=dtype).numpy().dtype
