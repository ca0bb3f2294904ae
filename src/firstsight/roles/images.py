"""What every role shares: images."""

from jaxtyping import Float32
from torch import Tensor

Images = Float32[Tensor, "batch 3 height width"]
"""RGB in [0, 1]."""
