"""firstsight learns to see from what a robot records, without labels."""

__version__ = "0.1.0"
