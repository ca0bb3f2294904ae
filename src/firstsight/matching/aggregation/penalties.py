"""What a jump between neighbouring pixels' candidates costs: P1 for a step of one, P2 for any larger one.

Papers: Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008, section II-B.
        Zbontar, LeCun. Stereo Matching by Training a Convolutional Neural Network to Compare Image Patches. JMLR 17(65), 2016,
        section 4.2 (its code: MC-CNN, adcensus.cu, kernels sgm2 and sgm3).
Idea:   surfaces end where the image has an edge, so a jump is cheaper there.
        "constant"  P2
        "inverse"   P2(p, r) = P2 / |I(p) - I(p-r)|, never below P1        Hirschmueller  -> Penalties
        "smooth"    P2(p, r) = P2 / (1 + |I(p) - I(p-r)| / contrast), never below P1      -> Penalties
        with edges where |I_L(p) - I_L(p-r)| >= D and where |I_R(p-d) - I_R(p-d-r)| >= D:
        no edge P1, P2; one P1/Q1, P2/Q1; two P1/Q2, P2/Q2; P1/V on vertical paths        -> TwoImagePenalties
Differs: "inverse" has no upper bound at equal brightness and is cut at P2 there; "smooth" has one. The JMLR paper's two images are
         printed and computed differently: see TwoImagePenalties.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from firstsight.errors import InputError

Steps = Int64[np.ndarray, "directions 2"]
"""(dx, dy) from the pixel before to the pixel, of each direction of path."""


class JumpTable(NamedTuple):
    """Penalties by direction and by classes of brightness difference.

    `values` (directions, left classes, right classes, 3): P1 of a path that comes from the candidate below, P1 from above, P2.
    The classes of the differences 0..255 in the left and the right image: either each difference is a class of its own (left only),
    or those from some value on are an edge, class 1. Outside the right image the last class holds.
    """

    values: Float64[np.ndarray, "directions left right 3"]
    left_class: UInt8[np.ndarray, "256"]
    right_class: UInt8[np.ndarray, "256"]


@runtime_checkable
class JumpRule(Protocol):
    """What jumps cost, in the unit of the cost volume; p1 and p2 where nothing lowers them."""

    @property
    def p1(self) -> int | float: ...

    @property
    def p2(self) -> int | float: ...

    def table(self, steps: Steps) -> JumpTable: ...


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """P2 by the contrast of the left image. Raises InputError for values that cannot work."""

    p1: int | float = 16  # a jump by one candidate: slanted surfaces
    p2: int | float = 160  # a jump by more, between pixels of equal brightness
    adapt: Literal["smooth", "inverse", "constant"] = "smooth"
    contrast: int | float = 12.0  # "smooth": grey levels between neighbours that halve p2

    def __post_init__(self):
        if not (0 <= self.p1 <= self.p2 and self.contrast > 0):
            raise InputError(
                f"semi-global penalties p1={self.p1}, p2={self.p2}, contrast={self.contrast}: "
                "choose 0 <= p1 <= p2 and contrast > 0"
            )

    def p2_of_difference(self) -> Float64[np.ndarray, "256"]:
        """P2 between pixels whose brightness differs by 0..255."""
        difference = np.arange(256)
        divisor = {
            "smooth": 1 + difference / self.contrast,
            "inverse": np.maximum(difference, 1),
            "constant": np.ones(256),
        }
        return np.maximum(self.p2 / divisor[self.adapt], self.p1)

    def table(self, steps: Steps) -> JumpTable:
        values = np.full((1, 256, 1, 3), float(self.p1))
        values[0, :, 0, 2] = self.p2_of_difference()
        return JumpTable(values, np.arange(256, dtype=np.uint8), np.zeros(256, np.uint8))


@dataclass(frozen=True, kw_only=True)
class TwoImagePenalties:
    """P1 and P2 by the edges of both images, which must be stereo images. Raises InputError for values that cannot work.

    The JMLR paper prints P2 as a multiple of P1 (its parameter pi2) and lowers P1 by V for both directions of jump on vertical
    paths. Its released code takes pi2 as P2 itself, and lowers P1 only for jumps upwards in d on the way down and downwards on the
    way up. `as_released` selects the code's V; `p2` is always P2 itself.
    """

    p1: int | float = 20
    p2: int | float = 128
    one_edge: int | float = 4.0  # Q1: both penalties are divided by it where one image has an edge
    two_edges: int | float = 8.0  # Q2, where both have; the code's q1 * q2
    vertical: int | float = 1.5  # V: P1 is divided by it on vertical paths, where the ground slants
    edge: int = 10  # D, grey levels
    as_released: bool = False

    def __post_init__(self):
        if not (0 <= self.p1 <= self.p2 and min(self.one_edge, self.two_edges, self.vertical) >= 1):
            raise InputError(
                f"semi-global penalties p1={self.p1}, p2={self.p2}, one_edge={self.one_edge}, two_edges={self.two_edges}, "
                f"vertical={self.vertical}: choose 0 <= p1 <= p2 and divisors of at least 1"
            )

    def table(self, steps: Steps) -> JumpTable:
        divisor = np.array([[1.0, self.one_edge], [self.one_edge, self.two_edges]])
        values = np.empty((len(steps), 2, 2, 3))
        values[...] = np.array([self.p1, self.p1, self.p2]) / divisor[None, :, :, None]
        for direction, (dx, dy) in enumerate(steps):
            if dx == 0:
                lowered = slice(0, 2) if not self.as_released else 0 if dy > 0 else 1
                values[direction, :, :, lowered] /= self.vertical
        has_edge = (np.arange(256) >= self.edge).astype(np.uint8)
        return JumpTable(values, has_edge, has_edge)
