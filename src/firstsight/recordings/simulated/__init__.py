"""Simulated worlds with exact ground truth: a street, rooms, a table of toys.

Nothing is stored: frames are rendered when asked for, each a pure function of (world, seed, frame, size).
"""

from firstsight.recordings.simulated.simulate import NAMES, simulate

__all__ = ["NAMES", "simulate"]
