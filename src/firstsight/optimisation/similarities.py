"""Similarities of space: logarithm, its derivative, steps along tangents, one at a time inside compiled loops.

Paper:  Strasdat, Montiel, Davison. Scale Drift-Aware Large Scale Monocular SLAM. RSS 2010;
        Eade. Lie Groups for 2D and 3D Transformations. 2013 (Sim(3): exp, log, adjoint).
Idea:   S = [s R, t; 0, 1], tangent (rho, phi, sigma), s = e^sigma
        exp = [e^sigma e^(phi^), V rho],  V = integral over u in [0, 1] of e^(u sigma) e^(u phi^)
            = a I + b phi^ + c phi^ phi^                                                       -> _v(), similarity_move()
        log by V^-1 = I / a - b / d phi^ + (b b - c p) / (a d) phi^ phi^,
            p = a - c phi' phi,  d = p p + b b phi' phi                                        -> similarity_log()
        J_r^-1(e) = sum B_n (-ad e)^n / n!, B_n Bernoulli's numbers with B_1 = -1/2   -> similarity_right_inverse()
Differs: a, b and c are summed by Gauss's rule instead of their closed forms, which have four limits to take care of.
Units:  radians, log of scale. Matrices (4, 4), float64.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from firstsight.optimisation.tangents import spatial_log, spatial_move

SIZE = 7
# of Gauss's rule on [0, 1]
NODES, WEIGHTS = (values / 2 for values in np.polynomial.legendre.leggauss(16))
NODES = NODES + 0.5


@njit(cache=True)
@no_type_check
def _v(squared, sigma):
    """(a, b, c) of V = a I + b phi^ + c phi^ phi^ for a turn of this squared angle."""
    a, b = 0.0, 0.0
    c, theta = 0.0, np.sqrt(squared)
    for k in range(len(NODES)):
        u = NODES[k]
        w = WEIGHTS[k] * np.exp(u * sigma)
        if theta < 1e-9:
            sine, half = u, u / 2
        else:
            sine, half = np.sin(u * theta) / theta, np.sin(u * theta / 2) / theta
        a, b, c = a + w, b + w * sine, c + 2 * w * half * half
    return a, b, c


@njit(cache=True)
@no_type_check
def _along(v, alpha, beta, gamma, x, y, z, out):
    """out (3,) = (alpha I + beta v^ + gamma v^ v^) (x, y, z)."""
    dot, squared = v[0] * x + v[1] * y + v[2] * z, v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
    out[0] = (alpha - gamma * squared) * x + beta * (v[1] * z - v[2] * y) + gamma * dot * v[0]
    out[1] = (alpha - gamma * squared) * y + beta * (v[2] * x - v[0] * z) + gamma * dot * v[1]
    out[2] = (alpha - gamma * squared) * z + beta * (v[0] * y - v[1] * x) + gamma * dot * v[2]


@njit(cache=True)
@no_type_check
def similarity_log(d, e):
    """e (7,) = log of d (4, 4), which is left without its scale."""
    volume = (
        d[0, 0] * (d[1, 1] * d[2, 2] - d[1, 2] * d[2, 1])
        - d[0, 1] * (d[1, 0] * d[2, 2] - d[1, 2] * d[2, 0])
        + d[0, 2] * (d[1, 0] * d[2, 1] - d[1, 1] * d[2, 0])
    )
    sigma = np.log(volume) / 3
    shrink = np.exp(-sigma)
    for r in range(3):
        for c in range(3):
            d[r, c] *= shrink
    spatial_log(d, e)  # phi; its rho is of a motion without scale
    phi = e[3:6]
    squared = phi[0] * phi[0] + phi[1] * phi[1] + phi[2] * phi[2]
    a, b, c = _v(squared, sigma)
    p = a - c * squared
    over = p * p + b * b * squared
    _along(phi, 1 / a, -b / over, (b * b - c * p) / (a * over), d[0, 3], d[1, 3], d[2, 3], e)
    e[6] = sigma


@njit(cache=True)
@no_type_check
def similarity_move(s, xi):
    """s (4, 4) becomes s exp(xi), xi (7,), whose rho is used up."""
    a, b, c = _v(xi[3] * xi[3] + xi[4] * xi[4] + xi[5] * xi[5], xi[6])
    step, grow = np.empty(3), np.exp(xi[6])
    _along(xi[3:6], a, b, c, xi[0], xi[1], xi[2], step)
    for r in range(3):
        s[r, 3] += s[r, 0] * step[0] + s[r, 1] * step[1] + s[r, 2] * step[2]
        xi[r] = 0.0
    spatial_move(s, xi[:6])
    for r in range(3):
        for k in range(3):
            s[r, k] *= grow


@njit(cache=True)
@no_type_check
def little_adjoint(xi, out):
    """out (7, 7) = ad of xi (7,): exp(ad xi) = Ad(exp xi)."""
    for r in range(SIZE):
        for c in range(SIZE):
            out[r, c] = 0.0
    for r in range(3):
        n, m = (r + 1) % 3, (r + 2) % 3
        out[r, r], out[r, 6] = xi[6], -xi[r]
        out[r, n], out[r, m] = -xi[m + 3], xi[n + 3]
        out[r, n + 3], out[r, m + 3] = -xi[m], xi[n]
        out[r + 3, n + 3], out[r + 3, m + 3] = -xi[m + 3], xi[n + 3]


@njit(cache=True)
@no_type_check
def _product(x, y, out):
    """out = x y, all (7, 7)."""
    for r in range(SIZE):
        for c in range(SIZE):
            out[r, c] = 0.0
        for k in range(SIZE):
            for c in range(SIZE):
                out[r, c] += x[r, k] * y[k, c]


@njit(cache=True)
@no_type_check
def similarity_right_inverse(xi, scratch, j):
    """j (7, 7) = J_r^-1(xi) = I + ad / 2 + ad^2 / 12 - ad^4 / 720 + ad^6 / 30240 - ad^8 / 1209600; scratch (3, 7, 7)."""
    ad, square, inner = scratch[0], scratch[1], scratch[2]
    little_adjoint(xi, ad)
    _product(ad, ad, square)
    for r in range(SIZE):
        for c in range(SIZE):
            inner[r, c] = -square[r, c] / 1209600
        inner[r, r] += 1 / 30240
    _product(square, inner, j)
    for r in range(SIZE):
        j[r, r] -= 1 / 720
    _product(square, j, inner)
    for r in range(SIZE):
        inner[r, r] += 1 / 12
    _product(square, inner, j)
    for r in range(SIZE):
        for c in range(SIZE):
            j[r, c] += ad[r, c] / 2
        j[r, r] += 1.0
