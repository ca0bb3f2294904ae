"""SE(3) by its axioms, on several batch shapes, both float types, and near the identity where Taylor branches live."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstsight.geometry import se3

SHAPES = [(), (1,), (3, 1, 2)]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}


def tangents(shape: tuple[int, ...], seed: int, magnitude: float, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(*shape, 6, generator=generator, dtype=torch.float64)
    return (direction / direction.norm(dim=-1, keepdim=True) * magnitude).to(dtype)


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


magnitudes = st.one_of(st.floats(0, 1e-7), st.floats(0, 3.0), st.floats(0.009, 0.011))
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@settings(max_examples=30, deadline=None)
@given(seed=seeds, a=magnitudes, b=magnitudes, c=magnitudes)
def test_group_axioms(shape, dtype, seed, a, b, c):
    x, y, z = (se3.se3_exp(tangents(shape, seed + i, m, dtype)) for i, m in enumerate((a, b, c)))
    eye = torch.eye(4, dtype=dtype).expand(*shape, 4, 4)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close((x @ y) @ z, x @ (y @ z), atol=tolerance, rtol=0)
    torch.testing.assert_close(x @ se3.inverse(x), eye, atol=tolerance, rtol=0)
    torch.testing.assert_close(se3.inverse(x @ y), se3.inverse(y) @ se3.inverse(x), atol=tolerance, rtol=0)
    closed = (x @ y)[..., :3, :3]
    torch.testing.assert_close(closed @ closed.mT, eye[..., :3, :3], atol=tolerance, rtol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=60, deadline=None)
@given(seed=seeds, magnitude=magnitudes)
def test_log_inverts_exp(shape, seed, magnitude):
    tangent = tangents(shape, seed, magnitude, torch.float64)
    torch.testing.assert_close(se3.se3_log(se3.se3_exp(tangent)), tangent, atol=1e-10, rtol=0)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, magnitude=magnitudes)
def test_exp_is_the_matrix_exponential(seed, magnitude):
    tangent = tangents((), seed, magnitude, torch.float64)
    algebra = torch.zeros(4, 4, dtype=torch.float64)
    algebra[:3, :3], algebra[:3, 3] = se3.hat(tangent[3:]), tangent[:3]
    torch.testing.assert_close(se3.se3_exp(tangent), torch.matrix_exp(algebra), atol=1e-10, rtol=0)


@pytest.mark.parametrize("angle", [3.1, 3.14159, torch.pi - 1e-9])
def test_rotation_log_near_half_a_turn(angle):
    axis = torch.nn.functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=-1)
    rotation = se3.so3_exp(axis * angle)
    torch.testing.assert_close(se3.so3_exp(se3.so3_log(rotation)), rotation, atol=1e-9, rtol=0)


@pytest.mark.parametrize("magnitude", [0.0, 1e-6, 1e-3, 1.0])
def test_gradients_at_and_near_the_identity(magnitude):
    tangent = tangents((2,), 0, magnitude, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(se3.se3_exp, tangent)
    assert torch.autograd.gradcheck(lambda t: se3.se3_log(se3.se3_exp(t)), tangent)


def test_right_update_moves_along_the_own_axes():
    """World from body, body turned left by 90 degrees: one metre forward in the body is one metre along world y."""
    world_from_body = se3.se3_exp(torch.tensor([0, 0, 0, 0, 0, torch.pi / 2], dtype=torch.float64))
    moved = world_from_body @ se3.se3_exp(torch.tensor([1.0, 0, 0, 0, 0, 0], dtype=torch.float64))
    torch.testing.assert_close(moved[:3, 3], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


def test_transform_reads_a_from_b(shape, dtype):
    a_from_b = se3.se3_exp(tangents(shape, 1, 1.0, dtype))
    points = torch.randn(*shape, 5, 3, dtype=dtype)
    expected = torch.stack(
        [(a_from_b[..., :3, :3] @ p[..., None])[..., 0] + a_from_b[..., :3, 3] for p in points.unbind(-2)], -2
    )
    torch.testing.assert_close(se3.transform(a_from_b, points), expected)


def test_interpolation_ends_and_middle():
    a, b = (se3.se3_exp(tangents((), seed, 1.0, torch.float64)) for seed in (1, 2))
    half = torch.tensor(0.5, dtype=torch.float64)
    middle = se3.interpolate(a, b, half)
    torch.testing.assert_close(se3.interpolate(a, b, 0 * half), a)
    torch.testing.assert_close(se3.interpolate(a, b, 2 * half), b)
    torch.testing.assert_close(se3.inverse(a) @ middle, se3.inverse(middle) @ b)


def test_quaternions_against_scipy():
    from scipy.spatial.transform import Rotation

    rotations = Rotation.random(200, rng=0)
    ours = se3.matrix_to_quaternion_wxyz(torch.from_numpy(rotations.as_matrix()))
    theirs = torch.from_numpy(rotations.as_quat(canonical=True))[:, [3, 0, 1, 2]]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(se3.quaternion_wxyz_to_matrix(ours * 7), torch.from_numpy(rotations.as_matrix()))


def test_small_turns_move_far_points_exactly():
    """0.009 rad about z and 1000 m along x: 1000 sin(t) / t and 1000 (1 - cos t) / t, by their series to 1e-9 m."""
    motion = se3.se3_exp(torch.tensor([1000.0, 0, 0, 0, 0, 0.009], dtype=torch.float64))
    assert motion[:3, 3].tolist() == pytest.approx([999.9865000546749, 4.499969625082013, 0], abs=1e-9)
    assert motion[:2, 0].tolist() == pytest.approx([0.9999595002733743, 0.008999878500492073], abs=1e-15)
    found = se3.se3_log(motion)
    assert found.tolist() == pytest.approx([1000, 0, 0, 0, 0, 0.009], abs=1e-9)
