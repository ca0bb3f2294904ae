"""Logarithms of motions, their derivatives, and steps along tangents, one motion at a time inside compiled loops.

Paper:  Sola, Deray, Atchuthan. A micro Lie theory for state estimation in robotics. 2018;
        Barfoot. State Estimation for Robotics. 2017, section 7.1.
Idea:   d = (R, t), phi = log R, s = |phi|^2, h = (|phi| / 2) cot(|phi| / 2), c = (1 - h) / s:
            log d = (V^-1 t, phi),  V^-1 = I - phi^ / 2 + c phi^ phi^                   -> planar_log(), spatial_log()
        moving d by (v, omega) on its right moves t by R v and phi by J_r^-1(phi) omega, J_r^-1(phi) = V^-1 R, so
            J_r^-1(log d) = [V^-1 R,  d(V^-1 t)/dphi J_r^-1(phi); 0, J_r^-1(phi)]
                                                                  -> planar_right_inverse(), spatial_right_inverse()
        x exp(xi)                                                                 -> planar_move(), spatial_move()
Role:   the inner loops of pose graphs. For tensors, batches and gradients there is geometry/se3.py.
Units:  tangents are (translation, rotation), metres and radians. Matrices (3, 3) for SE(2), (4, 4) for SE(3), float64.
"""

from typing import no_type_check

import numpy as np
from numba import njit

SMALL_ANGLE_SQUARED = 0.04  # below it the series used here are exact to float64


@njit(cache=True)
@no_type_check
def _half_cotangent(squared):
    """(h, dh/ds) of h = (theta / 2) cot(theta / 2), s = theta^2."""
    if squared < SMALL_ANGLE_SQUARED:
        s = squared
        h = 1 - s / 12 * (1 + s / 60 * (1 + s / 42 * (1 + s / 40 * (1 + s * 0.025252525252525252))))
        slope = -1 / 12 - s / 360 * (1 + s / 28 * (1 + s / 30 * (1 + s * 0.03156565656565657)))
        return h, slope
    theta = np.sqrt(squared)
    sine = np.sin(theta / 2)
    h = theta / 2 * np.cos(theta / 2) / sine
    return h, (h / squared - 1 / (4 * sine * sine)) / 2


@njit(cache=True)
@no_type_check
def planar_log(d, e):
    """e (3,) = log of d (3, 3)."""
    theta = np.arctan2(d[1, 0], d[0, 0])
    h, _ = _half_cotangent(theta * theta)
    e[0] = h * d[0, 2] + theta / 2 * d[1, 2]
    e[1] = -theta / 2 * d[0, 2] + h * d[1, 2]
    e[2] = theta


@njit(cache=True)
@no_type_check
def planar_right_inverse(d, e, j):
    """j (3, 3) = J_r^-1(e), e = log(d)."""
    theta = e[2]
    h, slope = _half_cotangent(theta * theta)
    turn = 2 * theta * slope  # dh / dtheta
    j[0, 0], j[0, 1], j[0, 2] = h, -theta / 2, turn * d[0, 2] + d[1, 2] / 2
    j[1, 0], j[1, 1], j[1, 2] = theta / 2, h, turn * d[1, 2] - d[0, 2] / 2
    j[2, 0], j[2, 1], j[2, 2] = 0.0, 0.0, 1.0


@njit(cache=True)
@no_type_check
def _rotation_log(d, w):
    """w (3,) = rotation vector of d[:3, :3], through the quaternion (Shepperd 1978)."""
    trace = d[0, 0] + d[1, 1] + d[2, 2]
    i = 0
    if d[1, 1] > d[i, i]:
        i = 1
    if d[2, 2] > d[i, i]:
        i = 2
    j, k = (i + 1) % 3, (i + 2) % 3
    if trace >= d[i, i]:
        real = 1 + trace
        w[0], w[1], w[2] = d[2, 1] - d[1, 2], d[0, 2] - d[2, 0], d[1, 0] - d[0, 1]
    else:
        real = d[k, j] - d[j, k]
        w[i], w[j], w[k] = 1 + d[i, i] - d[j, j] - d[k, k], d[i, j] + d[j, i], d[i, k] + d[k, i]
    if real < 0:
        real = -real
        w[0], w[1], w[2] = -w[0], -w[1], -w[2]
    sine = np.sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2])
    factor = 2 / real if sine < 1e-8 * real else 2 * np.arctan2(sine, real) / sine
    w[0], w[1], w[2] = factor * w[0], factor * w[1], factor * w[2]


@njit(cache=True)
@no_type_check
def _curvature(squared):
    """(c, dc/ds) of c = (1 - h) / s, the second coefficient of V^-1 = I - phi^ / 2 + c phi^ phi^."""
    if squared < SMALL_ANGLE_SQUARED:
        s = squared
        c = 1 / 12 + s / 720 * (1 + s / 42 * (1 + s / 40 * (1 + s * 0.025252525252525252)))
        return c, 1 / 720 + s / 15120 * (1 + s * 3 / 80 * (1 + s * 4 / 3 * 0.025252525252525252))
    h, slope = _half_cotangent(squared)
    return (1 - h) / squared, (-slope * squared - (1 - h)) / (squared * squared)


@njit(cache=True)
@no_type_check
def spatial_log(d, e):
    """e (6,) = log of d (4, 4)."""
    _rotation_log(d, e[3:])
    a, b, c = e[3], e[4], e[5]
    x, y, z = d[0, 3], d[1, 3], d[2, 3]
    squared = a * a + b * b + c * c
    curve, _ = _curvature(squared)
    dot = a * x + b * y + c * z
    e[0] = x - (b * z - c * y) / 2 + curve * (a * dot - squared * x)
    e[1] = y - (c * x - a * z) / 2 + curve * (b * dot - squared * y)
    e[2] = z - (a * y - b * x) / 2 + curve * (c * dot - squared * z)


@njit(cache=True)
@no_type_check
def spatial_right_inverse(d, e, j):
    """j (6, 6) = J_r^-1(e), e = log(d)."""
    phi = e[3:]
    squared = phi[0] ** 2 + phi[1] ** 2 + phi[2] ** 2
    curve, slope = _curvature(squared)
    dot = phi[0] * d[0, 3] + phi[1] * d[1, 3] + phi[2] * d[2, 3]
    for r in range(3):  # J_r^-1(phi) = V^-1(-phi) = V^-1(phi) R
        for c in range(3):
            j[r, c] = curve * phi[r] * phi[c]
            j[r + 3, c] = 0.0
        j[r, r] += 1 - curve * squared
        n, m = (r + 1) % 3, (r + 2) % 3
        j[r, n] -= phi[m] / 2
        j[r, m] += phi[n] / 2
    for r in range(3):  # d(V^-1 t) / dphi, in the place of the lower right block
        t_r = d[r, 3]
        for c in range(3):
            along = 2 * slope * (phi[r] * dot - squared * t_r)
            j[r + 3, c + 3] = curve * (phi[r] * d[c, 3] - 2 * t_r * phi[c]) + along * phi[c]
        j[r + 3, r + 3] += curve * dot
        n, m = (r + 1) % 3, (r + 2) % 3
        j[r + 3, n + 3] -= d[m, 3] / 2
        j[r + 3, m + 3] += d[n, 3] / 2
    for r in range(3):
        for c in range(3):
            total = 0.0
            for k in range(3):
                total += j[r + 3, k + 3] * j[k, c]
            j[r, c + 3] = total
    for r in range(3):
        for c in range(3):
            j[r + 3, c + 3] = j[r, c]


@njit(cache=True)
@no_type_check
def planar_move(pose, xi):
    """pose (3, 3) becomes pose exp(xi), xi (3,)."""
    theta = xi[2]
    if theta * theta < 1e-6:
        a, b = 1 - theta * theta / 6, theta / 2 * (1 - theta * theta / 12)
    else:
        a, b = np.sin(theta) / theta, (1 - np.cos(theta)) / theta
    u, v = a * xi[0] - b * xi[1], b * xi[0] + a * xi[1]
    c, s = pose[0, 0], pose[1, 0]
    cos, sin = np.cos(theta), np.sin(theta)
    pose[0, 2] += c * u - s * v
    pose[1, 2] += s * u + c * v
    c, s = c * cos - s * sin, s * cos + c * sin
    pose[0, 0], pose[0, 1] = c, -s
    pose[1, 0], pose[1, 1] = s, c


@njit(cache=True)
@no_type_check
def spatial_move(pose, xi):
    """pose (4, 4) becomes pose exp(xi), xi (6,)."""
    a, b, c = xi[3], xi[4], xi[5]
    squared = a * a + b * b + c * c
    if squared < 1e-6:
        sine, cosine, third = 1 - squared / 6, 0.5 - squared / 24, 1 / 6 - squared / 120
    else:
        theta = np.sqrt(squared)
        sine, half = np.sin(theta) / theta, np.sin(theta / 2) / theta
        cosine = 2 * half * half
        third = (1 - sine) / squared
    rotation, old, step = np.empty((3, 3)), np.empty(3), np.empty(3)
    phi, rho = xi[3:], xi[:3]
    dot = a * rho[0] + b * rho[1] + c * rho[2]
    for r in range(3):
        n, m = (r + 1) % 3, (r + 2) % 3
        across = phi[n] * rho[m] - phi[m] * rho[n]
        step[r] = rho[r] + cosine * across + third * (phi[r] * dot - squared * rho[r])
        for k in range(3):
            rotation[r, k] = cosine * phi[r] * phi[k]
        rotation[r, r] += 1 - cosine * squared
        rotation[r, n] -= sine * phi[m]
        rotation[r, m] += sine * phi[n]
    for r in range(3):
        for k in range(3):
            old[k] = pose[r, k]
        for k in range(3):
            pose[r, 3] += old[k] * step[k]
            pose[r, k] = old[0] * rotation[0, k] + old[1] * rotation[1, k] + old[2] * rotation[2, k]
