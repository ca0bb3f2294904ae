"""The GPU's kernels against their twins on the CPU: compiled where there is a GPU, else run by Triton's interpreter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import firstsight.matching
from firstsight.depth.semi_global_matching import Config, CrossBased, SemiGlobalMatching, Work
from firstsight.errors import InputError
from firstsight.matching.aggregation import gpu
from firstsight.matching.aggregation.penalties import JumpRule, Penalties, TwoImagePenalties
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate
from firstsight.matching.costs.absolute_difference import AbsoluteDifference
from firstsight.matching.costs.census import census_transform
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.volumes import leave_out_left_border, no_cost
from firstsight.matching.selection.winner import take_winners

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, which importing firstsight does not
pytest.importorskip("triton", reason="triton is not installed: pip install 'triton>=3.3'")


def on_device(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).to(DEVICE)


def random_images(height: int, width: int, seed: int) -> np.ndarray:
    """A pair with edges and even regions."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (2, height, width), np.uint8) // rng.integers(1, 60, (2, height, width), np.uint8)


def random_costs(shape: tuple, dtype: type, seed: int, missing: float) -> np.ndarray:
    """Costs up to 79, some missing."""
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, 80, shape).astype(dtype)
    if dtype is np.float32:
        cost += rng.normal(size=shape).astype(dtype)
    cost[rng.random(shape) < missing] = no_cost(dtype)
    return cost


def assert_same_sums(cost: np.ndarray, rule: JumpRule, directions: int) -> None:
    """Equal sums of equal type on both devices."""
    left, right = random_images(*cost.shape[:2], seed=sum(cost.shape))
    expected = aggregate(cost, SemiGlobal(left, rule, directions, right))
    settings = SemiGlobal(on_device(left), rule, directions, on_device(right))
    found = gpu.aggregate(on_device(cost), settings).cpu().numpy()
    assert found.dtype == expected.dtype
    if cost.dtype == np.float32:
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("radius", [(1, 1), (2, 3), (3, 4)])
def test_census_codes_are_equal(radius):
    image = random_images(7, 19, seed=1)[0]
    codes = gpu.census_transform(on_device(image), radius)
    np.testing.assert_array_equal(codes.cpu().numpy(), census_transform(image, radius))


@pytest.mark.parametrize(
    ("candidates", "cost"),
    [(20, Census()), (32, Census()), (48, Census(radius=(1, 2))), (20, Census(block=False))],
    ids=str,
)
def test_census_costs_are_equal(candidates, cost):
    left, right = random_images(3, 5, seed=2)
    expected = cost.fill(cost.describe(left), cost.describe(right), np.empty((3, 5, 64), np.uint8))
    found = gpu.census_cost(on_device(left), on_device(right), candidates, cost)
    np.testing.assert_array_equal(found.cpu().numpy(), expected[:, :, :candidates])


def test_costs_of_an_image_wider_than_one_program_walks_are_equal():
    left, right = random_images(1, gpu.COLUMNS + 3, seed=3)
    expected = Census().fill(
        *(Census().describe(image) for image in (left, right)), np.empty((*left.shape, 32), np.uint8)
    )
    found = gpu.census_cost(on_device(left), on_device(right), 32, Census())
    np.testing.assert_array_equal(found.cpu().numpy(), expected)
    leave_out_left_border(expected)
    np.testing.assert_array_equal(gpu.leave_out_left_border(found).cpu().numpy(), expected)


@pytest.mark.parametrize(
    ("rule", "dtype", "candidates"),
    [
        (Penalties(), np.uint8, 20),
        (Penalties(p1=7, p2=33.4, adapt="constant"), np.float32, 48),
        (TwoImagePenalties(edge=40), np.float32, 20),
        (TwoImagePenalties(p1=12, p2=60, edge=90, as_released=True), np.uint16, 32),
    ],
    ids=str,
)
def test_sums_over_all_directions_are_equal(rule, dtype, candidates):
    assert_same_sums(random_costs((3, 3, candidates), dtype, 4, 0.2), rule, 16)


@pytest.mark.parametrize(
    ("directions", "shape"), [(4, (3, 3, 32)), (8, (3, 3, 32)), (16, (1, 3, 20)), (16, (3, 1, 48))], ids=str
)
def test_fewer_directions_and_narrow_images_are_equal(directions, shape):
    assert_same_sums(random_costs(shape, np.uint8, 5, 0.2), TwoImagePenalties(edge=40), directions)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_paths_begin_anew_behind_pixels_without_a_cost(dtype):
    cost = random_costs((3, 5, 20), dtype, 6, 0.95)
    assert (cost == no_cost(dtype)).all(2).any()
    assert_same_sums(cost, Penalties(), 4)


def test_nan_is_no_cost():
    cost = random_costs((2, 3, 20), np.float32, 7, 0.3)
    cost[np.isinf(cost)] = np.nan
    assert_same_sums(cost, Penalties(), 4)


@pytest.mark.parametrize(("scale", "dtype"), [(3, np.uint8), (250, np.uint16)])
def test_sums_that_need_more_bits_are_equal(scale, dtype):
    cost = random_costs((2, 3, 32), dtype, 8, 0.0) * dtype(scale)
    assert_same_sums(cost, Penalties(p1=16 * scale, p2=160 * scale), 8)


def test_more_candidates_than_one_warp_holds():
    assert_same_sums(random_costs((2, 3, 200), np.uint8, 9, 0.1), TwoImagePenalties(edge=40), 4)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float32])
@pytest.mark.parametrize("sub_pixel", ["lines", "parabola", "none"])
def test_winners_are_equal(dtype, sub_pixel):
    """Few different values make ties; some pixels have no candidate."""
    rng = np.random.default_rng(10)
    total = rng.integers(0, 9, (1, gpu.COLUMNS + 3, 20)).astype(dtype)
    total[rng.random(total.shape) < 0.1] = no_cost(dtype)
    total[rng.random(total.shape[:2]) < 0.1] = no_cost(dtype)
    expected, found = take_winners(total, sub_pixel), gpu.take_winners(on_device(total), sub_pixel)
    assert not expected.found.all()
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.cpu().numpy().dtype == theirs.dtype
        np.testing.assert_array_equal(ours.cpu().numpy(), theirs)


@pytest.mark.parametrize(
    "settings",
    [{}, {"outside": "none"}, {"cross_based": CrossBased(passes=1, length_px=3)}, {"cost": AbsoluteDifference()}],
    ids=["census", "no cost outside", "cross-based", "cost of the CPU"],
)
def test_the_estimator_finds_the_same_winners(settings):
    left, right = random_images(4, 9, seed=11)
    match = SemiGlobalMatching(Config(max_disparity_px=32, paths=4, **settings))
    here, there = (Work(left, right, match.config.cost, 32, torch.device(device)) for device in ("cpu", DEVICE))
    (expected,), found = match.winners_on_cpu(here), match.winners_on_gpu(there)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_penalties_too_large_for_16_bits_are_refused():
    image, cost = on_device(random_images(2, 3, 12)[0]), on_device(random_costs((2, 3, 32), np.uint16, 12, 0.0))
    with pytest.raises(InputError, match="65534"):
        gpu.aggregate(cost, SemiGlobal(image, Penalties(p1=100, p2=65_500)))


def test_without_triton_the_error_names_the_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "firstsight.matching.aggregation.triton_kernels", raising=False)
    monkeypatch.delattr(firstsight.matching.aggregation, "triton_kernels", raising=False)
    with pytest.raises(InputError, match="pip install"):
        gpu.census_transform(on_device(random_images(2, 3, 13)[0]), (1, 1))


def test_only_the_kernels_import_triton():
    source = Path(firstsight.matching.__file__).parents[1]
    importers = [
        path for path in source.rglob("*.py") if re.search(r"^\s*(import|from) triton\b", path.read_text(), re.M)
    ]
    assert {path.name for path in importers} == {"triton_kernels.py"}


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from firstsight.matching.aggregation import triton_kernels

def compile_for_gpu(name, types, constants):
    kernel = getattr(triton_kernels, name)
    types = dict(zip(kernel.arg_names, types.split() + ["constexpr"] * len(constants)))
    constants = {(kernel.arg_names.index(key),): value for key, value in constants.items()}
    options = {"num_warps": 1, "enable_fp_fusion": False}
    triton.compile(ASTSource(kernel, types, constants), target=GPUTarget("cuda", 80, 32), options=options)

compile_for_gpu("census", "*u8 *u64 i32 i32", {"ROWS": 2, "COLUMNS": 3, "LANES": 32})
compile_for_gpu("census_cost", "*u64 *u64 *u8 i32 i32 i32 i32", {"REACH": 1, "COLUMNS": 32, "LANES": 64})
for cost, total, jumps, *nothing in (
    ("*u8", "*u16", "*i32", 255, 65535, 1 << 24), ("*fp32", "*fp32", "*fp32", float("inf"), float("inf"), 1e30)
):
    names = ("NO_COST", "NO_SUM", "UNREACHABLE", "FIRST", "TWO_IMAGES", "LANES")
    constants = dict(zip(names, [*nothing, False, True, 64], strict=True))
    compile_for_gpu("add_paths", f"{cost} {total} *u8 *u8 {jumps} *u8 i32 i32 i32 i32 i32", constants)
for total, nothing in (("*u16", 65535), ("*u32", 2**32 - 1), ("*fp32", float("inf"))):
    constants = {"NO_SUM": nothing, "FIT": "lines", "COLUMNS": 32, "LANES": 64}
    compile_for_gpu("take_winners", f"{total} *fp32 *u16 *i1 i32 i32", constants)
"""


def test_the_kernels_compile_for_a_gpu_that_need_not_be_there():
    """The interpreter takes more than the compiler does."""
    compiled = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-W", "error", "-c", COMPILE], env=compiled, check=True)
