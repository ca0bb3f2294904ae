"""Is a recording fit for use? Measured, with advice (docs/doctor.md)."""

from firstsight.doctor.examination import examine
from firstsight.doctor.printing import print_findings
from firstsight.doctor.settings import Given

__all__ = ["Given", "examine", "print_findings"]
