"""The roles of a network that was trained elsewhere. Each takes the images of its role and gives what the role promises.

The network sees images resized as its description says; what it answers is brought back to the images' own pixels, and
what is measured in pixels scales with it.
"""

from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from firstsight.errors import InputError
from firstsight.external.description import (
    QUANTITIES,
    Description,
    Input,
    Output,
    Quantity,
    Role,
    Size,
    read_description,
)
from firstsight.external.session import TRIAL_SIZE, Session
from firstsight.flow.expected_error import expected_errors_px
from firstsight.geometry.pixels import resize
from firstsight.geometry.warp import forward_backward_check
from firstsight.roles import Depth, DepthEstimator, Disparity, Encoder, Flow, FlowEstimator, Images, StereoEstimator

# The median of each image's depth where only inverse depth up to factor and shift is known: of no unit, far from the
# ends of what a run folder holds.
MEDIAN_DEPTH = 10.0
# A resized pixel is valid where all that it was made of is.
ALL_VALID = 0.999


class ExternalModel:
    """A network of a file. `path` is that of the ONNX file; the description lies beside it.

    Raises InputError for what does not fit.
    """

    def __init__(self, path: str | Path) -> None:
        self.session = Session(path)

    @property
    def description(self) -> Description:
        return self.session.description

    def dense(
        self, channels: int, *images: Images
    ) -> tuple[Float32[Tensor, "batch channels height width"], Bool[Tensor, "batch 1 height width"]]:
        """The values that the network gives the pixels of the (first) images, and where they are finite and mean something.

        Disparity and flow are in px of the images. Raises InputError for an output of another shape.
        """
        first, *masks = self.session.run(*images)
        height, width = images[0].shape[-2:]
        values = self.as_maps(first, channels)
        valid = values.isfinite().all(1, keepdim=True)
        values = torch.where(valid, values, 0) * self.factors(values, height, width)
        for mask in masks:
            shares = self.as_maps(mask, 1)
            shares = shares if shares.shape == valid.shape else resize(shares, *values.shape[-2:])
            valid = valid & (shares > 0.5)
        if values.shape[-2:] != (height, width):
            values, valid = resize(values, height, width), resize(valid.float(), height, width) > ALL_VALID
        return values, valid

    def as_maps(self, output: Tensor, channels: int) -> Tensor:
        """An output as (batch, channels, rows, columns); a single channel may lack its dimension."""
        last = self.description.output.channels == "last"
        maps = output[:, None] if output.ndim == 3 and channels == 1 else output.movedim(-1, 1) if last else output
        if maps.ndim != 4 or maps.shape[1] != channels:
            wanted = f"(batch, height, width, {channels})" if last else f"(batch, {channels}, height, width)"
            raise InputError(
                f"{self.session.path}: gives an output of shape {tuple(output.shape)} where the role "
                f"{self.description.role} needs {wanted}; see output: name and channels"
            )
        return maps

    def factors(self, values: Tensor, height: int, width: int) -> Tensor:
        """What to multiply the values of each channel with, for images of that size."""
        factor = self.description.output.factor
        if self.description.quantity not in ("disparity_px", "flow_px"):
            return values.new_tensor(1.0 if factor is None else factor)
        rows, columns = self.description.input.size.of(height, width)
        if factor is None and values.shape[-2:] != (rows, columns):
            coarse = " x ".join(map(str, values.shape[-2:]))
            raise InputError(
                f"{self.session.path}: its px come out on {coarse}, the input is {rows} x {columns}; state output: factor, "
                f"1 for px of the input, {rows / values.shape[-2]:g} for px of that grid"
            )
        scales = values.new_tensor([width / columns, height / rows][: values.shape[1]])
        return scales[:, None, None] * (1.0 if factor is None else factor)

    def try_out(self) -> None:
        """Runs the network once, on grey images. Raises InputError where it fails or answers in another shape."""
        method: Any = self
        grey = torch.full((1, 3, *TRIAL_SIZE), 0.5)
        method(*[grey] * self.description.image_count)


@final
class ExternalDepth(ExternalModel, DepthEstimator):
    """Depth in metres."""

    scale = "metric"

    def estimate(self, image: Images) -> Depth:
        depth, valid = self.dense(1, image)
        return Depth(depth, valid & (depth > 0))


@final
class ExternalRelativeDepth(ExternalModel, DepthEstimator):
    """Depth up to a factor."""

    scale = "unknown"

    def estimate(self, image: Images) -> Depth:
        depth, valid = self.dense(1, image)
        return Depth(depth, valid & (depth > 0))


@final
class ExternalInverseDepth(ExternalModel, DepthEstimator):
    """Inverse depth up to a factor and a shift that no image tells, as of MiDaS and Depth Anything (larger is nearer).

    The depth is that of shift 0, MEDIAN_DEPTH in the median of each image; what is not above 0 is not valid.
    """

    scale = "unknown"

    def estimate(self, image: Images) -> Depth:
        inverse, valid = self.dense(1, image)
        valid = valid & (inverse > 0)
        middle = torch.where(valid, inverse, torch.nan).flatten(1).nanmedian(1).values.view(-1, 1, 1, 1)
        depth = MEDIAN_DEPTH * middle / inverse
        return Depth(depth, valid & depth.isfinite())


@final
class ExternalStereo(ExternalModel, StereoEstimator):
    """Disparity of the left image in px."""

    def estimate(self, left: Images, right: Images) -> Disparity:
        disparity, valid = self.dense(1, left, right)
        return Disparity(disparity, valid & (disparity > 0))


@final
class ExternalFlow(ExternalModel, FlowEstimator):
    """Flow in px. Where the network does not say what is valid, it is what the flow from b to a takes back."""

    def estimate(self, image_a: Images, image_b: Images) -> Flow:
        if self.description.output.valid is not None:
            return Flow(*self.dense(2, image_a, image_b))
        flow_ab, finite = self.dense(2, image_a, image_b)
        flow_ba, _ = self.dense(2, image_b, image_a)
        returns, gap = forward_backward_check(flow_ab, flow_ba)
        valid = returns & finite
        return Flow(flow_ab, valid, expected_errors_px(image_a, gap, valid))


@final
class ExternalEncoder(ExternalModel, Encoder):
    """One vector of features for each image."""

    @property
    def image_size(self) -> tuple[int, int]:
        """The (height, width) at which the network sees images. Raises InputError where it is that of each image."""
        fixed = self.description.input.size.fixed
        if fixed is None:
            raise InputError(f"{self.session.path}: images of many sizes are judged at one; state size: fixed")
        return fixed

    def encode(self, image: Images) -> Float32[Tensor, "batch features"]:
        (features,) = self.session.run(image)
        pooling = self.description.output.pooling
        if features.ndim == 3 and pooling != "none":
            return features[:, 0] if pooling == "first" else features.mean(1)
        if features.flatten(1).shape != features.shape[:2] or pooling != "none":
            raise InputError(
                f"{self.session.path}: gives features of shape {tuple(features.shape)}; an encoder needs (batch, features), "
                "or (batch, tokens, features) with output: pooling"
            )
        return features.flatten(1)


CLASSES: dict[tuple[Role, Quantity], type[ExternalModel]] = {
    ("depth", "depth_m"): ExternalDepth,
    ("depth", "depth"): ExternalRelativeDepth,
    ("depth", "inverse_depth"): ExternalInverseDepth,
    ("stereo", "disparity_px"): ExternalStereo,
    ("flow", "flow_px"): ExternalFlow,
    ("encoder", "features"): ExternalEncoder,
}


def class_of(path: str | Path) -> type[ExternalModel]:
    """The class that a description asks for, the network unopened. Raises InputError for a description that is unfit."""
    description = read_description(path)
    return CLASSES[description.role, description.quantity]


def load(path: str | Path) -> ExternalModel:
    """The model of an ONNX file. Raises InputError, in one line, for what does not fit its description."""
    return class_of(path)(path)


def check(path: str | Path) -> None:
    """Loads the model and tries it out. Raises InputError, in one line, for what does not fit or does not run."""
    load(path).try_out()


ROLES: dict[Role, type] = {
    "depth": DepthEstimator,
    "stereo": StereoEstimator,
    "flow": FlowEstimator,
    "encoder": Encoder,
}


def describe(
    method: object, inputs: tuple[str, ...], outputs: tuple[str, ...], size: tuple[int, int]
) -> Description | None:
    """What must be said of a network exported from a method of ours, None for one of another role.

    The names are those in the file; an encoder is given images of that `size`, others images as they are.
    """
    role = next((role for role, kind in ROLES.items() if isinstance(method, kind)), None)
    if role is None:
        return None
    quantity = "depth" if getattr(method, "scale", "metric") == "unknown" else QUANTITIES[role][0]
    return Description(
        role=role,
        input=Input(names=inputs, size=Size(fixed=size) if role == "encoder" else Size()),
        output=Output(quantity=quantity, name=outputs[0], valid="valid" if "valid" in outputs else None),
    )
