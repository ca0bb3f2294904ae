"""What stands and moves in the street: cars, houses, trees, lamp posts. They stand on z = 0; x is forward."""

import numpy as np
import trimesh

from firstsight.recordings.simulated.surface import (
    Colour,
    Material,
    Surface,
    box,
    cylinder,
    disc,
    joined,
    moved,
    painted,
    prism,
    tilted,
)

CAR_SIZE_M = (4.3, 1.8, 1.5)
WINDOW_COLUMN_M, STOREY_M = 2.6, 3.0  # the pattern of textures.facade

CAR_COLOURS: tuple[Colour, ...] = (
    (0.5, 0.04, 0.03),
    (0.05, 0.12, 0.4),
    (0.55, 0.55, 0.55),
    (0.06, 0.06, 0.07),
    (0.65, 0.45, 0.05),
    (0.05, 0.25, 0.12),
)
COAT_COLOURS: tuple[Colour, ...] = ((0.6, 0.1, 0.08), (0.08, 0.2, 0.5), (0.7, 0.6, 0.15), (0.1, 0.35, 0.15))
WALL_COLOURS: tuple[Colour, ...] = (
    (0.5, 0.38, 0.25),
    (0.55, 0.5, 0.42),
    (0.42, 0.2, 0.14),
    (0.5, 0.44, 0.2),
    (0.34, 0.38, 0.42),
    (0.48, 0.3, 0.26),
)


def car(colour: Colour) -> Surface:
    """A saloon, 4.3 m long."""
    body = np.array([[-2.1, 0.28], [2.1, 0.28], [2.15, 0.62], [1.95, 0.8], [-1.95, 0.93], [-2.15, 0.78]])
    glass = np.array([[-1.85, 0.85], [1.15, 0.8], [0.4, 1.4], [-1.3, 1.42]])
    roof = np.array([[-1.38, 1.38], [0.48, 1.36], [0.3, 1.46], [-1.2, 1.5]])
    pillar = np.array([[-0.5, 0.85], [-0.36, 0.85], [-0.36, 1.42], [-0.5, 1.42]])
    parts = [
        prism(body, 1.76, colour),
        prism(glass, 1.56, (0.06, 0.08, 0.1)),
        prism(roof, 1.6, colour),
        prism(pillar, 1.62, colour),
    ]
    for x in (-1.35, 1.35):
        for side in (-1, 1):
            tyre = cylinder(0.33, 0.2, (0.02, 0.02, 0.02), sections=10)
            hub = disc(0.18, (0.45, 0.45, 0.45), sections=6).placed(moved(z=0.205))
            parts.append(joined([tyre, hub]).placed(moved(x, side * 0.7, 0.33) @ tilted(0, -side * np.pi / 2)))
    for y in (-0.62, 0.62):
        parts.append(box((0.06, 0.3, 0.14), (0.9, 0.88, 0.75)).placed(moved(2.12, y, 0.55)))
        parts.append(box((0.06, 0.3, 0.16), (0.6, 0.01, 0.01)).placed(moved(-2.13, y, 0.68)))
    parts.append(box((0.04, 0.5, 0.12), (0.7, 0.7, 0.65)).placed(moved(-2.14, 0.0, 0.45)))
    return joined(parts)


def house(columns: int, storeys: int, depth_m: float, colour: Colour, shift_columns: int) -> Surface:
    """A house whose front, along x, looks towards -y from y = 0."""
    width, height = columns * WINDOW_COLUMN_M, storeys * STOREY_M
    shift = (width / 2 + WINDOW_COLUMN_M * shift_columns, 0.0)
    walls = box((width, depth_m, height), colour, Material.FACADE, shift=shift)
    gable = np.array([[-depth_m / 2 - 0.4, 0.0], [depth_m / 2 + 0.4, 0.0], [0.0, 0.45 * depth_m]])
    roof = prism(gable, width, (0.3, 0.12, 0.08), Material.BRICKS).placed(moved(z=height) @ moved(yaw_rad=np.pi / 2))
    return joined([walls, roof]).placed(moved(y=depth_m / 2))


def tree(generator: np.random.Generator) -> Surface:
    """A trunk and a lumpy crown."""
    green = (0.08 + 0.1 * generator.random(), 0.2 + 0.12 * generator.random(), 0.04)
    parts = [cylinder(0.16, 3.2, (0.14, 0.09, 0.05), Material.LEAVES, sections=10)]
    for _ in range(4):
        mesh = trimesh.creation.icosphere(2)
        mesh.vertices *= generator.uniform(0.85, 1.15, (len(mesh.vertices), 1)) * generator.uniform(1.0, 1.4)
        x, y, z = generator.uniform((-0.7, -0.7, 3.2), (0.7, 0.7, 4.8))
        parts.append(painted(mesh, green, Material.LEAVES, smooth=True).placed(moved(x, y, z)))
    return joined(parts)


def lamp_post() -> Surface:
    """A post with an arm that reaches to the left."""
    grey = (0.2, 0.22, 0.22)
    return joined(
        [
            cylinder(0.07, 5.5, grey, sections=8),
            box((0.08, 1.6, 0.08), grey).placed(moved(y=0.75, z=5.4)),
            box((0.2, 0.5, 0.12), (0.8, 0.8, 0.7)).placed(moved(y=1.4, z=5.3)),
        ]
    )
