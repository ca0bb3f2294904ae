"""What the border of a role takes, what it makes of it, and what it refuses, with the line that says so."""

import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.losses.photometric import photometric
from firstsight.roles import (
    DenseEncoder,
    DenseFeatures,
    Depth,
    DepthCompleter,
    DepthEstimator,
    Detector,
    Discoverer,
    Disparity,
    Encoder,
    Flow,
    FlowEstimator,
    MultiViewDepthEstimator,
    Observation,
    Reconstructor,
    StereoEstimator,
)


class Echo(StereoEstimator):
    """Answers with the first channel of the left image, so that what arrives can be looked at."""

    def estimate(self, left: Tensor, right: Tensor) -> Disparity:
        self.left, self.right = left, right
        return Disparity(left[:, :1], left[:, :1] > 0)


class Zero(FlowEstimator):
    def estimate(self, image_a: Tensor, image_b: Tensor) -> Flow:
        return Flow(0 * image_a[:, :2], image_b[:, :1] >= 0)


class Flat(DepthCompleter):
    def complete(self, image: Tensor, sparse: Depth) -> Depth:
        self.sparse = sparse
        return Depth(image[:, :1] + 1, image[:, :1] >= 0)


class Views(MultiViewDepthEstimator):
    def estimate(self, image, neighbours, neighbour_from_image, intrinsics) -> Depth:
        self.given = (image, neighbours, neighbour_from_image, intrinsics)
        return Depth(image[:, :1] + 1, image[:, :1] >= 0)


class Means(Encoder, DenseEncoder):
    def encode(self, image: Tensor) -> Tensor:
        return image.mean((2, 3))

    def encode_patches(self, image: Tensor) -> DenseFeatures:
        return DenseFeatures(image, image)


class Learned(DepthEstimator, nn.Module):
    scale = "unknown"

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def estimate(self, image: Tensor) -> Depth:
        depth = self.factor * image[:, :1] + 1
        return Depth(depth, torch.ones_like(depth, dtype=torch.bool))


class Photos(Reconstructor):
    def reconstruct(self, photos):
        raise AssertionError(photos)


GREY = np.array([[0, 51, 255], [102, 204, 153]], np.uint8)
COLOUR = np.stack([GREY, GREY.T.reshape(2, 3), 255 - GREY], -1)
FLOAT = torch.tensor([[[0.0, 0.2, 1.0], [0.4, 0.8, 0.6]]]).repeat(3, 1, 1)


def refusal(call, *given, **named) -> str:
    with pytest.raises(InputError) as refused:
        call(*given, **named)
    line = str(refused.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("given", "batch"),
    [
        (GREY, 1),
        (GREY[:, ::-1][:, ::-1], 1),
        (np.repeat(GREY[..., None], 3, -1), 1),
        (np.repeat(GREY[..., None], 3, -1).astype(np.float64) / 255, 1),
        (torch.from_numpy(GREY.copy()).expand(3, 2, 3), 1),
        (FLOAT, 1),
        (FLOAT[None].double(), 1),
        (FLOAT[None].expand(4, 3, 2, 3), 4),
    ],
)
def test_what_is_meant_is_taken(given, batch: int):
    method = Echo()
    found = method(given, given)
    assert method.left.dtype == method.right.dtype == torch.float32
    assert method.left.shape == (batch, 3, 2, 3)
    assert found.disparity.shape == (batch, 1, 2, 3)
    expected = torch.tensor([[0.0, 0.2, 1.0], [0.4, 0.8, 0.6]])
    assert torch.allclose(method.left, expected.expand(batch, 3, 2, 3), atol=1e-7)


def test_colours_of_arrays_are_last_and_those_of_tensors_first():
    method = Echo()
    method(COLOUR, torch.from_numpy(COLOUR.transpose(2, 0, 1).copy()))
    assert torch.equal(method.left, method.right)
    assert method.left[0, :, 0, 1].tolist() == pytest.approx([51 / 255, 102 / 255, 204 / 255])


def test_memory_for_reading_only_is_taken():
    fixed = GREY.astype(np.float32) / 255
    fixed.flags.writeable = False
    assert Echo()(fixed, fixed).disparity.shape == (1, 1, 2, 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FLOAT * 255, ["tensor of float32", "(3, 2, 3)", "from 0 to 255"]),
        (FLOAT - 0.5, ["from -0.5 to 0.5"]),
        (FLOAT + torch.tensor([torch.inf, 1, 1]), ["inf"]),
        (FLOAT[0], ["shape (2, 3)"]),
        (FLOAT[None, None], ["shape (1, 1, 3, 2, 3)"]),
        (FLOAT[:1], ["shape (1, 2, 3)"]),
        (torch.zeros(1, 4, 2, 3), ["shape (1, 4, 2, 3)"]),
        (torch.zeros(0, 3, 2, 3), ["shape (0, 3, 2, 3)"]),
        (torch.zeros(3, 2, 3, dtype=torch.int64), ["tensor of int64"]),
        (np.zeros((3, 4, 6), np.uint8), ["array of uint8", "(3, 4, 6)"]),
        (np.zeros((1, 2, 3, 3), np.uint8), ["array of uint8", "(1, 2, 3, 3)"]),
        (np.zeros((2, 3), np.uint16), ["array of uint16"]),
        (np.zeros((2, 3), ">f4"), ["array of"]),
        (np.array([["a"]]), ["array of"]),
        ([[0.5, 0.5]], ["a list is no image"]),
        (None, ["a NoneType is no image"]),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(given, words: list[str]):
    line = refusal(Echo(), FLOAT, given)
    assert line.startswith("StereoEstimator: right: ")
    assert (
        "give RGB as an array (height, width, 3) or a tensor (batch, 3, height, width), uint8 or floats in [0, 1]"
        in line
    )
    assert all(word in line for word in words), line


def test_pixels_without_a_value_are_to_be_filled_first():
    line = refusal(Echo(), FLOAT, FLOAT + torch.tensor([torch.nan, 0, 0]))
    assert line == "StereoEstimator: right: tensor of float32, shape (3, 2, 3) that holds NaN; fill those pixels first"


def test_a_float_may_overshoot_by_what_resampling_does():
    assert Echo()(FLOAT * 1.0005, FLOAT).disparity.max() == pytest.approx(1.0005)
    assert "1.002" in refusal(Echo(), FLOAT * 1.002, FLOAT)


def test_two_images_have_one_size():
    line = refusal(Zero(), FLOAT, torch.zeros(1, 3, 2, 4))
    assert line == (
        "FlowEstimator: image_a is (1, 3, 2, 3), image_b is (1, 3, 2, 4); give images of one size, as many of each"
    )
    assert "(2, 3, 2, 3)" in refusal(Echo(), FLOAT, FLOAT[None].expand(2, 3, 2, 3))


def test_each_role_names_itself():
    assert refusal(Means(), None).startswith("Encoder: image: ")
    assert refusal(Means().dense_features, None).startswith("DenseEncoder: image: ")
    assert refusal(Learned(), None).startswith("DepthEstimator: image: ")
    assert refusal(Flat(), None, None).startswith("DepthCompleter: image: ")
    assert refusal(Views(), None, None, None, None).startswith("MultiViewDepthEstimator: image: ")
    for role in (Discoverer, Detector):
        found = type("Own", (role,), dict.fromkeys(role.__abstractmethods__))()
        assert refusal(found, None).startswith(f"{role.__name__}: image: ")


def test_sparse_depth_lies_on_the_image():
    depth, valid = GREY.astype(np.float32), GREY > 0
    method = Flat()
    method(COLOUR, (depth, valid))
    assert method.sparse.depth.tolist() == [[[[0, 51, 255], [102, 204, 153]]]]
    assert method.sparse.valid.tolist() == [[[[False, True, True], [True, True, True]]]]
    assert "sparse: a ndarray is no depth" in refusal(method, COLOUR, depth)
    assert "here (1, 1, 2, 3)" in refusal(method, COLOUR, (depth[:1], valid[:1]))
    assert "tensor of float32" in refusal(method, COLOUR, (torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3)))
    assert "not above 0" in refusal(method, COLOUR, (depth, np.ones((2, 3), bool)))
    assert "not above 0" in refusal(method, COLOUR, (np.full((2, 3), np.nan), np.ones((2, 3), bool)))


def test_views_have_a_motion_each():
    method, motions, k = Views(), np.repeat(np.eye(4)[None], 2, 0), np.eye(3)
    method(COLOUR, FLOAT[None].expand(2, 3, 2, 3), motions, torch.eye(3))
    assert [tuple(part.shape) for part in method.given] == [(1, 3, 2, 3), (2, 3, 2, 3), (2, 4, 4), (3, 3)]
    assert method.given[2].dtype == method.given[3].dtype == torch.float64
    assert "must be (1, 4, 4)" in refusal(method, COLOUR, COLOUR, motions, k)
    assert "intrinsics: array of float64, shape (4, 4)" in refusal(method, COLOUR, COLOUR, motions[:1], motions[0])
    assert "a list; give an array" in refusal(method, COLOUR, COLOUR, [[1.0]], k)
    assert "NaN" in refusal(method, COLOUR, COLOUR, motions[:1] * np.nan, k)
    assert "a batch of 2; give one image" in refusal(method, FLOAT[None].expand(2, 3, 2, 3), COLOUR, motions[:1], k)
    assert "a neighbour is (1, 3, 2, 4)" in refusal(method, COLOUR, torch.zeros(3, 2, 4), motions[:1], k)


def test_photos_are_files_and_more_than_one(tmp_path: Path):
    assert (
        refusal(Photos(), []) == "Reconstructor: photos: a list of 0; give a list with the paths of at least two files"
    )
    assert "photos: a str; give" in refusal(Photos(), "photos")
    (tmp_path / "a.png").touch()
    line = refusal(Photos(), [str(tmp_path / "a.png"), tmp_path / "b.png"])
    assert line == f"Reconstructor: photos: {tmp_path}/b.png: no such file"


def test_an_observation_is_checked_where_it_is_made():
    seen = Observation(np.int64(7), COLOUR, np.eye(3), (GREY + 1.0, GREY > 0), np.ones((5, 3)), np.zeros(5, np.float32))
    assert seen.stamp_ns == 7
    assert seen.image.shape == (1, 3, 2, 3)
    assert seen.depth.depth.dtype == seen.points_lidar.dtype == torch.float32
    assert seen.intrinsics.dtype == seen.point_times_s.dtype == torch.float64
    assert Observation(0, depth=(GREY + 1.0, GREY > 0)).depth.valid.shape == (1, 1, 2, 3)
    assert pickle.loads(pickle.dumps(seen))._replace(image=None).points_lidar.shape == (5, 3)
    assert "Observation: image: tensor of float32" in refusal(Observation, 0, FLOAT * 255)
    assert "a batch of 2" in refusal(Observation, 0, FLOAT[None].expand(2, 3, 2, 3))
    assert "here (1, 1, 2, 3)" in refusal(Observation, 0, COLOUR, depth=(GREY[:1] + 1.0, GREY[:1] > 0))
    assert "points_lidar: array of float64, shape (5, 4)" in refusal(Observation, 0, points_lidar=np.ones((5, 4)))
    assert "4 times" in refusal(Observation, 0, points_lidar=np.ones((5, 3)), point_times_s=np.zeros(4))
    assert "1.5 is a float; give whole nanoseconds" in refusal(Observation, 1.5)


def test_gradients_pass_the_border():
    method, image = Learned(), FLOAT.clone().requires_grad_()
    method(image).depth.sum().backward()
    assert torch.equal(image.grad, torch.tensor([2.0, 0, 0])[:, None, None].expand(3, 2, 3))
    assert method.factor.grad == pytest.approx(3.0)


def test_a_method_survives_pickling():
    method = pickle.loads(pickle.dumps(Learned()))
    assert torch.equal(method(FLOAT).depth, Learned()(FLOAT).depth)


def test_photometric_compares_images_of_one_shape():
    compare = inspect.unwrap(photometric)
    assert "(1, 3, 8, 8) and (1, 1, 8, 8)" in refusal(compare, torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8))
    assert "at least 3x3" in refusal(compare, torch.rand(1, 3, 2, 2), torch.rand(1, 3, 2, 2))
    assert photometric(torch.zeros(1, 3, 3, 3), torch.zeros(1, 3, 3, 3)).shape == (1, 1, 1, 1)
