"""Is a recording fit for use? Measured, with advice (docs/doctor.md)."""

from firstsight.doctor.examination import examine
from firstsight.doctor.printing import print_findings

__all__ = ["examine", "print_findings"]
