"""Smoothing and splitting of maps along their edges.

Paper:  Gastal, Oliveira. Domain Transform for Edge-Aware Image and Video Processing. SIGGRAPH 2011 (section 5, recursive filter).
Idea:   two neighbours are as far apart as the path between them is rough; a value fades along rows and columns with that
        distance d, so it spreads within a surface and stops at its edge:
        J[n] = I[n] + a^d (J[n-1] - I[n]),  a = exp(-sqrt(2) / sigma)                    -> smooth()
        Regions are the connected pixels of a mask whose neighbours are near each other  -> label()
"""

import numpy as np
from jaxtyping import Float32
from numba import njit


@njit(cache=True, fastmath=True)
def _sweep(values, weights, fade):
    """One pass there and back along every row of values and weights (rows, n) in place; fade[:, i] between i and i + 1."""
    rows, count = values.shape
    for row in range(rows):
        for i in range(1, count):
            keep = fade[row, i - 1]
            values[row, i] += keep * (values[row, i - 1] - values[row, i])
            weights[row, i] += keep * (weights[row, i - 1] - weights[row, i])
        for i in range(count - 2, -1, -1):
            keep = fade[row, i]
            values[row, i] += keep * (values[row, i + 1] - values[row, i])
            weights[row, i] += keep * (weights[row, i + 1] - weights[row, i])
