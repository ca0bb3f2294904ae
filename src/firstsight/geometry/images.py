"""Between the uint8 arrays of recordings and OpenCV and the float tensors of methods."""

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

# weights of red, green and blue: ITU-R BT.601
LUMA = (0.299, 0.587, 0.114)


def to_tensor(image: UInt8[np.ndarray, "height width 3"]) -> Float32[Tensor, "1 3 height width"]:
    """uint8 RGB array -> float32 RGB in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float() / 255


def to_array(image: Float32[Tensor, "1 3 height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """float32 RGB in [0, 1], on any device -> uint8 RGB array, rounded."""
    return (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()


def to_grey(image: Float32[Tensor, "1 3 height width"]) -> UInt8[np.ndarray, "height width"]:
    """float32 RGB in [0, 1] -> uint8 luma (ITU-R BT.601), as OpenCV computes it from the uint8 image."""
    return cv2.cvtColor(to_array(image), cv2.COLOR_RGB2GRAY)


def luma(images: Float32[Tensor, "batch 3 height width"]) -> Float32[Tensor, "batch 1 height width"]:
    """Grey in [0, 1] by the weights LUMA, not rounded."""
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
