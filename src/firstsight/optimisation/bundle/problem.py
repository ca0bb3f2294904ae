"""The one bundle adjustment: cameras, lenses, points and ties as a problem of damped least squares.

Paper:  Triggs, McLauchlan, Hartley, Fitzgibbon. Bundle Adjustment - A Modern Synthesis. 1999;
        Agarwal, Snavely, Seitz, Szeliski. Bundle Adjustment in the Large. ECCV 2010.
Idea:   minimise F over what is free, J'WJ and g as in                                          equations.py, linearise()
        (J'WJ + lambda D) delta = -g, D its diagonal; the points are eliminated                 schur.py
        the cameras' equations are solved full, or sparse where few cameras share points        structure.py
Role:   what photos (bundle_adjustment.py), keyframes (window_adjustment.py, joint_adjustment.py) and one camera before known
        points (pnp.py) have in common: each of them says what is free, and what was measured.
"""

from dataclasses import dataclass
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit

from firstsight.optimisation.bundle.camera_model import Measurements
from firstsight.optimisation.bundle.equations import (
    NO_TIES,
    Blocks,
    Equations,
    Robust,
    Sightings,
    State,
    Ties,
    cost,
    linearise,
)
from firstsight.optimisation.bundle.schur import (
    HELD,
    MAX_BLOCK,
    MIN_SCALE,
    Entries,
    eliminate_points,
    entries_of,
    substitute_back,
)
from firstsight.optimisation.bundle.structure import System, damped_matrix, solve, system_of
from firstsight.optimisation.least_squares import Step
from firstsight.optimisation.tangents import spatial_move


class Free(NamedTuple):
    """What is solved for: cameras; lenses, with so many unknowns each; and so many points, all or none (0)."""

    cameras: Bool[np.ndarray, " cameras"]
    lenses: Bool[np.ndarray, " lenses"]
    lens_size: int
    points: int


class Move(NamedTuple):
    """A step of all that is free: of the blocks of cameras and lenses, and of the points."""

    blocks: Float64[np.ndarray, " unknowns"]
    points: Float64[np.ndarray, "free 3"]


class Linearised(NamedTuple):
    """The equations at a state, in the problem's memory, and F there."""

    equations: Equations
    cost: float


@dataclass(frozen=True)
class BundleProblem:
    """What does not change while iterating. Blocks are the free cameras, then the refined lenses."""

    sightings: Sightings
    ties: Ties
    blocks: Blocks
    entries: Entries
    system: System
    robust: Robust
    memory: Equations

    @property
    def unknowns(self) -> int:
        """Of cameras and lenses."""
        return len(self.memory.gradient)

    def cost(self, state: State) -> float:
        """F."""
        return cost(state, self.sightings, self.ties, self.robust)

    def linearise(self, state: State) -> Linearised:
        """B, E, C and g; those of the state before are overwritten."""
        total = linearise(state, self.sightings, self.ties, self.blocks, self.robust, self.memory)
        return Linearised(self.memory, total)

    def step(self, linearised: Linearised, damping: float) -> Step[Move] | None:
        """The damped step; None where the equations are not positive definite."""
        equations = linearised.equations
        values, scale = damped_matrix(self.system, equations.by_block, equations.by_across, damping)
        of_points = (equations.by_both, equations.by_point, equations.point_gradient)
        layout = self.system.layout
        inverse, reduced = eliminate_points(values, equations.gradient, layout, self.entries, *of_points, damping)
        blocks = solve(self.system, values, -reduced)
        if blocks is None:
            return None
        points = substitute_back(blocks, layout, self.entries, equations.by_both, inverse, equations.point_gradient)
        diagonal = np.einsum("pkk->pk", equations.by_point) + MIN_SCALE / max(damping, MIN_SCALE)
        predicted = damping * (blocks @ (scale * blocks) + (diagonal * points * points).sum())
        predicted -= equations.gradient @ blocks + (equations.point_gradient * points).sum()
        return Step(Move(blocks, points), float(predicted))

    def moved(self, state: State, tangent: Move) -> State:
        """A new state."""
        poses, lenses = state.world_from_camera.copy(), state.lenses.copy()
        _move(poses, lenses, self.blocks, tangent.blocks)
        return State(poses, lenses, state.points + tangent.points if len(tangent.points) else state.points)


def bundle_problem(
    measurements: Measurements,
    lens: Int64[np.ndarray, " cameras"],
    free: Free,
    robust: Robust,
    ties: Ties = NO_TIES,
) -> BundleProblem:
    """Numbers blocks and entries; `lens` is each camera's."""
    cameras, lenses = int(free.cameras.sum()), int(free.lenses.sum())
    camera_block = np.where(free.cameras, np.cumsum(free.cameras) - 1, HELD)
    lens_block = np.where(free.lenses, cameras + np.cumsum(free.lenses) - 1, HELD)
    size = np.repeat([MAX_BLOCK, free.lens_size], [cameras, lenses]).astype(np.int64)
    sightings, entries = _sightings_of(measurements, lens, camera_block, lens_block, free.points)

    both = (camera_block != HELD) & (lens_block[lens] != HELD)
    tied = (ties.a >= 0) & (camera_block[ties.a] != HELD) & (camera_block[ties.b] != HELD)
    across_of_camera = np.where(both, np.cumsum(both) - 1, HELD)
    across_of_tie = np.where(tied, both.sum() + np.cumsum(tied) - 1, HELD)
    with_lenses = np.stack([camera_block[both], lens_block[lens[both]]], 1)
    across = np.concatenate([with_lenses, np.stack([camera_block[ties.a[tied]], camera_block[ties.b[tied]]], 1)])
    system = system_of(entries, size, across)
    blocks = Blocks(camera_block, lens_block, size, system.layout.offset, across_of_camera, across_of_tie)
    memory = _memory(len(size), len(across), len(entries.block), free.points, int(size.sum()))
    return BundleProblem(sightings, ties, blocks, entries, system, robust, memory)


def _sightings_of(
    measurements: Measurements,
    lens: Int64[np.ndarray, " cameras"],
    camera_block: Int64[np.ndarray, " cameras"],
    lens_block: Int64[np.ndarray, " lenses"],
    points: int,
) -> tuple[Sightings, Entries]:
    """The measurements ordered by point, with the entries of points with blocks."""
    if points and (np.diff(measurements.point) < 0).any():
        order = np.argsort(measurements.point, kind="stable")
        measurements = Measurements(*(part[order] for part in measurements))
    camera, point, *measured = measurements
    count, lens_of = len(point), lens[camera]
    if not points:
        nothing = np.full(count, HELD)
        return Sightings(camera, lens_of, point, *measured, nothing, nothing), Entries(
            np.zeros(1, np.int64), nothing[:0]
        )
    seen = [(point, camera_block[camera])]
    if (lens_block != HELD).any():
        seen.append((point, lens_block[lens_of]))
    blocks = int(max(camera_block.max(initial=HELD), lens_block.max(initial=HELD))) + 1
    pairs = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    entries, entry = entries_of(*pairs, blocks, points)
    lens_entry = entry[count:] if len(entry) > count else np.full(count, HELD)
    return Sightings(camera, lens_of, point, *measured, entry[:count], lens_entry), entries


def _memory(blocks: int, across: int, entries: int, points: int, unknowns: int) -> Equations:
    return Equations(
        np.empty((blocks, MAX_BLOCK, MAX_BLOCK)),
        np.empty((across, MAX_BLOCK, MAX_BLOCK)),
        np.empty((entries, 3, MAX_BLOCK)),
        np.empty((points, 3, 3)),
        np.empty(unknowns),
        np.empty((points, 3)),
    )


@njit(cache=True)
@no_type_check
def _move(poses, lenses, blocks, step):
    """In place: the right tangents of cameras; the focal lengths of a lens by a common factor, and k1 and k2."""
    camera_block, lens_block = blocks[0], blocks[1]
    size, offset = blocks[2], blocks[3]
    for c in range(len(poses)):
        if camera_block[c] >= 0:
            at = offset[camera_block[c]]
            spatial_move(poses[c], step[at : at + 6])
    for n in range(len(lenses)):
        if lens_block[n] >= 0:
            at = offset[lens_block[n]]
            lenses[n, 0] *= np.exp(step[at])
            lenses[n, 1] *= np.exp(step[at])
            for k in range(1, size[lens_block[n]]):
                lenses[n, 3 + k] += step[at + k]
