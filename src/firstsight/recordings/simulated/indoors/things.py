"""What stands and moves indoors. Furniture stands on z = 0 with its back at y = 0 and its front towards -y."""

import numpy as np

from firstsight.recordings.simulated.surface import (
    Colour,
    Material,
    Surface,
    box,
    cylinder,
    ellipsoid,
    joined,
    moved,
    tilted,
)

OAK: Colour = (0.36, 0.22, 0.11)
WALNUT: Colour = (0.2, 0.11, 0.06)
WHITE: Colour = (0.62, 0.6, 0.56)
ROBOT_SIZE_M = (0.5, 0.5, 0.95)
BALL_RADIUS_M = 0.2


def table(length_m: float, depth_m: float, height_m: float, colour: Colour = OAK) -> Surface:
    """A table top on four legs."""
    top = box((length_m, depth_m, 0.05), colour, Material.PLANKS).placed(moved(z=height_m - 0.05))
    legs = [
        box((0.07, 0.07, height_m - 0.05), colour).placed(moved(x, y))
        for x in (0.1 - length_m / 2, length_m / 2 - 0.1)
        for y in (0.1 - depth_m / 2, depth_m / 2 - 0.1)
    ]
    return joined([top, *legs]).placed(moved(y=-depth_m / 2))


def chair(colour: Colour = WALNUT) -> Surface:
    """A chair whose back is at y = 0."""
    back = box((0.42, 0.05, 0.45), colour, Material.PLANKS).placed(moved(y=-0.03, z=0.47))
    return joined([table(0.45, 0.45, 0.47, colour), back])


def sofa(colour: Colour) -> Surface:
    seat = box((1.9, 0.85, 0.42), colour).placed(moved(y=-0.43))
    back = box((1.9, 0.22, 0.45), colour).placed(moved(y=-0.12, z=0.42))
    arms = [box((0.2, 0.85, 0.62), colour).placed(moved(x, -0.43)) for x in (-0.95, 0.95)]
    cushions = [
        box((0.45, 0.14, 0.4), (0.6, 0.4, 0.1), Material.CHECKS).placed(moved(x, -0.32, 0.44) @ tilted(0, -0.3))
        for x in (-0.55, 0.5)
    ]
    return joined([seat, back, *arms, *cushions])


def bookcase(width_m: float, height_m: float) -> Surface:
    """Shelves full of books: the books fill the front, framed by wood."""
    books = box((width_m - 0.08, 0.26, height_m - 0.06), WHITE, Material.BOOKS).placed(moved(y=-0.15, z=0.03))
    sides = [box((0.05, 0.32, height_m), WALNUT).placed(moved(x, -0.16)) for x in (-width_m / 2, width_m / 2)]
    top = box((width_m + 0.05, 0.33, 0.04), WALNUT).placed(moved(y=-0.165, z=height_m))
    return joined([books, *sides, top])


def cabinet(width_m: float, height_m: float, colour: Colour) -> Surface:
    """A cupboard with two doors and knobs."""
    body = box((width_m, 0.5, height_m), colour, Material.PLANKS).placed(moved(y=-0.25))
    gap = box((0.015, 0.01, height_m - 0.1), (0.02, 0.02, 0.02)).placed(moved(y=-0.503, z=0.05))
    knobs = [box((0.03, 0.05, 0.12), (0.6, 0.6, 0.55)).placed(moved(x, -0.52, 0.5 * height_m)) for x in (-0.06, 0.06)]
    return joined([body, gap, *knobs])


def bed() -> Surface:
    frame = box((1.6, 2.0, 0.32), WALNUT, Material.PLANKS).placed(moved(y=-1.0))
    cover = box((1.64, 1.5, 0.2), (0.12, 0.22, 0.45), Material.CHECKS).placed(moved(y=-1.27, z=0.32))
    pillows = [box((0.6, 0.4, 0.16), WHITE).placed(moved(x, -0.28, 0.34)) for x in (-0.38, 0.38)]
    head = box((1.6, 0.08, 0.9), WALNUT, Material.PLANKS).placed(moved(y=-0.04))
    return joined([frame, cover, *pillows, head])


def plant(height_m: float) -> Surface:
    """A pot with leaves."""
    pot = cylinder(0.17, 0.32, (0.42, 0.18, 0.1), sections=12)
    lumps = [(0.0, 0.0, 0.75), (0.12, 0.08, 0.6), (-0.12, 0.05, 0.62), (0.02, -0.13, 0.68)]
    leaves = [
        ellipsoid((0.2, 0.2, 0.26), (0.07, 0.24, 0.06), Material.LEAVES).placed(moved(x, y, z * height_m))
        for x, y, z in lumps
    ]
    return joined([pot, cylinder(0.03, 0.6 * height_m, (0.12, 0.1, 0.04), sections=6), *leaves]).placed(moved(y=-0.25))


def picture(width_m: float, height_m: float, shift: tuple[float, float]) -> Surface:
    """A framed picture, its lower edge on z = 0; `shift` chooses what it shows."""
    frame = box((width_m + 0.1, 0.04, height_m + 0.1), (0.12, 0.08, 0.04)).placed(moved(y=-0.02, z=-0.05))
    canvas = box((width_m, 0.02, height_m), WHITE, Material.PICTURE, shift=shift).placed(moved(y=-0.045))
    return joined([frame, canvas])


def window(width_m: float, height_m: float) -> Surface:
    """A bright window with a cross of frame bars."""
    pane = box((width_m, 0.02, height_m), (0.75, 0.85, 0.95)).placed(moved(y=-0.02))
    bars = [
        box((0.07, 0.06, height_m + 0.1), WHITE).placed(moved(x, -0.03, -0.05))
        for x in (-width_m / 2, 0.0, width_m / 2)
    ]
    rails = [
        box((width_m + 0.1, 0.06, 0.07), WHITE).placed(moved(y=-0.03, z=z))
        for z in (-0.05, height_m / 2, height_m - 0.02)
    ]
    return joined([pane, *bars, *rails])


def wall(length_m: float, height_m: float, colour: Colour, material: Material = Material.PLAIN) -> Surface:
    """A wall 0.12 m thick along x with a skirting board on both sides."""
    skirting = box((length_m, 0.15, 0.1), (0.5, 0.48, 0.44))
    return joined([box((length_m, 0.12, height_m), colour, material), skirting])


def robot() -> Surface:
    """A delivery robot on wheels that drives along x."""
    parts = [
        cylinder(0.23, 0.3, (0.75, 0.38, 0.05), sections=18).placed(moved(z=0.06)),
        box((0.28, 0.34, 0.4), (0.1, 0.3, 0.5), Material.CHECKS).placed(moved(z=0.36)),
        ellipsoid((0.15, 0.17, 0.14), (0.65, 0.65, 0.62)).placed(moved(z=0.84)),
        box((0.05, 0.2, 0.07), (0.02, 0.02, 0.03)).placed(moved(0.13, z=0.82)),
    ]
    for y in (-0.22, 0.22):
        wheel = cylinder(0.1, 0.06, (0.03, 0.03, 0.03), sections=12)
        parts.append(wheel.placed(moved(y=y + 0.03, z=0.1) @ tilted(0, np.pi / 2)))
    return joined(parts)


def ball(radius_m: float, colour: Colour) -> Surface:
    """A checked ball about the origin."""
    return ellipsoid((radius_m, radius_m, radius_m), colour, Material.CHECKS, subdivisions=2)


def door_leaf() -> Surface:
    """A door that hangs from its hinge at the origin and reaches along x."""
    leaf = box((0.8, 0.05, 2.0), (0.45, 0.16, 0.1), Material.PLANKS).placed(moved(x=0.4))
    handle = box((0.12, 0.12, 0.04), (0.65, 0.6, 0.4)).placed(moved(x=0.7, z=1.0))
    panels = [box((0.5, 0.07, 0.7), (0.55, 0.24, 0.14)).placed(moved(x=0.4, z=z)) for z in (0.2, 1.15)]
    return joined([leaf, handle, *panels])
