"""What a measured motion between two frames says of them: its error, the derivatives, and its normal equations.

Idea:   a motion z between a and b:   e = log(z^-1 a^-1 b)                                            -> relative_error()
            de / dxi_b = J_r^-1(e)                                                                    -> right_inverse()
            de / dxi_a = -J_r^-1(e) Ad(b^-1 a)                                                        -> times_adjoint()
        with M = J_b' Omega J_b:  H_bb = M,  H_ba = -M Ad,  H_aa = -H_ba' Ad,  g_b = J_b' Omega e,  g_a = -Ad' g_b
                                                                                                      -> linearise_motion()
        The number of unknowns names the group: 3 for SE(2), 6 for SE(3), 7 for Sim(3).
Differs: none of the derivatives is cut off at first order in e.
Role:   the inner loops of pose graphs, of similarity graphs, and of motions that tie the cameras of a bundle adjustment.
Source: Grisetti, Kuemmerle, Stachniss, Burgard, A Tutorial on Graph-Based SLAM (2010), with exact derivatives.
Units:  metres and radians; tangents are (translation, rotation, log of scale) and act on the right.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from firstsight.optimisation.similarities import similarity_log, similarity_right_inverse
from firstsight.optimisation.tangents import planar_log, planar_right_inverse, spatial_log, spatial_right_inverse

# node a of a motion that is measured in the world: a prior
WORLD = -1


@njit(cache=True, forceinline=True)
@no_type_check
def planar_error(a, b, z_inverse, scratch, e):
    """e (3,) = log(z^-1 a^-1 b), poses (3, 3); scratch (2, 3, 3) becomes z^-1 a^-1 b and b^-1 a."""
    d, g = scratch[0], scratch[1]
    c, s = a[0, 0], a[1, 0]
    x, y = b[0, 2] - a[0, 2], b[1, 2] - a[1, 2]
    m00, m10 = c * b[0, 0] + s * b[1, 0], c * b[1, 0] - s * b[0, 0]  # a^-1 b
    m02, m12 = c * x + s * y, c * y - s * x
    p, q = z_inverse[0, 0], z_inverse[1, 0]
    d[0, 0], d[1, 0] = p * m00 - q * m10, q * m00 + p * m10
    d[0, 2], d[1, 2] = p * m02 - q * m12 + z_inverse[0, 2], q * m02 + p * m12 + z_inverse[1, 2]
    g[0, 0], g[0, 1] = m00, m10
    g[1, 0], g[1, 1] = -m10, m00
    g[0, 2], g[1, 2] = -(m00 * m02 + m10 * m12), m10 * m02 - m00 * m12
    planar_log(d, e)


@njit(cache=True)
@no_type_check
def spatial_error(a, b, z_inverse, scratch, e):
    """As `planar_error`, e (6,), poses (4, 4)."""
    d, g = scratch[0], scratch[1]
    for r in range(3):
        d[r, 3], g[r, 3] = 0.0, 0.0
        for c in range(3):
            d[r, c] = a[0, r] * b[0, c] + a[1, r] * b[1, c] + a[2, r] * b[2, c]  # a^-1 b
            g[c, r] = d[r, c]
            d[r, 3] += a[c, r] * (b[c, 3] - a[c, 3])
            g[r, 3] += b[c, r] * (a[c, 3] - b[c, 3])
    for c in range(4):
        x, y, z = d[0, c], d[1, c], d[2, c]
        for r in range(3):
            d[r, c] = z_inverse[r, 0] * x + z_inverse[r, 1] * y + z_inverse[r, 2] * z
    for r in range(3):
        d[r, 3] += z_inverse[r, 3]
    spatial_log(d, e)


@njit(cache=True)
@no_type_check
def similarity_error(a, b, z_inverse, scratch, e):
    """As `planar_error`, e (7,), similarities (4, 4); the first of scratch is left without its scale."""
    d, g = scratch[0], scratch[1]
    sa, sb = 0.0, 0.0
    for k in range(3):
        sa, sb = sa + a[k, 0] * a[k, 0], sb + b[k, 0] * b[k, 0]
    for r in range(3):
        d[r, 3], g[r, 3] = 0.0, 0.0
        for c in range(3):
            dot = a[0, r] * b[0, c] + a[1, r] * b[1, c] + a[2, r] * b[2, c]
            d[r, c], g[c, r] = dot / sa, dot / sb  # a^-1 b and b^-1 a
            d[r, 3] += a[c, r] * (b[c, 3] - a[c, 3]) / sa
            g[r, 3] += b[c, r] * (a[c, 3] - b[c, 3]) / sb
    for c in range(4):
        x, y, z = d[0, c], d[1, c], d[2, c]
        for r in range(3):
            d[r, c] = z_inverse[r, 0] * x + z_inverse[r, 1] * y + z_inverse[r, 2] * z
    for r in range(3):
        d[r, 3] += z_inverse[r, 3]
    similarity_log(d, e)


@njit(cache=True, forceinline=True)
@no_type_check
def planar_times_adjoint(rows, g, out):
    """out = -rows Ad(g), (n, 3), g (3, 3): what turns a derivative by node b into that by node a, g = b^-1 a."""
    for r in range(len(rows)):
        u, v = rows[r, 0], rows[r, 1]
        out[r, 0] = -(u * g[0, 0] + v * g[1, 0])
        out[r, 1] = -(u * g[0, 1] + v * g[1, 1])
        out[r, 2] = v * g[0, 2] - u * g[1, 2] - rows[r, 2]


@njit(cache=True)
@no_type_check
def spatial_times_adjoint(rows, g, out):
    """As `planar_times_adjoint`, (n, 6), g (4, 4): [v, w] Ad(g) = [v R, (v t^ + w) R]."""
    for r in range(len(rows)):
        v0, v1, v2 = rows[r, 0], rows[r, 1], rows[r, 2]
        w0 = v1 * g[2, 3] - v2 * g[1, 3] + rows[r, 3]
        w1 = v2 * g[0, 3] - v0 * g[2, 3] + rows[r, 4]
        w2 = v0 * g[1, 3] - v1 * g[0, 3] + rows[r, 5]
        for c in range(3):
            out[r, c] = -(v0 * g[0, c] + v1 * g[1, c] + v2 * g[2, c])
            out[r, c + 3] = -(w0 * g[0, c] + w1 * g[1, c] + w2 * g[2, c])


@njit(cache=True)
@no_type_check
def similarity_times_adjoint(rows, g, out):
    """As `planar_times_adjoint`, (n, 7), g (4, 4).

    With g = [s R, t]: [v, w, x] Ad(g) = [v s R, (v t^ + w) R, x - v t].
    """
    s2 = g[0, 0] * g[0, 0] + g[0, 1] * g[0, 1] + g[0, 2] * g[0, 2]
    shrink = 1 / np.sqrt(s2)
    spatial_times_adjoint(rows, g, out)  # with s R in the place of R
    for r in range(len(rows)):
        for c in range(3, 6):
            out[r, c] *= shrink
        out[r, 6] = rows[r, 0] * g[0, 3] + rows[r, 1] * g[1, 3] + rows[r, 2] * g[2, 3] - rows[r, 6]


@njit(cache=True, forceinline=True)
@no_type_check
def relative_error(a, b, z_inverse, matrices, e):
    """Fills in e (size,) and the first two of `matrices`, which `workspace` made."""
    if len(e) == 3:
        planar_error(a, b, z_inverse, matrices, e)
    elif len(e) == 6:
        spatial_error(a, b, z_inverse, matrices, e)
    else:
        similarity_error(a, b, z_inverse, matrices, e)


@njit(cache=True, forceinline=True)
@no_type_check
def right_inverse(e, matrices, scratch, j):
    """j (size, size) = J_r^-1(e), after `relative_error`; scratch (3, size + 1, size)."""
    if len(e) == 3:
        planar_right_inverse(matrices[0], e, j)
    elif len(e) == 6:
        spatial_right_inverse(matrices[0], e, j)
    else:
        similarity_right_inverse(e, scratch, j)


@njit(cache=True, forceinline=True)
@no_type_check
def times_adjoint(rows, b_from_a, out):
    """out (n, size) = -rows Ad(b^-1 a): a derivative by b becomes one by a."""
    if rows.shape[1] == 3:
        planar_times_adjoint(rows, b_from_a, out)
    elif rows.shape[1] == 6:
        spatial_times_adjoint(rows, b_from_a, out)
    else:
        similarity_times_adjoint(rows, b_from_a, out)


@njit(cache=True)
@no_type_check
def workspace(d1):
    """Memory for `relative_error`: matrices (3, d1, d1), of which the last is the identity."""
    matrices = np.zeros((3, d1, d1))
    for k in range(d1):
        matrices[2, k, k] = 1.0
    return matrices


@njit(cache=True)
@no_type_check
def blocks_of(size):
    """Memory for `linearise_motion`: e, J_b, scratch, and the equations of b (size + 1, size), of b with a, and of a."""
    tall = (size + 1, size)
    scratch = np.empty((3, size + 1, size))
    return np.empty(size), np.empty((size, size)), scratch, np.empty(tall), np.empty(tall), np.empty((size, size))


def _normal_product(size):
    """A function of one size, whose loops the compiler can write out."""

    @njit(cache=True)
    @no_type_check
    def product(information, e, j, scratch, out):
        """out (size + 1, size) = J' Omega J and below it (J' Omega e)'; returns e' Omega e. scratch is as large."""
        squared = 0.0
        for r in range(size):
            for c in range(size):
                scratch[r, c], out[r, c] = 0.0, 0.0
            scratch[size, r], out[size, r] = 0.0, 0.0
            for k in range(size):
                omega = information[r, k]
                for c in range(size):
                    scratch[r, c] += omega * j[k, c]
                scratch[size, r] += omega * e[k]
            squared += e[r] * scratch[size, r]
        for k in range(size):
            for r in range(size):
                for c in range(size):
                    out[r, c] += j[k, r] * scratch[k, c]
                out[size, r] += j[k, r] * scratch[size, k]
        return squared

    return product


_spatial_normal, _similarity_normal = _normal_product(6), _normal_product(7)


@njit(cache=True, forceinline=True)
@no_type_check
def _planar_normal(information, e, j, scratch, out):
    """As the product of `_normal_product`, of size 3: written out it takes half the time."""
    squared = 0.0
    for r in range(3):
        for c in range(3):
            scratch[r, c] = information[r, 0] * j[0, c] + information[r, 1] * j[1, c] + information[r, 2] * j[2, c]
        scratch[3, r] = information[r, 0] * e[0] + information[r, 1] * e[1] + information[r, 2] * e[2]
        squared += e[r] * scratch[3, r]
    for c in range(3):
        for r in range(3):
            out[r, c] = j[0, r] * scratch[0, c] + j[1, r] * scratch[1, c] + j[2, r] * scratch[2, c]
        out[3, c] = j[0, c] * scratch[3, 0] + j[1, c] * scratch[3, 1] + j[2, c] * scratch[3, 2]
    return squared


@njit(cache=True, forceinline=True)
@no_type_check
def normal_product(information, e, j, scratch, out):
    """As the product of `_normal_product`, of the size of e."""
    if len(e) == 3:
        return _planar_normal(information, e, j, scratch, out)
    if len(e) == 6:
        return _spatial_normal(information, e, j, scratch, out)
    return _similarity_normal(information, e, j, scratch, out)


@njit(cache=True, forceinline=True)
@no_type_check
def quadratic(information, e):
    """e' Omega e."""
    total = 0.0
    for r in range(len(e)):
        for c in range(len(e)):
            total += e[r] * information[r, c] * e[c]
    return total


@njit(cache=True, forceinline=True)
@no_type_check
def linearise_motion(e, matrices, information, j, scratch, of_b, of_ba, of_a):
    """Fills in the blocks H_bb with g_b' below, H_ba with g_a' below, and H_aa; returns e' Omega e. After `relative_error`."""
    right_inverse(e, matrices, scratch, j)
    squared = normal_product(information, e, j, scratch[0], of_b)
    b_from_a = matrices[1]
    times_adjoint(of_b, b_from_a, of_ba)
    times_adjoint(of_ba[: len(e)].T, b_from_a, of_a)
    return squared
