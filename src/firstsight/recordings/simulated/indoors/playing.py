"""What differs between the tables of `sim:objects`: every seed has one of its own; that of seed 0 is Playing()."""

from dataclasses import dataclass

import numpy as np

from firstsight.recordings.simulated.surface import Colour

STREAM = 13  # of the random numbers that make a table


@dataclass(frozen=True, kw_only=True)
class Playing:
    """Where the toys are on the table, how they and the camera move, and how they are painted."""

    side: int = 1  # -1: what lies to the left lies to the right
    swapped: bool = False  # the car and the ball run on each other's tracks
    begin_m: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)  # of train, car, ball, block and top on their tracks
    faster: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    swing_rad: float = 0.55
    swing_rad_s: float = 0.35
    nearer_m: float = 0.12
    nearer_rad_s: float = 0.5
    sun_yaw_rad: float = 0.0
    shift_m: float = 0.0  # of what stands, along the table's sides
    engine: Colour = (0.5, 0.06, 0.05)
    wagon: Colour = (0.1, 0.3, 0.12)
    cars: tuple[Colour, Colour] = ((0.55, 0.05, 0.04), (0.05, 0.12, 0.45))
    ball: Colour = (0.6, 0.08, 0.05)
    block_picture: tuple[float, float] = (3.3, 1.7)


def playing_of(seed: int) -> Playing:
    """Another table. Tracks keep their distances, so that no toy runs into another."""
    if seed == 0:
        return Playing()
    random = np.random.default_rng((seed, STREAM))

    def colour() -> Colour:
        bright, *others = random.permutation([float(random.uniform(0.3, 0.6)), *random.uniform(0.03, 0.3, 2)])
        return bright, others[0], others[1]

    return Playing(
        side=int(random.choice([-1, 1])),
        swapped=bool(random.integers(2)),
        begin_m=tuple(random.uniform(0.0, 2.0, 5).tolist()),
        faster=tuple(random.uniform(0.7, 1.3, 5).tolist()),
        swing_rad=float(random.choice([-1, 1]) * random.uniform(0.4, 0.65)),
        swing_rad_s=float(random.uniform(0.28, 0.42)),
        nearer_m=float(random.choice([-1, 1]) * random.uniform(0.05, 0.14)),
        nearer_rad_s=float(random.uniform(0.4, 0.6)),
        sun_yaw_rad=float(random.uniform(-0.9, 0.9)),
        shift_m=float(random.uniform(-0.03, 0.03)),
        engine=colour(),
        wagon=colour(),
        cars=(colour(), colour()),
        ball=colour(),
        block_picture=(float(random.uniform(0, 20)), float(random.uniform(0, 20))),
    )
