"""The course's figures, drawn anew: each runs a small experiment with the library's own functions."""

from firstsight.gallery.listing import find, listed
from firstsight.gallery.printing import print_drawn, print_list

__all__ = ["find", "listed", "print_drawn", "print_list"]
