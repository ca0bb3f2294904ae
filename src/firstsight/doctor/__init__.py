"""Is a recording fit for use? Measured, with advice (docs/doctor.md)."""

from firstsight.doctor.examination import examine

__all__ = ["examine"]
