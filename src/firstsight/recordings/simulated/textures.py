"""Procedural paint: what colour a surface has at texture coordinates (s, t) in metres.

Nothing may flicker, so every pattern is filtered to the pixel's footprint: steps become ramps one footprint wide, and noise
is a sum of octaves that fade out as their wavelength nears the footprint (Perlin 1985; anisotropic taps as in GPU filtering).
The octaves follow the footprint, so a surface shows detail at every distance, fixed to the surface.

Kernel arguments: `noise` is (256, 256) float32 in [-1, 1]; `wide_s`, `wide_t` is half the long axis of the pixel's footprint
in (s, t); `short_m` its short axis; `red, green, blue` linear paint. Kernels return linear (red, green, blue).
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float32
from numba import njit

OCTAVES = 5
FINEST, COARSEST = -8, 5  # octave j has lattice cells of 2^j metres
TAPS = 4


def noise_table(seed: int = 0) -> Float32[np.ndarray, "256 256"]:
    """The lattice that all worlds share; where a texture lies on it is what differs."""
    return np.random.default_rng(seed).uniform(-1, 1, (256, 256)).astype(np.float32)


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def lattice_noise(noise, s, t):
    """Smooth noise in [-1, 1] with one lattice point per unit."""
    floor_s, floor_t = math.floor(s), math.floor(t)
    x, y = s - floor_s, t - floor_t
    x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
    i, j = int(floor_t) & 255, int(floor_s) & 255
    k, m = (i + 1) & 255, (j + 1) & 255
    top = noise[i, j] + x * (noise[i, m] - noise[i, j])
    bottom = noise[k, j] + x * (noise[k, m] - noise[k, j])
    return top + y * (bottom - top)


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def octave(noise, s, t, j):
    """Noise with lattice cells of 2^j metres; every octave lies elsewhere on the lattice."""
    per_m = math.ldexp(1.0, -j)
    return lattice_noise(noise, s * per_m + 37.0 * j, t * per_m + 59.0 * j)


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def fractal_noise(noise, s, t, wide_s, wide_t, short_m):
    """Noise of OCTAVES octaves, the finest about three pixels long, averaged along the footprint's long axis."""
    long_m = 2 * math.sqrt(wide_s * wide_s + wide_t * wide_t)
    taps = min(TAPS, int(long_m / short_m) + 1)
    level = math.log2(max(short_m, long_m / taps)) + 0.4
    first = min(max(math.ceil(level), FINEST), COARSEST - 1)
    fade = min(max(first - level, 0.0), 1.0)
    total = 0.0
    for tap in range(taps):
        along = (2 * tap + 1) / taps - 1
        a, b = s + along * wide_s, t + along * wide_t
        total += fade * octave(noise, a, b, first) + octave(noise, a, b, first + 1)
    total /= taps
    last = first + OCTAVES - 1
    for j in range(first + 2, min(last, COARSEST + 1)):  # their cells are wider than the footprint: one tap will do
        total += octave(noise, s, t, j)
    return total + ((1 - fade) * octave(noise, s, t, last) if last <= COARSEST else 0.0)


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def between(x, low, high, blur):
    """1 inside [low, high], 0 outside, with edges `blur` wide."""
    rise = min(max((x - low) / blur + 0.5, 0.0), 1.0)
    fall = min(max((high - x) / blur + 0.5, 0.0), 1.0)
    return rise * fall


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def cell_value(noise, i, j):
    """A number in [0, 1] for each cell of a pattern."""
    return 0.5 + 0.5 * noise[int(7 * i + 3) & 255, int(13 * j + 5) & 255]


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def mix(a, b, share):
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2])


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def times(a, factor):
    return a[0] * factor, a[1] * factor, a[2] * factor


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def road(paint, s, t, blur_s, blur_t):
    """Four lanes: t is the distance to the left of the centre line, s runs along the road."""
    dash = between(s % 6.0, 0.0, 2.5, blur_s) * min(1.0, 2.5 / blur_s)
    lines = between(abs(t), 2.93, 3.07, blur_t) * dash + between(abs(t), 0.06, 0.2, blur_t)
    lines += between(abs(t), 6.0, 6.14, blur_t)
    return mix(paint, (0.75, 0.75, 0.72), min(lines, 1.0) * min(1.0, 0.14 / blur_t + 0.25))


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def facade(noise, paint, s, t, blur_s, blur_t):
    """A house front: t is the height; windows in every storey, doors among those of the ground floor."""
    column, storey = math.floor(s / 2.6), math.floor(t / 3.0)
    x, y = s - 2.6 * column, t - 3.0 * storey
    chance = cell_value(noise, column, storey)
    colour = mix(paint, (0.62, 0.6, 0.56), between(y, -0.2, 0.16, blur_t))
    if storey == 0 and chance < 0.4:
        colour = mix(colour, (0.7, 0.68, 0.64), between(x, 0.65, 1.95, blur_s) * between(y, -0.2, 2.35, blur_t))
        door = (0.1 + 0.4 * chance, 0.12, 0.3 - 0.6 * chance)
        return mix(colour, door, between(x, 0.78, 1.82, blur_s) * between(y, -0.2, 2.2, blur_t))
    frame = between(x, 0.62, 1.98, blur_s) * between(y, 0.8, 2.45, blur_t)
    colour = mix(colour, (0.78, 0.77, 0.74), frame)
    pane = between(x, 0.72, 1.88, blur_s) * between(y, 0.9, 2.35, blur_t)
    pane *= 1 - between(x, 1.27, 1.33, blur_s)
    glass = 0.05 + 0.12 * chance + 0.05 * y
    colour = mix(colour, (glass, glass * 1.1, glass * 1.25), pane)
    curtain = pane * between(y, 2.35 - 1.3 * chance, 2.5, blur_t)
    return mix(colour, (0.55, 0.5 * chance + 0.1, 0.3), 0.7 * curtain)


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def tiles(noise, paint, s, t, blur_s, blur_t):
    """Square tiles of 0.45 m, each a little different, with dark joints."""
    i, j = math.floor(s / 0.45), math.floor(t / 0.45)
    x, y = s - 0.45 * i, t - 0.45 * j
    joint = 1 - between(x, 0.008, 0.442, blur_s) * between(y, 0.008, 0.442, blur_t)
    tone = 0.75 + 0.5 * cell_value(noise, i, j) * min(1.0, 0.45 / max(blur_s, blur_t))
    return mix(times(paint, tone), (0.12, 0.12, 0.12), 0.8 * joint)


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def planks(noise, paint, s, t, wide_s, wide_t, short_m):
    """Boards of 0.12 m x 1.4 m along s, with grain along them and stains that have no direction."""
    blur_s, blur_t = short_m + 2 * abs(wide_s), short_m + 2 * abs(wide_t)
    row = math.floor(t / 0.12)
    offset = s + 1.4 * cell_value(noise, row, 3)
    board = math.floor(offset / 1.4)
    seam = 1 - between(t - 0.12 * row, 0.003, 0.117, blur_t) * between(offset - 1.4 * board, 0.004, 1.396, blur_s)
    tone = 0.7 + 0.6 * cell_value(noise, board, row) * min(1.0, 0.12 / blur_t)
    grain = fractal_noise(noise, 0.12 * s, t + 3 * board, 0.12 * wide_s, wide_t, 0.7 * blur_t)
    stains = fractal_noise(noise, s, t, wide_s, wide_t, short_m)
    return mix(times(paint, tone * (1 + 0.12 * grain + 0.12 * stains)), (0.05, 0.03, 0.02), 0.7 * seam)


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def bricks(noise, paint, s, t, blur_s, blur_t):
    row = math.floor(t / 0.12)
    x = s + 0.16 * (row % 2)
    i = math.floor(x / 0.32)
    joint = 1 - between(x - 0.32 * i, 0.01, 0.31, blur_s) * between(t - 0.12 * row, 0.01, 0.11, blur_t)
    tone = 0.7 + 0.6 * cell_value(noise, i, row) * min(1.0, 0.12 / max(blur_s, blur_t))
    return mix(times(paint, tone), (0.5, 0.48, 0.45), 0.8 * joint)


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def books(noise, s, t, blur_s, blur_t):
    """Rows of book spines, 0.045 m wide on shelves 0.36 m apart."""
    i, j = math.floor(s / 0.045), math.floor(t / 0.36)
    x, y = s - 0.045 * i, t - 0.36 * j
    a, b, c = cell_value(noise, i, j), cell_value(noise, i + 57, j), cell_value(noise, i, j + 91)
    spine = between(x, 0.002, 0.043, blur_s) * between(y, 0.03, 0.24 + 0.09 * a, blur_t)
    band = 1 - 0.5 * between(y, 0.08 + 0.1 * b, 0.1 + 0.12 * b, blur_t)
    return mix((0.03, 0.02, 0.02), times((0.1 + 0.7 * a, 0.1 + 0.6 * b, 0.1 + 0.6 * c), band), spine)


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def picture(noise, s, t):
    """Smooth patches of strong colours."""
    a, b = lattice_noise(noise, 9 * s, 9 * t), lattice_noise(noise, 4 * s + 31, 4 * t + 17)
    c = lattice_noise(noise, 15 * s + 71, 15 * t + 53)
    warm = mix((0.5, 0.1, 0.05), (0.75, 0.55, 0.2), min(max(0.5 + a, 0.0), 1.0))
    cool = mix((0.03, 0.1, 0.25), (0.2, 0.4, 0.3), min(max(0.5 + c, 0.0), 1.0))
    return mix(mix(warm, cool, min(max(0.5 + 2.5 * b, 0.0), 1.0)), (0.75, 0.7, 0.6), 0.4 * max(c, 0.0))


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def albedo(noise, material, paint, s, t, wide_s, wide_t, short_m):
    """The colour of a material (surface.Material's numbers) with its grain."""
    blur_s, blur_t = short_m + 2 * abs(wide_s), short_m + 2 * abs(wide_t)
    if material == 4:
        return planks(noise, paint, s, t, wide_s, wide_t, short_m)
    grain = fractal_noise(noise, s, t, wide_s, wide_t, short_m)
    if material == 1:
        return times(road(paint, s, t, blur_s, blur_t), 1 + 0.2 * grain)
    if material == 2:
        return times(facade(noise, paint, s, t, blur_s, blur_t), 1 + 0.15 * grain)
    if material == 3:
        return times(tiles(noise, paint, s, t, blur_s, blur_t), 1 + 0.14 * grain)
    if material == 5:
        return times(paint, math.exp(0.55 * grain - 0.2))
    if material == 6:
        return times(picture(noise, s, t), 1 + 0.06 * grain)
    if material == 7:
        checks = (math.floor(s / 0.05) + math.floor(t / 0.05)) % 2
        return times(mix(paint, (0.8, 0.78, 0.7), 0.85 * checks), 1 + 0.1 * grain)
    if material == 8:
        return times(mix(paint, (0.75, 0.75, 0.72), between(t % 1.0, 0.25, 0.75, blur_t)), 1 + 0.15 * grain)
    if material == 9:
        return times(bricks(noise, paint, s, t, blur_s, blur_t), 1 + 0.12 * grain)
    if material == 10:
        return times(books(noise, s, t, blur_s, blur_t), 1 + 0.08 * grain)
    return times(paint, 1 + 0.16 * grain)


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def sky_colour(noise, x, y, z):
    """Blue above, pale at the horizon, with clouds."""
    height = max(z, 0.0)
    blue = height / (height + 0.35)
    cloud = 0.0
    if height > 0.02:
        scale = 1.5 / (height + 0.15)
        cloud = lattice_noise(noise, x * scale, y * scale) + 0.5 * lattice_noise(
            noise, 2.3 * x * scale, 2.3 * y * scale
        )
        cloud = min(max(0.7 * cloud, 0.0), 0.8)
    red, green = 0.66 - 0.5 * blue, 0.74 - 0.38 * blue
    return red + cloud * (0.85 - red), green + cloud * (0.87 - green), 0.84 + cloud * 0.06


@njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def painted_colour(i, directions, length, met, rest_from_world, tables, pixel_rad):
    """The filtered texture at hit i: the pixel's footprint is an ellipse, longer the more the surface is seen aslant."""
    triangle, slot = met.hits.triangle[i], met.hits.slot[i]
    aslant = 0.0
    for k in range(3):
        aslant -= directions[i, k] * met.normals[i, k] / length
    short_m = pixel_rad * met.hits.distance[i]
    long_axis_m = 0.5 * short_m / (max(aslant, 0.03) * math.sqrt(max(1 - aslant * aslant, 1e-6)))
    s, t = tables.chart[triangle, 0, 3], tables.chart[triangle, 1, 3]
    wide_s, wide_t = 0.0, 0.0
    for k in range(3):
        at, wide = rest_from_world[slot, k, 3], 0.0
        for m in range(3):
            at += rest_from_world[slot, k, m] * met.points[i, m]
            wide += rest_from_world[slot, k, m] * (directions[i, m] / length + aslant * met.normals[i, m])
        s, t = s + tables.chart[triangle, 0, k] * at, t + tables.chart[triangle, 1, k] * at
        wide_s += tables.chart[triangle, 0, k] * wide * long_axis_m
        wide_t += tables.chart[triangle, 1, k] * wide * long_axis_m
    paint = (tables.paint[triangle, 0], tables.paint[triangle, 1], tables.paint[triangle, 2])
    return albedo(tables.noise, tables.material[triangle], paint, s, t, wide_s, wide_t, short_m)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
@no_type_check
def painted(directions, met, rest_from_world, tables, pixel_rad):
    """Linear colours (rays, 3) of what rays met, before any light falls on it, and of the sky where they met nothing.

    A ray is `pixel_rad` wide. This kernel and all that it calls share a file, since numba's cache knows no other's changes;
    arrays are read element by element, since in such a loop a view costs more than the arithmetic.
    """
    colours = np.empty((len(directions), 3), np.float32)
    for i in range(len(directions)):
        x, y, z = directions[i, 0], directions[i, 1], directions[i, 2]
        length = math.sqrt(x * x + y * y + z * z)
        if met.hits.triangle[i] < 0:
            colour = sky_colour(tables.noise, x / length, y / length, z / length)
        else:
            colour = painted_colour(i, directions, length, met, rest_from_world, tables, pixel_rad)
        colours[i, 0], colours[i, 1], colours[i, 2] = colour
    return colours
